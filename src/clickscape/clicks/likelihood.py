"""Maximum of the conditional click likelihood: how positions and strata multiply an impression.

Clicks in a cell are Poisson with mean impressions × CTR × Π effects. Given a creative's clicks, where they fell is a
choice among its cells with weights impressions × Π effects: the CTRs drop out, so nothing is assumed about which
creative was shown where (Hausman, Hall & Griliches 1984). The logarithm of that is concave; Newton's method finds its
maximum in a few steps where alternating between CTRs and effects (EM) takes hundreds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from clickscape.clicks.cells import Factor, Floats, Integers

_LONGEST_STEP = 2.0  # of a log effect
_SMALLEST_STEP = 1e-10


@dataclass(frozen=True, eq=False)
class Maximum:
    """Log effects of all values of all factors, one after the other (level,), and their covariance (level, level).

    share: (creative, level), which part of a creative's expected clicks falls on a level; each factor's parts add up
    to 1.
    """

    log_effect: Floats
    covariance: Floats
    share: Floats


def maximize(creative: Integers, factors: Sequence[Factor], *, impressions: NDArray, clicks: NDArray) -> Maximum:
    """Return the effects that maximize the likelihood (with a prior, the posterior); arrays: (row,).

    `creative` counts from 0. Newton's method; steps are at most 2 in a log effect, and halved until it rises.
    """
    counts = [len(factor.values) for factor in factors]
    starts = np.cumsum([0, *counts])
    precision = np.repeat([factor.precision for factor in factors], counts)
    free = np.ones(starts[-1], dtype=bool)
    for start, factor in zip(starts, factors, strict=False):
        free[start] = factor.precision > 0
    creatives = int(creative.max()) + 1
    clicked = np.bincount(creative, weights=clicks, minlength=creatives).astype(np.float64)
    observed = np.concatenate([np.bincount(f.code, weights=clicks, minlength=len(f.values)) for f in factors])
    levels = [start + factor.code for start, factor in zip(starts, factors, strict=False)]

    def expected(log_effect: Floats) -> tuple[Floats, Floats]:
        weight = impressions * np.exp(sum(log_effect[level] for level in levels))
        return weight, np.asarray(np.bincount(creative, weights=weight, minlength=creatives), np.float64)

    def objective(log_effect: Floats) -> float:
        _, total = expected(log_effect)
        known = clicked > 0
        return float(
            observed @ log_effect - clicked[known] @ np.log(total[known]) - 0.5 * precision @ (log_effect * log_effect)
        )

    def share(log_effect: Floats) -> tuple[Floats, Floats]:
        weight, total = expected(log_effect)
        within = weight / np.where(total > 0, total, 1)[creative]
        parts = np.zeros((creatives, starts[-1]))
        for level, (start, end) in zip(levels, pairwise(starts), strict=True):
            flat = np.bincount(
                creative * (end - start) + level - start, weights=within, minlength=creatives * (end - start)
            )
            parts[:, start:end] = flat.reshape(creatives, -1)
        return within, parts

    log_effect = np.zeros(starts[-1])
    for _ in range(200):
        within, parts = share(log_effect)
        information = _information(levels, within * clicked[creative], parts, clicked) + np.diag(precision)
        gradient = observed - clicked @ parts - precision * log_effect
        step = np.zeros_like(log_effect)
        step[free] = np.clip(
            np.linalg.pinv(information[np.ix_(free, free)], hermitian=True) @ gradient[free],
            -_LONGEST_STEP,
            _LONGEST_STEP,
        )
        start_value = objective(log_effect)
        while np.abs(step).max() > _SMALLEST_STEP and objective(log_effect + step) < start_value:
            step /= 2
        log_effect += step
        if np.abs(step).max() <= _SMALLEST_STEP:
            break
    covariance = np.zeros_like(information)
    covariance[np.ix_(free, free)] = np.linalg.pinv(information[np.ix_(free, free)], hermitian=True)
    return Maximum(log_effect, covariance, parts)


def _information(codes: Sequence[Integers], mean: Floats, parts: Floats, clicked: Floats) -> Floats:
    """Information about all log effects, (level, level), less what the creatives' unknown CTRs take away."""
    levels = parts.shape[1]
    together = np.zeros(levels * levels)
    for one in codes:
        for other in codes:
            together += np.bincount(one * levels + other, weights=mean, minlength=levels * levels)
    return together.reshape(levels, levels) - (parts * clicked[:, None]).T @ parts
