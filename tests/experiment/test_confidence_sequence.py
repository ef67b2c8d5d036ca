from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.experiment.worlds import users_world

from clickscape.experiment.confidence_sequence import (
    Mixture,
    always_valid_p,
    msprt_half_width,
    msprt_log_e_value,
    one_sided_level,
)
from clickscape.experiment.ratio import log_ratio

positive = st.floats(0.01, 100)


def test_the_boundary_by_hand() -> None:
    """Robbins: |S| stays below √((V + λ) log((V + λ) / (λ α²))); here V = 3, λ = 1, α = 0.05, variance = 3."""
    half = Mixture(1.0).half_width(variance=np.array(3.0), time=np.array(3.0))
    assert math.isclose(half, math.sqrt(4 * math.log(4 / 0.0025)))


@given(value=st.floats(-3, 3), variance=positive, time=positive, scale=positive)
def test_zero_is_outside_exactly_where_the_evidence_reaches_one_over_alpha(
    value: float, variance: float, time: float, scale: float
) -> None:
    mixture = Mixture(scale)
    half = float(mixture.half_width(variance=np.array(variance), time=np.array(time)))
    evidence = float(mixture.log_e_value(value=np.array(value), variance=np.array(variance), time=np.array(time)))
    if not math.isclose(abs(value), half, rel_tol=1e-9):
        assert (abs(value) > half) == (evidence > math.log(20))


@given(value=st.floats(-3, 3), variance=positive, prior=positive)
def test_the_msprt_too_is_an_interval_and_its_evidence(value: float, variance: float, prior: float) -> None:
    half = float(msprt_half_width(variance=np.array(variance), prior_sd=prior))
    evidence = float(msprt_log_e_value(value=np.array(value), variance=np.array(variance), prior_sd=prior))
    if not math.isclose(abs(value), half, rel_tol=1e-9):
        assert (abs(value) > half) == (evidence > math.log(20))


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_the_mixture_is_tightest_where_it_was_asked_to_be(level: float) -> None:
    variance, time = np.array(1.0), np.array(500.0)
    best = Mixture.tightest_at(500.0, level=level)
    width = best.half_width(variance=variance, time=time, level=level)
    for factor in (0.8, 1.25):
        other = Mixture(best.scale * factor).half_width(variance=variance, time=time, level=level)
        assert other > width


def test_p_values_do_not_rise_again() -> None:
    found = always_valid_p(np.array([np.nan, -1.0, math.log(4), math.log(2), math.log(50)]))
    assert np.allclose(found, [1, 1, 0.25, 0.25, 0.02])


def test_one_end_of_a_two_sided_interval_is_a_bound_of_a_higher_level() -> None:
    assert one_sided_level(0.95) == pytest.approx(0.90)


def test_a_mixture_without_width_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        Mixture(0.0)


@pytest.mark.slow
@pytest.mark.parametrize("adjusted", [False, True])
def test_looking_every_day_at_users_who_come_back_does_not_raise_false_alarms(adjusted: bool) -> None:
    """300 worlds without lift, 20 looks each: at most 5 % ever exclude 0, within 4 sigma; a fixed interval does often.

    The bound of what the fixed one does is loose: 20 looks at a normal walk cross 1.96 in about a quarter of worlds.
    """
    rng, worlds = np.random.default_rng(6), 300
    crossed = fixed = 0
    for _ in range(worlds):
        known = users_world(rng, past=3.0, variance=1.0).cumulative()
        found = log_ratio(known[0], known[1], adjusted=adjusted)
        mixture = Mixture.tightest_at(float(found.time[0]) * 20)
        half = mixture.half_width(variance=found.guarded, time=found.time)
        crossed += bool((np.abs(found.value) > half).any())
        fixed += bool((np.abs(found.value) > 1.96 * np.sqrt(found.variance)).any())
    assert crossed / worlds <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / worlds)
    assert fixed / worlds > 0.12
