"""P(a creative has the largest value): against closed forms, a big simulation, and what must hold of any of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betainc, betaln, ndtr

from clickscape.errors import ExperimentError
from clickscape.experiment.propensity import best_of, best_probabilities, with_floor

BOUND = 1e-4  # as the docstring says


def test_of_two_normals_it_is_the_normal_integral_of_their_gap() -> None:
    """P(a > b) = Φ((m_a − m_b) / √(s_a² + s_b²)), over eight orders of magnitude of the ratio of sds."""
    rng = np.random.default_rng(1)
    mean, sd = rng.normal(size=(500, 2)), 10.0 ** rng.uniform(-4, 4, size=(500, 2))
    expected = ndtr((mean[:, 0] - mean[:, 1]) / np.hypot(sd[:, 0], sd[:, 1]))
    assert np.abs(best_probabilities(mean, sd)[:, 0] - expected).max() < BOUND


def test_of_two_betas_it_is_the_finite_sum() -> None:
    """P(Beta(a, b) > Beta(c, d)) for whole a: Σ_{i<a} B(c + i, b + d) / ((b + i) B(1 + i, b) B(c, d)) (Miller 2015)."""
    a, b, c, d = 14, 900, 9, 1_000
    i = np.arange(a)
    terms = betaln(d + b, c + i) - np.log(b + i) - betaln(1 + i, b) - betaln(c, d)
    expected = np.exp(terms).sum()
    shape, rest = np.array([a, c]), np.array([b, d])

    def distribution(x: np.ndarray, case: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        below = np.stack([betainc(one, other, x) for one, other in zip(shape, rest, strict=True)])
        log_density = (shape[:, None] - 1) * np.log(x) + (rest[:, None] - 1) * np.log1p(-x)
        return np.maximum(below, 1e-300), np.exp(log_density - betaln(shape, rest)[:, None])

    found = best_of(np.linspace(1e-6, 0.06, 41)[None], distribution)[0, 0]
    assert found == pytest.approx(expected, abs=1e-6)


def test_equal_creatives_share_equally_and_a_far_better_one_takes_all() -> None:
    assert best_probabilities(np.zeros(8), np.ones(8)) == pytest.approx(np.full(8, 1 / 8), abs=1e-12)
    assert best_probabilities(np.array([0.0, 50.0, 0.0]), np.ones(3)) == pytest.approx([0, 1, 0], abs=1e-12)
    assert best_probabilities(np.array([0.3]), np.array([2.0])) == pytest.approx([1.0])


@pytest.mark.slow
def test_a_big_simulation_of_the_draws_agrees_within_its_noise() -> None:
    rng = np.random.default_rng(7)
    mean, sd = rng.normal(0, 0.25, 8), np.exp(rng.uniform(-3.5, -1, 8))
    draws = 2_000_000
    wins = np.bincount((mean + sd * rng.normal(size=(draws, 8))).argmax(axis=1), minlength=8) / draws
    found = best_probabilities(mean, sd)
    assert np.all(np.abs(wins - found) < 4 * np.sqrt(found * (1 - found) / draws) + BOUND)


creatives = st.integers(1, 12).flatmap(
    lambda count: st.tuples(
        st.lists(st.floats(-5, 5), min_size=count, max_size=count),
        st.lists(st.floats(1e-4, 10), min_size=count, max_size=count),
    )
)


@given(creatives, st.floats(-3, 3), st.floats(0.01, 100))
def test_they_sum_to_one_whatever_the_scale_and_do_not_depend_on_it(
    given_: tuple[list[float], list[float]], shift: float, scale: float
) -> None:
    mean, sd = map(np.array, given_)
    found = best_probabilities(mean, sd)
    assert found.sum() == pytest.approx(1, abs=1e-12)
    assert np.all(found >= 0)
    assert best_probabilities(shift + scale * mean, scale * sd) == pytest.approx(found, abs=2 * BOUND)


@given(creatives)
def test_the_order_of_the_creatives_does_not_matter(given_: tuple[list[float], list[float]]) -> None:
    mean, sd = map(np.array, given_)
    assert best_probabilities(mean[::-1], sd[::-1])[::-1] == pytest.approx(best_probabilities(mean, sd), abs=2 * BOUND)


def test_many_products_at_once_are_as_one_by_one() -> None:
    rng = np.random.default_rng(3)
    mean, sd = rng.normal(size=(3, 5, 6)), np.exp(rng.normal(size=(3, 5, 6)))
    whole = best_probabilities(mean, sd)
    for index in np.ndindex(3, 5):
        assert whole[index] == pytest.approx(best_probabilities(mean[index], sd[index]), abs=1e-12)


@pytest.mark.parametrize(("mean", "sd"), [([0.0, np.nan], [1.0, 1.0]), ([0.0, 1.0], [1.0, 0.0]), ([], [])])
def test_what_is_no_posterior_is_refused(mean: list[float], sd: list[float]) -> None:
    with pytest.raises(ExperimentError, match="no finite mean or no standard deviation"):
        best_probabilities(np.array(mean), np.array(sd))


def test_a_floor_takes_from_the_others_in_proportion() -> None:
    """Of .90 .06 .03 .01 with floor .05: the last two get .05, and .90 is left of the traffic for the others' .96."""
    raised = with_floor(np.array([0.90, 0.06, 0.03, 0.01]), floor=0.05)
    assert raised == pytest.approx([0.90 * 0.90 / 0.96, 0.06 * 0.90 / 0.96, 0.05, 0.05])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=10).filter(lambda x: sum(x) > 0.01), st.floats(0, 1))
def test_nobody_is_under_the_floor_and_the_order_stays(values: list[float], part: float) -> None:
    probability = np.array(values) / sum(values)
    floor = part / len(values)
    raised = with_floor(probability, floor=floor)
    assert raised.sum() == pytest.approx(1)
    assert raised.min() >= floor - 1e-12
    above = raised > floor + 1e-9
    ratios = raised[above] / probability[above]
    assert np.ptp(ratios) < 1e-6 * max(ratios.max(), 1) if above.any() else True


def test_a_floor_that_is_more_than_all_traffic_is_refused() -> None:
    with pytest.raises(ExperimentError, match=r"a floor of 0.3 for each of 4 creatives is 1.20 of the traffic"):
        with_floor(np.full(4, 0.25), floor=0.3)
