from __future__ import annotations

import math

import numpy as np
import pytest

from clickscape.errors import ExperimentError
from clickscape.experiment.many_products import discoveries, e_discoveries, shrink
from clickscape.types import Estimate


def lift(log_lift: float, error: float) -> Estimate:
    return Estimate(
        math.expm1(log_lift), math.expm1(log_lift - 1.96 * error), math.expm1(log_lift + 1.96 * error), 0.95
    )


def test_discoveries_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.5 against 0.0125, 0.025, 0.0375, 0.05: the three smallest."""
    assert discoveries([0.5, 0.03, 0.01, 0.02]) == [False, True, True, True]
    assert discoveries([]) == []


def test_discoveries_by_evidence_by_hand() -> None:
    """Four e-values against 4 / (0.05 k) = 80, 40, 26.7, 20: the second reaches 40 and takes the largest along."""
    assert e_discoveries([math.log(e) for e in (45, 1, 70, 10)]) == [True, False, True, False]
    assert e_discoveries([math.log(e) for e in (19, 18, 17, 16)]) == [False] * 4
    assert e_discoveries([]) == []


def test_of_products_without_any_difference_few_are_discoveries() -> None:
    rng = np.random.default_rng(0)
    any_false = sum(any(discoveries(rng.random(100).tolist())) for _ in range(400))
    assert any_false / 400 <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 400)


def test_winners_are_drawn_towards_the_rest_by_the_shrinkage_of_a_known_prior() -> None:
    """300 lifts of sd 0.1 with errors of 0.1: the posterior mean halves the distance to the mean, 0.02."""
    rng = np.random.default_rng(1)
    truth = rng.normal(0.02, 0.1, 300)
    seen = truth + rng.normal(0, 0.1, 300)
    found = shrink([lift(value, 0.1) for value in seen])
    assert found.mean == pytest.approx(0.02, abs=4 * 0.14 / math.sqrt(300))
    assert found.sd == pytest.approx(0.1, abs=0.03)
    sober = np.log1p([one.value for one in found.lifts])
    assert np.polyfit(seen, sober, 1)[0] == pytest.approx(0.5, abs=0.12)
    assert np.mean((sober - truth) ** 2) < 0.7 * np.mean((seen - truth) ** 2)
    low, high = np.log1p([(one.low, one.high) for one in found.lifts]).T
    covered = np.mean((low <= truth) & (truth <= high))
    assert abs(covered - 0.95) < 4 * math.sqrt(0.05 * 0.95 / 300) + 0.01


def test_a_true_outlier_is_not_drawn_in_where_tails_are_heavy() -> None:
    """One lift of +82 % among a hundred of nearly none: a normal prior would halve it."""
    rng = np.random.default_rng(2)
    seen = np.append(rng.normal(0, 0.06, 100), 0.6)
    found = shrink([lift(value, 0.05) for value in seen])
    assert found.heavy_tails > 0.9
    assert math.log1p(found.lifts[-1].value) > 0.5


def test_past_lifts_inform_and_are_not_returned() -> None:
    past = [lift(value, 0.02) for value in np.random.default_rng(3).normal(0, 0.05, 50)]
    found = shrink([lift(0.5, 0.2)], past=past)
    assert len(found.lifts) == 1
    assert found.lifts[0].value < 0.2


def test_two_lifts_say_nothing_about_how_lifts_differ() -> None:
    with pytest.raises(ExperimentError, match="expected three or more"):
        shrink([lift(0.1, 0.1)] * 2)
    with pytest.raises(ExperimentError, match="finite"):
        shrink([lift(0.1, 0.1)] * 3, past=[Estimate(0.0, -1.0, 1.0)])
