"""Probabilities that mean what they say: one temperature, fitted on products that training did not see.

Dividing log-odds by a number changes no order, only how sure the model sounds (Guo et al., ICML 2017). What it is held
to are soft labels: a pair whose clicks say 70 % wants 0.7 of its probability there, not 1.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

BINS = 10
"""Bins of equal count for the calibration error."""

_COOLEST, _HOTTEST = 0.05, 20.0


def temperature(log_odds: np.ndarray, preference: np.ndarray, weight: np.ndarray) -> float:
    """The number that log-odds (pair,) are best divided by: least weighted cross-entropy to `preference`, 0.05 to 20.

    preference: P(first better) by the clicks, (pair,). 1 where there is no pair, or where the model knows nothing.
    """
    if not len(log_odds) or not weight.sum() > 0 or not np.abs(log_odds).max() > 0:
        return 1.0

    def cost(log_temperature: float) -> float:
        odds = log_odds / np.exp(log_temperature)
        return float(weight @ (np.logaddexp(0, odds) - preference * odds))

    found = minimize_scalar(cost, bounds=(np.log(_COOLEST), np.log(_HOTTEST)), method="bounded")
    return float(np.exp(found.x))


def calibration_errors(probability: np.ndarray, outcome: np.ndarray) -> np.ndarray:
    """Every pair's part of the expected calibration error, (pair,): its mean is the error (Naeini et al., AAAI 2015).

    probability: P(first better), outcome: how often it is (0, 1 or a soft label), both (pair,). Pairs are turned so
    that the favorite comes first, and fall into BINS of equal count by how sure the model is; the part of a pair is the
    gap between the mean probability and the mean outcome of its bin.
    """
    turned = probability < 0.5
    sure, right = np.where(turned, 1 - probability, probability), np.where(turned, 1 - outcome, outcome)
    bins = np.argsort(np.argsort(sure, kind="stable"), kind="stable") * BINS // max(len(sure), 1)
    counts = np.maximum(np.bincount(bins, minlength=BINS), 1)
    gaps = np.bincount(bins, weights=sure, minlength=BINS) - np.bincount(bins, weights=right, minlength=BINS)
    return np.asarray(np.abs(gaps / counts)[bins])
