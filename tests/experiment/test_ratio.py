from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t
from tests.experiment.worlds import users_world

from clickscape.experiment.fixed_horizon import fixed_lift
from clickscape.experiment.moments import daily_moments, from_counts
from clickscape.experiment.ratio import log_ratio, ratio_and_variance


def test_without_users_the_variance_is_the_binomials() -> None:
    """Var log(clicks / n) = 1 / clicks − 1 / n, each side by n / (n − 1)."""
    counts = from_counts(impressions=np.array([1_000, 500]), clicks=np.array([40, 30]))
    found = log_ratio(counts[0], counts[1])
    assert math.isclose(found.value, math.log((30 / 500) / (40 / 1_000)))
    expected = (1 / 40 - 1 / 1_000) * 1_000 / 999 + (1 / 30 - 1 / 500) * 500 / 499
    assert math.isclose(found.variance, expected)
    assert math.isclose(found.time, 70**2 * expected)
    assert math.isclose(1 / found.effective, (1 / 30 - 1 / 500) * 500 / 499)


@pytest.mark.parametrize("adjusted", [False, True])
def test_the_delta_method_is_tea_tastings(adjusted: bool) -> None:
    """Two implementations from the same sums: the lift, and the interval from our variance by Student's quantile."""
    total = users_world(np.random.default_rng(1), lift=0.2, past=4.0).total
    control, variant = total[0], total[1]
    ours = log_ratio(control, variant, adjusted=adjusted)
    theirs = fixed_lift(control, variant, adjusted=adjusted)
    assert theirs is not None
    assert math.isclose(math.expm1(ours.value), theirs.lift.value, rel_tol=1e-9)
    half = (math.log1p(theirs.lift.high) - math.log1p(theirs.lift.low)) / 2
    freedom = float(control.units + variant.units)
    assert math.isclose(float(t.ppf(0.975, freedom)) * math.sqrt(ours.variance), half, rel_tol=1e-3)


def test_users_who_come_back_make_intervals_wider_than_impressions_do() -> None:
    world = users_world(np.random.default_rng(2), visits=8, variance=2.0).total
    clustered = log_ratio(world[0], world[1]).variance
    counts = from_counts(impressions=world.sums[:, 0], clicks=world.sums[:, 1])
    assert clustered > 1.3 * log_ratio(counts[0], counts[1]).variance


def test_the_variance_is_that_of_repeated_worlds() -> None:
    """200 worlds: sd of the log ratio against the mean of its standard errors, within 4 standard errors of an sd."""
    rng = np.random.default_rng(3)
    found = [log_ratio(world[0], world[1]) for world in (users_world(rng).total for _ in range(200))]
    observed = np.std([float(one.value) for one in found])
    expected = math.sqrt(np.mean([float(one.variance) for one in found]))
    assert abs(observed / expected - 1) < 4 / math.sqrt(2 * 200)


def test_what_users_did_before_narrows_the_interval() -> None:
    world = users_world(np.random.default_rng(4), variance=2.0, past=30.0, visits=8).total
    plain, adjusted = log_ratio(world[0], world[1]), log_ratio(world[0], world[1], adjusted=True)
    assert adjusted.variance < 0.9 * plain.variance
    assert abs(adjusted.value - plain.value) < 4 * math.sqrt(plain.variance)


def test_without_a_past_there_is_nothing_to_adjust() -> None:
    world = users_world(np.random.default_rng(5)).total
    plain, adjusted = log_ratio(world[0], world[1]), log_ratio(world[0], world[1], adjusted=True)
    assert plain.value == adjusted.value
    assert plain.variance == adjusted.variance


def test_days_that_oppose_each_other_do_not_shorten_the_clock() -> None:
    """A user who clicks on one day and not on the next: his sum hardly varies, and the floor takes days for users."""
    users = 400
    clicks = np.stack([np.arange(users) % 2, 1 - np.arange(users) % 2], axis=1).ravel()
    counts = np.stack([np.full(2 * users, 2), clicks, np.zeros(2 * users, int)], axis=1)
    unit = np.repeat(np.arange(users), 2)
    made = daily_moments(
        unit=unit, variant=unit // 2 % 2, day=np.tile([0, 1], users), counts=counts,
        before=np.zeros((2 * users, 2)), variants=2, days=2,
    ).total  # fmt: skip
    found = log_ratio(made[0], made[1])
    assert found.variance == pytest.approx(0, abs=1e-12)
    assert found.guarded == pytest.approx(2 * 200 * 2 * 0.25 / 200**2 * 200 / 199)


def test_a_variant_without_clicks_has_no_ratio() -> None:
    counts = from_counts(impressions=np.array([100, 100]), clicks=np.array([0, 5]))
    assert np.isnan(log_ratio(counts[0], counts[1]).value)
    ratio, variance = ratio_and_variance(counts)
    assert ratio[0] == 0
    assert not np.isfinite(variance[0])
