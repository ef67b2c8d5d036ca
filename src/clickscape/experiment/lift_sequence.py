"""The confidence sequence of a lift over the days of an experiment, from the first day that has enough to say anything.

Its mixture is fixed before the first look: by the plan's intrinsic time, or else by the pace of the first day that is
read. With few clicks, or where a few users make most of them, an estimated variance says little: most intervals are
then wide or come out as no number, some are far too narrow (docs/experiments/coverage.md). So there is none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickscape.experiment.confidence_sequence import Mixture
from clickscape.experiment.moments import CLICKS, UnitMoments
from clickscape.experiment.ratio import LogRatio, log_ratio
from clickscape.types import Estimate

LEAST_CLICKS = 25
"""Clicks of a variant, were they all of different users, below which no interval is given."""

LEAST_UNITS = 50
"""Units of a variant below which no interval is given, whatever they click."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LiftSequence:
    """Estimates of the log lift by the end of each day, all (day,); `first`: the first day with an interval.

    half: half widths of the intervals. log_e_values: evidence against no lift, NaN before the first day.
    """

    first: int
    ratio: LogRatio
    half: Floats
    log_e_values: Floats
    level: float

    def estimate(self, day: int) -> Estimate | None:
        """Return the relative lift by the end of a day; None before the first."""
        value, half = float(self.ratio.value[day]), float(self.half[day])
        if day < self.first or not (math.isfinite(value) and math.isfinite(half)):
            return None
        return Estimate(math.expm1(value), math.expm1(value - half), math.expm1(min(value + half, 700.0)), self.level)


def lift_sequence(
    control: UnitMoments,
    variant: UnitMoments,
    *,
    days: int,
    intrinsic_time: float | None = None,
    numerator: int = CLICKS,
    adjusted: bool = False,
    level: float = 0.95,
) -> LiftSequence | None:
    """Return the sequence over cumulated moments (day,); None while there is too little for any interval.

    days: planned; the sequence is tightest then, or at the planned `intrinsic_time`. adjusted: as of `log_ratio`.
    """
    ratio = log_ratio(control, variant, numerator=numerator, adjusted=adjusted)
    usable = enough(control, variant, ratio)
    if not usable.any():
        return None
    first = int(np.argmax(usable))
    pace = float(ratio.time[first]) * max(days / (first + 1), 1.0)
    mixture = Mixture.tightest_at(intrinsic_time or pace, level=level)
    half = mixture.half_width(variance=ratio.guarded, time=ratio.time, level=level)
    evidence = mixture.log_e_value(value=ratio.value, variance=ratio.guarded, time=ratio.time)
    evidence[:first] = np.nan
    return LiftSequence(first, ratio, half, evidence, level)


def enough(control: UnitMoments, variant: UnitMoments, ratio: LogRatio) -> NDArray[np.bool_]:
    """Return whether both have clicks and units enough for an interval, (…)."""
    units = np.minimum(control.units, variant.units)
    return np.asarray(np.isfinite(ratio.value) & (ratio.effective >= LEAST_CLICKS) & (units >= LEAST_UNITS))
