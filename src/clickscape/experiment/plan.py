"""How long an experiment has to run before it can answer, worked out before it starts; a plan that cannot is refused.

Users are the units, CTR is a ratio, so its variance is that of independent impressions times a *design effect*: users
differ in taste and in how often they look (delta method over users: Deng, Knoblich and Lu 2018, KDD). What tastes add
to the variance of a log CTR is the same at every CTR. Two readings:

- fixed: one look at the end, two-sided normal test of the difference of CTRs. The sample is the textbook's (Fleiss,
  Levin and Paik 2003, chapter 4), times the design effect.
- always-valid: a look every day at the confidence sequence of `confidence_sequence`, a normal mixture that is narrowest
  at the planned end (Waudby-Smith et al. 2024). The chance to have crossed it by each day is computed by recursive
  integration (Armitage, McPherson and Rowe 1969), so that the power is the planned one and not a bound of it.

Several variants share the error by Bonferroni's rule, which confidence sequences can keep too (decision 0041).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import lambertw
from scipy.stats import norm

from clickscape.errors import ExperimentError
from clickscape.experiment.definition import PlannedSample
from clickscape.json_files import read_json

Reading = Literal["always-valid", "fixed"]
Floats = NDArray[np.float64]

LEAST_CLICKS = 100
"""Clicks that every variant is planned to get at least: with fewer, no interval here is what it says."""

_WRONG_CTR = "the CTR is {}, expected a share of impressions such as 0.02. Correct it."
_WEEK = 7
_MOST_IMPRESSIONS = 1_000_000  # of one user
_MOST_DAYS = 36_525  # a hundred years
_MOST_VARIANTS = 100
_MOST_LOOKS = 56  # more looks a day or more days change the sample by less than 1 %


@dataclass(frozen=True, slots=True)
class Traffic:
    """Users that enter an experiment, all variants together, and the impressions that each sees in it.

    users_per_day: each counted once, on the first day. design_effect: variance of a CTR clustered by user over the
    variance of independent impressions (`design_effect`).
    """

    users_per_day: float
    impressions_per_user: float = 1.0
    design_effect: float = 1.0

    def __post_init__(self) -> None:
        for name, low in (("users_per_day", 0), ("impressions_per_user", 0), ("design_effect", 0)):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > low):
                raise ExperimentError(f"{name} is {getattr(self, name)}, expected a number above 0. Correct it.")


@dataclass(frozen=True, slots=True)
class Goal:
    """What an experiment shall find: a relative `lift` over the control's `ctr`, with which power, at which level.

    variants: with the control. share: of the users for each variant but the control, which gets the rest; None: all
    equal. level: of all comparisons together.
    """

    ctr: float
    lift: float
    variants: int = 2
    share: float | None = None
    power: float = 0.8
    level: float = 0.95
    reading: Reading = "always-valid"

    def __post_init__(self) -> None:
        if not 0 < self.ctr < 1:
            raise ExperimentError(_WRONG_CTR.format(self.ctr))
        if not (self.lift > -1 and self.lift != 0 and self.ctr * (1 + self.lift) < 1):
            raise ExperimentError(f"the lift is {self.lift}, expected a relative one such as 0.05 for +5 %, with which "
                                  f"the CTR stays between 0 and 1. Correct it.")  # fmt: skip
        if not 2 <= self.variants <= _MOST_VARIANTS:
            raise ExperimentError(f"{self.variants} variants: expected the control and at least one other, at most "
                                  f"{_MOST_VARIANTS} together.")  # fmt: skip
        if not 0 < self.shares[1] < 1 or not 0 < self.shares[0] < 1:
            raise ExperimentError(f"{self.variants - 1} variants with {self.share} of the users each leave the control "
                                  f"none. Give a smaller share.")  # fmt: skip
        if not (0.5 < self.power < 1 and 0.5 < self.level < 1):
            raise ExperimentError(f"power and level lie between 0.5 and 1, got {self.power} and {self.level}.")

    @property
    def shares(self) -> tuple[float, float]:
        """Return the share of the control, and of each other variant."""
        each = 1 / self.variants if self.share is None else self.share
        return 1 - (self.variants - 1) * each, each

    @property
    def comparison_level(self) -> float:
        """Return the level of each comparison with the control."""
        return 1 - (1 - self.level) / (self.variants - 1)


@dataclass(frozen=True, slots=True)
class Plan:
    """Users and days that an experiment needs; what it will find then.

    needed: users for the power, all variants together. users: those of the whole weeks that it runs. expected_days:
    after how many an always-valid reading finds the lift on average (`days` where it does not). detectable: relative
    lift that is found with the planned power in these days. intrinsic_time: variance of the clicks of control and one
    variant together × (estimated log lift − truth) at the end, for which their confidence sequence is narrowest.
    """

    goal: Goal
    traffic: Traffic
    needed: int
    users: int
    days: int
    expected_days: float
    detectable: float
    intrinsic_time: float

    @property
    def users_per_variant(self) -> tuple[int, int]:
        """Return the users of the control, and of each other variant."""
        control, other = self.goal.shares
        return round(self.users * control), round(self.users * other)

    @property
    def sample(self) -> PlannedSample:
        """Return what the experiment's definition keeps of the plan."""
        goal = self.goal
        return PlannedSample(goal.ctr, goal.lift, self.users, self.days, goal.reading, goal.power, self.intrinsic_time)

    def lines(self) -> list[str]:
        """Return the plan in lines for people."""
        goal, (control, other) = self.goal, self.users_per_variant
        impressions = self.users * self.traffic.impressions_per_user
        found = f"a lift of {goal.lift:+.1%} over a CTR of {goal.ctr:.3%} is found with a chance of {goal.power:.0%}"
        error = f"{1 - goal.level:.0%} error" + (f" over {goal.variants - 1} comparisons" if goal.variants > 2 else "")
        lines = [
            f"{self.days} days: {found} at {error}",
            f"{self.users:,} users: {control:,} control, {other:,} each other variant; {impressions:,.0f} impressions",
            f"design effect {self.traffic.design_effect:.2f}: the variance of users over that of single impressions",
        ]
        if goal.reading == "always-valid":
            lines.append(f"read every day; a lift as planned shows after {self.expected_days:.0f} days "
                         f"on average")  # fmt: skip
        else:
            lines.append(f"read once, after {self.days} days: a look before them is no result")
        return [*lines, f"smallest lift found with this chance in these days: {_rounded_up(self.detectable):+.1%}"]


def read(path: Path) -> Plan:
    """Return the plan of a JSON file that `clickscape experiment plan --out` wrote; ExperimentError for damage."""
    return read_json(
        path, Plan, error=ExperimentError, remedy="Write it again with `clickscape experiment plan --out`."
    )


def plan(goal: Goal, traffic: Traffic, *, least_days: int = 14, most_days: int = 56) -> Plan:
    """Return how long to run, in whole weeks of at least `least_days`, so that weekdays and novelty even out.

    ExperimentError where `most_days` are too few, with what would do instead.
    """
    if not 1 <= least_days <= most_days or most_days < _weeks(least_days):
        raise ExperimentError(f"from {least_days} to {most_days} days: an experiment runs for whole weeks, at least "
                              f"one. Correct them.")  # fmt: skip
    days = _days(goal, traffic, least=_weeks(least_days))
    if days > most_days:
        raise _refusal(goal, traffic, days=days, most_days=most_days)
    users = math.ceil(days * traffic.users_per_day)
    effect, variance = _effect(goal, traffic)
    expected = float(days)
    if goal.reading == "always-valid":
        crossed = _crossing(effect / math.sqrt(variance / users), _information(days, traffic), goal.comparison_level)
        passed = days * np.arange(1, len(crossed) + 1) / len(crossed)
        expected = float(np.sum(np.diff(crossed, prepend=0.0) * passed) + (1 - crossed[-1]) * days)
    clicks = _clicks_of_a_pair(goal, traffic) * users
    return Plan(
        goal=goal,
        traffic=traffic,
        needed=_needed(goal, traffic, looks=days),
        users=users,
        days=days,
        expected_days=expected,
        detectable=_detectable(goal, traffic, users=users, looks=days),
        intrinsic_time=clicks**2 * _effect(replace(goal, reading="always-valid"), traffic)[1] / users,
    )


def design_effect(
    *, ctr: float, impressions_per_user: float, impressions_cv: float = 1.0, ctr_cv: float = 0.7
) -> float:
    """Return the variance of a CTR over users N impressions each, relative to that of independent impressions.

    For clicks that are binomial given a personal CTR: 1 + ctr · ctr_cv² · E[N(N − 1)] / (E[N] (1 − ctr)). *_cv: sd /
    mean over users, of impressions and of personal CTRs.
    """
    mean = impressions_per_user
    if not 0 < ctr < 1:
        raise ExperimentError(_WRONG_CTR.format(ctr))
    if not 0 < mean <= _MOST_IMPRESSIONS:
        raise ExperimentError(f"{mean} impressions per user: expected a number above 0, {_MOST_IMPRESSIONS:,} at most. "
                              f"Correct it.")  # fmt: skip
    pairs = max(mean**2 * (1 + impressions_cv**2) - mean, 0.0)
    return 1 + ctr * ctr_cv**2 * pairs / (mean * (1 - ctr))


def _effect(goal: Goal, traffic: Traffic) -> tuple[float, float]:
    """Size of the effect, above 0, and the variance of its estimate times users, on the scale of the reading."""
    control, other = goal.shares
    alone = [(1 - ctr) / (ctr * traffic.impressions_per_user) for ctr in (goal.ctr, goal.ctr * (1 + goal.lift))]
    tastes = max(traffic.design_effect - 1, 0.0) * alone[0]
    relative = [min(traffic.design_effect, 1.0) * one + tastes for one in alone]
    if goal.reading == "fixed":  # of the difference, in units of the control's CTR
        return abs(goal.lift), relative[0] / control + (1 + goal.lift) ** 2 * relative[1] / other
    return abs(math.log1p(goal.lift)), relative[0] / control + relative[1] / other


def _powered(goal: Goal, traffic: Traffic, *, looks: int) -> float:
    """Users of all variants that give the power."""
    effect, variance = _effect(goal, traffic)
    information = _information(looks, traffic) if goal.reading == "always-valid" else (1.0,)
    errors = _errors(goal.comparison_level, goal.power, goal.reading, information)
    return variance * (errors / effect) ** 2


def _needed(goal: Goal, traffic: Traffic, *, looks: int) -> int:
    """Users of all variants that give the power, and enough clicks in the variant that has fewest."""
    least = min(share * ctr for share, ctr in zip(goal.shares, (goal.ctr, goal.ctr * (1 + goal.lift)), strict=True))
    return math.ceil(max(_powered(goal, traffic, looks=looks), LEAST_CLICKS / (least * traffic.impressions_per_user)))


def _days(goal: Goal, traffic: Traffic, *, least: int) -> int:
    """Fewest whole weeks in which enough users enter, in days; more days are more looks, which need fewer users."""

    def enough(days: int) -> bool:
        return _needed(goal, traffic, looks=days) <= days * traffic.users_per_day

    if _needed(goal, traffic, looks=least) > _MOST_DAYS * traffic.users_per_day:
        raise ExperimentError(f"{traffic.users_per_day:g} users a day would need more than a hundred years to find a "
                              f"lift of {goal.lift:+.2g}. Look for a larger lift, or get more users.")  # fmt: skip
    most = max(_weeks(_needed(goal, traffic, looks=least) / traffic.users_per_day), least)
    weeks = range(least, most, _WEEK)
    return [*weeks, most][bisect_left(weeks, True, key=enough)]


@lru_cache(maxsize=512)
def _errors(level: float, power: float, reading: Reading, information: tuple[float, ...]) -> float:
    """Standard errors at the end that an effect has to be large to be found with the power."""
    if reading == "fixed":
        limit = norm.ppf(0.5 + level / 2)
        return float(brentq(lambda size: norm.sf(limit - size) + norm.cdf(-limit - size) - power, 1, 16))
    return float(brentq(lambda size: _crossing(size, information, level)[-1] - power, 1, 16, xtol=1e-3))


def _crossing(size: float, information: tuple[float, ...], level: float) -> Floats:
    """Chance to have found an effect of so many standard errors of the end by each look, (look,).

    S, the estimate times the share of the sample that is in (`information`), in standard errors of the end, is a
    Brownian motion with this drift; found is what crosses b = √((r + κ) log((r + κ) / (κ α²))) upwards, r from 0 to 1,
    κ = 1 / (w − 1), w − log w = 1 − 2 log α. Between two looks the density of what has not crossed is integrated by
    Gauss and Legendre.
    """
    alpha = 1 - level
    width = -float(lambertw(-(alpha**2) / math.e, k=-1).real)
    scale = 1 / (width - 1)
    steps = np.sqrt(np.diff(information, prepend=0.0))
    nodes, weights = np.polynomial.legendre.leggauss(math.ceil(3 * math.sqrt(width) / steps.min()) + 16)
    found, total = np.zeros(len(steps)), 0.0
    places, mass = np.zeros(1), np.ones(1)  # all is at 0 before the first look
    for look, (part, step) in enumerate(zip(information, steps.tolist(), strict=True)):
        limit = math.sqrt((part + scale) * math.log((part + scale) / (scale * alpha**2)))
        drifted = places + size * step**2
        total += float(np.sum(mass * norm.sf((limit - drifted) / step)))
        found[look] = total
        new = nodes * limit
        density = np.exp(-0.5 * ((new[:, None] - drifted) / step) ** 2) / (step * math.sqrt(2 * math.pi))
        places, mass = new, weights * limit * (density @ mass)
    return found


def _information(days: int, traffic: Traffic) -> tuple[float, ...]:
    """Shares of all impressions that are in at each look, for users who enter evenly and keep coming back, (look,).

    By day d, d users of each day's have seen one impression when they entered and k on every later day, together
    d + k d (d − 1) / 2; k so that a user has seen the traffic's impressions on average in the end. There is a look a
    day, but `_MOST_LOOKS` at most.
    """
    looks = min(days, _MOST_LOOKS)
    passed = days * np.arange(1, looks + 1) / looks
    more = max(traffic.impressions_per_user - 1, 0.0) / max((days - 1) / 2, 0.5)
    seen = passed + more * passed * np.maximum(passed - 1, 0) / 2
    return tuple((seen / seen[-1]).tolist())


def _clicks_of_a_pair(goal: Goal, traffic: Traffic) -> float:
    """Clicks of the control and one variant together, per user of the experiment."""
    control, other = goal.shares
    return traffic.impressions_per_user * goal.ctr * (control + (1 + goal.lift) * other)


def _detectable(goal: Goal, traffic: Traffic, *, users: float, looks: int) -> float:
    """Smallest lift of the goal's sign that so many users give the power for; the largest that there can be if none."""
    sign = math.copysign(1, goal.lift)
    most = min(0.999 / goal.ctr - 1, 100.0) if sign > 0 else 0.999

    def lacking(size: float) -> float:
        return _powered(replace(goal, lift=sign * size), traffic, looks=looks) - users

    if lacking(1e-6) <= 0:
        return sign * 1e-6
    return sign * (most if lacking(most) > 0 else float(brentq(lacking, 1e-6, most, xtol=1e-5)))


def _rounded_up(lift: float) -> float:
    """The lift away from 0 to whole tenths of a percent, so that what is printed is enough."""
    return math.copysign(math.ceil(abs(lift) * 1000 - 1e-6) / 1000, lift)


def _weeks(days: float) -> int:
    return _WEEK * math.ceil(days / _WEEK)


def _refusal(goal: Goal, traffic: Traffic, *, days: int, most_days: int) -> ExperimentError:
    """What came, and everything that alone would do: a larger lift, more traffic, fewer variants, one look."""
    fits = _WEEK * (most_days // _WEEK)
    users = fits * traffic.users_per_day
    lift = _detectable(goal, traffic, users=users, looks=fits)
    remedies = [f"look for {_rounded_up(lift):+.1%} or more"] if abs(lift) < min(0.999 / goal.ctr - 1, 100.0) else []
    remedies.append(f"get {math.ceil(_needed(goal, traffic, looks=fits) / fits):,} users a day")
    for number in range(goal.variants - 1, 1, -1):
        if _needed(replace(goal, variants=number, share=None), traffic, looks=fits) <= users:
            remedies.append(f"compare {number} variants")
            break
    if goal.reading != "fixed" and _needed(replace(goal, reading="fixed"), traffic, looks=1) <= users:
        remedies.append("read once, at the end (fixed)")
    return ExperimentError(f"{traffic.users_per_day:,.0f} users a day need {days:,} days to find a lift of "
                           f"{goal.lift:+.1%}, at most {most_days} were given. {' or '.join(remedies)[0].upper()}"
                           f"{', or '.join(remedies)[1:]}.")  # fmt: skip
