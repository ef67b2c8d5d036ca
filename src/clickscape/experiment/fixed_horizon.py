"""The interval of a lift for whoever looks once, when the planned sample is in: tea-tasting's, from our moments.

tea-tasting 1.14 (MIT) works out means, delta-method variances, CUPED and Student's interval from sums that it calls
aggregates; `aggregates` hands it ours, so that twenty million events are grouped once for everything.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clickscape.experiment.moments import BEFORE, COUNTS, UnitMoments
from clickscape.types import Estimate

if TYPE_CHECKING:
    from tea_tasting.aggr import Aggregates

_COLUMNS = (*COUNTS, *BEFORE)


@dataclass(frozen=True, slots=True)
class FixedLift:
    """Relative lift over control (0.1 is 10 % more) with the interval of one look, and the p-value of no difference."""

    lift: Estimate
    p_value: float


def fixed_lift(
    control: UnitMoments,
    variant: UnitMoments,
    *,
    numerator: str = "clicks",
    adjusted: bool = False,
    level: float = 0.95,
) -> FixedLift | None:
    """Return the lift of clicks (or conversions) per impression; None where it is no number, as without a click.

    The moments are without leading axes. adjusted: by CUPED, with what users did before.
    """
    from tea_tasting.metrics.mean import RatioOfMeans

    past = ("clicks_before", "impressions_before") if adjusted else (None, None)
    metric = RatioOfMeans(numerator, "impressions", *past, confidence_level=level)
    if min(float(side.units) for side in (control, variant)) < 2:
        return None
    found = metric.analyze_aggregates(aggregates(control), aggregates(variant))
    limits = (found.rel_effect_size_ci_lower, found.rel_effect_size, found.rel_effect_size_ci_upper)
    if not all(map(math.isfinite, (*limits, found.pvalue))) or limits[1] <= -1:
        return None
    return FixedLift(Estimate(limits[1], limits[0], limits[2], level), found.pvalue)


def aggregates(moments: UnitMoments) -> Aggregates:
    """Return moments without leading axes as tea-tasting's aggregates: means, sample variances and covariances."""
    from tea_tasting.aggr import Aggregates

    count = int(moments.units)
    means = moments.sums / count
    spread = (moments.products - moments.sums[:, None] * means) / (count - 1)
    return Aggregates(
        count_=count,
        mean_={name: float(means[one]) for one, name in enumerate(_COLUMNS)},
        var_={name: float(spread[one, one]) for one, name in enumerate(_COLUMNS)},
        cov_={
            (name, second): float(spread[one, other])
            for one, name in enumerate(_COLUMNS)
            for other, second in enumerate(_COLUMNS)
            if one < other
        },
    )
