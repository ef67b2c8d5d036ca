"""Drawn worlds: the structure follows from the number, effects have the size that is promised, and logs are theirs."""

from __future__ import annotations

import math

import numpy as np
import pyarrow.compute as pc
import pytest
from pydantic import ValidationError

from clickscape.catalog import sample
from clickscape.config import SimulateConfig
from clickscape.errors import ConfigError
from clickscape.render.scene import Scene
from clickscape.simulator import drawn_traffic, worlds
from clickscape.simulator.family import KINDS, DrawnWorld, draw_structure, draw_world
from clickscape.simulator.hashed import uniform
from clickscape.simulator.perception import FIGURES
from clickscape.simulator.vocabulary import SLOTS
from clickscape.types import Creative

NUMBERS = range(1_000, 1_024)


def scenes(count: int) -> list[Scene]:
    rng = np.random.default_rng(0)
    return [Scene.from_slots({slot: str(rng.choice(values)) for slot, values in SLOTS.items()}) for _ in range(count)]


def creatives(count: int) -> list[Creative]:
    return [Creative(f"c{n}", f"p{n // 4}", "", "", {}, "studio", "writer", n) for n in range(count)]


def test_a_number_is_a_world_on_every_machine() -> None:
    drawn, product = draw_world(1_000), sample.products()[0]
    assert drawn.structure == draw_structure(1_000)
    assert drawn.structure.slots == ("setting", "palette", "surface")
    assert drawn.structure.spread == pytest.approx(0.3566, abs=1e-4)
    scene = Scene("kitchen", "oak", "noon", "table", props=("lemons",))
    assert drawn.scene_effect(product, scene) == pytest.approx(0.0233, abs=1e-3)


def test_structures_differ_in_everything_that_is_drawn() -> None:
    drawn = [draw_structure(number) for number in NUMBERS]
    assert len({one.slots for one in drawn}) > 12
    assert len({curve for one in drawn for curve in one.curves.values()}) == 6
    assert {len(one.segments) for one in drawn} == {1, 2, 3, 4}
    for value in ("spread", "density", "products", "median_impressions", "base_ctr"):
        assert len({getattr(one, value) for one in drawn}) == len(drawn)
    for name in ("opposed", "drift", "fatigue", "bots", "duplicates"):
        some = sum(getattr(one, name) > 0 for one in drawn)
        assert 4 < some < len(drawn), name
    for one in drawn:
        assert sum(one.shares.values()) == pytest.approx(1, abs=1e-3)
        assert sum(one.segments.values()) == pytest.approx(1)
        assert one.examination[0] == 1
        assert all(0 < value <= 1 for value in one.examination)
        assert sum(one.rhythm) == pytest.approx(0, abs=1e-3)
        assert 60 <= one.products <= 2_000
        assert 300 <= one.median_impressions <= 30_000


@pytest.mark.slow
def test_each_kind_explains_its_share_of_the_spread_within_products() -> None:
    some = sample.products()[::23]
    shown = scenes(60)
    off = []
    for number in list(NUMBERS)[:8]:
        drawn = draw_world(number)
        rows = np.array([[list(drawn._parts(one, scene.slots).values()) for scene in shown] for one in some])
        scaled = rows * np.array([drawn._scales[kind] for kind in KINDS if kind != "picture"])
        measured = np.sqrt(np.var(scaled, axis=1).mean(0))
        expected = [drawn.structure.spread * math.sqrt(drawn.structure.shares[kind]) for kind in KINDS[:-1]]
        off.append(measured / np.array(expected))
    assert np.abs(np.log(np.median(off, axis=0))).max() < 0.25, "other products and scenes than those of the scale"


@pytest.mark.slow
def test_no_scene_is_better_than_the_best() -> None:
    for number in list(NUMBERS)[:6]:
        drawn = draw_world(number)
        for product in sample.products()[:: len(sample.products()) // 3]:
            best = drawn.scene_effect(product, drawn.best_scene(product))
            assert best >= max(drawn.scene_effect(product, scene) for scene in scenes(300)) - 1e-9


def test_figures_act_by_their_curves_and_average_to_nothing() -> None:
    drawn = draw_world(1_001)  # a third of its spread is what shoppers see
    rng = np.random.default_rng(0)
    effects = np.array([drawn.picture_effect(figures) for figures in rng.normal(size=(4_000, len(FIGURES)))])
    assert abs(effects.mean()) < 0.02
    expected = drawn.structure.spread * math.sqrt(drawn.structure.shares["picture"])
    assert effects.std() == pytest.approx(expected, rel=0.1)


def test_the_segments_average_to_the_ctr_and_the_first_two_disagree() -> None:
    number = next(n for n in NUMBERS if draw_structure(n).opposed > 0.1 and len(draw_structure(n).segments) > 1)
    drawn, product = draw_world(number), sample.products()[0]
    rows = np.array([drawn.segment_log_ctrs(product, scene) for scene in scenes(200)])
    shares = np.array(list(drawn.segments.values()))
    whole = np.array([drawn.log_ctr(product, scene) for scene in scenes(200)])
    assert np.log(np.exp(rows) @ shares) == pytest.approx(whole)
    assert np.corrcoef(rows[:, 0] - whole, rows[:, 1] - whole)[0, 1] < -0.5


def test_clicks_follow_positions_and_days() -> None:
    number = next(n for n in NUMBERS if min(draw_structure(n).examination) < 0.4 and not draw_structure(n).fatigue)
    drawn, some = draw_world(number), creatives(400)
    log_ctr = np.full((len(some), len(drawn.segments)), math.log(0.1))
    days = drawn_traffic.traffic_by_day(drawn, some, log_ctr, rng=np.random.default_rng(0), median_impressions=4_000)
    shown = sum(day.impressions.sum((0, 2)) for day in days)
    clicked = sum(day.clicks.sum((0, 2)) for day in days)
    ratio = clicked / shown
    assert ratio / ratio[0] == pytest.approx(np.array(drawn.structure.examination), rel=0.12)
    by_day = np.array([day.clicks.sum() / day.impressions.sum() for day in days])
    rhythm = np.array([drawn.structure.rhythm[place % 7] for place in range(len(days))])
    assert np.corrcoef(np.log(by_day), rhythm)[0, 1] > 0.9


def test_what_is_shown_often_is_clicked_less_where_shoppers_tire() -> None:
    number = next(n for n in NUMBERS if draw_structure(n).fatigue > 0.03)
    drawn, some = draw_world(number), creatives(400)
    log_ctr = np.full((len(some), len(drawn.segments)), math.log(0.1))
    days = drawn_traffic.traffic_by_day(drawn, some, log_ctr, rng=np.random.default_rng(0), median_impressions=20_000)
    first, last = (sum(day.clicks.sum() for day in part) / sum(day.impressions.sum() for day in part)
                   for part in (days[:7], days[7:]))  # fmt: skip
    assert last < 0.99 * first


@pytest.mark.slow
def test_a_log_holds_the_worlds_bots_and_impressions_logged_twice_and_nothing_else() -> None:
    number = next(n for n in NUMBERS if draw_structure(n).bots > 0.02 and draw_structure(n).duplicates > 0.005)
    drawn, some = draw_world(number), creatives(60)
    log_ctr = np.full((len(some), len(drawn.segments)), math.log(0.05))
    rng = np.random.default_rng(0)
    days = drawn_traffic.traffic_by_day(drawn, some, log_ctr, rng=rng, median_impressions=3_000)
    real = sum(int(day.impressions.sum()) for day in days)
    counted = drawn_traffic.counts(days)
    assert pc.sum(counted["impressions"]).as_py() == real
    assert pc.sum(counted["clicks"]).as_py() == sum(int(day.clicks.sum()) for day in days)
    shown = twice = robots = rows = 0
    ids: set[str] = set()
    for table in drawn_traffic.events(drawn, days, rng=rng):
        event, kind = table["event_id"].to_pylist(), table["kind"].to_pylist()
        shown += sum(one == "impression" for one in kind)
        twice += sum("-again-" in one for one in event)
        robots += sum("-bot-" in one and what == "impression" for one, what in zip(event, kind, strict=True))
        assert table["ts"].to_pylist() == sorted(table["ts"].to_pylist())
        ids.update(event)
        rows += len(event)
    assert len(ids) == rows
    assert shown - twice - robots == real
    assert twice / real == pytest.approx(drawn.structure.duplicates, rel=0.1)
    assert robots / real == pytest.approx(drawn.structure.bots, rel=0.05)


@pytest.mark.parametrize(
    "name", ["drawn", "drawn--1", "drawn-x", "harmony-2", "drawn-1\n", "drawn-07", "drawn-\u0661", ""]
)
def test_other_names_are_no_worlds(name: str) -> None:
    with pytest.raises(ConfigError, match="no world"):
        worlds.load(name)
    with pytest.raises(ValidationError, match="world"):
        SimulateConfig(world=name)


def test_all_worlds_open_by_name() -> None:
    assert isinstance(worlds.load("drawn-7"), DrawnWorld)
    assert [worlds.load(name).name for name in ("harmony", "siren", "drawn-7")] == ["harmony", "siren", "drawn-7"]


def test_hashed_draws_are_uniform() -> None:
    values = [uniform("test", str(number)) for number in range(4_000)]
    assert np.histogram(values, bins=10, range=(0, 1))[0].std() < 30
