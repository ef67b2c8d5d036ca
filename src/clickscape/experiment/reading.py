"""What a reading of an experiment says: frozen records, stored as JSON, drawn and reported by others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Literal

from clickscape.experiment.sample_ratio import SampleRatio
from clickscape.types import Allocation, ClickCounts, Estimate

Decision = Literal[
    "better",
    "worse",
    "no difference of the size planned",
    "not enough evidence yet",
    "sample ratio mismatch",
    "association",
]
"""What may be said of a variant; an association where nobody knows how traffic was allocated."""

Verdict = Literal["held", "broken", "not enough evidence yet"]


@dataclass(frozen=True, slots=True)
class DayReading:
    """A variant against control with all data up to the end of a day; None where there is too little for an interval.

    Control itself has units and counts only. always_valid: lift with the interval that holds on all days at once.
    fixed: with the interval of who looks on this day only. log_e_value: evidence against no lift. p_value: of no lift,
    which may be read on every day.
    """

    day: date
    units: int
    counts: ClickCounts
    always_valid: Estimate | None = None
    fixed: Estimate | None = None
    log_e_value: float | None = None
    p_value: float = 1.0


@dataclass(frozen=True, slots=True)
class Guardrail:
    """Change of conversions per impression against control, always-valid, and whether it is above minus `margin`.

    The interval's lower end alone has the reading's level.
    """

    change: Estimate | None
    margin: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class VariantReading:
    """One variant: what it got, its CTR, every day's comparison, and the decision, None for the control.

    ctr: with the fixed-horizon interval, clustered by unit. shrunk: the lift with all data, drawn towards those of
    earlier experiments; None where there are too few.
    """

    name: str
    share: float
    units: int
    counts: ClickCounts
    conversions: int
    ctr: Estimate | None
    days: tuple[DayReading, ...]
    guardrail: Guardrail | None = None
    decision: Decision | None = None
    shrunk: Estimate | None = None

    @property
    def latest(self) -> DayReading:
        """Return the comparison with all data."""
        return self.days[-1]


@dataclass(frozen=True, slots=True)
class ProductReading:
    """Lift of one variant on one product: raw, drawn towards the others', and whether it is a discovery.

    p_value: of one look; `discovery` by Benjamini-Hochberg on it, `always_valid` by e-values, on whatever day one
    looks.
    """

    product_id: str
    variant: str
    counts: ClickCounts
    lift: Estimate
    shrunk: Estimate | None
    p_value: float
    discovery: bool
    always_valid: bool


@dataclass(frozen=True, slots=True)
class ExperimentReading:
    """An experiment up to a day. level: of each comparison, so that all together have the experiment's (Bonferroni).

    unit: what is randomized and counted as independent; "impression" where a platform gives counts only. adjusted: by
    what users did before the start (CUPED). notes: what was left out, in sentences.
    """

    name: str
    allocation: Allocation
    unit: Literal["user", "impression"]
    control: str
    level: float
    adjusted: bool
    variants: tuple[VariantReading, ...]
    sample_ratio: SampleRatio | None
    products: tuple[ProductReading, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_sound(self) -> bool:
        """Return whether chance allocated the traffic, and in the shares that were planned."""
        return self.allocation != "unknown" and not (self.sample_ratio and self.sample_ratio.alarm)

    def lifts(self) -> list[Estimate]:
        """Return the lift of every variant with all data, each with the interval of one look."""
        return [one.latest.fixed for one in self.variants if one.latest.fixed is not None]

    def variant(self, name: str) -> VariantReading:
        """Return the variant of this name; KeyError."""
        for one in self.variants:
            if one.name == name:
                return one
        raise KeyError(name)

    def lines(self) -> Iterator[str]:
        """Yield the reading in lines for people: variants, comparisons, guardrails, shares, decisions."""
        caused = self.allocation != "unknown"
        word = "lift" if caused else "difference (an association: nobody knows how traffic was allocated)"
        for one in self.variants:
            told = f"{one.name}: {one.units:,} {self.unit}s, {one.counts.impressions:,} impressions, "
            yield told + f"{one.counts.clicks:,} clicks, CTR {_interval(one.ctr, digits=3, signed=False)}"
        for one in self.variants:
            if one.decision is None:
                continue
            day = one.latest
            yield f"{one.name} against {self.control}: {one.decision}"
            yield f"  {word} {_interval(day.always_valid)} at any time; {_interval(day.fixed)} if this is the only look"
            if one.shrunk:
                yield f"  soberly {_interval(one.shrunk)}, drawn towards the lifts of earlier experiments"
            if one.guardrail:
                told = _interval(one.guardrail.change)
                yield f"  conversions {told}, at most {one.guardrail.margin:.0%} lost: {one.guardrail.verdict}"
        if self.sample_ratio:
            said = ", ".join(f"{units:,}" for units in self.sample_ratio.units)
            off = f"off since {self.sample_ratio.alarm_after:,} users" if self.sample_ratio.alarm else "as planned"
            yield f"shares: {off} ({said}; p {self.sample_ratio.p_value:.2g}, to be read on any day)"
        if self.unit == "impression":
            yield "intervals take impressions for independent: the log has no users, so they are too narrow"
        found = [one for one in self.products if one.discovery]
        if self.products:
            yield f"products with a {word.split()[0]} of their own: {len(found)} of {len(self.products)}"
        for product in sorted(found, key=lambda one: -(one.shrunk or one.lift).value)[:10]:
            soberly = f", soberly {_interval(product.shrunk)}" if product.shrunk else ""
            yield f"  {product.product_id} {product.variant}: {_interval(product.lift)}{soberly}"
        yield from self.notes


def _interval(estimate: Estimate | None, *, digits: int = 1, signed: bool = True) -> str:
    if estimate is None:
        return "unknown (too few clicks)"
    form = f"{{:{'+' if signed else ''}.{digits}%}}"
    return f"{form.format(estimate.value)} [{form.format(estimate.low)}, {form.format(estimate.high)}]"
