"""Does a planned experiment find its lift as often as planned?  python benchmarks/experiment_plan.py

Plans for several CTRs, lifts and kinds of users, each run many times with the planned users and the true lift: how
often the reading finds it, and after how many days. Users enter every day, come back, and differ in how often they look
and click; the plan is told how much, from a pilot of other users. Writes its table into docs/experiments/coverage.md
and appends one JSON row per setting to benchmarks/results/experiment_plan.jsonl.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from _results import Row, measure_each, write_part
from clickscape.experiment.fixed_horizon import fixed_lift
from clickscape.experiment.lift_sequence import lift_sequence
from clickscape.experiment.moments import UnitMoments, daily_moments
from clickscape.experiment.plan import Goal, Plan, Traffic, design_effect, plan

PAGE = Path(__file__).parents[1] / "docs" / "experiments" / "coverage.md"
_DAYS = 14


@dataclass(frozen=True)
class Setting:
    """What is planned for, and users: impressions after the first, and sd / mean of their rates and tastes."""

    name: str
    goal: Goal
    more: float = 4.0
    rate_cv: float = 1.0
    taste_cv: float = 0.7


SETTINGS = (
    Setting("CTR 4 %, lift 15 %, daily looks", Goal(0.04, 0.15)),
    Setting("CTR 4 %, lift 15 %, one look", Goal(0.04, 0.15, reading="fixed")),
    Setting("CTR 4 %, lift −15 %, daily looks", Goal(0.04, -0.15)),
    Setting("CTR 1 %, lift 30 %, 90 % power", Goal(0.01, 0.3, power=0.9)),
    Setting("three variants", Goal(0.04, 0.2, variants=3)),
    Setting("one in five sees the new ad", Goal(0.04, 0.2, share=0.2)),
    Setting("users who differ a lot", Goal(0.04, 0.2), more=9.0, rate_cv=2.0, taste_cv=1.5),
)


def draw(setting: Setting, users: int, lift: float, rng: np.random.Generator) -> tuple[UnitMoments, NDArray[np.int64]]:
    """Return the moments (variant, day) of the control and one variant, and the impressions of every user."""
    shares = np.array(setting.goal.shares) / sum(setting.goal.shares)
    variant = (rng.random(users) < shares[1]).astype(np.int64)
    entry = rng.integers(_DAYS, size=users)
    rate = _gamma(rng, setting.rate_cv, users) * setting.more / ((_DAYS - 1) / 2)
    days = np.arange(_DAYS)
    shown = rng.poisson(rate[:, None] * (days > entry[:, None])) + (days == entry[:, None])
    chance = np.minimum(setting.goal.ctr * _gamma(rng, setting.taste_cv, users) * np.where(variant, 1 + lift, 1), 1)
    unit, day = np.nonzero(shown)
    seen = shown[unit, day]
    counts = np.stack([seen, rng.binomial(seen, chance[unit]), np.zeros_like(seen)], axis=1)
    before = np.zeros((len(unit), 2), np.int64)
    moments = daily_moments(
        unit=unit, variant=variant[unit], day=day, counts=counts, before=before, variants=2, days=_DAYS
    )
    return moments, shown.sum(axis=1)


def planned(setting: Setting) -> Plan:
    """Return the plan whose users are just those that are needed, told of users by a pilot."""
    _, impressions = draw(setting, 50_000, 0.0, np.random.default_rng(1))
    mean, cv = impressions.mean(), impressions.std() / impressions.mean()
    effect = design_effect(ctr=setting.goal.ctr, impressions_per_user=mean, impressions_cv=cv, ctr_cv=setting.taste_cv)
    traffic = Traffic(1e9, mean, effect)
    needed = plan(setting.goal, traffic, least_days=_DAYS).needed
    return plan(setting.goal, replace(traffic, users_per_day=needed / _DAYS * (1 + 1e-9)), least_days=_DAYS)


def measure(name: str, runs: int, seed: int) -> Row:
    """Run one setting's experiment many times."""
    setting = next(one for one in SETTINGS if one.name == name)
    made, goal = planned(setting), setting.goal
    assert made.days == _DAYS, made
    pair = round(made.users * sum(goal.shares))  # the control and one variant
    days = []
    for run in range(runs):
        daily, _ = draw(setting, pair, goal.lift, np.random.default_rng([seed, run]))
        days.append(_found(daily, made))
    found = [day for day in days if day is not None]
    power = len(found) / runs
    lasted = [day if day is not None else _DAYS for day in days]
    return {
        "setting": name,
        "runs": runs,
        "seed": seed,
        "users": made.users,
        "design_effect": made.traffic.design_effect,
        "planned_power": goal.power,
        "power": power,
        "power_se": math.sqrt(power * (1 - power) / runs),
        "expected_days": made.expected_days,
        "days": float(np.mean(lasted)),
        "days_se": float(np.std(lasted) / math.sqrt(runs)),
    }


def _found(daily: UnitMoments, made: Plan) -> int | None:
    """The first day on which the reading finds a lift of the right sign; None where it does not."""
    goal, known = made.goal, daily.cumulative()
    control, variant = known[0], known[1]
    if goal.reading == "fixed":
        fixed = fixed_lift(control[-1], variant[-1], level=goal.comparison_level)
        return _DAYS if fixed and _right(fixed.lift.low, fixed.lift.high, goal) else None
    sequence = lift_sequence(
        control, variant, days=_DAYS, intrinsic_time=made.intrinsic_time, level=goal.comparison_level
    )
    for day in range(_DAYS):
        lift = sequence.estimate(day) if sequence else None
        if lift and _right(lift.low, lift.high, goal):
            return day + 1
    return None


def _right(low: float, high: float, goal: Goal) -> bool:
    return low > 0 if goal.lift > 0 else high < 0


def _gamma(rng: np.random.Generator, cv: float, count: int) -> NDArray[np.float64]:
    return rng.gamma(1 / cv**2, cv**2, count)


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a section of the page."""
    gaps = [row["power"] - row["planned_power"] for row in rows]
    error = 2 * math.sqrt(sum(row["power_se"] ** 2 for row in rows)) / len(rows)
    lines = [
        "## Power and days of plans",
        "",
        f"`python benchmarks/experiment_plan.py --page --runs {rows[0]['runs']}`: each plan was run that often with",
        "its users and its true lift; ± is two standard errors. Power found less power planned, averaged over plans,",
        f"in points: {100 * np.mean(gaps):+.1f} ± {100 * error:.1f}.",
        "",
        "| plan | users | design effect | planned power | found | planned days | days |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*lines, *map(_cells, rows)])


def _cells(row: Row) -> str:
    return (
        f"| {row['setting']} | {row['users']:,} | {row['design_effect']:.2f} | {row['planned_power']:.0%} "
        f"| {row['power']:.1%} ± {2 * row['power_se']:.1%} | {row['expected_days']:.1f} "
        f"| {row['days']:.1f} ± {2 * row['days_se']:.1f} |"
    )


def main() -> None:
    """Measure every setting."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--page", action="store_true", help="write the table into docs/experiments/coverage.md")
    options = parser.parse_args()
    jobs = [(one.name, options.runs, options.seed) for one in SETTINGS]
    rows = measure_each(measure, jobs, workers=options.workers, by="experiment_plan")
    print(table(rows))
    if options.page:
        write_part(PAGE, table(rows), by="experiment_plan")


if __name__ == "__main__":
    main()
