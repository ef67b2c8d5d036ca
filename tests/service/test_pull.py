"""Every event comes into the workspace once, whenever a pull is killed, and a forgotten user is nowhere."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy.engine import Engine
from tests.service.conftest import NOW, rows
from tests.service.test_event_writer import event

from clickscape.service import pull as room
from clickscape.service import readings, schema
from clickscape.service.event_writer import Event, EventWriter
from clickscape.service.pull import forget_user, number_events, pull_events


def write(engine: Engine, *events: Event) -> None:
    writer = EventWriter(engine)
    writer.write(events).result()
    writer.close()


def pulled(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("*.parquet"))])


def test_events_are_pulled_once_in_the_columns_of_a_log(engine: Engine, tmp_path: Path) -> None:
    write(engine, event(1), event(1, "click", event_id="c", position=2))
    first = pull_events(engine, tmp_path / "events")
    assert (first.events, [path.name for path in first.files]) == (2, ["service-000001.parquet"])
    assert pull_events(engine, tmp_path / "events").events == 0
    write(engine, event(2))
    assert pull_events(engine, tmp_path / "events").events == 1
    table = pulled(tmp_path / "events")
    assert table["event_id"].to_pylist() == ["c", "impression-1", "impression-2"]
    assert table["position"].to_pylist() == [2, None, None]
    assert table["ts"].cast(pa.int64()).to_pylist() == [NOW] * 3
    assert str(table.schema.field("ts").type) == "timestamp[us, tz=UTC]"
    assert set(table["allocation"].to_pylist()) == {"randomized with propensities"}


def test_events_of_decisions_that_nobody_made_stay_in_the_store(engine: Engine, tmp_path: Path) -> None:
    write(engine, event(1), Event("x", "click", "unknown", "?d", None, None, None, None, None, None, NOW, NOW))
    assert pull_events(engine, tmp_path).events == 1
    assert len(rows(engine, schema.events)) == 2


@pytest.mark.parametrize("killed_before", [0, 1, 2])
def test_a_pull_that_is_killed_loses_and_repeats_nothing(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_before: int
) -> None:
    monkeypatch.setattr(room, "_LARGEST", 2)
    write(engine, *(event(number) for number in range(5)))
    if killed_before:
        number_events(engine)  # and then it was killed
    if killed_before == 2:
        pull_events(engine, tmp_path)
        (tmp_path / "service-000002.parquet").unlink()  # or between two files
    pull_events(engine, tmp_path)
    assert sorted(pulled(tmp_path)["event_id"].to_pylist()) == [f"impression-{number}" for number in range(5)]
    assert [len(pq.read_table(path)) for path in sorted(tmp_path.glob("*.parquet"))] == [2, 2, 1]


def test_a_forgotten_user_is_in_no_table_and_no_file_and_the_counts_stay(engine: Engine, tmp_path: Path) -> None:
    write(engine, event(1, user_key="a" * 16), event(2, user_key="b" * 16))
    pull_events(engine, tmp_path)
    write(engine, event(3, user_key="a" * 16))
    readings.keep(engine, "bots", "", {"users": ["a" * 16]}, now=NOW)
    before = rows(engine, schema.counts)
    assert forget_user(engine, tmp_path, "a" * 16) == 2
    assert [row.user_key for row in rows(engine, schema.events)] == [None, "b" * 16, None]
    assert pulled(tmp_path)["user_key"].to_pylist() == [None, "b" * 16]
    assert rows(engine, schema.counts) == before
    assert rows(engine, schema.readings) == []
    assert forget_user(engine, tmp_path, "a" * 16) == 0
