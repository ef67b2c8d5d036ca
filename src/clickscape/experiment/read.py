"""Read an experiment: moments of every variant and day, and its definition → what may be said of it today.

The order of questions is the order of trust: were users shared out as planned, is there enough to say anything, do
conversions hold, and only then which variant is better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from clickscape.experiment.confidence_sequence import always_valid_p, msprt_log_e_value, one_sided_level
from clickscape.experiment.definition import ExperimentDefinition
from clickscape.experiment.fixed_horizon import fixed_lift
from clickscape.experiment.lift_sequence import LEAST_CLICKS, LiftSequence, enough, lift_sequence
from clickscape.experiment.many_products import LEAST_LIFTS, discoveries, e_discoveries, shrink
from clickscape.experiment.moments import CLICKS, CONVERSIONS, IMPRESSIONS, UnitMoments
from clickscape.experiment.ratio import log_ratio, ratio_and_variance
from clickscape.experiment.reading import (
    DayReading,
    Decision,
    ExperimentReading,
    Guardrail,
    ProductReading,
    VariantReading,
)
from clickscape.experiment.sample_ratio import SampleRatio, check_sample_ratio
from clickscape.types import Allocation, ClickCounts, Estimate

DAYS = 14
"""Days for which confidence sequences are tightest where no plan says how long an experiment takes."""

MARGIN = 0.1
"""Relative loss of conversions that a better CTR may cost, unless somebody says otherwise."""

_PRIOR_LIFT = 0.1  # sd of products' log lifts that e-values are mixed over, where no plan says which lift matters


def read(
    daily: UnitMoments,
    *,
    definition: ExperimentDefinition,
    allocation: Allocation | None = None,
    unit: Literal["user", "impression"] = "user",
    margin: float = MARGIN,
    adjusted: bool = True,
    products: Sequence[ProductReading] = (),
    past_lifts: Sequence[Estimate] = (),
    notes: Sequence[str] = (),
    new_units: NDArray[np.int64] | None = None,
) -> ExperimentReading:
    """Return the reading of what each day added to every variant's moments, (variant, day), days from the start.

    allocation: of the traffic, where the log says another than the definition. margin: of the guardrail. adjusted: use
    what users did before the start, where there is something. past_lifts: of the variants of earlier experiments.
    new_units: units that each day brought to each variant, (variant, day), where more are shared out than compared.
    """
    names = list(definition.shares)
    known = daily.cumulative()
    days = [definition.start.date() + timedelta(days=one) for one in range(np.shape(daily.units)[1])]
    control = known[names.index(definition.control)]
    shared_out = daily.units if new_units is None else new_units
    shares = check_sample_ratio(shared_out, shares=list(definition.shares.values())) if unit == "user" else None
    cuped = adjusted and bool(known.sums[:, -1, 3].sum() > 0)
    how = allocation or definition.allocation
    variants = []
    for place, variant in enumerate(definition.variants):
        mine = known[place]
        compared = variant.name != definition.control
        sequence = None
        if compared:
            sequence = lift_sequence(
                control,
                mine,
                days=definition.planned.days if definition.planned else DAYS,
                intrinsic_time=definition.planned.intrinsic_time if definition.planned else None,
                adjusted=cuped,
                level=definition.comparison_level,
            )
        readings = _days(control, mine, sequence, days=days, adjusted=cuped)
        decision = _decision(readings[-1], definition, shares=shares, allocation=how) if compared else None
        guard = _guardrail(control, mine, definition=definition, margin=margin) if compared else None
        variants.append(
            VariantReading(
                name=variant.name,
                share=variant.share,
                units=int(mine.units[-1]),
                counts=_counts(mine[-1]),
                conversions=int(mine.sums[-1, CONVERSIONS]),
                ctr=_ctr(mine[-1], level=definition.level),
                days=tuple(readings),
                guardrail=guard,
                decision=decision,
            )
        )
    found = ExperimentReading(
        name=definition.name,
        allocation=how,
        unit=unit,
        control=definition.control,
        level=definition.comparison_level,
        adjusted=cuped,
        variants=tuple(variants),
        sample_ratio=shares,
        products=tuple(products),
        notes=tuple(notes),
    )
    return _with_shrunk(found, past_lifts)


def _with_shrunk(reading: ExperimentReading, past: Sequence[Estimate]) -> ExperimentReading:
    """Add each variant's lift drawn towards earlier ones. Looks and stopping do not bias it: the data's likelihood is
    the same for whoever planned to stop elsewhere (Berger and Wolpert 1988).
    """
    mine = reading.lifts()
    if not (past and mine and reading.is_sound) or len(mine) + len(past) < LEAST_LIFTS:
        return reading
    shrunk = iter(shrink(mine, past=past).lifts)
    known = [replace(one, shrunk=next(shrunk)) if one.latest.fixed else one for one in reading.variants]
    return replace(reading, variants=tuple(known))


def read_products(
    moments: UnitMoments,
    *,
    product_ids: Sequence[str],
    definition: ExperimentDefinition,
    past_lifts: Sequence[Estimate] = (),
    rate: float = 0.05,
) -> tuple[ProductReading, ...]:
    """Return the lift of every variant on every product with enough clicks; moments: (variant, product).

    past_lifts: of the products of earlier experiments, towards which lifts are drawn as towards each other. rate: share
    of false discoveries that is accepted, over all products and variants together.
    """
    names = list(definition.shares)
    control = moments[names.index(definition.control)]
    prior = math.log1p(abs(definition.planned.lift)) if definition.planned else _PRIOR_LIFT
    found: list[tuple[str, str, ClickCounts, Estimate, float]] = []
    evidence: list[float] = []
    for name in definition.treatments:
        mine = moments[names.index(name)]
        ratio = log_ratio(control, mine)
        usable = enough(control, mine, ratio)
        for place in np.flatnonzero(usable).tolist():
            fixed = fixed_lift(control[place], mine[place], level=definition.level)
            if fixed is None:
                continue
            found.append((product_ids[place], name, _counts(mine[place]), fixed.lift, fixed.p_value))
            variance = ratio.guarded[place]
            evidence.append(float(msprt_log_e_value(value=ratio.value[place], variance=variance, prior_sd=prior)))
    called = discoveries([one[4] for one in found], rate=rate)
    anytime = e_discoveries(evidence, rate=rate)
    lifts = [one[3] for one in found]
    shrunk: Sequence[Estimate | None] = [None] * len(lifts)
    if lifts and len(lifts) + len(past_lifts) >= LEAST_LIFTS:
        shrunk = shrink(lifts, past=past_lifts).lifts
    return tuple(
        ProductReading(product, name, counts, lift, sober, p_value, discovery, always)
        for (product, name, counts, lift, p_value), sober, discovery, always in zip(
            found, shrunk, called, anytime, strict=True
        )
    )


def _days(
    control: UnitMoments,
    variant: UnitMoments,
    sequence: LiftSequence | None,
    *,
    days: Sequence[date],
    adjusted: bool,
) -> list[DayReading]:
    p_values = always_valid_p(sequence.log_e_values) if sequence else np.ones(len(days))
    readings = []
    for place, day in enumerate(days):
        units, counts = int(variant.units[place]), _counts(variant[place])
        whole = sequence.estimate(place) if sequence else None
        if sequence is None or whole is None:
            readings.append(DayReading(day, units, counts))
            continue
        fixed = fixed_lift(control[place], variant[place], adjusted=adjusted, level=sequence.level)
        evidence = float(sequence.log_e_values[place])
        lift = fixed.lift if fixed else None
        readings.append(DayReading(day, units, counts, whole, lift, evidence, float(p_values[place])))
    return readings


def _decision(
    latest: DayReading, definition: ExperimentDefinition, *, shares: SampleRatio | None, allocation: Allocation
) -> Decision:
    if allocation == "unknown":
        return "association"
    if shares and shares.alarm:
        return "sample ratio mismatch"
    if (lift := latest.always_valid) is None:
        return "not enough evidence yet"
    if lift.low > 0:
        return "better"
    if lift.high < 0:
        return "worse"
    planned = abs(definition.planned.lift) if definition.planned else None
    if planned is not None and -planned < lift.low and lift.high < planned:
        return "no difference of the size planned"
    return "not enough evidence yet"


def _guardrail(
    control: UnitMoments, variant: UnitMoments, *, definition: ExperimentDefinition, margin: float
) -> Guardrail | None:
    """Whether conversions per impression are not lost by more than the margin; None where none were logged."""
    if not (control.sums[-1, CONVERSIONS] + variant.sums[-1, CONVERSIONS]):
        return None
    sequence = lift_sequence(
        control,
        variant,
        days=definition.planned.days if definition.planned else DAYS,
        numerator=CONVERSIONS,
        level=one_sided_level(definition.comparison_level),
    )
    change = sequence.estimate(len(sequence.half) - 1) if sequence else None
    if change is None or change.low <= -margin <= change.high:
        return Guardrail(change, margin, "not enough evidence yet")
    return Guardrail(change, margin, "held" if change.low > -margin else "broken")


def _counts(moments: UnitMoments) -> ClickCounts:
    clicks = int(moments.sums[CLICKS])
    return ClickCounts(max(int(moments.sums[IMPRESSIONS]), clicks), clicks)


def _ctr(moments: UnitMoments, *, level: float) -> Estimate | None:
    ratio, variance = ratio_and_variance(moments)
    if not (ratio > 0 and np.isfinite(variance)) or moments.units < 2 or 1 / variance < LEAST_CLICKS:
        return None
    half = float(norm.ppf((1 + level) / 2) * np.sqrt(variance))
    value = float(ratio)
    return Estimate(value, value * math.exp(-half), min(value * math.exp(half), 1.0), level)
