"""The posterior of log CTRs: by hand, against integration, and against truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import poisson

from clickscape.experiment.click_posterior import EffectPrior, effect_posterior


def prior(creatives: int, *, variance: float = 0.06, own: float = 0.01, level: float = -4.0) -> EffectPrior:
    return EffectPrior(np.zeros(creatives), np.full(creatives, variance), own, level, 0.5)


def test_without_a_click_or_an_impression_it_is_the_prior() -> None:
    """At one placement the two parts of the prior add up: sd = √(.06 + .01)."""
    found = effect_posterior(np.zeros((3, 1)), np.zeros((3, 1)), prior=prior(3))
    assert found.mean == pytest.approx(np.zeros((3, 1)), abs=1e-9)
    assert found.sd == pytest.approx(np.full((3, 1), np.sqrt(0.07)))
    assert found.level == pytest.approx([-4.0])
    assert found.log_evidence == pytest.approx(0.0, abs=1e-9)


def test_at_the_mode_the_slopes_are_zero_and_the_sd_is_the_curvature() -> None:
    """clicks − rate = effect / variance, Σ(clicks − rate) = (level − guess) / sd², 1 / sd² = rate + 1 / variance."""
    clicks, exposures = np.array([[30.0], [12.0], [0.0]]), np.array([[1_000.0], [900.0], [50.0]])
    found = effect_posterior(clicks, exposures, prior=prior(3))
    rate = exposures * np.exp(found.level + found.mean)
    assert clicks - rate == pytest.approx(found.mean / 0.07, abs=1e-6)
    assert (clicks - rate).sum() == pytest.approx((found.level[0] + 4) / 0.25, abs=1e-6)
    assert found.sd == pytest.approx(1 / np.sqrt(rate + 1 / 0.07))


def test_the_evidence_is_the_integral_over_levels_and_effects() -> None:
    """Laplace's error is about 1 / (12 clicks) per integral: here under .02 nats."""
    clicks, exposures = np.array([[9.0], [4.0]]), np.array([[400.0], [250.0]])
    found = effect_posterior(clicks, exposures, prior=prior(2))
    x, weight = np.polynomial.hermite_e.hermegauss(80)
    weight = weight / weight.sum()
    level, effect = -4 + 0.5 * x, np.sqrt(0.07) * x
    each = [
        poisson.pmf(hits, shown * np.exp(level[:, None] + effect)) @ weight
        for hits, shown in zip(clicks[:, 0], exposures[:, 0], strict=True)
    ]
    assert found.log_evidence == pytest.approx(np.log(weight @ (each[0] * each[1])), abs=0.02)


def test_a_placement_without_clicks_borrows_from_the_others_and_less_where_placements_differ() -> None:
    """With a known, precise effect e at one place, the other's mean is e · shared / (shared + own)."""
    clicks = np.array([[40_000.0, 0.0], [20_000.0, 0.0]])
    exposures = np.array([[1e6, 0.0], [1e6, 0.0]])
    for own in (0.01, 0.06):
        found = effect_posterior(clicks, exposures, prior=prior(2, own=own))
        assert found.mean[:, 1] == pytest.approx(found.mean[:, 0] * 0.06 / (0.06 + own), rel=0.01)
        expected = 0.06 + own - 0.06**2 / (0.06 + own)  # variance of one given the other
        assert found.sd[:, 1] == pytest.approx(np.full(2, np.sqrt(expected)), rel=0.01)


def test_it_is_calibrated_where_the_prior_is_true() -> None:
    """z-scores of the gaps between creatives have sd near 1; of 400 products × 8, ± .05 is over 4 standard errors."""
    rng = np.random.default_rng(5)
    effect = rng.normal(0, 0.25, (400, 8, 1)) + rng.normal(0, 0.1, (400, 8, 2))
    exposures = rng.uniform(500, 20_000, (400, 8, 2))
    clicks = rng.poisson(exposures * np.exp(-4.5 + rng.normal(0, 0.3, (400, 1, 2)) + effect)).astype(float)
    found = effect_posterior(clicks, exposures, prior=EffectPrior(np.zeros(8), np.full(8, 0.0625), 0.01, -4.5, 1.0))
    gap = (effect - found.mean)[:, 1:] - (effect - found.mean)[:, :-1]
    z = gap / np.hypot(found.sd[:, 1:], found.sd[:, :-1])
    assert z.std() == pytest.approx(1, abs=0.05)


def test_many_products_at_once_are_as_one_by_one() -> None:
    rng = np.random.default_rng(2)
    exposures = rng.uniform(0, 3_000, (4, 5, 3))
    clicks = rng.poisson(0.01 * exposures).astype(float)
    whole = effect_posterior(clicks, exposures, prior=prior(5))
    for place in range(4):
        one = effect_posterior(clicks[place], exposures[place], prior=prior(5))
        assert whole.mean[place] == pytest.approx(one.mean, abs=1e-6)
        assert whole.log_evidence[place] == pytest.approx(one.log_evidence, abs=1e-6)
