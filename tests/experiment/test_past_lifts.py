"""Lifts drawn towards those of earlier experiments: experiments that stop when they see a winner, truth known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from clickscape.experiment.definition import ExperimentDefinition
from clickscape.experiment.fixed_horizon import fixed_lift
from clickscape.experiment.lift_sequence import lift_sequence
from clickscape.experiment.many_products import shrink
from clickscape.experiment.moments import UnitMoments, from_counts
from clickscape.experiment.read import read, read_products
from clickscape.experiment.sample_ratio import SampleRatio
from clickscape.types import Estimate

Make = Callable[..., ExperimentDefinition]


def lift(log_lift: float, error: float) -> Estimate:
    low, high = log_lift - 1.959964 * error, log_lift + 1.959964 * error
    return Estimate(math.expm1(log_lift), math.expm1(low), math.expm1(high))


def stopped_experiment(rng: np.random.Generator) -> tuple[float, UnitMoments]:
    """True log lift and five days of 4,000 impressions a variant at a CTR of 3 %, or those until a winner was seen."""
    true = float(rng.normal(0.05, 0.08))
    shown = np.full((2, 5), 4_000)
    daily = from_counts(impressions=shown, clicks=rng.binomial(shown, 0.03 * np.exp([[0.0], [true]])))
    known = daily.cumulative()
    sequence = lift_sequence(known[0], known[1], days=5)
    assert sequence is not None
    clear = np.abs(sequence.ratio.value) > sequence.half
    return true, daily[:, : int(np.argmax(clear)) + 1 if clear.any() else 5]


@pytest.mark.slow
def test_winners_that_stopped_early_are_nearer_the_truth_after_shrinkage(experiment: Make) -> None:
    """80 experiments, drawn towards 80 others: smaller errors, no excess of the best, intervals that hold 95 %."""
    rng, past, found = np.random.default_rng(3), [], []
    for _ in range(80):
        total = stopped_experiment(rng)[1].total
        fixed = fixed_lift(total[0], total[1])
        assert fixed is not None
        past.append(fixed.lift)
    for _ in range(80):
        true, seen = stopped_experiment(rng)
        new = read(seen, definition=experiment(), unit="impression", past_lifts=past).variant("new")
        raw, sober = new.latest.fixed, new.shrunk
        assert raw is not None
        assert sober is not None
        found.append((true, math.log1p(raw.value), math.log1p(sober.value), math.log1p(sober.low),
                      math.log1p(sober.high)))  # fmt: skip
    truth, raw_lift, sober_lift, low, high = np.array(found).T
    assert np.mean((sober_lift - truth) ** 2) < 0.85 * np.mean((raw_lift - truth) ** 2)
    best = np.argsort(raw_lift)[-20:]
    excess = (sober_lift - truth)[best]
    assert (raw_lift - truth)[best].mean() > 0.02
    assert abs(excess.mean()) < 3 * excess.std() / math.sqrt(20)
    assert abs(np.mean((low <= truth) & (truth <= high)) - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 80)


def counts(control: int, new: int) -> UnitMoments:
    return from_counts(impressions=np.full((2, 1), 10_000), clicks=np.array([[control], [new]]))


def test_a_lift_is_drawn_by_the_prior_that_earlier_lifts_have(experiment: Make) -> None:
    """400 clicks against 480: log lift .182, error √(1 / 400 + 1 / 480) = .068; of sd .05 around 0: .182 · .35."""
    past = [lift(value, 0.01) for value in np.random.default_rng(1).normal(0, 0.05, 200)]
    found = read(counts(400, 480), definition=experiment(), unit="impression", past_lifts=past)
    sober = found.variant("new").shrunk
    assert sober is not None
    pull = 0.05**2 / (0.05**2 + 1 / 400 + 1 / 480)
    assert math.log1p(sober.value) == pytest.approx(math.log(1.2) * pull, abs=0.015)
    assert "soberly +" in "\n".join(found.lines())
    assert found.variant("control").shrunk is None


def test_where_little_is_known_or_chance_did_not_allocate_nothing_is_drawn(experiment: Make) -> None:
    past = [lift(0.1, 0.05)] * 5
    daily, definition = counts(400, 480), experiment()
    assert read(daily, definition=definition, unit="impression", past_lifts=past[:1]).variant("new").shrunk is None
    assert read(daily, definition=definition, unit="impression").variant("new").shrunk is None
    association = read(daily, definition=definition, unit="impression", past_lifts=past, allocation="unknown")
    assert association.variant("new").shrunk is None
    sound = read(daily, definition=definition, unit="impression", past_lifts=past)
    assert sound.is_sound
    assert not replace(sound, allocation="unknown").is_sound
    off = SampleRatio((5_000, 4_000), (0.5, 0.5), 0.001, alarm_after=4_000)
    assert not replace(sound, sample_ratio=off).is_sound


def test_products_are_drawn_towards_those_of_earlier_experiments(experiment: Make) -> None:
    """Two products alone say nothing of how lifts differ; with earlier ones, they are drawn as `shrink` draws them."""
    past = [lift(value, 0.02) for value in np.random.default_rng(2).normal(0, 0.05, 40)]
    shown = np.full((2, 2), 10_000)
    moments = from_counts(impressions=shown, clicks=np.array([[400, 300], [520, 310]]))
    alone = read_products(moments, product_ids=["mug", "shoe"], definition=experiment())
    found = read_products(moments, product_ids=["mug", "shoe"], definition=experiment(), past_lifts=past)
    assert [one.shrunk for one in alone] == [None, None]
    assert tuple(one.shrunk for one in found) == shrink([one.lift for one in found], past=past).lifts
    assert found[0].shrunk is not None
    assert 0 < found[0].shrunk.value < 0.75 * found[0].lift.value
