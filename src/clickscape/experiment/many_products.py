"""Lifts of many products at once: which of them are discoveries, and what a winner's lift is when looked at soberly.

Of a hundred products without any difference five look better at level 95 %; Benjamini and Hochberg's procedure bounds
the share of false ones among those that are called. And the largest of many lifts is large by luck, too: `shrink`
draws each towards what lifts have been in the past, as much as its own noise asks for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import false_discovery_control

from clickscape.errors import ExperimentError
from clickscape.types import Estimate

Floats = NDArray[np.float64]

LEAST_LIFTS = 3
"""Lifts, past ones among them, below which nothing is known of how lifts differ."""

_TAILS = (0.0, 0.05, 0.15)  # share of lifts that come from a normal _WIDER times as wide; 0 is the plain normal
_WIDER = 4.0
_WIDTHS, _CENTERS = 30, 25  # points of the grid over the prior's sd and mean


@dataclass(frozen=True, eq=False)
class ShrunkLifts:
    """Lifts drawn towards the others'; `mean` and `sd` of the prior are of log lifts, averaged over what is plausible.

    heavy_tails: probability that the prior has heavier tails than a normal's.
    """

    lifts: tuple[Estimate, ...]
    mean: float
    sd: float
    heavy_tails: float


def discoveries(p_values: Sequence[float], *, rate: float = 0.05) -> list[bool]:
    """Return which p-values (product,) are discoveries, at most `rate` of them false on average (Benjamini-Hochberg).

    Products' tests are independent or positively dependent, as those of one experiment with common users are.
    """
    return [bool(one <= rate) for one in false_discovery_control(list(p_values))] if len(p_values) else []


def e_discoveries(log_e_values: Sequence[float], *, rate: float = 0.05) -> list[bool]:
    """Return which e-values (product,) are discoveries at any time and under any dependence (Wang and Ramdas 2022)."""
    logs = np.asarray(log_e_values, float)
    ranks = np.argsort(np.argsort(-logs, kind="stable"), kind="stable") + 1
    reached = logs >= math.log(len(logs) / rate) - np.log(ranks) if len(logs) else np.zeros(0, bool)
    last = int(ranks[reached].max()) if reached.any() else 0
    return [bool(rank <= last) for rank in ranks]


def shrink(lifts: Sequence[Estimate], *, past: Sequence[Estimate] = ()) -> ShrunkLifts:
    """Return relative lifts (product,) as their posterior under a prior that is learned from them and from past ones.

    The prior of log lifts is normal, or a normal with a wider one beside it, each with half of the trust before the
    data; mean and width are averaged over a grid, so that few lifts give wide intervals. An interval of an estimate
    is taken as normal on the log scale. ExperimentError for fewer than three lifts, and for an interval without end.
    """
    known = [*lifts, *past]
    if len(known) < LEAST_LIFTS:
        raise ExperimentError(f"{len(known)} lifts do not say how lifts differ, expected three or more. Read more "
                              f"products, or give past lifts.")  # fmt: skip
    value, error = np.array([_log_scale(one) for one in known]).T
    widths = np.concatenate([[0.0], np.geomspace(0.05 * error.min(), 3 * (np.ptp(value) + error.min()), _WIDTHS - 1)])
    reach = np.ptp(value) / 2 + 2 * np.median(error)
    centers = np.average(value, weights=error**-2.0) + reach * np.linspace(-1, 1, _CENTERS)
    center, width, tail = (grid.ravel() for grid in np.meshgrid(centers, widths, np.array(_TAILS), indexing="ij"))
    parts = [(1 - tail, width), (tail, _WIDER * width)]  # of the prior, (hypothesis,)
    log_likelihood = np.zeros(len(center))
    for one, noise in zip(value, error, strict=True):
        density = sum(share * _normal(one - center, noise**2 + sd**2) for share, sd in parts)
        log_likelihood += np.log(np.maximum(density, 1e-300))
    spacing = np.gradient(widths)  # the prior of the width is flat on its own scale (Gelman 2006), not on the grid's
    weight = np.exp(log_likelihood - log_likelihood.max()) * np.where(tail == 0, 0.5, 0.5 / (len(_TAILS) - 1))
    weight *= spacing[np.searchsorted(widths, width)]
    weight /= weight.sum()
    level = [one.level for one in lifts]
    shrunk = [
        _posterior(value[place], error[place], center=center, parts=parts, weight=weight, level=level[place])
        for place in range(len(lifts))
    ]
    spread = np.sqrt(sum(share * sd**2 for share, sd in parts))
    return ShrunkLifts(tuple(shrunk), float(weight @ center), float(weight @ spread), float(weight[tail > 0].sum()))


def _posterior(
    value: float, error: float, *, center: Floats, parts: list[tuple[Floats, Floats]], weight: Floats, level: float
) -> Estimate:
    """Median and interval of one lift given every hypothesis about the prior, a mixture of normals."""
    shares, means, deviations = [], [], []
    for share, sd in parts:
        wide = error**2 + sd**2
        shares.append(weight * share * _normal(value - center, wide))
        means.append(center + (value - center) * sd**2 / wide)
        deviations.append(np.sqrt(error**2 * sd**2 / wide))
    mass, mean, deviation = np.concatenate(shares), np.concatenate(means), np.concatenate(deviations)
    kept = mass > 1e-8 * mass.max()
    mass, mean, deviation = mass[kept] / mass[kept].sum(), mean[kept], np.maximum(deviation[kept], 1e-9)
    low, middle, high = (_quantile(chance, mass, mean, deviation) for chance in ((1 - level) / 2, 0.5, (1 + level) / 2))
    return Estimate(math.expm1(middle), math.expm1(low), math.expm1(high), level)


def _quantile(chance: float, mass: Floats, mean: Floats, deviation: Floats) -> float:
    """A quantile of a mixture of normals, by bisection."""
    low, high = float((mean - 9 * deviation).min()), float((mean + 9 * deviation).max())
    for _ in range(60):
        middle = (low + high) / 2
        if float(mass @ ndtr((middle - mean) / deviation)) < chance:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _log_scale(lift: Estimate) -> tuple[float, float]:
    """The logarithm of 1 + lift, and its standard error by the width of the interval."""
    from scipy.stats import norm

    if not (-1 < lift.low < lift.high < math.inf):
        raise ExperimentError(f"a lift of {lift.value:+.1%} has the interval {lift.low:+.1%} to {lift.high:+.1%}, "
                              f"expected one that is finite and above -100 %. Leave it out.")  # fmt: skip
    width = math.log1p(lift.high) - math.log1p(lift.low)
    return math.log1p(lift.value), width / (2 * float(norm.ppf((1 + lift.level) / 2)))


def _normal(distance: Floats, variance: Floats) -> Floats:
    return np.exp(-(distance**2) / (2 * variance)) / np.sqrt(2 * math.pi * variance)
