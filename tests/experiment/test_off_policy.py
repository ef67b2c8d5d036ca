"""Off-policy estimators: by hand on tiny logs, as each other where they must agree, and against known rates."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.experiment.off_policy_worlds import World, table, target

from clickscape.errors import ExperimentError
from clickscape.experiment import off_policy, target_policy
from clickscape.experiment import off_policy_scores as scores
from clickscape.experiment.element_weights import Elements
from clickscape.experiment.off_policy_rewards import Rewards, fit_rewards
from clickscape.experiment.off_policy_scores import ESTIMATORS, Problem
from clickscape.experiment.slope import slope

HAND = [(0, 0, 1), (0, 0, 0), (0, 1, 1), (0, 1, 0), (0, 0, 0)]
"""One set with propensities 0.8 and 0.2; the target wants the second three times in four."""


@pytest.fixture
def problem() -> Problem:
    log = table(HAND, propensities=[[0.8, 0.2]])
    return Problem(log, target(log, [0.25, 0.75]))


def test_weighted_clicks_by_hand(problem: Problem) -> None:
    """Weights are 0.25 / 0.8 = 0.3125 and 0.75 / 0.2 = 3.75; one click of each."""
    assert scores.ips(problem).value == pytest.approx((0.3125 + 3.75) / 5)
    assert scores.snips(problem).value == pytest.approx((0.3125 + 3.75) / (3 * 0.3125 + 2 * 3.75))
    assert scores.clipped_ips(problem, threshold=1.0).value == pytest.approx((0.3125 + 1.0) / 5)
    weights = [0.3125] * 3 + [3.75] * 2
    found = off_policy.effective_number(problem.weight)
    assert found == pytest.approx(sum(weights) ** 2 / sum(weight**2 for weight in weights))


def test_doubly_robust_by_hand(problem: Problem) -> None:
    """With rates of 0.4 and 0.6: direct 0.55, residuals 0.6, −0.4, 0.4, −0.6 and −0.4."""
    problem.__dict__["rewards"] = [Rewards(np.array([1.0]), np.array([0.4, 0.6]))] * 5
    assert scores.direct(problem).value == pytest.approx(0.55)
    corrected = 0.55 + (0.3125 * (0.6 - 0.4 - 0.4) + 3.75 * (0.4 - 0.6)) / 5
    assert scores.doubly_robust(problem).value == pytest.approx(corrected)
    assert scores.switch_dr(problem, threshold=1.0).value == pytest.approx(0.55 + 0.3125 * (0.6 - 0.4 - 0.4) / 5)


def test_the_error_is_that_of_users_by_hand() -> None:
    """Sums of the users are 3 and −3: the sum of squares 18, times 2 / (2 − 1), its root divided by 4 decisions."""
    error, degrees = scores.clustered_error(np.array([1.0, 2.0, -4.0, 1.0]), np.array([7, 7, 9, 9]))
    assert error == pytest.approx(6 / 4)
    assert degrees == pytest.approx(2 * 18**2 / (2 * 81))


def test_a_policy_that_is_the_logging_policy_earns_what_was_logged() -> None:
    world = World.draw(np.random.default_rng(1))
    log = world.log(np.random.default_rng(2), decisions=3_000)
    same = target(log, list(log.propensity))
    for name in ("ips", "snips"):
        value = off_policy.evaluate(log, same, estimator=name)
        assert value.ctr is not None
        assert value.lift is not None
        assert value.ctr.value == pytest.approx(log.ctr)
        assert value.lift.high - value.lift.low == pytest.approx(0.0, abs=1e-9), "the same clicks on both sides"
        assert value.effective_decisions == pytest.approx(3_000)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), temperature=st.floats(0.1, 5.0))
def test_estimators_are_each_other_where_they_must_be(seed: int, temperature: float) -> None:
    rng = np.random.default_rng(seed)
    log = World.draw(rng, products=3).log(rng, decisions=400, users=50)
    policy = target_policy.softmax_of_scores(
        log, {name: float(rng.normal()) for name in log.creatives}, temperature=temperature
    )
    elements = Elements.of(log.creatives, {name: {"id": name} for name in log.creatives})
    problem = Problem(log, policy, elements=elements)
    nothing = Problem(log, policy)
    nothing.__dict__["rewards"] = [Rewards(np.zeros(len(log.product)), np.ones(len(log.creatives)))] * scores.GROUPS
    assert scores.doubly_robust(nothing).value == pytest.approx(scores.ips(nothing).value), "no model: IPS"
    assert scores.switch_dr(problem, threshold=math.inf).value == scores.doubly_robust(problem).value
    assert scores.switch_dr(problem, threshold=0.0).value == pytest.approx(problem.direct.mean()), "no correction"
    assert scores.direct(problem).value == scores.switch_dr(problem, threshold=0.0).value
    assert scores.clipped_ips(problem, threshold=math.inf).value == scores.ips(problem).value
    lowest, highest = problem.weight.min(), problem.weight.max()
    assert scores.clipped_ips(problem, threshold=lowest).value == pytest.approx(lowest * log.ctr)
    assert scores.switch_dr(problem, threshold=highest).value == pytest.approx(scores.doubly_robust(problem).value)
    assert 0 <= scores.snips(problem).value <= 1
    assert scores.stabilized_dr(problem).value == pytest.approx(scores.doubly_robust(problem).value), (
        "propensities that never change leave every decision its weight"
    )
    for name, estimate in ESTIMATORS.items():
        score = estimate(problem)
        if score.influence is not None:
            assert score.influence.mean() == pytest.approx(0.0, abs=1e-9), name


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_decisions_and_the_names_of_users_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    log = World.draw(rng, products=3).log(rng, decisions=300)
    order = rng.permutation(300)
    mixed = replace(log, shown=log.shown[order], clicked=log.clicked[order])
    policy = target_policy.uniform(log)
    for name in ("ips", "snips"):
        one, other = (ESTIMATORS[name](Problem(some, policy)).value for some in (log, mixed))
        assert one == pytest.approx(other)


def test_a_perfect_model_needs_no_correction() -> None:
    """Without noise beyond the click itself, the direct estimate with true rates is the target's CTR in these sets."""
    rng = np.random.default_rng(4)
    world = World.draw(rng)
    log = world.log(rng, decisions=5_000)
    policy = target_policy.uniform(log)
    problem = Problem(log, policy)
    first = world.rate[:: world.positions]
    look = (world.rate / np.repeat(first, world.positions, axis=0))[:, 0]
    problem.__dict__["rewards"] = [Rewards(look, first.ravel())] * scores.GROUPS
    expected = (world.rate.mean(1) * log.size).sum() / log.size.sum()
    assert scores.direct(problem).value == pytest.approx(expected)


def test_rewards_learn_products_positions_and_creatives() -> None:
    rng = np.random.default_rng(5)
    world = World.draw(rng, products=8, candidates=4, positions=3)
    log = world.log(rng, decisions=400_000)
    entries = len(log.creative)
    rewards = fit_rewards(
        log,
        impressions=np.bincount(log.shown, minlength=entries).astype(float),
        clicks=np.bincount(log.shown, log.clicked, entries),
    )
    away = np.log(rewards.of(log.set_of_entry, log.creative) / world.rate.ravel())
    assert np.abs(away).max() < 0.35
    assert np.sqrt((away**2).mean()) < 0.08


def test_a_creative_with_little_traffic_stays_near_its_product_or_its_score() -> None:
    log = table([(0, 0, 0)] * 90 + [(0, 0, 1)] * 10 + [(0, 1, 0)], propensities=[[0.5, 0.5]])
    counts = {"impressions": np.array([100.0, 1.0]), "clicks": np.array([10.0, 0.0])}
    plain, scored = fit_rewards(log, **counts), fit_rewards(log, **counts, prior=np.array([1.0, 3.0]))
    rates = [one.of(np.array([0, 0]), np.array([0, 1])) for one in (plain, scored)]
    assert rates[0][1] == pytest.approx(rates[0][0], rel=0.1)
    assert rates[1][1] == pytest.approx(3 * rates[0][1], rel=0.2)


@pytest.mark.slow
def test_estimates_are_unbiased_within_four_standard_errors() -> None:
    """Two hundred logs of one world; the direct estimate, which shrinks, need not be."""
    world = World.draw(np.random.default_rng(6), products=4)
    found: dict[str, list[float]] = {name: [] for name in ("ips", "snips", "dr", "stabilized-dr")}
    for seed in range(200):
        log = world.log(np.random.default_rng([6, seed]), decisions=1_000)
        problem = Problem(log, target_policy.uniform(log))
        for name, values in found.items():
            values.append(ESTIMATORS[name](problem).value)
    truth = world.value(target_policy.uniform(log), log)
    for name, values in found.items():
        assert abs(np.mean(values) - truth) < 4 * np.std(values) / np.sqrt(len(values)), name


@pytest.mark.slow
def test_intervals_cover_the_truth() -> None:
    """At a nominal 95 %, at least 95 − 4 sigma = 86.3 % of a hundred logs, for the CTR and for the lift."""
    world = World.draw(np.random.default_rng(7), products=4)
    covered = {name: np.zeros(2) for name in ("ips", "snips", "dr", "switch-dr")}
    for seed in range(100):
        log = world.log(np.random.default_rng([7, seed]), decisions=2_000, users=200)
        policy = target_policy.uniform(log)
        truth = world.value(policy, log)
        lift = truth / float((world.share * (world.propensity * world.rate).sum(1)).sum()) - 1
        for name, count in covered.items():
            value = off_policy.evaluate(log, policy, estimator=name)
            assert value.ctr is not None
            assert value.lift is not None
            count += [value.ctr.low <= truth <= value.ctr.high, value.lift.low <= lift <= value.lift.high]
    assert all((count >= 86).all() for count in covered.values()), covered


def test_a_policy_without_overlap_is_refused_with_its_share() -> None:
    """Set 1 never shows its second candidate; 40 of 100 decisions are there, and the target always wants it."""
    rows = [(0, 0, 1)] * 60 + [(1, 0, 1)] * 40
    log = table(rows, propensities=[[1.0], [1.0, 0.0]])
    value = off_policy.evaluate(log, target(log, [1.0, 0.0, 1.0]))
    assert value.without_overlap == pytest.approx(0.4)
    assert (value.ctr, value.lift) == (None, None)
    assert value.reason.startswith("not measurable: 40.0% of its traffic has no overlap with the log")


def test_a_policy_with_hardly_any_click_behind_it_is_refused() -> None:
    log = table([(0, 0, 1)] * 50 + [(0, 0, 0)] * 50 + [(0, 1, 1)] * 3, propensities=[[0.97, 0.03]])
    value = off_policy.evaluate(log, target(log, [0.0, 1.0]))
    assert value.ctr is None
    assert "the clicks on what it would show weigh as 3.0, expected 10 or more" in value.reason


def test_unknown_estimators_and_learning_logs_without_times_are_refused(problem: Problem) -> None:
    with pytest.raises(ExperimentError, match=r"no estimator 'magic'\. There are: ips, "):
        off_policy.evaluate(problem.decisions, problem.target, estimator="magic")
    with pytest.raises(ExperimentError, match=r"a learning policy made needs times.*Log ts"):
        off_policy.evaluate(problem.decisions, problem.target, adaptive=True)


def test_rewards_of_a_learning_log_know_earlier_decisions_only() -> None:
    """Changing the clicks of the last half changes nothing that the first half was corrected with."""
    world = World.draw(np.random.default_rng(8))
    log = world.log(np.random.default_rng(9), decisions=2_000)
    other = replace(log, clicked=np.where(np.arange(2_000) < 1_000, log.clicked, 1 - log.clicked))
    one, two = (Problem(some, target_policy.uniform(log), adaptive=True) for some in (log, other))
    assert np.array_equal(one.residual[:1_000], two.residual[:1_000])
    assert not np.array_equal(one.residual[1_200:], two.residual[1_200:])
    plain, changed = (Problem(some, target_policy.uniform(log)) for some in (log, other))
    assert not np.array_equal(plain.residual[:1_000], changed.residual[:1_000])


def test_slope_stops_before_the_first_interval_that_misses_the_others() -> None:
    """Intervals at two widths: [−2, 6], [2, 6], then [6.5, 8.5], which misses both; [3, 5] after it does not count."""
    assert slope([2.0, 4.0, 7.5, 4.0], [2.0, 1.0, 0.5, 0.5]) == 1
    assert slope([2.0, 4.0], [2.0, 1.0]) == 1
    assert slope([2.0], [0.0]) == 0
    with pytest.raises(ValueError, match="expected an estimate"):
        slope([], [])


@given(st.lists(st.tuples(st.floats(-10, 10), st.floats(0, 5)), min_size=1, max_size=8))
def test_slope_chooses_the_last_common_point(pairs: list[tuple[float, float]]) -> None:
    values, widths = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    chosen = slope(values, widths)

    def meet(count: int) -> bool:
        some = list(zip(values[:count], widths[:count], strict=True))
        return max(v - 2 * w for v, w in some) <= min(v + 2 * w for v, w in some)

    assert meet(chosen + 1)
    assert chosen == len(pairs) - 1 or not meet(chosen + 2)


def test_a_threshold_that_the_data_chose_keeps_the_interval_without_it() -> None:
    world = World.draw(np.random.default_rng(10))
    log = world.log(np.random.default_rng(11), decisions=3_000, users=300)
    policy = target_policy.uniform(log)
    chosen, plain = (off_policy.evaluate(log, policy, estimator=name) for name in ("switch-dr", "dr"))
    assert chosen.ctr is not None
    assert plain.ctr is not None
    assert (chosen.threshold is None, plain.threshold) == (False, None)
    assert chosen.ctr.low <= min(plain.ctr.low, chosen.ctr.value)
    assert chosen.ctr.high >= max(plain.ctr.high, chosen.ctr.value)
