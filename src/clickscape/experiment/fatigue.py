"""Creative fatigue: how CTR falls with exposures and days on air, what the next days bring, what to replace in time.

`forecast_fatigue` reads daily counts and returns frozen records. A creative is to be replaced when it has at least the
probability `certainty` that within the horizon less than `keep` of its starting CTR is left by wear alone, or that it
has worn and earns less than a fresh creative of its product. Weekdays, and what all creatives of a product share, are
no reason. Where the posterior is calibrated, at most 1 − `certainty` of the warnings are false, however often one
looks; docs/experiments/fatigue.md measures it.
"""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
from scipy.stats import norm

from clickscape.clicks.cells import Floats, Integers
from clickscape.errors import ExperimentError
from clickscape.experiment.decay import Decay, fit_decay
from clickscape.experiment.fatigue_report import (
    CreativeFatigue,
    DayForecast,
    FatigueReport,
    Reason,
    Replacement,
)
from clickscape.experiment.fatigue_rows import WEEKDAYS, DailyLog
from clickscape.types import Estimate

HORIZON_DAYS, KEEP, CERTAINTY = 14, 0.8, 0.65
_EPOCH = date(1970, 1, 1)
_TINY = 1e-9
_RECENT = 7  # days: who sees a creative now, and whether it is still on air


def forecast_fatigue(
    counts: ibis.Table | pa.Table,
    *,
    horizon_days: int = HORIZON_DAYS,
    keep: float = KEEP,
    certainty: float = CERTAINTY,
    level: float = 0.95,
) -> FatigueReport:
    """Fit decay over exposures and days on air, forecast the days after the log, and flag what to replace.

    counts: one row per creative_id, product_id and day (date, or days since 1970) with impressions and clicks, from a
    creative's first day on air; or finer, as of `exposure_counts.count_exposures`. ExperimentError where the counts are
    too few, or are none.
    """
    _check_limits(horizon_days, keep=keep, certainty=certainty, level=level)
    read = DailyLog.read(counts)
    decay = fit_decay(read.rows)
    ahead = _Ahead(read, decay, horizon_days, level)
    first = np.array([read.first[read.rows.product == product].min() for product in range(read.rows.products)])
    return FatigueReport(
        creatives=tuple(
            ahead.creative(number, keep=keep, certainty=certainty) for number in range(read.rows.creatives)
        ),
        mean_per_exposure=ahead.common("mean exposures") if read.rows.exposures is not None else None,
        mean_per_week=ahead.common("mean weeks"),
        weekdays={name: ahead.common(f"weekday {name}") for name in WEEKDAYS if f"weekday {name}" in decay.names},
        drifts=ahead.drifts(),
        last_day=_EPOCH + timedelta(days=read.last),
        horizon_days=horizon_days,
        keep=keep,
        certainty=certainty,
        separable=bool(np.any(read.first > first[read.rows.product])),
        dispersion=decay.dispersion,
    )


class _Ahead:
    """The days after the log, creative by creative."""

    def __init__(self, log: DailyLog, decay: Decay, horizon: int, level: float) -> None:
        self.log, self.decay, self.level = log, decay, level
        self.reach = float(norm.ppf((1 + level) / 2))
        self.day = log.last + np.arange(horizon + 1)  # the last day of the log, and those to come
        order = np.argsort(log.rows.creative, kind="stable")
        ends = np.searchsorted(log.rows.creative[order], np.arange(log.rows.creatives + 1))
        self.own = [order[start:end] for start, end in pairwise(ends)]
        young = log.rows.weeks * 7 < horizon
        seen = log.rows.exposures
        self.fresh = (
            0.0 if seen is None else float(np.average(seen[young], weights=log.rows.examinations[young])),
            horizon / 14,
        )  # mean exposures and weeks on air of a creative in its first days

    def common(self, name: str) -> Estimate:
        """An effect that all share."""
        weights = np.zeros((1, len(self.decay.names)))
        weights[0, self.decay.place(name)] = 1
        zero = np.zeros(1, np.int64)
        mean, sd = self.decay.combine(zero, np.zeros((1, 3)), np.zeros((1, 2)), weights)
        return self._estimate(mean[0], sd[0])

    def drifts(self) -> dict[str, Estimate]:
        """Slope of log CTR per week that all creatives of a product share."""
        product = self.log.rows.product
        _, some = np.unique(product, return_index=True)
        shared = np.tile([0.0, 1.0], (len(some), 1))
        nothing = np.zeros((len(some), 3)), np.zeros((len(some), len(self.decay.names)))
        mean, sd = self.decay.combine(some, nothing[0], shared, nothing[1])
        return {name: self._estimate(*pair) for name, *pair in zip(self.log.products, mean, sd, strict=True)}

    def creative(self, number: int, *, keep: float, certainty: float) -> CreativeFatigue:
        """Everything about one creative."""
        log, own = self.log, self.own[number]
        on_air = log.ended[number] > log.last - _RECENT
        day = self.day if on_air else np.array([log.ended[number]])
        local, common, mixed = self._wear(number, day)
        size = len(day)
        code = np.full(size, number)
        none = np.zeros((size, 2))
        mean, sd = self.decay.combine(code, local, none, common)
        mean = mean + mixed[0]
        left = [self._estimate(*pair, exp=True) for pair in zip(mean, sd, strict=True)]
        sd = np.maximum(sd, _TINY)  # on its first day a creative has lost nothing, for sure
        below = norm.cdf((np.log(keep) - mean) / sd)
        level, level_sd = self._level(code, local, common, day, number)
        gap, gap_sd = self._against_fresh(code, local, common)
        gap = gap + mixed[0]
        outearned = norm.cdf(-gap / gap_sd)
        lost = norm.cdf(-mean / sd)
        share = float(log.rows.examinations[own].sum() / log.impressions[own].sum())
        forecast = [
            DayForecast(_date(when), self._estimate(value + mixed[1], deviation, exp=True, times=share), part)
            for when, value, deviation, part in zip(day, level, level_sd, left, strict=True)
        ][1:]
        slopes = [self._slope(number, place) for place in (1, 2)]
        found = self._replacement(below, np.where(lost >= certainty, outearned, 0.0), certainty) if on_air else None
        return CreativeFatigue(
            creative_id=log.creatives[number],
            product_id=log.products[log.rows.product[number]],
            first_day=_date(log.first[number]),
            last_day=_date(log.ended[number]),
            impressions=int(log.impressions[own].sum()),
            clicks=int(log.rows.clicks[own].sum()),
            per_exposure=slopes[0] if log.rows.exposures is not None else None,
            per_week=slopes[1],
            remaining=left[0],
            forecast=tuple(forecast),
            worn=float(below.max()),
            outearned=float(outearned.max()),
            replacement=found,
        )

    def _wear(self, number: int, day: Integers) -> tuple[Floats, Floats, tuple[float, float]]:
        """Weights of the slopes on some days, and what a mixed audience adds to log CTR over its mean user.

        The mean of exp is more than exp of the mean: users who have seen less click more than those who have seen more
        click less. Both numbers are of the last days: by exposures alone, and with the activity of the users.
        """
        rows, own = self.log.rows, self.own[number]
        weeks = (day - self.log.first[number]) / 7
        names, decay = self.decay.names, self.decay
        local, common = np.zeros((len(day), 3)), np.zeros((len(day), len(names)))
        local[:, 2] = common[:, decay.place("mean weeks")] = weeks
        if rows.exposures is None:
            return local, common, (0.0, 0.0)
        seen = self._exposures_ahead(number, day)
        local[:, 1] = common[:, decay.place("mean exposures")] = seen
        recent = own[self.log.day[own] > self.log.ended[number] - _RECENT]
        weight = rows.examinations[recent] / rows.examinations[recent].sum()
        slope = decay.local[number, 1] + decay.common[decay.place("mean exposures")]
        of_users = np.zeros(len(recent))
        for factor in rows.factors:
            if factor.name == "activity":
                places = [decay.place(f"activity {value}") for value in factor.values]
                of_users = decay.common[places][factor.code[recent]]
        parts = slope * rows.exposures[recent], slope * rows.exposures[recent] + of_users
        return local, common, (_mixture(parts[0], weight), _mixture(parts[1], weight))

    def _exposures_ahead(self, number: int, day: Integers) -> Floats:
        """Mean log(1 + earlier exposures) on some days: a line in log days on air through the last two weeks."""
        rows, own = self.log.rows, self.own[number]
        assert rows.exposures is not None
        own = own[self.log.day[own] > self.log.ended[number] - 2 * _RECENT]
        days, code = np.unique(self.log.day[own], return_inverse=True)
        weight = np.bincount(code, weights=rows.examinations[own])
        seen = np.bincount(code, weights=rows.examinations[own] * rows.exposures[own]) / weight
        x = np.log1p(days - self.log.first[number])
        ahead = np.log1p(day - self.log.first[number])
        middle, level = np.average(x, weights=weight), np.average(seen, weights=weight)
        spread = np.average((x - middle) ** 2, weights=weight)
        slope = np.average((x - middle) * (seen - level), weights=weight) / spread if spread > 0 else 0.0
        return np.asarray(np.maximum(level + slope * (ahead - middle), 0.0))

    def _level(
        self, code: Integers, local: Floats, common: Floats, day: Integers, number: int
    ) -> tuple[Floats, Floats]:
        """Mean and sd of log CTR per examination on some days, with weekday, drift and the noise of days."""
        rows, decay = self.log.rows, self.decay
        local, common = local.copy(), common.copy()
        local[:, 0] = common[:, decay.place("intercept")] = 1
        calendar = (day - (self.log.day.min() + self.log.day.max()) / 2) / 7
        own = self.own[number][self.log.day[self.own[number]] > self.log.ended[number] - _RECENT]
        for factor in rows.factors:
            places = [decay.place(f"{factor.name} {value}") for value in factor.values]
            if factor.name == "weekday":
                known = dict(zip(factor.values, places, strict=True))
                for row, when in enumerate(day):
                    if (name := WEEKDAYS[_date(when).weekday()]) in known:
                        common[row, known[name]] = 1
            elif factor.name == "activity":
                shares = np.bincount(factor.code[own], weights=rows.examinations[own], minlength=len(places))
                common[:, places] = shares / shares.sum()
        mean, sd = decay.combine(code, local, np.column_stack([np.ones(len(day)), calendar]), common)
        return mean, np.hypot(sd, decay.sd["day"])

    def _against_fresh(self, code: Integers, local: Floats, common: Floats) -> tuple[Floats, Floats]:
        """Mean and sd of log CTR less that of a fresh creative of the product in its first days, to be expected."""
        local, common, decay = local.copy(), common.copy(), self.decay
        local[:, 0] = 1
        common[:, decay.place("mean weeks")] -= self.fresh[1]
        if self.log.rows.exposures is not None:
            common[:, decay.place("mean exposures")] -= self.fresh[0]
        mean, sd = decay.combine(code, local, np.zeros((len(code), 2)), common)
        return mean - decay.sd["base"] ** 2 / 2, sd

    def _slope(self, number: int, place: int) -> Estimate:
        local, common = np.zeros((1, 3)), np.zeros((1, len(self.decay.names)))
        local[0, place] = common[0, place] = 1  # the means stand where the slopes do
        mean, sd = self.decay.combine(np.array([number]), local, np.zeros((1, 2)), common)
        return self._estimate(mean[0], sd[0])

    def _replacement(self, worn: Floats, outearned: Floats, certainty: float) -> Replacement | None:
        """The reason that holds with certainty, wear first; worn, outearned: probabilities, (last day and ahead,)."""
        reasons: tuple[tuple[Reason, Floats], ...] = (("worn out", worn), ("a fresh one earns more", outearned))
        for reason, below in reasons:
            if below.max() >= certainty:
                likely, possible = below > 0.5, below >= (1 - self.level) / 2
                drop = _date(self.day[np.argmax(likely)]) if likely.any() else None
                return Replacement(reason, float(below.max()), drop, _date(self.day[np.argmax(possible)]))
        return None

    def _estimate(self, mean: float, sd: float, *, exp: bool = False, times: float = 1.0) -> Estimate:
        ends = [float(mean), float(mean - self.reach * sd), float(mean + self.reach * sd)]
        if exp:
            ends = [times * float(np.exp(end)) for end in ends]
        return Estimate(ends[0], ends[1], ends[2], self.level)


def _mixture(values: Floats, weight: Floats) -> float:
    """Log of the mean of exp(values), less their mean."""
    middle = weight @ values
    return float(np.log(weight @ np.exp(values - middle)))


def _date(day: Any) -> date:
    return _EPOCH + timedelta(days=int(day))


def _check_limits(horizon_days: int, *, keep: float, certainty: float, level: float) -> None:
    limits = {"horizon_days": (horizon_days, 0, 91), "keep": (keep, 0, 1), "certainty": (certainty, 0.5, 1),
              "level": (level, 0, 1)}  # fmt: skip
    for name, (value, low, high) in limits.items():
        if not (low < value < high or value == low == 0.5):
            raise ExperimentError(f"{name} must lie between {low} and {high}, got {value}. Give another.")
