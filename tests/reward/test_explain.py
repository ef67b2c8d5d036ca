"""Heat maps, contributions of phrases, and the scale from rewards to CTR."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from scipy.special import softmax, stdtrit
from scipy.stats import multinomial

from clickscape.errors import ImageError
from clickscape.reward.explain.occlusion import HeatMap, occlude
from clickscape.reward.explain.overlay import _colors, overlay
from clickscape.reward.explain.phrases import _estimate, phrase_contributions
from clickscape.reward.explain.scale import ProductClicks, Scale, fit_scale
from clickscape.reward.features import picture_tokens
from clickscape.reward.protocol import Odds, RewardModel
from clickscape.types import Estimate


class Watching(RewardModel):
    """Looks at the mean tokens of one of 3 × 3 cells and at nothing else."""

    reads_sides = False

    def __init__(self, backbone, cell: tuple[int, int] | None, *, sd: float = 0.1) -> None:
        self.backbone, self.sd = backbone, sd
        width = backbone.hidden_size
        look = 1_000 * torch.randn(width, generator=torch.Generator().manual_seed(5)).numpy()
        self.weights = np.zeros((9, width))
        self.weights[slice(None) if cell is None else 3 * cell[0] + cell[1]] = look

    def score(self, products, images, scenes=None) -> np.ndarray:
        return np.asarray(picture_tokens(self.backbone, images) @ self.weights.ravel(), np.float64)

    def odds(self, products, firsts, seconds, scenes=None) -> Odds:
        mean = self.score(products, firsts) - self.score(products, seconds)
        return Odds(mean, self.sd * np.abs(mean))

    def rank(self, product, images, scenes=None):
        raise NotImplementedError

    def with_given_scenes(self):
        return self

    def save(self, folder) -> None:
        raise NotImplementedError


def watching(backbone, cell: tuple[int, int] | None, *, sd: float = 0.1) -> Watching:
    return Watching(backbone, cell, sd=sd)


def noise(*size: int, seed: int = 0) -> np.ndarray:
    """Coarse colored noise: every place has something to hide."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, size[::-1], interpolation=cv2.INTER_NEAREST))


@pytest.mark.slow
@pytest.mark.parametrize("cell", [(0, 0), (0, 2), (2, 1)])
def test_the_heat_map_is_hot_where_the_model_reacts(backbone, world, cell: tuple[int, int]) -> None:
    strength = np.zeros((3, 3))
    for seed in range(3):
        heat = occlude(watching(backbone, cell), world.products(1)[0], noise(96, 96, seed=seed), cells=6)
        assert heat.value.shape == (96, 96)
        strength += np.abs(heat.value).reshape(3, 32, 3, 32).mean((1, 3))
    assert np.unravel_index(strength.argmax(), (3, 3)) == cell
    assert strength[cell] > 2 * np.median(strength)


def test_only_patches_with_content_can_matter(backbone, world) -> None:
    """A picture with detail in one corner: no other window has anything to hide, though the model looks everywhere."""
    model, product = watching(backbone, None), world.products(1)[0]
    picture = np.full((96, 96, 3), 90, np.uint8)
    picture[4:20, 4:20] = noise(16, 16)
    heat = occlude(model, product, picture, cells=6)
    found = np.abs(heat.cells)
    assert found[:2, :2].min() > 0
    assert found[3:, 3:].max() < 0.02 * found[:2, :2].max() == 0.02 * found.max()


def test_a_plain_picture_has_an_empty_heat_map(backbone, world) -> None:
    heat = occlude(watching(backbone, (1, 1)), world.products(1)[0], np.full((44, 64, 3), 120, np.uint8), cells=6)
    assert heat.cells.shape == (4, 6), "cells are square in a wide picture"
    np.testing.assert_allclose(heat.value, 0, atol=1e-6)


def test_where_the_model_cannot_say_nothing_is_marked_certain(backbone, world) -> None:
    product, picture = world.products(1)[0], noise(48, 48)
    unsure = occlude(watching(backbone, (0, 0), sd=np.nan), product, picture, cells=4)
    assert np.isinf(unsure.low).all()
    sure = occlude(watching(backbone, (0, 0), sd=0.001), product, picture, cells=4)
    certain = (sure.low > 0) | (sure.high < 0)
    assert certain.mean() > 0.9, "known up to a thousandth is certain wherever there is an effect"


def test_an_input_that_is_not_a_picture_is_refused(backbone, world) -> None:
    for wrong in (np.zeros((64, 64), np.uint8), np.zeros((64, 64, 3), np.float32), np.zeros((64, 8, 3), np.uint8)):
        with pytest.raises(ImageError, match=r"expected uint8 \(height, width, 3\) of at least 16 pixels a side"):
            occlude(watching(backbone, (0, 0)), world.products(1)[0], wrong)


def lightness(colors: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(colors.reshape(1, -1, 3).astype(np.float32), cv2.COLOR_RGB2LAB)[0, :, 0]


def test_the_colors_are_ordered_in_gray_and_for_every_color_vision() -> None:
    """Lightness rises at every step; ends and middle stay apart for protan and deutan eyes (Viénot et al. 1999)."""
    colors = _colors() / 255
    assert (np.diff(lightness(colors)[::4]) > 0).all()
    linear = np.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    for matrix in (
        [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
        [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
    ):
        seen = np.clip(linear @ np.array(matrix).T, 0, 1)
        seen = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
        low, middle, high = cv2.cvtColor(seen[None].astype(np.float32), cv2.COLOR_RGB2LAB)[0][[0, 128, 255]]
        assert min(np.linalg.norm(low - middle), np.linalg.norm(middle - high)) > 40


def test_the_page_shows_ad_map_and_legend() -> None:
    """A picture whose left half helps and whose right half hurts: lighter and darker than the middle of the legend."""
    value = np.repeat(np.linspace(1, -1, 64)[None], 64, axis=0)
    heat = HeatMap(value, value - 0.1, value + 0.1, value[::8, ::8])
    ad = np.full((64, 64, 3), (30, 120, 60), np.uint8)
    page = overlay(ad, heat)
    assert page.dtype == np.uint8
    assert page.shape[0] > 512 + 60, "the legend lies below"
    left = (page.shape[1] - 2 * 512 - 24) // 2
    assert (page[24 : 24 + 512, left : left + 512] == ad[0, 0]).all()
    panel = page[24 : 24 + 512, left + 512 + 24 :][:, :512] / 255
    light = lightness(panel[256]).reshape(-1)
    assert light[10] > light[150] > light[256] > light[360] > light[500]


def test_a_phrase_effect_is_the_score_with_minus_without_it(backbone, world) -> None:
    model, product = watching(backbone, (0, 1)), world.products(1)[0]

    def draw(description: str, seed: int) -> np.ndarray:
        return world.picture("red" if "red" in description else "blue", seed=seed)

    seeds = (3, 4, 5, 6)
    without = {"a red wall": "a jug", "a jug": "a red wall"}
    found = phrase_contributions(model, product, "a red wall, a jug", without=without, draw=draw, seeds=seeds)
    red, jug = found.values()
    scores = {
        wall: model.score([product] * 4, [world.picture(wall, seed=seed) for seed in seeds]).mean()
        for wall in ("red", "blue")
    }
    assert list(found) == list(without)
    assert red.value == pytest.approx(scores["blue"] - scores["red"], abs=1e-6)
    assert red.low < red.value < red.high
    assert (jug.low, jug.value, jug.high) == (0, 0, 0), "the same pictures: nothing changes"
    with pytest.raises(ValueError, match="at least two different seeds"):
        phrase_contributions(model, product, "red", without={"red": ""}, draw=draw, seeds=(1, 1))


def test_the_interval_holds_what_the_model_does_not_know_and_seeds() -> None:
    """Means over seeds 2 and 3: variance ½, of their mean ¼. The model's own sd of 1 counts in full."""
    found = _estimate(Odds(np.array([2.0, 3.0]), np.array([1.0, 1.0])))
    freedom = 1.25**2 / (0.25**2 / 1)
    assert found.value == 2.5
    assert found.high - 2.5 == pytest.approx(np.sqrt(1.25) * stdtrit(freedom, 0.975))
    assert _estimate(Odds(np.array([1.0, 3.0]), np.full(2, np.nan))).low == -np.inf


def market(seed: int, *, slope: float, products: int = 60, misfit: float = 0.1) -> list[ProductClicks]:
    """Clicks that follow reward × slope and, as real ones do, something else per slot (three, of four values each)."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(products):
        reward, examined, values = (
            rng.normal(rng.normal(0, 3), 1, 5),
            rng.uniform(500, 4_000, 5),
            rng.integers(4, size=(5, 3)),
        )
        wrong = rng.normal(0, misfit / np.sqrt(2), (3, 4))[np.arange(3), values].sum(1)
        rate = 0.05 * np.exp(rng.normal(0, 0.3) + slope * (reward - reward.mean()) + wrong)
        differing = (values[:, None] != values).sum(2).astype(float)
        found.append(ProductClicks(reward, rng.poisson(examined * rate).astype(float), examined, differing))
    return found


def test_the_ctr_scale_is_where_the_multinomial_likelihood_is_largest() -> None:
    """Slope and error from a likelihood that is written anew, its derivatives taken by differences."""
    products = market(7, slope=0.4, products=12)

    def likelihood(one: ProductClicks, slope: float) -> float:
        return multinomial.logpmf(one.clicks, one.clicks.sum(), softmax(np.log(one.examinations) + slope * one.rewards))

    best = minimize_scalar(lambda slope: -sum(likelihood(one, slope) for one in products), tol=1e-12).x
    step = 1e-4
    near = np.array([[likelihood(one, best + side * step) for side in (-1, 0, 1)] for one in products])
    slopes, bend = (near[:, 2] - near[:, 0]) / (2 * step), -np.sum(near @ [1, -2, 1]) / step**2
    found = fit_scale(products)
    assert found is not None
    assert found.slope == pytest.approx(best, abs=1e-6)
    assert found.error == pytest.approx(np.sqrt(np.sum(slopes**2) * 12 / 11) / bend, rel=1e-4)


@pytest.mark.slow
def test_the_ctr_scale_recovers_the_true_slope() -> None:
    """The slope's 95 % interval covers the truth; the level of a product's rewards means nothing."""
    found = [scale for seed in range(60) if (scale := fit_scale(market(seed, slope=0.3))) is not None]
    assert len(found) == 60
    assert np.mean([abs(scale.slope - 0.3) <= 1.96 * scale.error for scale in found]) >= 0.88
    assert all(scale.known for scale in found)
    assert np.mean([scale.misfit for scale in found]) == pytest.approx(0.1, rel=0.1)
    right = [scale for seed in range(20) if (scale := fit_scale(market(seed, slope=0.3, misfit=0.0))) is not None]
    assert np.mean([scale.misfit for scale in right]) < 0.03
    useless = [fit_scale(market(seed, slope=0.0)) for seed in range(40)]
    assert np.mean([scale is not None and scale.known for scale in useless]) <= 0.08
    assert fit_scale(market(0, slope=0.3, products=7)) is None


def test_all_errors_count_in_per_cent() -> None:
    """Reward 1 ± 0.4 at slope 0.5 ± 0.1, wrong by 0.1 per slot, four slots: log CTR 0.5 ± √(0.2² + 0.1² + 0.2²)."""
    found = Scale(0.5, 0.1 / 1.96, 0.1 / 1.96, 30).percent(Estimate(1.0, 0.6, 1.4), slots=4)
    assert found.value == pytest.approx(100 * np.expm1(0.5))
    assert found.low == pytest.approx(100 * np.expm1(0.5 - 0.3))
    assert found.high == pytest.approx(100 * np.expm1(0.5 + 0.3))
