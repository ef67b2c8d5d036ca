"""Events become counts exactly; a log that contradicts itself is refused in one line, the workspace untouched."""

from __future__ import annotations

import hashlib
import itertools
import shutil
from collections.abc import Iterable
from pathlib import Path

import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickscape import clicks
from clickscape.clicks import logs
from clickscape.errors import LogError, WorkspaceError
from clickscape.stages.clicks import clicks as stage
from clickscape.stages.clicks import read_estimates, read_log, read_pairs
from clickscape.stages.progress import run
from clickscape.types import Creative
from clickscape.workspace import Workspace

Row = dict[str, object]
_TEXT = ("event_id", "kind", "decision_id", "creative_id", "product_id")
_SCHEMA = pa.schema([*((name, pa.string()) for name in _TEXT), ("position", pa.int32())])


def event(
    number: int, kind: str = "impression", creative: str = "a", *, position: int | None = 1, **other: object
) -> Row:
    ids = {"event_id": f"{kind}-{number}", "kind": kind, "decision_id": f"d{number}", "creative_id": creative}
    return {**ids, "product_id": "p", "position": position, **other}


def counted(rows: Iterable[Row]) -> list[Row]:
    table = logs.connect(threads=1).create_table("events", pa.Table.from_pylist(list(rows), schema=_SCHEMA))
    found: list[Row] = logs.counts(table).to_pyarrow().to_pylist()
    return sorted(found, key=lambda row: (str(row["creative_id"]), row["position"] or 0))


def write(workspace: Workspace, rows: Iterable[Row], *, part: str = "day-1", schema: pa.Schema = _SCHEMA) -> Path:
    path = workspace.events_folder / f"{part}.parquet"
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path)
    return path


def run_stage(workspace: Workspace) -> None:
    run(stage(workspace, workspace.settings.clicks))


def totals(workspace: Workspace) -> tuple[int, int]:
    total = clicks.estimate(read_log(workspace).counts).total
    return total.impressions, total.clicks


def everything(folder: Path) -> dict[str, str]:
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return new_shop(tmp_path)


def new_shop(folder: Path) -> Workspace:
    made = Workspace.create(folder / "a shop [1] {x}")  # brackets and braces mean something to globs and formats
    made.write_creatives([Creative(name, "p", f"{name}.webp", "", {}, "studio", "tiny", 0) for name in "ab"])
    return made


def test_counts_are_what_one_counts_by_hand() -> None:
    rows = [event(1), event(2), event(3, position=2), event(4, creative="b"), event(2, "click"), event(4, "conversion")]
    assert counted(rows) == [
        {"creative_id": "a", "product_id": "p", "position": 1, "impressions": 2, "clicks": 1},
        {"creative_id": "a", "product_id": "p", "position": 2, "impressions": 1, "clicks": 0},
        {"creative_id": "b", "product_id": "p", "position": 1, "impressions": 1, "clicks": 0},
    ]


_ROWS = [event(n, creative="ab"[n % 2], position=1 + n % 3) for n in range(12)]
_ROWS += [event(n, "click", "ab"[n % 2], position=1 + n % 3) for n in (0, 3, 8)]


@pytest.mark.slow
@given(st.permutations(_ROWS), st.lists(st.sampled_from(_ROWS), max_size=20))
@settings(max_examples=6)
def test_neither_order_nor_repeated_events_change_the_counts(shuffled: list[Row], again: list[Row]) -> None:
    assert counted([*shuffled, *again]) == counted(_ROWS)


def test_the_counting_can_be_shown_as_sql() -> None:
    table = ibis.table(ibis.Schema.from_pyarrow(_SCHEMA), name="events")
    sql = str(ibis.to_sql(logs.counts(table), dialect="duckdb")).lower()
    assert "group by" in sql
    assert "row_number()" in sql


def test_events_in_several_files_are_one_log_and_unfinished_files_are_not_read(workspace: Workspace) -> None:
    write(workspace, [event(1), event(2), event(1, "click")], part="day-1")
    write(workspace, [event(2), event(3, creative="b")], part="day-2")
    (workspace.events_folder / ".tmp-1234.parquet").write_bytes(b"half a file")
    assert totals(workspace) == (3, 1)


def test_a_log_without_positions_is_read(workspace: Workspace) -> None:
    schema = _SCHEMA.remove(_SCHEMA.get_field_index("position"))
    rows = [event(1), event(1, "click"), event(2, creative="b")]
    write(workspace, [{name: row[name] for name in schema.names} for row in rows], schema=schema)
    report = clicks.estimate(read_log(workspace).counts)
    assert report.examination.reason == "the log has no positions"
    assert report.estimates["examinations"].to_pylist() == [1.0, 1.0]


_BAD_EVENTS: dict[str, tuple[list[Row], str]] = {
    "unknown creative": ([event(1), event(2, creative="zebra")], "unknown creative 'zebra'.*drop its events"),
    "another product": ([event(1, product_id="q")], "logged for product 'q', but is of 'p'.*Correct"),
    "mostly clicks without impression": (
        [event(1), event(9, "click"), event(1, "click")],
        "1 of 2 clicks have no impression, such as 'click-9' on 'a'.*Export the impressions",
    ),
    "more clicks": (
        [event(1), event(1, "click"), event(2, "click", decision_id="d1", position=2)],
        "creative 'a' has 1 clicks, but only 0 impressions at position 2.*Export",
    ),
    "one id, two events": (
        [event(1), event(2, creative="b", event_id="impression-1")],
        "two different events share the id 'impression-1'.*a unique id",
    ),
    "unknown kind": (
        [event(1, "glance")],
        "'glance-1' is of kind 'glance', expected one of impression, click.*drop it",
    ),
    "no id": ([event(1), event(2, event_id=None)], "event None .*lacks an id.*Fill it in"),
    "position 0": ([event(1, position=0)], "is at position 0; positions count from 1"),
    "clicks only": ([event(1, "click")], "1 of 1 clicks have no impression"),
    "conversions only": ([event(1, "conversion")], "empty: it has no impression"),
    "nothing": ([], "empty: it has no event.*Put events"),
}


@pytest.fixture(scope="module")
def counted_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop whose clicks were counted from a log that is gone."""
    shop = new_shop(tmp_path_factory.mktemp("once"))
    good = write(shop, [event(50), event(50, "click")], part="good")
    run_stage(shop)
    good.unlink()
    return shop.path


@pytest.mark.slow
@pytest.mark.parametrize("name", _BAD_EVENTS)
def test_bad_events_get_one_line_and_leave_the_workspace_as_it_was(
    counted_once: Path, tmp_path: Path, name: str
) -> None:
    rows, message = _BAD_EVENTS[name]
    workspace = Workspace.open(shutil.copytree(counted_once, tmp_path / counted_once.name))
    path = write(workspace, rows, part="bad")
    before = everything(workspace.clicks)
    with pytest.raises(LogError, match=message) as caught:
        run_stage(workspace)
    assert "\n" not in str(caught.value)
    assert str(path.parent) in str(caught.value) or name == "nothing"
    assert everything(workspace.clicks) == before


def test_the_error_names_the_file_that_the_event_stands_in(workspace: Workspace) -> None:
    write(workspace, [event(1)], part="good")
    bad = write(workspace, [event(2, creative="zebra")], part="bad")
    with pytest.raises(LogError) as caught:
        run_stage(workspace)
    assert str(caught.value).startswith(f"{bad}: ")


_COUNT: Row = {"creative_id": "a", "product_id": "p", "impressions": 10, "clicks": 1}
_BAD_COUNTS: dict[str, tuple[Row, str]] = {
    "clicks above impressions": ({**_COUNT, "clicks": 11}, "11 clicks, but only 10 impressions"),
    "negative": ({**_COUNT, "clicks": -1}, "'a' has a negative count.*export them again"),
    "unknown creative": ({**_COUNT, "creative_id": "zebra"}, "unknown creative 'zebra'"),
    "null": ({**_COUNT, "impressions": None}, "'a' has no impressions"),
    "no column": (
        {"creative_id": "a", "product_id": "p", "impressions": 10},
        "no column 'clicks'; expected creative_id.*Add the column",
    ),
    "position 0": ({**_COUNT, "position": 0}, "is at position 0"),
    "nothing shown": ({**_COUNT, "impressions": 0, "clicks": 0}, "has no impression"),
}


@pytest.mark.parametrize("name", _BAD_COUNTS)
def test_bad_counts_get_one_line_that_names_the_file(workspace: Workspace, name: str) -> None:
    row, message = _BAD_COUNTS[name]
    pq.write_table(pa.Table.from_pylist([row]), workspace.counts_path)
    before = everything(workspace.clicks)
    with pytest.raises(LogError, match=message) as caught:
        run_stage(workspace)
    assert str(caught.value).startswith(f"{workspace.counts_path}: ")
    assert everything(workspace.clicks) == before


def test_counts_of_one_creative_and_position_are_added_up(workspace: Workspace) -> None:
    pq.write_table(pa.Table.from_pylist([_COUNT, _COUNT]), workspace.counts_path)
    assert totals(workspace) == (20, 2)


def test_a_missing_column_a_torn_file_two_sources_and_no_source_are_refused(workspace: Workspace) -> None:
    with pytest.raises(LogError, match=r"no click log.*Put Parquet files"):
        read_log(workspace)
    path = write(workspace, [])
    pq.write_table(pa.table({"event_id": ["1"]}), path)
    with pytest.raises(LogError, match=r"no column 'kind'; expected event_id, kind.*Add the column"):
        run_stage(workspace)
    path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(LogError, match=r"day-1.parquet: not a Parquet file"):
        run_stage(workspace)
    workspace.write_counts(pa.Table.from_pylist([_COUNT]))
    with pytest.raises(LogError, match=r"count every click twice. Delete one"):
        run_stage(workspace)


def test_no_creatives_and_no_estimates_name_the_command_that_makes_them(tmp_path: Path) -> None:
    empty = Workspace.create(tmp_path / "empty")
    write(empty, [event(1)])
    with pytest.raises(WorkspaceError, match="clickscape generate"):
        run_stage(empty)
    with pytest.raises(WorkspaceError, match="clickscape clicks"):
        read_pairs(empty)


@pytest.mark.slow
def test_the_stage_writes_what_the_room_estimates(workspace: Workspace) -> None:
    rows = [event(n, creative=name) for n, name in enumerate("ab" * 50)]
    write(workspace, [*rows, *(event(n, "click") for n in range(0, 20, 2))])
    run_stage(workspace)
    report = clicks.estimate(read_log(workspace).counts)
    assert read_estimates(workspace).equals(report.estimates)
    assert read_pairs(workspace) == report.pairs
    assert [(pair.first, pair.second) for pair in report.pairs] == list(itertools.combinations("ab", 2))
