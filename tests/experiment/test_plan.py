from __future__ import annotations

import json
import math
import re
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from clickscape.errors import ExperimentError
from clickscape.experiment import plan as planning
from clickscape.experiment.baseline import planned_traffic
from clickscape.experiment.plan import Goal, Traffic, design_effect, plan

FAST = Traffic(users_per_day=1e6)


@pytest.mark.parametrize(("ctr", "better", "per_arm"), [(0.10, 0.12, 3_839), (0.05, 0.10, 432), (0.60, 0.70, 354)])
def test_one_look_at_two_variants_needs_the_textbooks_sample(ctr: float, better: float, per_arm: int) -> None:
    """n = (z₀.₉₇₅ + z₀.₈)² (p₁(1 − p₁) + p₂(1 − p₂)) / (p₂ − p₁)², 7.849 × 0.1956 / 0.0004 = 3,838 for 10 and 12 %."""
    by_hand = (1.959964 + 0.841621) ** 2 * (ctr * (1 - ctr) + better * (1 - better)) / (better - ctr) ** 2
    made = plan(Goal(ctr, better / ctr - 1, reading="fixed"), FAST)
    largest = max(by_hand, planning.LEAST_CLICKS / ctr)
    assert made.needed / 2 == pytest.approx(largest, abs=1)
    assert planning.LEAST_CLICKS / ctr > by_hand or math.ceil(by_hand) == per_arm


def test_more_comparisons_share_the_error_and_a_design_effect_multiplies_the_sample() -> None:
    goal = Goal(0.02, 0.1, reading="fixed")
    two, four = plan(goal, FAST).needed, plan(replace(goal, variants=4), FAST).needed
    z = norm.ppf([1 - 0.05 / 6, 0.8]).sum() / norm.ppf([0.975, 0.8]).sum()
    assert four / two == pytest.approx(2 * z**2, rel=1e-3)
    tastes = 0.7 * 49 * (1 + 1.1**2) / (49 + 1.1**2 * 0.978 / 0.022)  # .98 / .02 = 49, the same for both log CTRs
    assert plan(goal, replace(FAST, design_effect=1.7)).needed / two == pytest.approx(1 + tastes, rel=1e-3)
    assert plan(goal, replace(FAST, impressions_per_user=4)).needed / two == pytest.approx(0.25, rel=1e-3)


def test_a_small_share_for_new_needs_more_users_of_whom_fewer_see_it() -> None:
    """Variance 1 / 0.9 + 1 / 0.1 = 11.1 where halves have 4, for lifts so small that both CTRs are alike."""
    goal = Goal(0.02, 0.01, reading="fixed")
    assert plan(replace(goal, share=0.1), FAST).needed / plan(goal, FAST).needed == pytest.approx(11.11 / 4, rel=0.01)


def test_reading_every_day_costs_a_known_factor_and_ends_sooner_on_average() -> None:
    fixed = plan(Goal(0.02, 0.05, reading="fixed"), Traffic(5e4))
    daily = plan(Goal(0.02, 0.05), Traffic(5e4))
    assert 1.5 < daily.needed / fixed.needed < 2
    assert daily.expected_days < 0.75 * daily.days
    returning = plan(Goal(0.02, 0.05), Traffic(5e4 / 5, 5))
    assert daily.expected_days < returning.expected_days < daily.days


@pytest.mark.parametrize("impressions", [1.0, 6.0])
def test_the_power_of_daily_looks_is_as_planned_in_simulated_sums(impressions: float) -> None:
    """A random walk against the boundary as it is written for one look: estimate − half width above 0."""
    goal, looks, walks = Goal(0.02, 0.05), 28, 20_000
    information = planning._information(looks, Traffic(1, impressions_per_user=impressions))
    size = planning._errors(goal.comparison_level, goal.power, "always-valid", information)
    part = np.array(information)
    new = np.diff(part, prepend=0.0)
    steps = np.random.default_rng(5).normal(size * new, np.sqrt(new), (walks, looks))
    estimate, error = np.cumsum(steps, axis=1) / part, 1 / np.sqrt(part)
    width = 9.212  # w − log w = 1 − 2 log 0.05
    assert width - math.log(width) == pytest.approx(1 - 2 * math.log(0.05), abs=1e-3)
    scale = 1 / (width - 1)
    half = error * np.sqrt((part + scale) / part * np.log((part + scale) / (scale * 0.05**2)))
    found = np.mean(np.any(estimate > half, axis=1))
    assert abs(found - 0.8) < 4 * math.sqrt(0.8 * 0.2 / walks)
    days = np.argmax(estimate > half, axis=1) + 1
    days[~np.any(estimate > half, axis=1)] = looks
    crossed = planning._crossing(size, information, goal.comparison_level)
    assert abs(days.mean() - (1 + np.sum(1 - crossed[:-1]))) < 4 * days.std() / math.sqrt(walks)


@pytest.mark.slow
def test_the_power_of_one_look_is_as_planned_for_users_who_differ() -> None:
    """Users with personal CTRs and rates, read by the delta method over users: 80 % of the runs find the lift."""
    rng, runs = np.random.default_rng(2), 600
    ctr, lift, mean, cv, taste = 0.05, 0.2, 4.0, 1.2, 1.0
    effect = design_effect(ctr=ctr, impressions_per_user=mean, impressions_cv=cv, ctr_cv=taste)
    assert effect > 1.3
    made = plan(Goal(ctr, lift, reading="fixed"), Traffic(1e5, mean, effect))
    users = made.needed // 2
    shape = 1 / (cv**2 - 1 / mean)  # a negative binomial of this mean and cv

    def arm(true: float) -> tuple[float, float]:
        seen = rng.negative_binomial(shape, shape / (shape + mean), users)
        chances = np.minimum(true * rng.gamma(1 / taste**2, taste**2, users), 1)
        clicks = rng.binomial(seen, chances)
        ratio = clicks.sum() / seen.sum()
        return ratio, float(np.var(clicks - ratio * seen)) / users / seen.mean() ** 2

    found = 0
    for _ in range(runs):
        (old, old_variance), (new, new_variance) = arm(ctr), arm(ctr * (1 + lift))
        found += new - old > 1.96 * math.sqrt(old_variance + new_variance)
    assert abs(found / runs - 0.8) < 4 * math.sqrt(0.8 * 0.2 / runs)


def test_the_design_effect_is_the_one_worked_out_by_hand() -> None:
    """Two impressions each (no spread), CTR 0.1, tastes with cv 1: 1 + 0.1 · 1 · (4 − 2) / (2 · 0.9) = 1.111."""
    assert design_effect(ctr=0.1, impressions_per_user=2, impressions_cv=0, ctr_cv=1) == pytest.approx(1 + 0.1 / 0.9)
    assert design_effect(ctr=0.1, impressions_per_user=1, impressions_cv=0, ctr_cv=1) == 1
    assert design_effect(ctr=0.1, impressions_per_user=9, ctr_cv=0) == 1


def test_experiments_run_for_whole_weeks_and_two_at_least() -> None:
    assert plan(Goal(0.02, 0.5), FAST).days == 14
    assert plan(Goal(0.02, 0.5), FAST, least_days=8).days == 14
    assert plan(Goal(0.02, 0.5), FAST, least_days=1).days == 7
    longer = plan(Goal(0.02, 0.05), Traffic(2e4, 5))
    slower = plan(Goal(0.02, 0.05), Traffic(8e3, 5))
    assert slower.days > longer.days
    assert slower.days % 7 == 0


def test_a_plan_that_cannot_answer_is_refused_with_what_would_do() -> None:
    goal, traffic = Goal(0.02, 0.05, variants=4), Traffic(5_000, 5, 1.09)
    with pytest.raises(ExperimentError) as caught:
        plan(goal, traffic)
    told = str(caught.value)
    assert re.match(r"5,000 users a day need \d+ days to find a lift of \+5\.0%, at most 56 were given\. Look", told)
    lift, users, fewer = re.findall(r"\+([\d.]+)% or more|get ([\d,]+) users|compare (\d) variants", told)
    assert plan(replace(goal, lift=float(lift[0]) / 100), traffic).days <= 56
    assert plan(goal, replace(traffic, users_per_day=float(users[1].replace(",", "")))).days <= 56
    assert plan(replace(goal, variants=int(fewer[2])), traffic).days <= 56
    with pytest.raises(ExperimentError, match="read once, at the end"):
        plan(Goal(0.02, 0.05), Traffic(4_500, 4))


@settings(max_examples=15, deadline=None)
@given(
    ctr=st.floats(0.002, 0.2),
    lift=st.floats(0.03, 0.5),
    reading=st.sampled_from(["fixed", "always-valid"]),
    sign=st.sampled_from([1, -1]),
)
def test_what_is_detectable_in_the_planned_days_is_no_more_than_the_goal(
    ctr: float, lift: float, reading: planning.Reading, sign: int
) -> None:
    made = plan(Goal(ctr, sign * lift, reading=reading), Traffic(3e5), most_days=3_650)
    assert abs(made.detectable) <= lift + 1e-4
    assert math.copysign(1, made.detectable) == sign
    assert made.users >= made.needed


def test_the_intrinsic_time_is_that_of_the_planned_end() -> None:
    """Clicks² × variance of the log lift: without clustering and for rare clicks, (A + B)² (1 / A + 1 / B)."""
    made = plan(Goal(1e-4, 0.2), Traffic(1e6))
    control, other = made.users / 2 * 1e-4, made.users / 2 * 1.2e-4
    assert made.intrinsic_time == pytest.approx((control + other) ** 2 * (1 / control + 1 / other), rel=1e-3)
    assert made.sample.intrinsic_time == made.intrinsic_time


def test_users_who_come_back_bring_most_impressions_late() -> None:
    """Three days, two impressions a user: 1 by the end of the first day, 1 + 2 = 3 by the second, 6 by the third."""
    assert planning._information(3, Traffic(1, impressions_per_user=2)) == pytest.approx([1 / 6, 1 / 2, 1])
    assert planning._information(3, Traffic(1)) == pytest.approx([1 / 3, 2 / 3, 1])
    assert len(planning._information(70, Traffic(1, 3))) == planning._MOST_LOOKS


def test_tastes_add_the_same_variance_of_the_log_at_every_ctr() -> None:
    """CTRs .1 and .2, an impression each: (.9 / .1 + .8 / .2) · 2; tastes of design effect 2 add 9 to both."""
    goal = Goal(0.1, 1.0)
    assert planning._effect(goal, Traffic(1))[1] == pytest.approx(2 * (9 + 4))
    assert planning._effect(goal, Traffic(1, 1.0, 2.0))[1] == pytest.approx(2 * (18 + 13))
    assert planning._effect(goal, Traffic(1, 1.0, 0.5))[1] == pytest.approx(13)


def test_a_plan_is_read_back_from_what_was_printed(tmp_path: Path) -> None:
    made = plan(Goal(0.02, 0.05), Traffic(2e4, 5))
    (tmp_path / "plan.json").write_text(json.dumps(asdict(made)), encoding="utf-8")
    assert planning.read(tmp_path / "plan.json") == made
    (tmp_path / "plan.json").write_text(json.dumps({**asdict(made), "users": "many"}), encoding="utf-8")
    with pytest.raises(ExperimentError, match=r"plan\.json: users: "):
        planning.read(tmp_path / "plan.json")


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        ({"ctr": 2.0}, "the CTR is 2.0, expected a share"),
        ({"lift": 0.0}, "the lift is 0.0"),
        ({"lift": 60.0}, "with which the CTR stays between 0 and 1"),
        ({"variants": 1}, "1 variants: expected the control and at least one other"),
        ({"variants": 3, "share": 0.5}, "leave the control none"),
        ({"power": 0.2}, "power and level lie between 0.5 and 1"),
    ],
)
def test_a_goal_that_cannot_be_is_refused(goal: dict[str, float], message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        Goal(**{"ctr": 0.02, "lift": 0.1, **goal})  # type: ignore[arg-type]


def test_traffic_that_is_none_is_refused() -> None:
    with pytest.raises(ExperimentError, match="users_per_day is 0, expected a number above 0"):
        Traffic(0)
    with pytest.raises(ExperimentError, match="from 21 to 14 days: an experiment runs for whole weeks"):
        plan(Goal(0.02, 0.1), FAST, least_days=21, most_days=14)


@pytest.mark.parametrize("users_per_day", [1e-3, 1e-300])
def test_a_hopeless_plan_is_refused_at_once(users_per_day: float) -> None:
    """It was searched week by week, for millions of weeks."""
    with pytest.raises(ExperimentError, match="more than a hundred years"):
        plan(Goal(ctr=0.04, lift=0.15), Traffic(users_per_day))


def test_a_crowd_finds_any_lift() -> None:
    assert plan(Goal(ctr=0.04, lift=0.15), Traffic(1e18)).detectable == 1e-6


@pytest.mark.parametrize("days", [23, 75, 301])
def test_the_shortest_plan_is_the_first_week_with_enough_users(days: int) -> None:
    goal = Goal(ctr=0.04, lift=0.15)
    traffic = Traffic(plan(goal, Traffic(5_000.0)).needed / days)
    made = plan(goal, traffic, most_days=1_000)
    assert made.needed <= made.users
    with pytest.raises(ExperimentError, match=f"need {made.days} days"):
        plan(goal, traffic, most_days=made.days - 7)


@pytest.mark.parametrize(
    ("given", "message"),
    [({"ctr": math.nan}, "the CTR is nan"), ({"ctr": 1.2}, "the CTR is 1.2"),
     ({"impressions_per_user": 0.0}, "0.0 impressions per user"),
     ({"impressions_per_user": 1e300}, "impressions per user: expected")],
)  # fmt: skip
def test_traffic_that_cannot_be_is_named_by_what_was_given(given: dict[str, float], message: str) -> None:
    with pytest.raises(ExperimentError, match=message):
        planned_traffic(None, **{"ctr": 0.04, "users_per_day": 100.0, **given})


def test_a_thousand_variants_are_refused() -> None:
    with pytest.raises(ExperimentError, match="at most 100 together"):
        Goal(ctr=0.04, lift=0.15, variants=1_000)
