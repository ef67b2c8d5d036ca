"""The top of the click likelihood, given each creative's clicks: how positions and strata multiply an impression.

Clicks in a cell are Poisson with mean impressions × CTR × Π effects. Given a creative's clicks, where they fell is a
choice among its cells with weights impressions × Π effects: the CTRs drop out, so nothing is assumed about which
creative was shown where (Hausman, Hall & Griliches 1984). The logarithm of that is concave; Newton's method climbs it
in a few steps where alternating between CTRs and effects (EM) takes hundreds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from clickscape.clicks.cells import Floats, Integers

_LONGEST_STEP = 2.0  # of a log effect
_SMALLEST_STEP = 1e-10


@dataclass(frozen=True, eq=False)
class Levels:
    """A factor of the likelihood: `code` (row,) counts from 0 to `count` − 1.

    precision: of the normal prior of its log effects around 0; with 0 there is no prior and the first level's effect
    is 1.
    """

    code: Integers
    count: int
    precision: float = 0.0


@dataclass(frozen=True, eq=False)
class Maximum:
    """Log effects of all factors' levels, one after the other (level,), and their covariance (level, level).

    share: (creative, level), which part of a creative's expected clicks falls on a level; each factor's parts add up
    to 1.
    """

    log_effect: Floats
    covariance: Floats
    share: Floats


def climb(creative: Integers, factors: Sequence[Levels], *, impressions: NDArray, clicks: NDArray) -> Maximum:
    """Effects at the top of the likelihood (with a prior: of the posterior); creative, impressions, clicks: (row,)."""
    starts = np.cumsum([0, *(factor.count for factor in factors)])
    precision = np.repeat([factor.precision for factor in factors], [factor.count for factor in factors])
    free = np.ones(starts[-1], dtype=bool)
    for start, factor in zip(starts, factors, strict=False):
        free[start] = factor.precision > 0
    creatives = int(creative.max()) + 1
    clicked = np.bincount(creative, weights=clicks, minlength=creatives).astype(np.float64)
    there = np.concatenate([np.bincount(factor.code, weights=clicks, minlength=factor.count) for factor in factors])
    places = [start + factor.code for start, factor in zip(starts, factors, strict=False)]

    def expected(log_effect: Floats) -> tuple[Floats, Floats]:
        weight = impressions * np.exp(sum(log_effect[place] for place in places))
        return weight, np.asarray(np.bincount(creative, weights=weight, minlength=creatives), np.float64)

    def height(log_effect: Floats) -> float:
        _, total = expected(log_effect)
        known = clicked > 0
        return float(
            there @ log_effect - clicked[known] @ np.log(total[known]) - 0.5 * precision @ (log_effect * log_effect)
        )

    def share(log_effect: Floats) -> tuple[Floats, Floats]:
        weight, total = expected(log_effect)
        within = weight / np.where(total > 0, total, 1)[creative]
        parts = np.zeros((creatives, starts[-1]))
        for place, (start, end) in zip(places, pairwise(starts), strict=True):
            flat = np.bincount(
                creative * (end - start) + place - start, weights=within, minlength=creatives * (end - start)
            )
            parts[:, start:end] = flat.reshape(creatives, -1)
        return within, parts

    log_effect = np.zeros(starts[-1])
    for _ in range(200):
        within, parts = share(log_effect)
        information = _information(places, within * clicked[creative], parts, clicked) + np.diag(precision)
        gradient = there - clicked @ parts - precision * log_effect
        step = np.zeros_like(log_effect)
        step[free] = np.clip(
            np.linalg.pinv(information[np.ix_(free, free)], hermitian=True) @ gradient[free],
            -_LONGEST_STEP,
            _LONGEST_STEP,
        )
        start_height = height(log_effect)
        while np.abs(step).max() > _SMALLEST_STEP and height(log_effect + step) < start_height:
            step /= 2
        log_effect += step
        if np.abs(step).max() <= _SMALLEST_STEP:
            break
    covariance = np.zeros_like(information)
    covariance[np.ix_(free, free)] = np.linalg.pinv(information[np.ix_(free, free)], hermitian=True)
    return Maximum(log_effect, covariance, parts)


def _information(places: Sequence[Integers], mean: Floats, parts: Floats, clicked: Floats) -> Floats:
    """Information about all log effects, (level, level): what clicks say less what the creatives' CTRs take away."""
    levels = parts.shape[1]
    together = np.zeros(levels * levels)
    for one in places:
        for other in places:
            together += np.bincount(one * levels + other, weights=mean, minlength=levels * levels)
    return together.reshape(levels, levels) - (parts * clicked[:, None]).T @ parts
