"""Probabilities that mean what they say, rankings worked by hand, and "not enough evidence" instead of a guess."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from clickscape.reward.calibrate import error_of_counts, temperature, temperature_of_counts
from clickscape.reward.ranking import ranking, rows_of, scores_of
from clickscape.stats.accuracy import calibration_errors


def _sigmoid(odds: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(odds / 2)


@pytest.mark.parametrize("factor", [0.3, 1.0, 4.0])
def test_temperature_undoes_a_known_scale_of_the_log_odds(factor: float) -> None:
    """Soft labels are the true probabilities of the odds; a model that says them `factor` times as loud needs that."""
    rng = np.random.default_rng(0)
    odds = rng.normal(0, 1.5, 5000)
    found = temperature(factor * odds, _sigmoid(odds), rng.uniform(0.5, 1.5, 5000))
    assert found == pytest.approx(factor, rel=0.01)


def test_temperature_of_nothing_changes_nothing() -> None:
    assert temperature(np.zeros(0), np.zeros(0), np.zeros(0)) == 1.0
    assert temperature(np.zeros(9), np.full(9, 0.7), np.ones(9)) == 1.0


def test_calibration_error_does_not_depend_on_which_picture_comes_first() -> None:
    rng = np.random.default_rng(4)
    said, was = rng.uniform(0.01, 0.99, 501), rng.integers(0, 2, 501).astype(float)
    turned = rng.random(501) < 0.5
    again = calibration_errors(np.where(turned, 1 - said, said), np.where(turned, 1 - was, was))
    assert calibration_errors(said, was).mean() == pytest.approx(again.mean())


def test_calibration_error_by_hand() -> None:
    """Twenty pairs said at 0.8, of which 12 come true: off by 0.2, whichever picture of them is named first."""
    said = np.array([0.8] * 10 + [0.2] * 10)
    was = np.array([1.0] * 6 + [0.0] * 4 + [0.0] * 6 + [1.0] * 4)
    turned = np.random.default_rng(1).permutation(20)
    errors = calibration_errors(np.full(200, 0.8), np.repeat([1.0, 0.0], [120, 80])[np.arange(200) * 37 % 200])
    assert errors.mean() == pytest.approx(0.2, abs=0.03)
    assert calibration_errors(said[turned], was[turned]).mean() >= 0.2 - 1e-9  # bins of two pairs are noisier


def test_ranking_by_hand() -> None:
    """CTRs 1, 2 and 3 %: gains 0, ½, 1. Put first the middle one: its place is worth 1, the best's 0.63."""
    log_ctr = np.log([0.01, 0.02, 0.03])
    found = ranking(np.array([0.0, 2.0, 1.0]), log_ctr, [np.arange(3)])
    best = 1 + 0.5 / np.log2(3)
    assert found.ndcg[0] == pytest.approx((0.5 + 1 / np.log2(3)) / best)
    assert found.regret[0] == pytest.approx(1 / 3)
    assert found.random_regret[0] == pytest.approx(1 - 0.02 / 0.03)
    tied = ranking(np.zeros(3), log_ctr, [np.arange(3)])
    assert tied.regret[0] == pytest.approx(tied.random_regret[0])
    assert tied.ndcg[0] == pytest.approx(1.5 * (1 + 1 / np.log2(3) + 0.5) / 3 / best)


def test_scores_from_pairs_are_mean_odds_against_the_others() -> None:
    scores = scores_of(np.array([1.0, 3.0]), np.array([[0, 1], [0, 2]]), 4)
    assert scores[:3].tolist() == [2.0, -1.0, -3.0]
    assert np.isnan(scores[3])
    assert list(rows_of(["a", "a", "b", "b"], np.isfinite(scores))) == ["a"]


def test_a_known_variance_of_the_scores_is_not_counted_twice() -> None:
    """Scores off by a known error: counted apart, what is left is the pictures' own spread alone."""
    rng = np.random.default_rng(3)
    product = np.repeat(np.arange(800), 5)
    score = rng.normal(0, 0.4, len(product))
    level = -4 + score + rng.normal(0, 0.2, len(product)) + rng.normal(0, 0.3, len(product))
    examinations = np.full(len(product), 5_000.0)
    clicks = rng.poisson(examinations * np.exp(level)).astype(float)
    whole = temperature_of_counts(score, product, clicks, examinations)
    apart = temperature_of_counts(score, product, clicks, examinations, variance=np.full(len(product), 0.3**2))
    assert whole is not None
    assert apart is not None
    assert apart / whole == pytest.approx(0.2 / np.hypot(0.2, 0.3), rel=0.15)


def test_temperature_of_counts_makes_probabilities_right() -> None:
    """Scores that miss the log CTR by a known error: however they are scaled, σ says how often they order rightly."""
    rng = np.random.default_rng(7)
    product = np.repeat(np.arange(600), 5)
    score, misfit = rng.normal(0, 0.25, size=3000), 0.12
    log_ctr = rng.normal(-3, 0.4, size=600)[product] + score + rng.normal(0, misfit, size=3000)
    examinations = rng.lognormal(7, 0.7, size=3000)
    clicks = rng.poisson(examinations * np.exp(log_ctr)).astype(float)
    clicks[:3] = np.nan
    first, second = np.array([(p * 5 + a, p * 5 + b) for p in range(600) for a in range(5) for b in range(a)]).T
    for scale in (1.0, 30.0):
        found = temperature_of_counts(scale * score, product, clicks, examinations)
        assert found is not None
        assert found == pytest.approx(scale * np.sqrt(2) * misfit / 1.702, rel=0.15)
        sure = 1 / (1 + np.exp(-scale * (score[first] - score[second]) / found))
        assert calibration_errors(sure, (log_ctr[first] > log_ctr[second]).astype(float)).mean() < 0.02


def _scored(seed: int, *, sharper: float) -> tuple[float, float, float]:
    """Calibration errors of log-odds that are too large by a factor: the exact one, against clicks, from counts."""
    rng = np.random.default_rng(seed)
    product, score, misfit = np.repeat(np.arange(60), 5), rng.normal(0, 0.2, 300), 0.15
    log_ctr = rng.normal(-3.5, 0.4, 60)[product] + score + rng.normal(0, misfit, 300)
    examinations = rng.lognormal(6.5, 0.6, 300)
    clicks = rng.poisson(examinations * np.exp(log_ctr)).astype(float)
    first, second = np.array([(p * 5 + a, p * 5 + b) for p in range(60) for a in range(5) for b in range(a)]).T
    gaps = score[first] - score[second]
    right = 1.702 / (np.sqrt(2) * misfit)
    sure = 1 / (1 + np.exp(-sharper * right * gaps))
    seen = np.log((clicks + 0.5) / examinations)
    by_counts = error_of_counts(sharper * right * gaps, sharper * right * score, product, clicks, examinations)
    assert by_counts is not None
    against_clicks = calibration_errors(sure, (seen[first] > seen[second]).astype(float)).mean()
    return float(np.abs(sure - ndtr(gaps / (np.sqrt(2) * misfit))).mean()), float(against_clicks), by_counts


@pytest.mark.parametrize(("sharper", "expected"), [(1.0, 0.005), (3.0, 0.11), (0.4, 0.13)])
def test_calibration_error_of_counts_leaves_the_noise_of_the_clicks_out(sharper: float, expected: float) -> None:
    """Over 30 small logs: right probabilities seem off by 10 points against clicks; against the truth they are not."""
    exact, against_clicks, by_counts = np.array([_scored(seed, sharper=sharper) for seed in range(30)]).T
    assert exact.mean() == pytest.approx(expected, abs=0.02)
    assert by_counts.mean() == pytest.approx(exact.mean(), abs=0.025)
    assert abs(against_clicks.mean() - exact.mean()) > 0.05


def test_calibration_error_of_counts_at_its_ends() -> None:
    product, clicks, examinations = np.array([0, 0, 1, 1]), np.array([9.0, 30, 9, 30]), np.full(4, 1_000.0)
    upside_down = error_of_counts(np.array([2.0, 2.0]), np.array([2.0, 0, 2, 0]), product, clicks, examinations)
    assert upside_down == pytest.approx(1 / (1 + np.exp(-2.0)) - 0.5), "what gets fewer clicks says nothing: ½"
    assert error_of_counts(np.zeros(2), np.ones(4), product, clicks, examinations) is None


def test_temperature_of_counts_needs_scores_that_say_something() -> None:
    product, clicks, examinations = np.array([0, 0, 1, 1]), np.array([9.0, 30, 9, 30]), np.full(4, 1_000.0)
    assert temperature_of_counts(np.ones(4), product, clicks, examinations) is None
    assert temperature_of_counts(np.array([1.0, 0, 1, 0]), product, clicks, examinations) is None  # upside down
    assert temperature_of_counts(np.arange(4.0), product, np.full(4, np.nan), examinations) is None
