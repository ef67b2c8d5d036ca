"""The scene-reading judge finds the effects behind the clicks, keeps departments apart, comes back as it was saved."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from clickscape.errors import DeprecatedWarning, ModelError
from clickscape.render.scene import Scene
from clickscape.reward import judge as reward_judge
from clickscape.reward.data import RewardData
from clickscape.reward.scene_judge import SceneJudge, fit, load
from clickscape.types import Product

SURFACES = ("oak", "linen", "slate")
MAIN = {"oak": 0.5, "linen": 0.0, "slate": -0.5}
OWN = {"Toys": {"oak": 0.8, "slate": -0.8}, "Tools": {"oak": -1.2, "slate": 1.2}}
SCENES = [Scene(setting="studio", surface=surface).slots for surface in SURFACES]


def truth(department: str, surface: str) -> float:
    return MAIN[surface] + OWN.get(department, {}).get(surface, 0.0)


def shop(count: int, *, known: bool = True) -> RewardData:
    """Products of two departments, three creatives each that differ by their surface, and clicks by the truth."""
    products = [Product(f"p{number}", "thing", (("Toys", "Tools")[number % 2],)) for number in range(count)]
    ids = [f"{product.product_id}-{surface}" for product in products for surface in SURFACES]
    log_ctr = np.array([truth(p.department, surface) - 4 for p in products for surface in SURFACES])
    examinations = np.full(len(ids), 5_000.0)
    return RewardData(
        products={product.product_id: product for product in products},
        creative_ids=ids,
        product_of=[name.partition("-")[0] for name in ids],
        images=[np.zeros((1, 1, 3), np.uint8)] * len(ids),
        pairs=[],
        clicks=np.random.default_rng(0).poisson(examinations * np.exp(log_ctr)).astype(float),
        examinations=examinations,
        slots=SCENES * count if known else None,
    )


@pytest.fixture(scope="module")
def learned() -> SceneJudge:
    return fit(shop(400))


def test_true_scene_effects_are_recovered_from_clicks(learned: SceneJudge) -> None:
    for department in ("Toys", "Tools"):
        scores = learned.score([Product("x", "x", (department,))] * 3, [], SCENES)
        expected = [truth(department, surface) for surface in SURFACES]
        assert scores - scores.mean() == pytest.approx(np.array(expected) - np.mean(expected), abs=0.05)


def test_an_unknown_department_gets_the_effects_common_to_all(learned: SceneJudge) -> None:
    oak, _, slate = learned.score([Product("x", "x", ("Garden",))] * 3, [], SCENES)
    assert oak > slate  # the mean over both departments would say the opposite for Tools
    neon = Scene(setting="studio", surface="water").slots
    assert learned.score([Product("x", "x", ("Garden",))], [], [neon]) == pytest.approx(
        sum(
            learned.overall[slot].get(value, 0)
            for slot, value in neon.items()
            if value is not None and slot != "surface"
        )
    )


def test_the_scene_judge_ignores_pictures(learned: SceneJudge) -> None:
    rng = np.random.default_rng(0)
    product, images = Product("x", "x", ("Toys",)), [rng.integers(0, 255, (4, 4, 3), np.uint8) for _ in SCENES]
    assert np.array_equal(learned.score([product] * 3, images, SCENES), learned.score([product] * 3, [], SCENES))


def test_a_saved_scene_judge_scores_the_same_after_loading(learned: SceneJudge, tmp_path: Path) -> None:
    learned.save(tmp_path / "judge")
    assert load(tmp_path / "judge") == learned
    assert reward_judge.load(tmp_path / "judge") == learned


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no judge here"),
        ("{", "Invalid JSON"),
        ("[]", "scenes.json: Input should be"),
        ("[" * 9_999, "Invalid JSON"),
        ('{"version": 9}', "version 9"),
        ('{"version": 1, "main": {"light": {"soft": "much"}}, "own": {}}', "soft: Input should be a valid number"),
        ('{"version": 2, "overall": {"light": {"soft": NaN}}, "by_department": {}}', "soft: Input should be a finite"),
    ],
)
def test_a_folder_that_is_no_judge_is_refused(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "scenes.json").write_text(text)
    with pytest.raises(ModelError, match=message):
        load(tmp_path)


def test_a_judge_of_release_0_1_is_read(tmp_path: Path) -> None:
    (tmp_path / "scenes.json").write_text('{"version": 1, "main": {"surface": {"oak": 0.5}}, "own": {"Toys": {}}}')
    with pytest.warns(DeprecatedWarning, match=r"scenes\.json: version 1 of release 0\.1"):
        assert load(tmp_path) == SceneJudge({"surface": {"oak": 0.5}}, {"Toys": {}})


def test_training_the_scene_judge_without_scenes_is_refused() -> None:
    with pytest.raises(ModelError, match=r"no two creatives .* known scenes.*judge = 'pair'"):
        fit(shop(4, known=False))


def test_the_saved_effects_are_readable_json(learned: SceneJudge, tmp_path: Path) -> None:
    learned.save(tmp_path)
    values = json.loads((tmp_path / "scenes.json").read_text())
    assert (
        values["by_department"]["Tools"]["surface"]["slate"] > 0 > values["by_department"]["Toys"]["surface"]["slate"]
    )
