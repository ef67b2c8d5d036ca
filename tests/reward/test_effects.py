"""Effects of blocks on log CTR: arithmetic by hand, recovery of what drew the clicks, and equivalent ways to solve."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from clickscape.reward import effects as effects_module
from clickscape.reward.effects import ClickTable, Effects, cross_fit, fit_effects, pair_table

WIDTHS = (0.25, 0.0)
IMAGE_SD = 0.15


def _market(seed: int, *, products: int = 150, creatives: int = 8, columns: int = 20) -> tuple[ClickTable, Any, Any]:
    """Clicks of products whose creatives differ by a block of real effects, one of none, and something of their own."""
    rng = np.random.default_rng(seed)
    product = np.repeat(np.arange(products), creatives)
    design = (rng.random((len(product), 2 * columns)) < 0.2).astype(float)
    true = np.concatenate([rng.normal(0, width * np.sqrt(20 / columns), columns) for width in WIDTHS])
    examinations = np.exp(rng.normal(8, 1.0, len(product)))
    rate = 0.01 * np.exp(design @ true + rng.normal(0, IMAGE_SD, len(product)) + rng.normal(0, 0.3, products)[product])
    clicks = rng.poisson(examinations * rate).astype(float)
    return ClickTable(design, product, clicks, examinations), true, np.repeat([0, 1], columns)


@pytest.fixture(scope="module")
def market() -> tuple[ClickTable, Any, Any]:
    return _market(0)


@pytest.fixture(scope="module")
def fitted(market: tuple[ClickTable, Any, Any]) -> Effects:
    table, _, block = market
    return fit_effects(table, block)


def test_what_drew_the_clicks_is_recovered(market: tuple[ClickTable, Any, Any], fitted: Effects) -> None:
    table, true, block = market
    widths = np.sqrt(fitted.prior)
    assert widths[block == 0][0] == pytest.approx(WIDTHS[0], rel=0.4)
    assert widths[block == 1][0] < 0.03
    assert fitted.image_sd == pytest.approx(IMAGE_SD, abs=0.03)
    assert np.corrcoef(fitted.mode, true)[0, 1] > 0.97
    inside = np.abs(fitted.mode - true)[block == 0] < 1.96 * np.sqrt(np.diag(fitted.covariance))[block == 0]
    assert inside.mean() >= 0.8  # 20 intervals of 95 %
    gap = table.columns(np.array([1])) - table.columns(np.array([0]))
    assert fitted.variance(gap)[0] == pytest.approx((gap @ fitted.covariance @ gap.T)[0, 0], rel=1e-9)


def test_draws_have_the_posterior_s_mean_and_covariance(fitted: Effects) -> None:
    drawn = fitted.draw(20_000, rng=np.random.default_rng(1))
    sd = np.sqrt(np.diag(fitted.covariance))
    assert np.abs((drawn.mean(0) - fitted.mode) / sd).max() < 0.05
    assert np.abs((np.cov(drawn.T) - fitted.covariance) / np.outer(sd, sd)).max() < 0.06


def test_one_effect_worked_out_by_hand() -> None:
    """Two creatives, one column: of 4,000 clicks 3,000 fall on the first: log 3."""
    table = ClickTable(np.array([[1.0], [0.0]]), np.zeros(2, int), np.array([3000.0, 1000.0]), np.array([500.0, 500.0]))
    assert fit_effects(table, np.zeros(1, int), image_sd=1e-3).mode[0] == pytest.approx(np.log(3), rel=0.01)
    twice = ClickTable(
        np.array([[1.0], [0.0]]), np.zeros(2, int), np.array([3000.0, 1000.0]), np.array([1500.0, 500.0])
    )
    assert fit_effects(twice, np.zeros(1, int), image_sd=1e-3).mode[0] == pytest.approx(0, abs=1e-3)


def test_a_creative_with_a_million_impressions_is_still_one_creative() -> None:
    """One creative says +1 with ten thousand times the clicks of twenty that say 0: it does not decide alone."""
    product = np.repeat(np.arange(21), 2)
    design = np.tile([[1.0], [0.0]], (21, 1))
    clicks = np.full(42, 100.0)
    examinations = np.full(42, 10_000.0)
    clicks[:2], examinations[:2] = (2_718_282.0, 1_000_000.0), 1e8
    table = ClickTable(design, product, clicks, examinations)
    assert fit_effects(table, np.zeros(1, int)).mode[0] < 0.2
    assert fit_effects(table, np.zeros(1, int), image_sd=1e-4).mode[0] > 0.9


@pytest.mark.parametrize("columns", [40, 300])
def test_by_rows_and_by_columns_are_the_same(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    table, _, block = _market(3, products=20, creatives=5, columns=columns)
    ways = []
    for by_rows in (True, False):
        monkeypatch.setattr(effects_module, "_prefers_rows", lambda _columns, _rows, by_rows=by_rows: by_rows)
        found = fit_effects(table, block)
        held = cross_fit(table, found, table.product)
        ways.append((found.mode, found.prior, found.variance(np.eye(2 * columns)), held.scores, held.variance))
    for one, other in zip(*ways, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5)


def test_pairs_alone_are_the_logistic_loss() -> None:
    """The mode is where soft cross-entropy of the gaps plus the prior's penalty is least, by another optimizer."""
    rng = np.random.default_rng(1)
    design = rng.normal(size=(60, 5))
    pairs = rng.integers(60, size=(400, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    gaps = design[pairs[:, 0]] - design[pairs[:, 1]]
    preference = expit(gaps @ np.array([0.5, -0.3, 0.2, 0.0, 0.1]) + rng.normal(0, 0.3, len(pairs)))
    weight = rng.uniform(0.5, 1.5, len(pairs))
    found = fit_effects(pair_table(design, pairs, preference, weight), np.zeros(5, int), image_sd=0.0)

    def cost(effects: np.ndarray) -> float:
        odds = gaps @ effects
        return float(weight @ (np.logaddexp(0, odds) - preference * odds) + effects**2 @ (1 / found.prior) / 2)

    assert found.mode == pytest.approx(minimize(cost, np.zeros(5), tol=1e-10).x, abs=2e-3)


def test_held_out_scores_never_met_the_clicks_of_their_cluster(market: tuple[ClickTable, Any, Any]) -> None:
    """Change every click of one cluster: its own held-out scores stay, given the same widths and weights."""
    table, true, block = market
    fitted = fit_effects(table, block)
    held = cross_fit(table, fitted, table.product)
    scores = table.columns(np.arange(len(table.product))) @ true
    within = scores - (np.bincount(table.product, scores) / np.bincount(table.product))[table.product]
    assert np.corrcoef(held.scores, within)[0, 1] > 0.95
    assert (held.variance >= 0).all()
    mine = table.product == 7
    turned = np.where(mine, table.clicks[::-1].mean() + 5 * np.arange(len(mine)), table.clicks)
    again = cross_fit(ClickTable(table.design, table.product, turned, table.examinations), fitted, table.product)
    np.testing.assert_allclose(again.scores[mine], held.scores[mine], atol=1e-9)
    other = cross_fit(table, fitted, table.product, asked=np.zeros((len(mine), len(true))))
    assert not other.scores.any()


def test_a_log_that_says_nothing_leaves_the_prior() -> None:
    table = ClickTable(np.ones((4, 3)), np.array([0, 0, 1, 2]), np.array([0.0, 0.0, 5.0, 7.0]), np.full(4, 100.0))
    found = fit_effects(table, np.array([0, 1, 1]))
    assert not found.mode.any()
    assert found.variance(np.eye(3)) == pytest.approx(np.full(3, effects_module.FIRST_WIDTH**2))
    assert not cross_fit(table, found, table.product).scores.any()


def test_what_no_training_creative_showed_is_as_uncertain_as_the_prior(fitted: Effects, market: Any) -> None:
    """The interval grows with the distance from what the log showed."""
    table, _, _ = market
    seen = table.columns(np.arange(50)).mean(0, keepdims=True)
    strange = 3 * np.eye(len(fitted.mode))[:1]
    assert fitted.variance(strange)[0] > 4 * fitted.variance(seen)[0]
