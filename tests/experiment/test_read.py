from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.experiment.worlds import users_world

from clickscape.experiment.definition import ExperimentDefinition, PlannedSample
from clickscape.experiment.lift_sequence import LEAST_CLICKS, lift_sequence
from clickscape.experiment.moments import UnitMoments, from_counts
from clickscape.experiment.read import read, read_products
from clickscape.experiment.reading import ExperimentReading
from clickscape.files import to_json
from clickscape.json_files import read_json, write_json

Make = Callable[..., ExperimentDefinition]


def counts(control: tuple[int, int], new: tuple[int, int], *, days: int = 1) -> UnitMoments:
    """Impressions and clicks per variant and day, without users."""
    shown = np.array([[control[0]] * days, [new[0]] * days])
    return from_counts(impressions=shown, clicks=np.array([[control[1]] * days, [new[1]] * days]))


def test_a_known_lift_is_found_and_lies_in_the_intervals(experiment: Make) -> None:
    daily = users_world(np.random.default_rng(0), users=8_000, ctr=0.1, lift=0.3)
    found = read(daily, definition=experiment())
    new = found.variant("new")
    assert new.decision == "better"
    assert new.latest.always_valid is not None
    assert new.latest.fixed is not None
    assert new.latest.always_valid.low < 0.3 < new.latest.always_valid.high
    assert new.latest.always_valid.low < new.latest.fixed.low < new.latest.fixed.high < new.latest.always_valid.high
    assert new.latest.p_value < 0.05
    assert found.variant("control").decision is None
    assert [day.day.isoformat() for day in new.days][:2] == ["2026-03-02", "2026-03-03"]
    said = "\n".join(found.lines())
    assert "new against control: better" in said
    assert "lift +" in said
    with pytest.raises(KeyError):
        found.variant("third")


def test_the_other_way_round_it_is_worse(experiment: Make) -> None:
    daily = users_world(np.random.default_rng(0), users=8_000, ctr=0.1, lift=0.3)
    assert read(daily, definition=experiment(control="new")).variant("control").decision == "worse"


def test_a_difference_smaller_than_planned_is_said_to_be_none(experiment: Make) -> None:
    planned = PlannedSample(baseline_ctr=0.1, lift=0.2, users=100, days=1, reading="always-valid")
    daily = counts((100_000, 10_000), (100_000, 10_050))
    found = read(daily, definition=experiment(planned=planned), unit="impression")
    assert found.variant("new").decision == "no difference of the size planned"
    unplanned = read(daily, definition=experiment(), unit="impression")
    assert unplanned.variant("new").decision == "not enough evidence yet"


def test_few_clicks_give_no_interval(experiment: Make) -> None:
    found = read(counts((1_000, LEAST_CLICKS - 1), (1_000, 90)), definition=experiment(), unit="impression")
    new = found.variant("new")
    assert new.decision == "not enough evidence yet"
    assert new.latest.always_valid is None
    assert new.latest.p_value == 1
    assert found.variant("control").ctr is None
    assert "unknown (too few clicks)" in "\n".join(found.lines())


def test_clicks_of_few_users_give_no_interval_however_many(experiment: Make) -> None:
    """A thousand clicks, of which one user made nine hundred, say no more than a few users do."""
    daily = users_world(np.random.default_rng(3), users=2_000, days=2)
    products = daily.products.copy()
    products[1, 0, :2, :2] += np.array([[1_000**2, 1_000 * 900], [1_000 * 900, 900**2]])
    sums = daily.sums.copy()
    sums[1, 0, :2] += [1_000, 900]
    heavy = UnitMoments(daily.units, sums, products, daily.own)
    assert read(heavy, definition=experiment()).variant("new").latest.always_valid is None


def test_where_allocation_is_unknown_nothing_is_called_a_lift_or_caused(experiment: Make) -> None:
    daily = counts((10_000, 500), (10_000, 900))
    found = read(daily, definition=experiment(), allocation="unknown", unit="impression")
    assert found.variant("new").decision == "association"
    said = "\n".join(found.lines())
    assert "association" in said
    assert "lift" not in said
    assert "better" not in said


def test_counts_without_users_are_read_by_the_binomial_and_say_so(experiment: Make) -> None:
    """CTR 5 % of 10,000: log se √(1/500 − 1/10,000), 1.96 of them to either side."""
    found = read(counts((10_000, 500), (10_000, 900)), definition=experiment(), unit="impression")
    ctr = found.variant("control").ctr
    assert ctr is not None
    half = 1.959964 * math.sqrt((1 / 500 - 1 / 10_000) * 10_000 / 9_999)
    assert (ctr.low, ctr.high) == pytest.approx((0.05 * math.exp(-half), 0.05 * math.exp(half)))
    assert found.sample_ratio is None
    assert "take impressions for independent" in "\n".join(found.lines())


def test_a_sample_ratio_mismatch_goes_before_every_decision(experiment: Make) -> None:
    daily = users_world(np.random.default_rng(0), users=8_000, ctr=0.1, lift=0.3, share=0.55)
    found = read(daily, definition=experiment())
    assert found.sample_ratio is not None
    assert found.sample_ratio.alarm
    assert found.variant("new").decision == "sample ratio mismatch"


def test_lost_conversions_break_the_guardrail(experiment: Make) -> None:
    daily = users_world(np.random.default_rng(1), users=12_000, ctr=0.2, lift=0.3, days=10)
    held = read(daily, definition=experiment()).variant("new").guardrail
    assert held is not None
    assert held.verdict == "held"
    lost = UnitMoments(daily.units, daily.sums.copy(), daily.products.copy(), daily.own.copy())
    for part, axes in ((lost.sums, 1), (lost.products, 2), (lost.own, 2)):
        part[1, :, 2] *= 0.3  # of the conversions of the new variant three in ten stay
        if axes == 2:
            part[1, :, :, 2] *= 0.3
    broken = read(lost, definition=experiment()).variant("new").guardrail
    assert broken is not None
    assert broken.verdict == "broken"
    assert broken.change is not None
    assert broken.change.level == pytest.approx(0.90)


def test_three_variants_share_the_level(experiment: Make) -> None:
    daily = users_world(np.random.default_rng(2))
    three = UnitMoments(*(np.concatenate([part, part[:1]]) for part in
                          (daily.units, daily.sums, daily.products, daily.own)))  # fmt: skip
    definition = experiment(shares={"control": 0.4, "new": 0.4, "newer": 0.2})
    found = read(three, definition=definition)
    assert found.level == pytest.approx(0.975)
    assert found.variant("newer").days[-1].always_valid is not None
    assert found.variant("newer").days[-1].always_valid.level == pytest.approx(0.975)


def test_a_reading_survives_its_file(tmp_path: Path, experiment: Make) -> None:
    daily = users_world(np.random.default_rng(0))
    moments = from_counts(impressions=np.array([[900, 800], [900, 800]]), clicks=np.array([[90, 80], [140, 60]]))
    products = read_products(moments, product_ids=["mug", "shoe"], definition=experiment())
    found = read(daily, definition=experiment(), products=products, notes=["3 events were left out"])
    path = tmp_path / "reading.json"
    write_json(path, json.loads(to_json(found)))
    assert read_json(path, ExperimentReading) == found


def test_of_many_products_those_that_differ_are_discovered(experiment: Make) -> None:
    """60 products, ten of which gain 60 %: most of those are found, few others, and shrinkage draws all inwards."""
    rng = np.random.default_rng(5)
    true = np.where(np.arange(60) < 10, 1.6, 1.0)
    shown = np.full((2, 60), 6_000)
    moments = from_counts(impressions=shown, clicks=rng.binomial(shown, 0.05 * np.stack([np.ones(60), true])))
    found = read_products(moments, product_ids=[f"p{n}" for n in range(60)], definition=experiment())
    discovered = {one.product_id for one in found if one.discovery}
    real = {f"p{n}" for n in range(10)}
    assert len(discovered & real) >= 8
    assert len(discovered - real) <= 4
    assert {one.product_id for one in found if one.always_valid} <= discovered | real
    spread = [np.std([math.log1p(one.lift.value) for one in found]),
              np.std([math.log1p(one.shrunk.value) for one in found if one.shrunk])]  # fmt: skip
    assert spread[1] < spread[0]


def test_products_with_few_clicks_are_left_out(experiment: Make) -> None:
    moments = from_counts(impressions=np.array([[900, 800], [900, 800]]), clicks=np.array([[90, 3], [140, 60]]))
    found = read_products(moments, product_ids=["mug", "shoe"], definition=experiment())
    assert [one.product_id for one in found] == ["mug"]
    assert found[0].shrunk is None


def test_the_plan_says_when_the_sequence_is_tightest_else_the_pace_of_the_first_day() -> None:
    known = counts((4_000, 200), (4_000, 210), days=10).cumulative()
    by_pace = lift_sequence(known[0], known[1], days=10)
    assert by_pace is not None
    assert by_pace.first == 0
    time = float(by_pace.ratio.time[9])  # counts of every day are equal, so that the pace is kept
    planned = lift_sequence(known[0], known[1], days=3, intrinsic_time=time)
    assert planned is not None
    assert planned.half == pytest.approx(by_pace.half, rel=1e-3)
    early = lift_sequence(known[0], known[1], days=1)
    assert early is not None
    assert early.half[0] < by_pace.half[0]
    assert early.half[9] > by_pace.half[9]
