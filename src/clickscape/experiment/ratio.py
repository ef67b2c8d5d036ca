"""The lift of a ratio such as CTR between two variants, on the log scale, with its variance clustered by user.

CUPED takes off what users did before the experiment (Deng, Xu, Kohavi and Walker 2013) by the same linear form as
tea-tasting, which the tests compare. A confidence sequence needs one thing more, its *intrinsic time*: see `LogRatio`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickscape.experiment.moments import CLICKS, CLICKS_BEFORE, IMPRESSIONS, IMPRESSIONS_BEFORE, UnitMoments

Floats = NDArray[np.float64]

_ZERO = np.zeros(())


@dataclass(frozen=True, eq=False)
class LogRatio:
    """Log of the variant's ratio over control's, all arrays (…) as the leading axes of the moments.

    variance: of `value`, clustered by unit. floor: the same variance if every day of a unit were a unit of its own.
    events: clicks (or conversions) of both variants. effective: 1 / variance of the log of the ratio of the variant
    that is known worse: its clicks, were they all of different users.
    """

    value: Floats
    variance: Floats
    floor: Floats
    events: Floats
    effective: Floats

    @property
    def guarded(self) -> Floats:
        """Return the larger of the two variances, with which a confidence sequence is valid: see `time`."""
        return np.maximum(self.variance, self.floor)

    @property
    def time(self) -> Floats:
        """Return the variance of events × (value − truth), the clock of a confidence sequence.

        That product is a sum over users which grows as they come and come back. Where a user's days resemble each other
        it drifts off more slowly, for its variance, than Brownian motion at this clock does (Slepian 1962: of two
        Gaussian processes with equal variances the more correlated one crosses a boundary less often); where they
        oppose each other, the floor takes the days for independent, and what pulls back crosses less often, too.
        """
        return self.events**2 * self.guarded


def log_ratio(
    control: UnitMoments, variant: UnitMoments, *, numerator: int = CLICKS, adjusted: bool = False
) -> LogRatio:
    """Return the log ratio of clicks (or conversions) per impression; NaN where a variant has none.

    adjusted: by CUPED, with what the users of both variants did before.
    """
    slope, center = _slope(control + variant, numerator) if adjusted else (_ZERO, _ZERO)
    with np.errstate(divide="ignore", invalid="ignore"):
        sides = [_side(moments, numerator, slope, center) for moments in (control, variant)]
        value = np.log(sides[1][0]) - np.log(sides[0][0])
        events = [moments.sums[..., numerator] for moments in (control, variant)]
        return LogRatio(
            value=np.where(np.isfinite(value), value, np.nan),
            variance=sides[0][1] + sides[1][1],
            floor=sides[0][2] + sides[1][2],
            events=events[0] + events[1],
            effective=np.minimum(1 / sides[0][1], 1 / sides[1][1]),
        )


def ratio_and_variance(moments: UnitMoments, *, numerator: int = CLICKS) -> tuple[Floats, Floats]:
    """Return clicks (or conversions) per impression and the variance of its logarithm, clustered by unit."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio, variance, _ = _side(moments, numerator, _ZERO, _ZERO)
    return ratio, variance


def _side(moments: UnitMoments, numerator: int, slope: Floats, center: Floats) -> tuple[Floats, Floats, Floats]:
    """One variant's ratio, and the two variances of its logarithm; `slope`, `center`: of CUPED."""
    shown, count = moments.sums[..., IMPRESSIONS], moments.sums[..., numerator]
    plain = count / shown
    weights = np.zeros(moments.sums.shape)
    weights[..., numerator], weights[..., IMPRESSIONS] = 1 / shown, -plain / shown
    own = _form(weights[..., :3], moments.own)
    unadjusted = _form(weights, moments.products)
    before = moments.sums[..., IMPRESSIONS_BEFORE]
    known = before > 0
    past = np.where(known, moments.sums[..., CLICKS_BEFORE] / np.where(known, before, 1), center)
    per_before = np.where(known, slope / np.where(known, before, 1), 0.0)
    weights[..., CLICKS_BEFORE], weights[..., IMPRESSIONS_BEFORE] = -per_before, per_before * past
    variance = _form(weights, moments.products)
    ratio = plain - np.where(known, slope * (past - center), 0.0)
    freedom = moments.units / np.maximum(moments.units - 1, 1)
    return ratio, freedom * variance / ratio**2, freedom * (variance + own - unadjusted) / ratio**2


def _slope(pooled: UnitMoments, numerator: int) -> tuple[Floats, Floats]:
    """CUPED's slope of the ratio on the ratio before, and that ratio, over both variants; 0 without a past."""
    shown, before = pooled.sums[..., IMPRESSIONS], pooled.sums[..., IMPRESSIONS_BEFORE]
    known = before > 0
    safe = np.where(known, before, 1)
    center = pooled.sums[..., CLICKS_BEFORE] / safe
    past, present = np.zeros(pooled.sums.shape), np.zeros(pooled.sums.shape)
    past[..., CLICKS_BEFORE], past[..., IMPRESSIONS_BEFORE] = 1 / safe, -center / safe
    with np.errstate(divide="ignore", invalid="ignore"):
        present[..., numerator] = 1 / shown
        present[..., IMPRESSIONS] = -pooled.sums[..., numerator] / shown**2
    spread = _form(past, pooled.products)
    shared = np.einsum("...i,...ij,...j->...", past, pooled.products, present)
    usable = known & (spread > 0)
    return np.where(usable, shared / np.where(usable, spread, 1), 0.0), center


def _form(weights: Floats, products: Floats) -> Floats:
    return np.einsum("...i,...ij,...j->...", weights, products, weights)
