"""Pair accuracy and what it is compared with: the noise ceiling, normalized accuracy and calibration error."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

TIE = 1e-5
"""Log-odds closer to 0 than this are a tie: batches of other sizes move float32 scores by about a tenth of it."""

CALIBRATION_BINS = 10

Floats = NDArray[np.float64]


def pair_agreement(predicted: NDArray, observed: NDArray) -> Floats:
    """Return 1 where both gaps have one sign, 0 where they differ, ½ where either is a tie; all (pair,)."""
    signs = np.where(np.abs(predicted) <= TIE, 0.0, np.sign(predicted)) * np.sign(observed)
    return np.asarray((1 + signs) / 2)


def normalized_accuracy(accuracy: NDArray | float, ceiling: NDArray | float) -> Floats:
    """Return (accuracy − ½) / (ceiling − ½): 0 is a coin, 1 the noise ceiling."""
    return np.asarray((accuracy - 0.5) / np.maximum(ceiling - 0.5, 1e-9))


def split_half_ceiling(agreed: NDArray | float) -> Floats:
    """Return the accuracy that an oracle would reach at full traffic, from how often two halves agree on an order.

    For Gaussian gaps and noise: halves agree with probability ½ + asin(ρ)/π, ρ the reliability of one half; all the
    traffic has reliability 2ρ/(1 + ρ) (Spearman–Brown), and the truth orders its pairs right with ½ +
    asin(√reliability)/π.
    """
    half = np.sin(np.pi * (np.clip(np.asarray(agreed, dtype=np.float64), 0.5, 1.0) - 0.5))
    return np.asarray(0.5 + np.arcsin(np.sqrt(2 * half / (1 + half))) / np.pi)


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
