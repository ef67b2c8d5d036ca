"""The click worlds: frozen, additive, and as harmonious or as treacherous as they promise."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict

import numpy as np
import pytest

from clickscape.catalog import sample
from clickscape.errors import ConfigError
from clickscape.render.scene import NO_PROP, Scene
from clickscape.render.studio.engine import StudioRenderer
from clickscape.simulator import pixels, world, writer
from clickscape.simulator.pixels import PixelStats
from clickscape.simulator.shoppers import FIT, PICTURED
from clickscape.simulator.vocabulary import PALETTES, SETTINGS, SLOTS, WALLED
from clickscape.simulator.world import SEGMENTS, World
from clickscape.types import Product

HARMONY, SIREN = world.load("harmony"), world.load("siren")
PRODUCTS = [Product(f"p{number}", "Thing", (PICTURED[number % 10],)) for number in range(400)]
EACH = {where: Product("p", "Thing", (where,)) for where in PICTURED}


def _written_effects(truth: World, *, per_product: int = 16) -> np.ndarray:
    """Slot effects (product, scene) of scenes that the copywriter chose."""
    rng = np.random.default_rng(0)
    return np.array([[truth.scene_effect(p, writer.write(p, rng)[1]) for _ in range(per_product)] for p in PRODUCTS])


def _every_scene(truth: World, product: Product) -> np.ndarray:
    """exp(slot part) of all 226,800 scenes, in one fixed order: settings with palettes, then the other slots."""
    effect = {slot: np.array([truth.slot_effect(product, slot, v) for v in SLOTS[slot]]) for slot in SLOTS}
    places = [effect["setting"][i] for i, setting in enumerate(SETTINGS) if setting not in WALLED]
    places += [
        effect["setting"][i] + effect["palette"][j]
        for i, setting in enumerate(SETTINGS)
        for j in range(len(PALETTES))
        if setting in WALLED
    ]
    total = np.array(places)
    for slot in ("surface", "light", "stand", "prop"):
        total = np.add.outer(total, effect[slot])
    return np.exp(total.ravel())


def _uplifts(truth: World) -> tuple[float, dict[str, float]]:
    """Best universal scene and best scene per department, over the copywriter's mean CTR in that department."""
    written = np.exp(_written_effects(truth))
    average = {where: written[[p.department == where for p in PRODUCTS]].mean() for where in PICTURED}
    every = {where: _every_scene(truth, EACH[where]) / average[where] for where in PICTURED}
    universal = np.mean([every[where] for where in PICTURED], axis=0)
    return float(universal.max()), {where: float(every[where].max()) for where in PICTURED}


@pytest.mark.parametrize(
    ("truth", "expected"), [(HARMONY, "894c243ee6ad2100"), (SIREN, "48edb357683d22dd")], ids=["harmony", "siren"]
)
def test_a_world_is_frozen(truth: World, expected: str) -> None:
    fit = [[where, sorted(fit.settings), sorted(fit.props)] for where, fit in sorted(FIT.items())]
    tables = [truth.bases, truth.main, truth.interactions, truth.tastes, fit, asdict(truth.strengths), pixels.SCALES]
    assert hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()[:16] == expected


def test_harmony_rewards_looking_at_the_product() -> None:
    universal, best = _uplifts(HARMONY)
    assert universal <= 1.25
    assert np.mean(list(best.values())) >= 1.80
    assert min(best.values()) >= 1.60
    matched = [world.matching(product, HARMONY.best_scene(product)) for product in EACH.values()]
    assert np.mean(matched) >= 0.8


def test_siren_rewards_ignoring_the_product() -> None:
    universal, best = _uplifts(SIREN)
    assert universal >= 2.0
    assert np.mean(list(best.values())) <= 1.10 * universal
    matched = [world.matching(product, SIREN.best_scene(product)) for product in EACH.values()]
    assert np.mean(matched) <= 0.2


def test_harmony_effects_have_the_promised_sizes() -> None:
    for slot in SLOTS:
        assert 0.039 < np.std(list(HARMONY.main[slot].values())) < 0.051
    cells = np.array([e for table in HARMONY.interactions.values() for row in table.values() for e in row.values()])
    present = cells[np.abs(cells) > 0.1]
    assert 0.05 < len(present) / len(cells) < 0.12
    assert 0.22 <= np.sqrt(np.mean(present**2)) <= 0.32
    for slot, values in SLOTS.items():
        for value in values:
            assert abs(sum(HARMONY.interactions[where][slot][value] for where in PICTURED)) < 1e-3


def test_fit_is_worth_a_quarter_each_way_in_harmony_and_nothing_in_siren() -> None:
    settings, props = FIT["Drinks"].settings, FIT["Drinks"].props
    assert HARMONY._fit_effect("Drinks", "setting", min(settings)) + HARMONY._fit_effect(
        "Drinks", "prop", min(props)
    ) == (pytest.approx(0.25))
    assert HARMONY._fit_effect("Drinks", "setting", "workshop") + HARMONY._fit_effect("Drinks", "prop", "log") == (
        pytest.approx(-0.25)
    )
    assert HARMONY._fit_effect("Drinks", "surface", "oak") == 0
    assert SIREN._fit_effect("Drinks", "setting", min(settings)) == 0


@pytest.mark.parametrize("truth", [HARMONY, SIREN], ids=["harmony", "siren"])
def test_the_spread_within_a_product_is_about_a_quarter(truth: World) -> None:
    slots = _written_effects(truth).var(axis=1, ddof=1).mean()
    measured = sum(weight**2 for weight in (0.05, 0.025, 0.02, 0.02))  # figures are standardized within products
    assert 0.21 < math.sqrt(slots + measured + truth.strengths.image_sd**2) < 0.29


@pytest.mark.slow
def test_the_spread_holds_on_rendered_ads() -> None:
    rng, renderer = np.random.default_rng(1), StudioRenderer()
    figures = []
    known = sample.products()
    for product in [known[int(index)] for index in rng.choice(1_320, 8, replace=False)]:
        cutout = sample.cutout(product.product_id, 120)
        for _ in range(3):
            drawn = renderer.compose(cutout, writer.write(product, rng)[1], size=(96, 96), seed=int(rng.integers(99)))
            figures.append(pixels.measure(drawn.image, drawn.product_mask))
    for name in pixels.SCALES:
        values = np.array([getattr(stats, name) for stats in figures])
        assert abs(values.mean()) < 1.2
        assert 0.4 < values.std() < 2.0


def test_log_ctr_is_the_sum_of_its_parts() -> None:
    product = Product("cola", "Cola", ("Drinks",))
    scene = Scene("beach", "sand", "noon", "floor", None, ("ice",))
    stats = PixelStats(1.0, -1.0, 0.5, 2.0)
    parts = (
        HARMONY.base(product)
        + sum(HARMONY.main[slot][value] for slot, value in scene.slots.items() if value)
        + sum(HARMONY.interactions["Drinks"][slot][value] for slot, value in scene.slots.items() if value)
        + 0.25  # beach and ice both fit drinks
        + 0.05 * 1.0 + 0.025 * 1.0 + 0.02 * 0.5 + 0.02 * 2.0
        + HARMONY.image_effect("creative-1")
    )  # fmt: skip
    assert HARMONY.log_ctr(product, scene, stats, "creative-1") == pytest.approx(parts)
    average = parts - HARMONY.image_effect("creative-1") - HARMONY.base(product)
    assert HARMONY.relative_ctr(product, scene, stats) == pytest.approx(math.exp(average))


def test_image_effects_are_normal_and_remembered() -> None:
    effects = np.array([HARMONY.image_effect(f"creative-{number}") for number in range(4_000)])
    assert effects.std() == pytest.approx(HARMONY.strengths.image_sd, rel=0.05)
    assert abs(effects.mean()) < 4 * HARMONY.strengths.image_sd / math.sqrt(4_000)
    assert HARMONY.image_effect("creative-7") == effects[7]
    assert SIREN.image_effect("creative-7") != effects[7]


def test_products_click_at_about_four_percent() -> None:
    ctrs = [math.exp(HARMONY.base(product)) for product in PRODUCTS]
    assert 0.03 < np.mean(ctrs) < 0.05


@pytest.mark.parametrize("truth", [HARMONY, SIREN], ids=["harmony", "siren"])
def test_segments_average_to_the_expected_ctr(truth: World) -> None:
    rng = np.random.default_rng(2)
    differences = []
    for product in PRODUCTS[:20]:
        scene = writer.random_scene(rng)
        segments = truth.segment_log_ctrs(product, scene)
        average = sum(share * math.exp(log) for share, log in zip(SEGMENTS.values(), segments, strict=True))
        assert math.log(average) == pytest.approx(truth.log_ctr(product, scene))
        differences.append(max(segments) - min(segments))
    assert 0.02 < np.mean(differences) < 0.6


@pytest.mark.parametrize("truth", [HARMONY, SIREN], ids=["harmony", "siren"])
def test_the_oracle_finds_the_best_of_all_scenes(truth: World) -> None:
    for product in EACH.values():
        best = truth.best_scene(product)
        assert math.exp(truth.scene_effect(product, best)) == pytest.approx(_every_scene(truth, product).max())


def test_an_unknown_department_borrows_one_and_keeps_it() -> None:
    organ, piano = Product("o", "Organ", ("Instruments", "Keys")), Product("p", "Piano", ("INSTRUMENTS",))
    assert world.department(organ) == world.department(piano)
    assert world.department(organ) in FIT
    assert world.department(Product("n", "No category")) in FIT
    assert len({world.department(Product("x", "X", (name,))) for name in map(str, range(100))}) == len(FIT)


def test_matching_needs_the_setting_and_every_prop() -> None:
    drink = EACH["Drinks"]
    assert world.matching(drink, Scene("beach", props=("ice", "lemons")))
    assert not world.matching(drink, Scene("beach", props=("ice", "log")))
    assert not world.matching(drink, Scene("workshop", props=("ice",)))
    assert not world.matching(drink, Scene("beach"))  # nobody serves a drink beside nothing
    assert NO_PROP in FIT["Tools"].props
    assert world.matching(EACH["Tools"], Scene("workshop"))


def test_shoppers_and_copywriter_agree_only_in_part() -> None:
    assert set(FIT) == set(writer.SUITS)
    overlaps = []
    for where, fit in FIT.items():
        taste = writer.SUITS[where]
        assert fit.settings <= set(SETTINGS)
        assert fit.props <= set(SLOTS["prop"])
        assert (set(taste.settings), set(taste.props)) != (fit.settings, fit.props)
        both = (set(taste.settings) & fit.settings) | (set(taste.props) & fit.props)
        overlaps.append(len(both) / len(set(taste.settings) | fit.settings | set(taste.props) | fit.props))
    assert 0.35 < np.mean(overlaps) < 0.8


def test_there_is_no_other_world() -> None:
    with pytest.raises(ConfigError, match=r"no world 'utopia'\. There are: harmony, siren"):
        world.load("utopia")
