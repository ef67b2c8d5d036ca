"""Calibration of probabilities: one temperature, fitted on products that training did not see.

Dividing log-odds by a number changes no order, only how sure the model sounds (Guo et al., ICML 2017). Where only pairs
are known it is held to soft labels: a pair whose clicks say 70 % wants 0.7 of its probability there, not 1. Such labels
do not know what the model knows, so a model that is held to them is as unsure as somebody who has only few clicks of
one pair to go by. Where clicks are counted, what is left of the log CTRs beside the scores and beside chance says how
often the model errs.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

_COOLEST, _HOTTEST = 0.02, 20.0
_MISFITS = (np.log(0.01), np.log(2.0))  # of a log CTR
_PROBIT = 1.702  # σ(1.702 x) is Φ(x) to 0.01


def temperature(log_odds: np.ndarray, preference: np.ndarray, weight: np.ndarray) -> float:
    """The number that log-odds (pair,) are best divided by: least weighted cross-entropy to `preference`, 0.02 to 20.

    preference: P(first better) by the clicks, (pair,). 1 where there is no pair, or where the model knows nothing.
    """
    if not len(log_odds) or not weight.sum() > 0 or not np.abs(log_odds).max() > 0:
        return 1.0

    def cost(log_temperature: float) -> float:
        odds = log_odds / np.exp(log_temperature)
        return float(weight @ (np.logaddexp(0, odds) - preference * odds))

    found = minimize_scalar(cost, bounds=(np.log(_COOLEST), np.log(_HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def temperature_of_counts(
    scores: np.ndarray,
    product: np.ndarray,
    clicks: np.ndarray,
    examinations: np.ndarray,
    *,
    variance: np.ndarray | None = None,
) -> float | None:
    """Return the number to divide scores (creative,) by so that P(first better) = σ(difference), 0.02 to 20.

    log CTR = product + β · score + N(0, τ²), its estimate off by chance 1/√clicks: β and τ are where the counts are
    likeliest, with the product's level integrated out (restricted likelihood, Patterson and Thompson 1971). Then
    P(first better) = Φ(β · gap / √2 τ), and Φ(x) ≈ σ(1.702 x). variance: of the scores, (creative,), where it is known
    and counted apart. None where no two creatives of a product have clicks
    and differ in score, or where better scores get fewer clicks.
    """
    sharpness = _sharpness(scores, product, clicks, examinations, variance=variance)
    return float(np.clip(1 / sharpness, _COOLEST, _HOTTEST)) if sharpness is not None and sharpness > 0 else None


def error_of_counts(
    log_odds: np.ndarray, scores: np.ndarray, product: np.ndarray, clicks: np.ndarray, examinations: np.ndarray
) -> float | None:
    """Return the calibration error against the true order, from counts; None where they tell nothing of it.

    log_odds: of the pairs, (pair,), whose probabilities are judged; scores: (creative,), whose differences they are.
    The error is the mean |σ(log-odds) − P|, where P is what these scores say of the true order at their best
    temperature (the integrated calibration index of Austin and Steyerberg 2019, with one slope as Cox 1958), which
    `temperature_of_counts` finds under the noise of the counts: that noise is not the model's error. Scores that get
    fewer clicks say nothing: their P is ½.
    """
    sharpness = _sharpness(scores, product, clicks, examinations)
    if sharpness is None:
        return None
    best = np.clip(sharpness, 0, 1 / _COOLEST)
    return float(np.abs(np.tanh(log_odds / 2) - np.tanh(log_odds * best / 2)).mean() / 2)


def _sharpness(
    scores: np.ndarray,
    product: np.ndarray,
    clicks: np.ndarray,
    examinations: np.ndarray,
    *,
    variance: np.ndarray | None = None,
) -> float | None:
    """1.702 β / √2 τ of `temperature_of_counts`: what scores are best multiplied by; below 0 for scores upside down."""
    usable = np.isfinite(clicks) & (examinations > 0) & np.isfinite(scores)
    number = np.unique(product[usable], return_inverse=True)[1]
    seen = clicks[usable] + 0.5
    level, score = np.log(seen / examinations[usable]), scores[usable]
    noise = 1 / seen + (0.0 if variance is None else variance[usable])
    if not len(score) or not np.ptp(score - (np.bincount(number, score) / np.bincount(number))[number]) > 0:
        return None

    def fitted(log_misfit: float) -> tuple[float, float]:
        """Minus the log-likelihood at a misfit τ, and the β that is likeliest there."""
        weight = 1 / (np.exp(2 * log_misfit) + noise)
        total = np.bincount(number, weight)

        def centered(values: np.ndarray) -> np.ndarray:
            return np.asarray(values - (np.bincount(number, weight * values) / total)[number])

        x, y = centered(score), centered(level)
        known = float(weight @ x**2)
        slope = float(weight @ (x * y)) / known
        cost = 0.5 * float(weight @ (y - slope * x) ** 2 - np.log(weight).sum() + np.log(total).sum() + np.log(known))
        return cost, slope

    found = minimize_scalar(lambda value: fitted(value)[0], bounds=_MISFITS, method="bounded")
    return _PROBIT * fitted(float(found.x))[1] / (np.sqrt(2) * float(np.exp(found.x)))
