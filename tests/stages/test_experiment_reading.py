from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.factory import clickscape

from clickscape.errors import ExperimentError
from clickscape.experiment import definition as definitions
from clickscape.experiment.definition import ExperimentDefinition, Variant
from clickscape.experiment.moments import from_counts
from clickscape.experiment.read import read
from clickscape.experiment.reading import ProductReading
from clickscape.simulator.experiment_traffic import Audience, events
from clickscape.stages.experiment import experiment_folder, read_key, start
from clickscape.stages.experiment_platforms import COUNTS, COUNTS_SCHEMA
from clickscape.stages.experiment_reading import (
    earlier_readings,
    newest_reading,
    read_traffic,
    reading_path,
    write_reading,
)
from clickscape.stages.progress import run
from clickscape.types import ClickCounts, Creative, Estimate
from clickscape.workspace import Workspace

START = datetime(2026, 3, 2, 7, 30, tzinfo=UTC)
NOW = START + timedelta(days=8)


@pytest.fixture
def shop(tmp_path: Path) -> tuple[Workspace, ExperimentDefinition]:
    """A shop whose experiment has run for a week, with a true lift of 40 %; its log says no variant."""
    made = Workspace.create(tmp_path / "shop")
    names = [f"{product}-{variant}" for product in ("mug", "shoe") for variant in ("control", "new")]
    made.write_creatives([Creative(one, one.split("-")[0], f"{one}.webp", "", {}, "own", "own", 0) for one in names])
    arms = [Variant(name, 0.5, {"mug": f"mug-{name}", "shoe": f"shoe-{name}"}) for name in ("control", "new")]
    definition = start(made, "autumn", arms, now=START)
    audience = Audience(users=3_000, days=7, ctr=0.1, lifts={"new": 0.4}, ctr_cv=0.3)
    tables = events(definition, audience, key=read_key(made), rng=np.random.default_rng(0))
    for day, table in enumerate(tables):
        made.append_events(table, part=f"{day}")
    return made, definition


def test_an_experiment_is_read_from_the_workspace_and_kept(shop: tuple[Workspace, ExperimentDefinition]) -> None:
    workspace, _ = shop
    found = run(read_traffic(workspace, "autumn", by_product=True, now=NOW))
    new = found.variant("new")
    assert new.decision == "better"
    assert new.latest.always_valid is not None
    assert new.latest.always_valid.low < 0.4 < new.latest.always_valid.high
    assert new.days[0].day == START.date()
    assert len(new.days) == 7
    assert {one.product_id for one in found.products} == {"mug", "shoe"}
    assert sum(one.counts.clicks for one in found.products) == new.counts.clicks
    assert newest_reading(workspace, "autumn") == found


def test_before_the_first_reading_there_is_none(shop: tuple[Workspace, ExperimentDefinition]) -> None:
    with pytest.raises(ExperimentError, match="experiment read shop autumn` first"):
        newest_reading(shop[0], "autumn")
    path = reading_path(shop[0], "autumn")
    path.write_text("{}")
    with pytest.raises(ExperimentError, match="Read the experiment again"):
        newest_reading(shop[0], "autumn")


def counts_table(*rows: tuple[str, date, int, int]) -> pa.Table:
    columns = ("variant", "day", "impressions", "clicks")
    more = {"conversions": None, "allocation": "randomized with shares", "platform": "meta"}
    return pa.Table.from_pylist([{**dict(zip(columns, row, strict=True)), **more} for row in rows], COUNTS_SCHEMA)


def test_a_platforms_counts_are_read_in_place_of_the_log(shop: tuple[Workspace, ExperimentDefinition]) -> None:
    workspace, _ = shop
    path = experiment_folder(workspace, "autumn") / COUNTS
    first, second = date(2026, 3, 2), date(2026, 3, 4)
    rows = [("control", first, 9_000, 400), ("new", first, 9_000, 620), ("new", second, 9_000, 600)]
    workspace.write_table(path, counts_table(*rows, ("control", second, 9_000, 410)))
    found = run(read_traffic(workspace, "autumn", now=NOW))
    assert found.unit == "impression"
    assert found.variant("new").decision == "better"
    assert [day.counts.clicks for day in found.variant("new").days] == [620, 620, 1_220]
    assert found.sample_ratio is None
    workspace.write_table(path, counts_table(*rows[:1]))
    with pytest.raises(ExperimentError, match="variant 'new' is not both there and in"):
        run(read_traffic(workspace, "autumn", now=NOW))
    workspace.write_table(path, counts_table(("control", date(2026, 3, 1), 9, 1), ("new", first, 9, 1)))
    with pytest.raises(ExperimentError, match="counts of 2026-03-01, before the start"):
        run(read_traffic(workspace, "autumn", now=NOW))


@pytest.mark.slow
def test_the_command_prints_lines_or_json(shop: tuple[Workspace, ExperimentDefinition]) -> None:
    path = str(shop[0].path)
    told = clickscape("experiment", "read", path, "autumn").out
    assert "new against control: better" in told
    assert f"next: clickscape experiment stop {path} autumn" in told
    printed = json.loads(clickscape("experiment", "read", path, "autumn", "--json").out)
    assert printed["variants"][1]["decision"] == "better"
    refused = clickscape("experiment", "read", path, "winter")
    assert refused.code == 2
    assert "no experiment 'winter'" in refused.err


def test_ended_experiments_say_what_to_expect_of_a_winner(shop: tuple[Workspace, ExperimentDefinition]) -> None:
    """Four others with hardly any lift: three of them ended, so this one's lifts are drawn towards theirs."""
    workspace, definition = shop
    small = Estimate(0.01, -0.01, 0.03)
    counts = from_counts(impressions=np.full((2, 1), 5e4), clicks=np.array([[5e3], [5.05e3]]))
    product = ProductReading("mug", "new", ClickCounts(90, 9), small, None, 0.5, False, False)
    for number in range(4):
        ended = replace(definition, name=f"spring-{number}", end=None if number == 3 else START)
        definitions.write(experiment_folder(workspace, ended.name) / definitions.FILE, ended)
        write_reading(workspace, read(counts, definition=ended, unit="impression", products=[product]))
    assert [one.name for one in earlier_readings(workspace, but="autumn")] == ["spring-0", "spring-1", "spring-2"]
    assert [one.name for one in earlier_readings(workspace, but="spring-1")] == ["spring-0", "spring-2"]
    found = run(read_traffic(workspace, "autumn", by_product=True, now=NOW))
    new = found.variant("new")
    assert new.latest.fixed is not None
    assert new.shrunk is not None
    assert 0 < new.shrunk.value < new.latest.fixed.value
    assert len(found.products) == 2
    assert all(one.shrunk is not None and one.shrunk.value < one.lift.value for one in found.products)
    association = replace(newest_reading(workspace, "spring-0"), allocation="unknown")
    write_reading(workspace, association)
    assert [one.name for one in earlier_readings(workspace, but="autumn")] == ["spring-1", "spring-2"]
