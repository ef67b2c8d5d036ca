"""Target policies and decisions: from scores, shares and tables, and what they refuse."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.experiment.off_policy_worlds import World, table, target

from clickscape.errors import ExperimentError
from clickscape.experiment import target_policy
from clickscape.experiment.decisions import Decisions

TABLE = pa.table(
    {
        "choice": [0, 1, 0, 0],
        "creative_id": ["b", "c", "a", "a"],
        "product_id": ["p", "q", "p", "p"],
        "position": pa.array([1, 1, 2, 1], pa.int32()),
        "user_key": ["u", None, "u", "v"],
        "at": [1, 2, 3, 4],
        "clicked": [True, False, False, True],
    }
)
LISTS = pa.table({"candidates": [["a", "b"], ["c"]], "propensities": [[0.25, 0.75], [1.0]]})


def test_sets_are_a_choice_of_a_product_at_a_place() -> None:
    log = Decisions.from_tables(TABLE, LISTS)
    assert (log.creatives, log.products) == (("a", "b", "c"), ("p", "q"))
    assert [log.creatives[one] for one in log.creative[log.shown]] == ["b", "c", "a", "a"]
    assert log.propensity[log.shown].tolist() == [0.75, 1.0, 0.25, 0.25]
    assert len(log.product) == 3, "p at position 1, p at position 2, q"
    assert sorted(log.size) == [1, 1, 2]
    assert log.ctr == 0.5
    assert log.ordered
    assert log.user is not None
    assert len(set(log.user.tolist())) == 3, "nobody noted the second user, who is one of their own"
    assert (log.user[0] == log.user[2], log.impressions.sum(), log.clicks.sum()) == (True, 4, 2)


def test_some_sets_of_a_log_keep_their_decisions() -> None:
    log = Decisions.from_tables(TABLE, LISTS)
    some = log.only(log.product == 0)
    assert [some.creatives[one] for one in some.creative[some.shown]] == ["b", "a", "a"]
    assert some.clicked.tolist() == [1.0, 0.0, 1.0]
    assert some.propensity[some.shown].tolist() == [0.75, 0.25, 0.25]


def test_decisions_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ExperimentError, match="shown that has the propensity 0"):
        table([(0, 1, 0)], propensities=[[1.0, 0.0]])
    with pytest.raises(ExperimentError, match="no probabilities that sum to 1"):
        table([(0, 1, 0)], propensities=[[0.5, 0.4]])
    with pytest.raises(ExperimentError, match="there is no decision"):
        table([], propensities=[[1.0]])
    lists = pa.table({"candidates": [["a"], ["c"]], "propensities": [[1.0], [1.0]]})
    with pytest.raises(ExperimentError, match="creative 'b' was shown and is not among its candidates"):
        Decisions.from_tables(TABLE, lists)


def test_the_best_by_score_is_shown_and_ties_share() -> None:
    log = table([(0, 0, 0), (1, 0, 0)], propensities=[[0.5, 0.5], [0.2, 0.3, 0.5]])
    scores = {"s0-0": 1.0, "s0-1": 2.0, "s1-0": 3.0, "s1-1": 3.0, "s1-2": 0.0}
    assert target_policy.best_by_score(log, scores).on_entries(log).tolist() == [0, 1, 0.5, 0.5, 0]
    soft = target_policy.softmax_of_scores(log, scores, temperature=0.5).on_entries(log)
    assert soft[1] / soft[0] == pytest.approx(np.exp(2.0))
    with pytest.raises(ExperimentError, match="candidate 's1-2' of the log has no score"):
        target_policy.best_by_score(log, {name: 0.0 for name in scores if name != "s1-2"})
    with pytest.raises(ExperimentError, match="the temperature must be above 0, got 0"):
        target_policy.softmax_of_scores(log, scores, temperature=0)


def test_shares_speak_of_their_products_only_and_may_name_new_creatives() -> None:
    log = table([(0, 0, 1), (1, 0, 0), (1, 1, 0)], propensities=[[0.5, 0.5], [0.5, 0.5]])
    policy, about = target_policy.by_shares(log, {"p1": {"s1-1": 0.25, "new": 0.75}}, name="mine")
    assert (len(about.shown), about.product.tolist()) == (2, [1])
    assert policy.creatives == (*log.creatives, "new")
    assert policy.on_entries(about).tolist() == [0.0, 0.25]
    assert policy.without_overlap(about) == pytest.approx(0.75)
    with pytest.raises(ExperimentError, match=r"'mine': the shares of product 'p1' sum to 0\.9"):
        target_policy.by_shares(log, {"p1": {"s1-1": 0.9}}, name="mine")
    with pytest.raises(ExperimentError, match="no product of the log has a creative in it"):
        target_policy.by_shares(log, {"other": {"x": 1.0}}, name="mine")


def test_probabilities_that_do_not_sum_to_one_are_refused() -> None:
    log = table([(0, 0, 0)], propensities=[[0.5, 0.5]])
    with pytest.raises(ExperimentError, match=r"sum to 0\.9 in a decision"):
        target(log, [0.5, 0.4])
    with pytest.raises(ExperimentError, match="sum to nan in a decision"):
        target(log, [1.5, -0.5])


@given(seed=st.integers(0, 2**32 - 1), temperature=st.floats(0.05, 20))
def test_policies_are_probabilities_and_never_leave_the_candidates(seed: int, temperature: float) -> None:
    rng = np.random.default_rng(seed)
    log = World.draw(rng, products=2).log(rng, decisions=30)
    policy = target_policy.softmax_of_scores(
        log, dict(zip(log.creatives, rng.normal(size=len(log.creatives)), strict=True)), temperature=temperature
    )
    wanted = policy.on_entries(log)
    assert np.bincount(log.set_of_entry, wanted) == pytest.approx(np.ones(len(log.product)))
    assert policy.without_overlap(log) == 0
