"""The weight of scores: recovered where they are right, 0 where they are not, and never trusted for good."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clickscape.errors import ExperimentError
from clickscape.experiment.prior import PastCreatives, ScorePrior, learn_prior, learn_trust


def past(
    correlation: float, *, seed: int, products: int = 60, scale: float = 1.0, impressions: float = 2_000
) -> PastCreatives:
    """Creatives whose scores / scale have slope 1 on log CTR and this correlation; spread .25, .1 at a placement."""
    rng = np.random.default_rng(seed)
    effect, noise = rng.normal(0, 0.25, (2, products, 6))
    score = correlation**2 * effect + correlation * np.sqrt(1 - correlation**2) * noise if correlation else 0.5 * noise
    score = score * np.sign(correlation) if correlation else score
    log_ctr = -4 + rng.normal(0, 0.4, (products, 1, 1)) + effect[..., None] + rng.normal(0, 0.1, (products, 6, 2))
    exposures = rng.uniform(0.5, 1.5, log_ctr.shape) * impressions / 2
    clicks = rng.poisson(exposures * np.exp(log_ctr)).astype(float)
    count = products * 6
    return PastCreatives(
        np.repeat(np.arange(products), 6),
        scale * score.ravel(),
        np.zeros(count),
        clicks.reshape(count, 2),
        exposures.reshape(count, 2),
    )


@pytest.mark.slow
def test_slope_and_spreads_of_simulated_creatives_are_recovered() -> None:
    """Slope 1, spread .25 · √(1 − .7²) = .179; each within four of its standard errors over five logs."""
    found = [learn_prior(past(0.7, seed=seed)) for seed in range(5)]
    errors = [(one.observed.high - one.observed.low) / 3.92 for one in found if one.observed]
    assert np.mean([one.observed.value for one in found if one.observed]) == pytest.approx(
        1, abs=4 * np.mean(errors) / 5**0.5
    )
    assert np.mean([one.spread for one in found]) == pytest.approx(0.179, abs=0.05)
    assert np.mean([one.spread_alone for one in found]) == pytest.approx(0.25, abs=0.05)
    assert np.mean([one.placement_spread for one in found]) == pytest.approx(0.1, abs=0.06)


def test_a_score_in_other_units_has_another_weight_and_says_the_same() -> None:
    """Logits three times as large as log CTRs get a third of the weight."""
    one, other = learn_prior(past(0.7, seed=1)), learn_prior(past(0.7, seed=1, scale=3.0))
    assert other.weight == pytest.approx(one.weight / 3, rel=0.02)
    assert other.spread == pytest.approx(one.spread, rel=0.02)


@pytest.mark.parametrize("seed", range(3))
def test_scores_that_explain_nothing_or_are_upside_down_weigh_next_to_nothing(seed: int) -> None:
    assert learn_prior(past(0.0, seed=seed)).weight < 0.25
    upside_down = learn_prior(past(-0.7, seed=seed))
    assert upside_down.weight == 0
    assert upside_down.observed is not None
    assert upside_down.observed.high < 0
    assert upside_down.spread == upside_down.spread_alone


def test_the_weight_is_shrunk_by_its_own_error() -> None:
    """weight = observed · (1 − (error / observed)²), and few past creatives leave less of it."""
    many = learn_prior(past(0.7, seed=4))
    assert many.observed is not None
    error = (many.observed.high - many.observed.value) / 1.959964
    assert many.weight == pytest.approx(many.observed.value * (1 - (error / many.observed.value) ** 2))
    few = learn_prior(past(0.7, seed=4, products=6, impressions=300))
    assert few.observed is not None
    assert few.weight / max(few.observed.value, 1e-9) < many.weight / many.observed.value


def test_without_past_clicks_scores_weigh_nothing() -> None:
    nothing = past(0.7, seed=1)
    nothing = replace(nothing, clicks=np.zeros_like(nothing.clicks))
    assert learn_prior(nothing) == ScorePrior()
    assert ScorePrior().weight == 0


def test_the_order_of_past_creatives_does_not_matter() -> None:
    known = past(0.7, seed=2, products=12)
    order = np.random.default_rng(0).permutation(len(known.product))
    mixed = PastCreatives(known.product[order], known.score[order], known.score_sd[order], known.clicks[order],
                          known.exposures[order])  # fmt: skip
    assert learn_prior(mixed).weight == pytest.approx(learn_prior(known).weight, rel=1e-3)


def test_beliefs_are_the_weighted_score_and_nothing() -> None:
    """weight 2, scores 1 and 3: ± 2 around their mean; variance .3² + (2 · .1)² = .13."""
    prior = ScorePrior(weight=2.0, spread=0.3, spread_alone=0.5, placement_spread=0.1)
    found = prior.beliefs(np.array([1.0, 3.0]), np.array([0.1, 0.1]))
    assert found.mean == pytest.approx(np.array([[-2.0, 2.0], [0.0, 0.0]]))
    assert found.variance == pytest.approx(np.array([[0.13, 0.13], [0.25, 0.25]]))


def test_trust_follows_the_clicks_of_all_products_and_never_becomes_sure() -> None:
    """Twenty products whose clicks leave no doubt, and what was held before as one more: (20 + ½) / 21, or ½ / 21."""
    sure = np.stack([np.full(20, 500.0), np.zeros(20)])
    half = np.array([0.5, 0.5])
    assert learn_trust(half, sure) == pytest.approx(20.5 / 21)
    assert learn_trust(half, sure[::-1]) == pytest.approx(0.5 / 21)
    assert learn_trust(half, np.zeros((2, 20))) == pytest.approx(0.5)
    assert learn_trust(half, np.zeros((2, 0))) == pytest.approx(0.5)


def test_what_is_no_prior_or_no_past_is_refused() -> None:
    with pytest.raises(ExperimentError, match="weight of 0 or more and spreads above 0"):
        ScorePrior(weight=-1)
    with pytest.raises(ExperimentError, match="trust is a probability"):
        ScorePrior(trust=1.5)
    known = past(0.5, seed=1, products=2)
    with pytest.raises(ExperimentError, match="Align them"):
        replace(known, score=known.score[:-1])
    with pytest.raises(ExperimentError, match="no number, or negative"):
        replace(known, clicks=-known.clicks)
