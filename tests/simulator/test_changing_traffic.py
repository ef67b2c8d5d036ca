"""Changing traffic: clicks follow exposures, days, weekdays and audiences as asked, and events tell the same story."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from clickscape.config import AudienceConfig, SimulateConfig
from clickscape.simulator import changing_traffic
from clickscape.simulator.changing_traffic import ChangingTraffic
from clickscape.types import Creative

SHARES = {"browsers": 0.7, "hunters": 0.3}


def creatives(count: int) -> list[Creative]:
    return [Creative(f"c{n}", f"p{n // 4}", "", "", {}, "studio", "writer", n) for n in range(count)]


def log(count: int = 80, *, seed: int = 0, ctr: float = 0.1, **options: object) -> ChangingTraffic:
    config = SimulateConfig(median_impressions=2_000, **options)  # type: ignore[arg-type]
    log_ctr = np.full((count, len(SHARES)), math.log(ctr))
    return changing_traffic.draw(
        creatives(count), log_ctr, rng=np.random.default_rng(seed), config=config, shares=SHARES, examination=(1.0, 0.5)
    )


def rates(clicked: np.ndarray, group: np.ndarray) -> np.ndarray:
    return np.bincount(group, weights=clicked) / np.bincount(group)


def test_clicks_are_drawn_by_the_chances_that_are_told() -> None:
    drawn = log(fatigue=0.2, rhythm=0.2)
    surprise = (drawn.clicked - drawn.chance) / np.sqrt(drawn.chance * (1 - drawn.chance))
    for group in (drawn.day, np.minimum(drawn.exposures, 9), drawn.creative()):
        z = np.bincount(group, weights=surprise) / np.sqrt(np.bincount(group))
        assert np.abs(z).max() < 4.5


def test_a_users_exposures_are_counted_and_lower_the_chance_by_the_fatigue() -> None:
    drawn = log(40, fatigue=0.3)
    seen: Counter[tuple[int, int]] = Counter()
    for creative, user, exposures in zip(drawn.creative().tolist(), drawn.user.tolist(), drawn.exposures, strict=True):
        assert exposures == seen[creative, user]
        seen[creative, user] += 1
    position = drawn.cell // len(SHARES) % 2
    expected = math.log(0.1) - drawn.truth["fatigue"][drawn.creative()] * np.log1p(drawn.exposures)
    assert np.log(drawn.chance / np.array([1.0, 0.5])[position]) == pytest.approx(expected, abs=1e-5)
    assert drawn.truth["fatigue"].mean() == pytest.approx(0.3, abs=4 * 0.3 * 0.4 / math.sqrt(40))


def test_days_on_air_drift_and_rhythm_add_up_by_hand() -> None:
    drawn = log(8, days=28, launch_days=14, wear_out=0.1, drift=0.1, rhythm=0.2)
    creative, day = drawn.creative(), drawn.day.astype(float)
    assert np.all(day >= drawn.launch[creative])
    assert dict.fromkeys(drawn.launch, 0) != {0: 0}, "launches differ"
    weekday = np.array(drawn.course.rhythm)[drawn.day % 7]
    level = weekday + drawn.truth["drift"][creative] * (day - 13.5) / 7
    level -= drawn.truth["wear_out"][creative] * (day - drawn.launch[creative]) / 7
    position = drawn.cell // len(SHARES) % 2
    assert np.log(drawn.chance / np.array([0.1, 0.05])[position]) == pytest.approx(level, abs=1e-5)
    assert np.std(drawn.course.rhythm) == pytest.approx(0.2, abs=1e-3)
    by_product = drawn.truth["drift"].reshape(2, 4)
    assert np.all(by_product == by_product[:, :1]), "a product's creatives drift together"


def test_audiences_differ_in_ctr_and_in_how_often_they_look() -> None:
    loyal, rest = AudienceConfig(share=0.2, ctr=2, frequency=3), AudienceConfig(share=0.8)
    drawn = log(audiences={"loyal": loyal, "rest": rest})
    assert drawn.audience is not None
    names, code = drawn.audience
    assert names == ("loyal", "rest")
    ctr = rates(drawn.clicked, code[drawn.user])
    assert ctr[0] / ctr[1] == pytest.approx(2, rel=0.1)
    shown, users = np.bincount(code[drawn.user]), np.bincount(code)
    assert (shown[0] / users[0]) / (shown[1] / users[1]) == pytest.approx(3, rel=0.1)
    events = pa.concat_tables(drawn.events(rng=np.random.default_rng(1))).unify_dictionaries()
    told = defaultdict(set)
    for user, name in zip(events["user_key"].to_pylist(), events["audience"].to_pylist(), strict=True):
        told[user].add(name)
    assert {len(names) for names in told.values()} == {1}, "a user has one audience"


def test_events_add_up_to_the_counts_and_choose_among_what_is_on_air() -> None:
    drawn = log(12, days=10, launch_days=9, fatigue=0.1)
    events = pa.concat_tables(drawn.events(rng=np.random.default_rng(1))).unify_dictionaries()
    assert "audience" not in events.column_names
    rows = events.to_pylist()
    told = Counter((row["creative_id"], row["position"], row["kind"]) for row in rows)
    for row in drawn.counts().to_pylist():
        key = (row["creative_id"], row["position"])
        assert told[(*key, "impression")] == row["impressions"]
        assert told[(*key, "click")] == row["clicks"]
    launch = dict(zip(drawn.total.creative_ids, drawn.launch.tolist(), strict=True))
    first = rows[0]["ts"].date()
    for row in rows:
        if row["kind"] == "impression":
            day = (row["ts"].date() - first).days + min(launch.values())
            assert row["creative_id"] in row["candidates"]
            assert all(launch[one] <= day for one in row["candidates"])
            assert sum(row["propensities"]) == pytest.approx(1)
    exposures = Counter((row["user_key"], row["creative_id"]) for row in rows if row["kind"] == "impression")
    assert max(exposures.values()) == drawn.exposures.max() + 1


def test_nothing_changes_unless_it_is_asked_for() -> None:
    assert not SimulateConfig().is_changing
    assert not SimulateConfig(world="siren", seed=3, median_impressions=20).is_changing
    for option in ({"days": 15}, {"fatigue": 0.1}, {"audiences": {"all": {"share": 1.0}}}):
        assert SimulateConfig(**option).is_changing  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="launch_days 14 in a log of 14 days"):
        SimulateConfig(launch_days=14)
