"""What is known of a log's fatigue: frozen records, written as JSON, printed and drawn by others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from math import expm1, log
from typing import Literal

from clickscape.types import Estimate

Reason = Literal["worn out", "a fresh one earns more"]


@dataclass(frozen=True, slots=True)
class DayForecast:
    """One coming day: CTR with its weekday and drift, and the share of the starting CTR that wear leaves."""

    day: date
    ctr: Estimate
    remaining: Estimate


@dataclass(frozen=True, slots=True)
class Replacement:
    """Why and when a creative is to be replaced; probability: that it falls below its limit within the horizon.

    drop: the day from which it is likelier below than not; earliest: from which it may be, at the level of the report.
    """

    reason: Reason
    probability: float
    drop: date | None
    earliest: date


@dataclass(frozen=True, slots=True)
class CreativeFatigue:
    """One creative: its slopes of log CTR, what is left of its start, and the coming days while it is on air.

    per_exposure: per e-fold of 1 + earlier exposures of a user, None where the log has no users; per_week: on air.
    remaining: on the last day of the log, 1 at launch; worn: probability that within the horizon it falls below the
    limit; outearned: that a fresh creative of its product would then earn more.
    """

    creative_id: str
    product_id: str
    first_day: date
    last_day: date
    impressions: int
    clicks: int
    per_exposure: Estimate | None
    per_week: Estimate
    remaining: Estimate
    forecast: tuple[DayForecast, ...]
    worn: float
    outearned: float
    replacement: Replacement | None


@dataclass(frozen=True, slots=True)
class FatigueReport:
    """All creatives of a log, and what they share: mean slopes, weekdays, drifts of products, all of log CTR.

    separable: whether creatives of one product began on different days; where none did, what a whole product loses is
    told from the wear of its creatives by their mean and prior alone. dispersion: variance of clicks over Poisson's.
    """

    creatives: tuple[CreativeFatigue, ...]
    mean_per_exposure: Estimate | None
    mean_per_week: Estimate
    weekdays: Mapping[str, Estimate]
    drifts: Mapping[str, Estimate]
    last_day: date
    horizon_days: int
    keep: float
    certainty: float
    separable: bool
    dispersion: float

    def lines(self) -> Iterator[str]:
        """Yield the report in lines for people: what is shared, then what to replace, the most urgent first."""
        if self.mean_per_exposure is not None:
            at_fourth = _percent_change(self.mean_per_exposure, times=log(4))
            yield f"CTR when a user sees a creative for the fourth time, against the first: {at_fourth}"
        yield f"CTR per week on air: {_percent_change(self.mean_per_week)}"
        if not self.separable:
            yield ("all creatives of a product began on one day: what the whole market lost may be told as their wear; "
                   "start some later")  # fmt: skip
        on_air = [one for one in self.creatives if one.forecast]
        limits = f"limit {self.keep:.0%} of the start, certainty {self.certainty:.0%}"
        needed = f"{len(self.to_replace)} of {len(on_air)} creatives on air need a replacement"
        yield f"{needed} within {self.horizon_days} days ({limits})"
        for one in self.to_replace:
            assert one.replacement is not None
            left = f"{one.remaining.value:.0%} left [{one.remaining.low:.0%}, {one.remaining.high:.0%}]"
            when = "now" if one.replacement.drop == self.last_day else f"by {one.replacement.drop}"
            sure = f"{min(one.replacement.probability, 0.999):.1%} sure"
            yield f"  {one.creative_id} ({one.product_id}): {one.replacement.reason} {when}, {sure}; {left}"

    @property
    def to_replace(self) -> tuple[CreativeFatigue, ...]:
        """The creatives to be replaced, the most urgent first."""
        flagged = [(one.replacement, one) for one in self.creatives if one.replacement is not None]
        return tuple(
            one for _, one in sorted(flagged, key=lambda pair: (pair[0].drop or date.max, -pair[0].probability))
        )


def _percent_change(slope: Estimate, *, times: float = 1.0) -> str:
    value, low, high = (expm1(times * end) for end in (slope.value, slope.low, slope.high))
    return f"{value:+.1%} [{low:+.1%}, {high:+.1%}]"
