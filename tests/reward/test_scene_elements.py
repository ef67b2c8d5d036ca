"""What scenes are expected to do to CTRs, also those of creatives without clicks."""

from __future__ import annotations

import numpy as np
import pytest

from clickscape.reward.scene_elements import scene_effects


def _shop(rng: np.random.Generator) -> tuple[list, list, list, np.ndarray, np.ndarray]:
    """Forty products with four creatives each, at noon or in soft light; noon is clicked 1.5 times as often."""
    light = rng.integers(2, size=160)
    scenes = [{"light": ("soft", "noon")[one], "prop": None} for one in light]
    products = [f"p{number // 4:02}" for number in range(160)]
    clicks = rng.poisson(40 * np.where(light == 1, 1.5, 1.0)).astype(float)
    return scenes, ["Toys"] * 160, products, clicks, np.full(160, 1_000.0)


def test_a_creative_without_clicks_gets_the_effects_of_its_elements() -> None:
    scenes, where, products, clicks, examinations = _shop(np.random.default_rng(0))
    scenes += [{"light": "noon"}, {"light": "soft"}, {"light": "never seen"}]
    found = scene_effects(
        scenes,
        [*where, *["Toys"] * 3],
        [*products, *["p00"] * 3],
        clicks=np.append(clicks, [np.nan] * 3),
        examinations=np.append(examinations, [np.nan] * 3),
        fold=np.ones(163, np.int64),
    )
    assert found.shape == (2, 163)
    noon, soft, never = found[0, 160:]
    assert noon - soft == pytest.approx(np.log(1.5), abs=0.1)
    assert never == 0
    assert not found[1].any(), "all creatives are in the fold that is left out"


def test_a_fold_is_not_learned_from() -> None:
    """In fold 1, noon is clicked less: whoever leaves it out does not know that, and the other knows nothing else."""
    scenes, where, products, clicks, examinations = _shop(np.random.default_rng(1))
    fold = (np.arange(160) // 4 >= 20).astype(np.int64)
    noon = np.array([scene["light"] == "noon" for scene in scenes])
    clicks = np.where((fold == 1) & noon, np.rint(clicks / 3), clicks)
    found = scene_effects(scenes, where, products, clicks=clicks, examinations=examinations, fold=fold)
    gap = found[:, noon][:, 0] - found[:, ~noon][:, 0]
    assert gap[1] == pytest.approx(np.log(1.5), abs=0.15)
    assert gap[0] == pytest.approx(np.log(0.5), abs=0.2)


def test_without_clicks_nothing_is_known() -> None:
    scenes, where, products, _, examinations = _shop(np.random.default_rng(2))
    none = np.full(160, np.nan)
    found = scene_effects(scenes, where, products, clicks=none, examinations=examinations, fold=np.zeros(160, np.int64))
    assert found.tolist() == [[0.0] * 160]
