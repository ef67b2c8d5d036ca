"""Each rule of the cleaning on a log that one can work out by hand; figures beside what is left."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickscape.clicks import logs
from clickscape.clicks.cleaning_report import Findings
from clickscape.clicks.logs import Log
from clickscape.config import ClicksConfig
from clickscape.errors import ConfigError
from clickscape.types import Creative
from clickscape.workspace import Workspace

Row = dict[str, object]
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW = NOON + timedelta(days=10)
_TIME = pa.timestamp("us", tz="UTC")
_TEXT = ("event_id", "kind", "decision_id", "creative_id", "product_id", "user_key", "device")
SCHEMA = pa.schema(
    [*((name, pa.string()) for name in _TEXT), ("position", pa.int32()), ("ts", _TIME), ("received_at", _TIME)]
)


def event(number: int, kind: str = "impression", creative: str = "a", *, at: float = 0, **other: object) -> Row:
    """An event `at` seconds after noon, received at once, of a user of its own."""
    time = NOON + timedelta(seconds=at)
    row: Row = {"event_id": f"{kind}-{number}", "kind": kind, "decision_id": f"d{number}", "creative_id": creative}
    row |= {"product_id": "p", "user_key": f"u{number}", "device": "phone", "position": 1, "ts": time}
    return {**row, "received_at": time, **other}


def write(folder: Path, rows: Iterable[Row], *, name: str = "day", schema: pa.Schema = SCHEMA) -> None:
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema), folder / f"{name}.parquet")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace.create(tmp_path / "shop")
    made.write_creatives([Creative(name, "p", f"{name}.webp", "", {}, "studio", "tiny", 0) for name in "ab"])
    return made


def study(workspace: Workspace, rows: Iterable[Row], **config: float) -> Log:
    write(workspace.events_folder, rows)
    return logs.study(workspace, config=ClicksConfig(max_unmatched_share=1, **config), now=NOW)


def total(log: Log) -> tuple[int, int]:
    table = log.counts.to_pyarrow()
    return sum(table["impressions"].to_pylist()), sum(table["clicks"].to_pylist())


def found(log: Log) -> Findings:
    assert log.findings is not None
    return log.findings


BASE = [event(1), event(2, at=1)]
MINUTE = [event(10 + n, at=60 + n, user_key="busy") for n in range(4)]
RULES: dict[str, tuple[list[Row], dict[str, float], dict[str, int], tuple[int, int]]] = {
    "clean": ([event(1, "click", at=5)], {}, {}, (2, 1)),
    "duplicate": ([event(2, at=1), event(2, at=1), event(1, "click", at=5)], {}, {"duplicates": 2}, (2, 1)),
    "duplicated click": ([event(1, "click", at=5)] * 2, {}, {"duplicates": 1}, (2, 1)),
    "sent again later": ([event(2, at=9)], {}, {"duplicates": 1}, (2, 0)),
    "out of order": ([event(3, at=-5)], {}, {"out_of_order": 1}, (3, 0)),
    "late": ([event(3, received_at=NOON + timedelta(hours=73))], {}, {"late": 1}, (2, 0)),
    "just in time": ([event(3, received_at=NOON + timedelta(hours=72))], {}, {"out_of_order": 1}, (3, 0)),
    "future": ([event(3, at=10 * 86_400 + 61)], {}, {"future": 1}, (2, 0)),
    "now": ([event(3, at=10 * 86_400 + 60)], {}, {}, (3, 0)),
    "bot": ([*MINUTE, event(10, "click", at=600, user_key="busy")], {"bot_events_per_minute": 3},
            {"bots": 1, "bot_events": 5}, (2, 0)),
    "busy but no bot": (MINUTE, {"bot_events_per_minute": 4}, {}, (6, 0)),
    "busy over two minutes": ([{**row, "ts": NOON + timedelta(seconds=118 + n)} for n, row in enumerate(MINUTE)],
                              {"bot_events_per_minute": 3}, {}, (6, 0)),
    "one event often is no bot": ([MINUTE[0]] * 9, {"bot_events_per_minute": 3}, {"duplicates": 8}, (3, 0)),
    "nobody is no bot": ([{**row, "user_key": None} for row in MINUTE], {"bot_events_per_minute": 3}, {}, (6, 0)),
    "orphan": ([event(9, "click", at=5)], {}, {"unmatched_clicks": 1}, (2, 0)),
    "early": ([event(1, "click", at=-61)], {}, {"early_clicks": 1, "out_of_order": 1}, (2, 0)),
    "skewed": ([event(1, "click", at=-60)], {}, {"skewed_clicks": 1, "out_of_order": 1}, (2, 1)),
    "expired": ([event(1, "click", at=86_401)], {}, {"expired_clicks": 1}, (2, 0)),
    "last second": ([event(1, "click", at=86_400)], {}, {}, (2, 1)),
    "again": ([event(1, "click", at=5), event(7, "click", at=6, decision_id="d1")], {}, {"repeated_clicks": 1}, (2, 1)),
    "again after a bad one": ([event(7, "click", at=-90, decision_id="d1"), event(1, "click", at=5)], {},
                              {"early_clicks": 1, "out_of_order": 1}, (2, 1)),
    "click of a late impression": ([event(3, received_at=NOON + timedelta(hours=73)), event(3, "click", at=4)], {},
                                   {"late": 1, "unmatched_clicks": 1}, (2, 0)),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_each_cleaning_rule_on_a_log_worked_out_by_hand(workspace: Workspace, name: str) -> None:
    rows, config, expected, left = RULES[name]
    log = study(workspace, [*BASE, *rows], **config)
    figures = {key: getattr(found(log), key) for key in Findings.__slots__ if key not in ("events", "out_of_order")}
    expected = dict(expected)
    if "out_of_order" in expected:
        assert found(log).out_of_order == expected.pop("out_of_order")
    assert {key: value for key, value in figures.items() if value} == expected
    assert found(log).events == len(BASE) + len(rows)
    assert total(log) == left
    assert len(found(log).lines()) == len({*expected} - {"bots"}) + bool(found(log).out_of_order)


def test_counts_that_a_log_cannot_provide_are_unknown_not_zero(workspace: Workspace) -> None:
    schema = pa.schema([field for field in SCHEMA if field.name not in ("ts", "received_at", "user_key", "device")])
    write(workspace.events_folder, [{k: row[k] for k in schema.names} for row in BASE], schema=schema)
    log = logs.study(workspace, now=NOW, by=("day", "device"))
    blank = dict.fromkeys(("out_of_order", "late", "future", "bots", "bot_events", "early_clicks", "expired_clicks"))
    assert {key: getattr(found(log), key) for key in blank} == blank
    assert log.counts.columns == ("creative_id", "product_id", "position", "impressions", "clicks")


def test_a_click_counts_on_the_day_and_device_of_its_impression(workspace: Workspace) -> None:
    evening = 12 * 3_600 - 1
    rows = [event(1, at=evening), event(1, "click", at=evening + 5, device=None), event(2, at=evening + 2)]
    write(workspace.events_folder, rows)
    table = logs.read(workspace, now=NOW, by=("day", "device")).order_by("day").to_pyarrow()
    same = {"creative_id": "a", "product_id": "p", "position": 1, "device": "phone", "impressions": 1}
    assert table.to_pylist() == [
        {**same, "day": date(2026, 3, 1), "clicks": 1},
        {**same, "day": date(2026, 3, 2), "clicks": 0},
    ]
    with pytest.raises(ConfigError, match=r"cannot be counted by 'hour', expected any of day, placement"):
        logs.read(workspace, by=("hour",))  # type: ignore[arg-type]


MIXED = [*BASE, *MINUTE, event(1, "click", at=5), event(7, "click", at=6, decision_id="d1"), event(2, "click", at=-70)]
MIXED += [event(3, creative="b", at=30), event(3, "click", "b", at=31), event(20, "click"), event(4, at=1e6)]


@pytest.mark.slow
@given(st.permutations(MIXED), st.lists(st.sampled_from(MIXED), max_size=8), st.integers(1, len(MIXED)))
@settings(max_examples=10, deadline=None)
def test_no_count_depends_on_order_repetition_or_files(
    tmp_path_factory: pytest.TempPathFactory, shuffled: list[Row], again: list[Row], cut: int
) -> None:
    made = Workspace.create(tmp_path_factory.mktemp("shop") / "one")
    made.write_creatives([Creative(name, "p", f"{name}.webp", "", {}, "studio", "tiny", 0) for name in "ab"])
    config = ClicksConfig(bot_events_per_minute=3, max_unmatched_share=1)
    rows = [*shuffled, *again]
    write(made.events_folder, rows[:cut], name="one")
    write(made.events_folder, rows[cut:], name="two")
    log = logs.study(made, config=config, now=NOW, by=("day", "device"))
    table = log.counts.order_by("creative_id").to_pyarrow()
    assert list(zip(table["impressions"].to_pylist(), table["clicks"].to_pylist(), strict=True)) == [(2, 1), (1, 1)]
    assert (found(log).duplicates, found(log).bots, found(log).future) == (
        sum(row["user_key"] != "busy" and row["event_id"] != "impression-4" for row in again),
        1,
        1 + again.count(event(4, at=1e6)),
    )
