"""Credits of elements: the truth of both worlds lies in the intervals, and popular products lend none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest

from clickscape.catalog import sample
from clickscape.clicks import ctr, logs
from clickscape.config import ClicksConfig
from clickscape.errors import LogError
from clickscape.render.scene import Scene
from clickscape.reward.explain.elements import ElementReport, credit
from clickscape.simulator import traffic, world, writer
from clickscape.simulator.pixels import PixelStats
from clickscape.types import Creative, Product

_SAMPLE = sample.products()
PRODUCTS = tuple(_SAMPLE[number] for number in np.random.default_rng(0).choice(1_320, 300, replace=False))
DEPARTMENTS = {product.product_id: product.department for product in PRODUCTS}
SEEDS = (1, 2, 3, 4)


@dataclass(frozen=True)
class Ad:
    product: Product
    creative: Creative
    scene: Scene
    pixels: PixelStats


@pytest.fixture(scope="module")
def ads() -> list[Ad]:
    """Five of the copywriter's scenes for every product, and pictures whose figures do not depend on the scene."""
    rng = np.random.default_rng(7)
    made = []
    for product in PRODUCTS:
        for number in range(5):
            text, scene = writer.write(product, rng)
            creative = Creative(
                f"{product.product_id}-c{number}", product.product_id, "", text, {}, "studio", "writer", 0
            )
            made.append(Ad(product, creative, scene, PixelStats(*rng.normal(size=4))))
    return made


def estimated(ads: Sequence[Ad], log_ctr: np.ndarray, *, seed: int, shares: Mapping[str, float] | None) -> pa.Table:
    """The table of estimates, through the room's own verb: positions are confounded and corrected."""
    shown = traffic.simulate(
        [ad.creative for ad in ads], log_ctr, rng=np.random.default_rng(seed), median_impressions=1_500, shares=shares
    )
    counts = logs.connect().create_table("counts", shown.counts())
    return ctr.estimate_ctr(counts, config=ClicksConfig(), categories=DEPARTMENTS)[0]


def scenes_of(ads: Sequence[Ad]) -> dict[str, Mapping[str, str | None]]:
    return {ad.creative.creative_id: ad.scene.slots for ad in ads}


def true_credits(ads: Sequence[Ad], estimates: pa.Table, name: str) -> dict[tuple[str | None, str, str], float]:
    """Credits of the world's own effects (main, interaction, fit) on log CTR, by their definition and one by one."""
    shoppers = world.load(name)
    examined = dict(zip(estimates["creative_id"].to_pylist(), estimates["examinations"].to_pylist(), strict=True))
    someone = {product.department: product for product in PRODUCTS}
    weight: dict[tuple[str, str, str], float] = {}
    for ad in ads:
        for slot, value in ad.scene.slots.items():
            if value is not None:
                key = (ad.product.department, slot, value)
                weight[key] = weight.get(key, 0) + examined[ad.creative.creative_id]
    effect = {key: shoppers.slot_effect(someone[key[0]], *key[1:]) for key in weight}
    truth: dict[tuple[str | None, str, str], float] = {}
    for where, slot, value in weight:
        peers = [key for key in weight if key[:2] == (where, slot)]
        average = sum(weight[key] * effect[key] for key in peers) / sum(weight[key] for key in peers)
        truth[where, slot, value] = effect[where, slot, value] - average
    for element in {key[1:] for key in weight}:
        places = [key for key in weight if key[1:] == element]
        total = sum(weight[key] for key in places)
        truth[(None, *element)] = sum(weight[key] * truth[key] for key in places) / total
    return truth


@pytest.mark.slow
@pytest.mark.parametrize("name", ["harmony", "siren"])
def test_the_intervals_cover_the_true_effects(ads: list[Ad], name: str) -> None:
    """Over four draws of clicks: nominal 95 %, and where the report takes a side, it is the right one."""
    shoppers = world.load(name)
    log_ctr = [
        shoppers.segment_log_ctrs(ad.product, ad.scene, ad.pixels, f"{ad.creative.creative_id}/{name}") for ad in ads
    ]
    overall, inside, sure, right, errors, sizes = [], [], [], [], [], []
    for seed in SEEDS:
        estimates = estimated(ads, np.array(log_ctr), seed=seed, shares=world.SEGMENTS)
        report = credit(estimates, scenes=scenes_of(ads), departments=DEPARTMENTS)
        truth = true_credits(ads, estimates, name)
        assert {(one.department, one.slot, one.element) for one in report.credits} == set(truth)
        for one in report.credits:
            true = truth[one.department, one.slot, one.element]
            covered = one.percent.low <= 100 * np.expm1(true) <= one.percent.high
            (overall if one.department is None else inside).append(covered)
            errors.append(np.log1p(one.percent.value / 100) - true)
            sizes.append(true)
            if one.significant:
                sure.append(covered)
                right.append((one.percent.value > 0) == (true > 0))
    assert np.mean(overall) >= 0.90
    assert 0.92 <= np.mean(inside) <= 0.99
    assert np.mean(sure) >= 0.90, "what the advertiser reads is covered as well"
    assert np.mean(right) >= 0.97
    assert len(right) >= 100 * len(SEEDS)
    assert np.std(errors) < 0.55 * np.std(sizes)


@pytest.mark.slow
def test_where_no_element_matters_the_report_says_so(ads: list[Ad]) -> None:
    shoppers = world.load("siren")
    log_ctr = np.array([shoppers.base(ad.product) for ad in ads])
    report = credit(estimated(ads, log_ctr, seed=5, shares=None), scenes=scenes_of(ads), departments=DEPARTMENTS)
    decided = [one for one in report.credits if one.significant]
    assert len(decided) <= 0.02 * len(report.credits)
    assert report.creative_sd < 0.05
    assert max(report.overall_sd.values()) < 0.06


def table(rows: Sequence[tuple[str, str, int, int]]) -> pa.Table:
    """Estimates of (creative, product, impressions, clicks), everything seen at the first position."""
    names, products, impressions, clicks = zip(*rows, strict=True)
    return pa.table({
        "creative_id": names,
        "product_id": products,
        "impressions": impressions,
        "clicks": clicks,
        "examinations": [float(number) for number in impressions],
    })  # fmt: skip


PLAIN = [(f"{wall}{n}", f"p{n}", 10_000, clicks) for n in range(8) for wall, clicks in (("red", 500), ("blue", 500))]
COLORS = {name: {"wall": name[:-1]} for name, *_ in PLAIN} | {"star": {"wall": "red"}, "star2": {"wall": "red"}}


def credits_of(report: ElementReport) -> dict[str, tuple[float, bool]]:
    return {one.element: (one.percent.value, one.significant) for one in report.of(None)}


def test_product_popularity_is_not_credited_to_its_scene() -> None:
    """The star clicks ten times better and only ever stands before a red wall: by CTR, red would win by far."""
    starred = [*PLAIN, ("star", "s", 10_000, 5_000), ("star2", "s", 10_000, 5_000)]
    found = credits_of(credit(table(starred), scenes=COLORS, departments={}))
    assert found["red"] == (pytest.approx(0, abs=0.01), False)
    assert found["blue"] == (pytest.approx(0, abs=0.01), False)


def test_a_factor_within_products_is_found_and_halved_around_the_average() -> None:
    """Red earns 1.21 times the clicks of blue: with equal shares, +10 % and −9 % of the slot's (geometric) average."""
    rows = [(name, product, shown, 605 if name.startswith("red") else 500) for name, product, shown, _ in PLAIN]
    report = credit(table(rows), scenes=COLORS, departments={f"p{n}": "Toys" for n in range(8)})
    found = credits_of(report)
    assert found["red"] == (pytest.approx(10, abs=0.7), True)
    assert found["blue"] == (pytest.approx(-9.1, abs=0.6), True)
    assert [one.conclusion for one in report.of("Toys")] == ["more clicks", "fewer clicks"]
    assert [(one.impressions, one.creatives) for one in report.of("Toys")] == [(80_000, 8)] * 2
    with pytest.raises(LogError, match=r"no creative of category 'Food' .* Name one of: 'Toys'"):
        report.of("Food")


def test_a_log_that_compares_nothing_is_refused() -> None:
    with pytest.raises(LogError, match="nothing distinguishes elements"):
        credit(table(PLAIN), scenes={name: {"wall": "red"} for name in COLORS}, departments={})
    with pytest.raises(LogError, match="nothing distinguishes elements"):
        credit(table(PLAIN), scenes={}, departments={})


def test_scenes_that_differ_between_products_only_tell_nothing_apart() -> None:
    rows = [(f"{name}-{n}", name, 10_000, 500) for name in ("red", "blue") for n in range(2)]
    scenes = {name: {"wall": product} for name, product, *_ in rows}
    with pytest.raises(LogError, match="nothing distinguishes elements"):
        credit(table(rows), scenes=scenes, departments={})


def test_an_element_that_the_clicks_say_nothing_of_is_as_uncertain_as_the_prior() -> None:
    """Green is shown twice by one product, with a single click: nothing tells it from the rest of the log."""
    rows = [*PLAIN, ("green1", "g", 40, 1), ("green2", "g", 40, 0)]
    report = credit(table(rows), scenes=COLORS | {f"green{n}": {"wall": "green"} for n in (1, 2)}, departments={})
    green = next(one for one in report.of(None) if one.element == "green")
    assert not green.significant
    assert green.percent.high - green.percent.low > 20
