"""Pair accuracy and what it is compared with: the noise ceiling, normalized accuracy and calibration error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clickscape.stats.bootstrap import percentile_interval
from clickscape.types import Estimate

TIE = 1e-5
"""Log-odds closer to 0 than this are a tie: batches of other sizes move float32 scores by about a tenth of it."""

CALIBRATION_BINS = 10

_WIDEST = 2.0
"""Of an interval of normalized accuracies that is still printed."""

Floats = NDArray[np.float64]


def pair_agreement(predicted: NDArray, observed: NDArray) -> Floats:
    """Return 1 where both gaps have one sign, 0 where they differ, ½ where either is a tie; all (pair,)."""
    signs = np.where(np.abs(predicted) <= TIE, 0.0, np.sign(predicted)) * np.sign(observed)
    return np.asarray((1 + signs) / 2)


def normalized_accuracy(
    accuracy: Estimate, ceiling: Estimate, *, accuracies: Floats, ceilings: Floats
) -> Estimate | None:
    """Return (accuracy − ½) / (ceiling − ½): 0 is a coin, 1 the noise ceiling; None where these pairs cannot tell.

    accuracies, ceilings: of the same resamples, (resample,). A ratio has a finite interval only if its denominator's
    leaves out 0 (Fieller 1954), and one wider than from coin to ceiling and back again says nothing.
    """
    if ceiling.low <= 0.5:
        return None
    share = percentile_interval(
        (accuracy.value - 0.5) / (ceiling.value - 0.5), (accuracies - 0.5) / np.maximum(ceilings - 0.5, 1e-9)
    )
    return share if share.high - share.low <= _WIDEST else None


def not_measurable(ceiling: Estimate) -> str:
    """Return why there is no normalized accuracy under this ceiling."""
    return (
        f"not measurable: the noise ceiling, {ceiling.value:.3f} [{ceiling.low:.3f}, {ceiling.high:.3f}], is too near "
        "that of a coin for so few clicks or products"
    )


def calibration_errors(probability: NDArray, outcome: NDArray) -> Floats:
    """Return every pair's part of the expected calibration error, (pair,): its mean is the error (Naeini et al. 2015).

    probability: P(first better), outcome: how often it is (0, 1 or a soft label), both (pair,). Pairs are turned so
    that the favorite comes first, and fall into bins of equal count by how sure the model is; the part of a pair is the
    gap between the mean probability and the mean outcome of its bin.
    """
    turned = probability < 0.5
    sure, right = np.where(turned, 1 - probability, probability), np.where(turned, 1 - outcome, outcome)
    bins = np.argsort(np.argsort(sure, kind="stable"), kind="stable") * CALIBRATION_BINS // max(len(sure), 1)
    counts = np.maximum(np.bincount(bins, minlength=CALIBRATION_BINS), 1)
    gaps = np.bincount(bins, weights=sure, minlength=CALIBRATION_BINS)
    gaps -= np.bincount(bins, weights=right, minlength=CALIBRATION_BINS)
    return np.asarray(np.abs(gaps / counts)[bins])
