"""A log whose files come one after the other counts what it counts at once, and no file is read again for another."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.clicks.conftest import add_creatives, click, impression, write_parquet

from clickscape.clicks import incremental, locations, logs
from clickscape.clicks.logs import Log
from clickscape.config import ClicksConfig
from clickscape.errors import LogError
from clickscape.stages.clicks import clicks, kept_summaries, read_log
from clickscape.stages.progress import run
from clickscape.workspace import Workspace

NOW = datetime(2026, 3, 20, tzinfo=UTC)
START = 1_772_323_200  # 2026-03-01T00:00:00Z
DAY = 86_400
CONFIG = ClicksConfig(bot_events_per_minute=9, max_unmatched_share=1, max_untimely_share=1)
_TEXT = ("event_id", "kind", "decision_id", "creative_id", "product_id", "user_key", "device")
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in _TEXT),
        ("position", pa.int32()),
        ("ts", pa.timestamp("us", tz="UTC")),
        ("received_at", pa.timestamp("us", tz="UTC")),
    ]
)
Row = dict[str, Any]


@pytest.fixture(autouse=True)
def _every_file_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incremental, "PART_BYTES", 0)
    monkeypatch.setattr(incremental, "LEAST_BYTES", 0)


def drawn_log(seed: int, *, size: int = 300, days: int = 4) -> list[Row]:
    """Return events with every fault: people, bots by their pace, a clicker, cached pages, what was logged again."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []

    def add(kind: str, decision: str, creative: str, second: float, **other: object) -> Row:
        row: Row = {"event_id": f"{kind}-{len(rows)}", "kind": kind, "decision_id": decision, "creative_id": creative}
        position = None if rng.random() < 0.1 else int(rng.integers(1, 3))
        row |= {"product_id": "p", "position": position, "device": "phone", "user_key": None, **other}
        at = START + second
        late = 90 * 3_600 if rng.random() < 0.02 else 1
        row["ts"], row["received_at"] = (datetime.fromtimestamp(time, UTC) for time in (at, at + late))
        rows.append(row)
        return row

    for number in range(size):
        user = None if rng.random() < 0.05 else f"user {rng.integers(0, 25)}"
        second = float(rng.uniform(0, days * DAY)) if rng.random() < 0.7 else DAY * rng.integers(1, days) - 20.0
        shown = add("impression", f"d{number}", "ab"[number % 2], second, user_key=user)
        if rng.random() < 0.05:
            add("impression", shown["decision_id"], shown["creative_id"], second + 5, user_key=f"viewer {number}")
        if rng.random() < 0.05:
            again = add("impression", shown["decision_id"], shown["creative_id"], second + 7, user_key=user)
            again["position"] = shown["position"]
        if rng.random() < 0.25:
            waited = float(rng.choice([3, 40, -20, -500, 30 * 3_600]))
            clicked = add("click", shown["decision_id"], shown["creative_id"], second + waited, user_key=user)
            clicked["position"] = None if rng.random() < 0.1 else shown["position"]
            if rng.random() < 0.2:
                rows.append({**clicked, "event_id": f"second-{number}"})
        if rng.random() < 0.1:
            add("conversion", shown["decision_id"], shown["creative_id"], second + DAY, user_key=user)
    for number in range(40):  # so that no creative has more clicks than impressions at a position
        add(
            "impression",
            f"seen{number}",
            "ab"[number % 2],
            float(rng.uniform(0, days * DAY)),
            position=1 + number // 2 % 2,
        )
    for number in range(60):  # a clicker, an hour between what it does, so that no minute has much
        at = number * days * DAY / 61
        add("impression", f"slow{number}", "a", at, user_key="clicker")
        add("click", f"slow{number}", "a", at + 30, user_key="clicker")
    for number in range(14):  # a bot around midnight, and a user with as many events, though not in one minute
        add("impression", f"bot{number}", "b", DAY + number - 1, user_key="bot")
        add("impression", f"heavy{number}", "b", 2 * DAY + 9 * (number - 7), user_key="heavy")
    rows += [dict(rows[place]) for place in rng.integers(0, len(rows), 15)]
    add("impression", "later", "a", 90 * DAY, user_key="user 1")
    return rows


def write_log(folder: Path, files: Mapping[str, Sequence[Row]]) -> None:
    for name, rows in files.items():
        write_parquet(folder / f"{name}.parquet", rows, SCHEMA)


def by_day(rows: Iterable[Row]) -> dict[str, list[Row]]:
    days: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: row["received_at"]):
        days.setdefault(f"{row['received_at']:%Y-%m-%d}", []).append(row)
    return days


def said(read: Callable[[], Log]) -> tuple[object, ...]:
    """All that a log says, whichever way it was read; where it is refused, why."""
    try:
        log = read()
    except LogError as error:
        return (str(error).split(": ", maxsplit=1)[1],)
    table = log.counts.to_pyarrow()
    rows = sorted(table.select(sorted(table.column_names)).to_pylist(), key=str)
    assert log.cleaning is not None
    return rows, replace(log.cleaning, out_of_order=None, respelled=None), log.allocated, log.newest


def at_once(workspace: Workspace, rows: Sequence[Row], config: ClicksConfig = CONFIG) -> tuple[object, ...]:
    """What the expression for any engine says of all events in one table."""
    table = logs.connect(threads=1).create_table("events", pa.Table.from_pylist(list(rows), schema=SCHEMA))
    creatives = workspace.read_table(workspace.creatives_path).select(["creative_id", "product_id"])
    return said(lambda: logs.read(table, creatives=creatives, config=config, by=("day", "device"), now=NOW))


def in_files(workspace: Workspace, config: ClicksConfig = CONFIG) -> Log:
    log = read_log(workspace, config=config, by=("day", "device"), now=NOW)
    assert log.read is not None, "read at once"
    return log


@pytest.mark.slow
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), files=st.integers(1, 7), data=st.data())
def test_any_split_into_files_counts_what_the_whole_log_does(
    workspace: Workspace, seed: int, files: int, data: st.DataObject
) -> None:
    rows = drawn_log(seed, size=60)
    places = data.draw(st.lists(st.integers(0, files - 1), min_size=len(rows), max_size=len(rows)))
    split: dict[str, list[Row]] = {}
    for row, place in zip(rows, places, strict=True):
        split.setdefault(f"part-{place}", []).append(row)
    shutil.rmtree(workspace.events_folder, ignore_errors=True)
    write_log(workspace.events_folder, split)
    assert said(lambda: in_files(workspace)) == at_once(workspace, rows)


@pytest.mark.slow
def test_a_log_that_grows_is_read_once_and_counts_the_same(workspace: Workspace) -> None:
    """A new day, a day that was exported again, one that was taken back, and an old day that comes late."""
    days = by_day(row for row in drawn_log(3) if row["ts"] < NOW)  # one with events of the future is read every time
    names = list(days)
    assert len(names) > 5
    there: dict[str, list[Row]] = {}

    def check(*changed: str, read: int | None = None) -> None:
        for name in changed:
            if name in there:
                write_log(workspace.events_folder, {name: there[name]})
            else:
                (workspace.events_folder / f"{name}.parquet").unlink()
        log = in_files(workspace)
        rows = [row for part in there.values() for row in part]
        assert said(lambda: log) == at_once(workspace, rows)
        assert log.known == len(there) - sum(name in there for name in changed)
        assert read is None or log.read == read

    for added in (names[:1], names[2:4], names[4:]):
        there |= {name: days[name] for name in added}
        check(*added)
    check(read=0)
    there[names[1]] = days[names[1]]
    check(names[1])
    there[names[3]] = [*days[names[3]][5:], *days[names[0]][:3]]
    check(names[3])
    del there[names[2]]
    check(names[2])


@pytest.mark.slow
def test_a_bot_whose_minute_is_split_over_files_is_found(workspace: Workspace) -> None:
    """Six of ten events of a minute in one file, four in another: neither file shows a bot."""
    time_of = datetime.fromtimestamp(START, UTC)
    rows = [impression(n, user_key="bot", ts=time_of, received_at=time_of, device=None) for n in range(10)]
    rows += [impression(n, user_key=f"user {n}", ts=time_of, received_at=time_of, device=None) for n in range(10, 40)]
    write_log(workspace.events_folder, {"1": rows[:6] + rows[10:20], "2": rows[6:10] + rows[20:]})
    log = in_files(workspace)
    assert log.cleaning is not None
    assert (log.cleaning.bots, log.cleaning.bot_events, log.cleaning.busiest_bot) == (1, 10, "bot")
    assert said(lambda: log) == at_once(workspace, rows)
    for limit, bots in ((10, 0), (60, 0), (3, 1)):
        log = in_files(workspace, CONFIG.changed(bot_events_per_minute=limit))
        assert log.cleaning is not None
        assert log.cleaning.bots == bots


def test_two_events_under_one_id_in_two_files_are_refused(workspace: Workspace) -> None:
    add_creatives(workspace, "a", "c")
    write_parquet(workspace.events_folder / "1.parquet", [impression(1), impression(2)])
    write_parquet(workspace.events_folder / "2.parquet", [impression(3, event_id="e2", creative_id="c")])
    with pytest.raises(LogError, match="two different events share the id 'e2'"):
        read_log(workspace)


def test_a_conversion_that_two_files_have_counts_as_one(workspace: Workspace) -> None:
    bought = impression(1, event_id="bought", kind="conversion")
    write_parquet(workspace.events_folder / "1.parquet", [impression(1), bought])
    write_parquet(workspace.events_folder / "2.parquet", [impression(2), bought])
    log = read_log(workspace)
    assert log.read == 2
    assert log.cleaning is not None
    assert log.cleaning.duplicates == 1


def test_a_file_that_is_there_twice_counts_once(workspace: Workspace) -> None:
    rows = [impression(n) for n in range(5)] + [click(2)]
    for name in ("1", "2"):
        write_parquet(workspace.events_folder / f"{name}.parquet", rows)
    for _ in range(2):
        log = read_log(workspace, by=())
        (row,) = log.counts.to_pyarrow().to_pylist()
        assert (row["impressions"], row["clicks"]) == (5, 1)
        assert log.cleaning is not None
        assert log.cleaning.duplicates == 6


def test_a_column_that_a_new_file_brings_applies_its_rules_to_all(workspace: Workspace) -> None:
    write_parquet(workspace.events_folder / "1.parquet", [impression(n) for n in range(4)])
    assert read_log(workspace).counts.columns == ("creative_id", "product_id", "position", "impressions", "clicks")
    write_parquet(workspace.events_folder / "2.parquet", [impression(n, device="phone") for n in range(4, 7)])
    log = read_log(workspace)
    rows = {row["device"]: row["impressions"] for row in log.counts.to_pyarrow().to_pylist()}
    assert (rows, log.known) == ({None: 4, "phone": 3}, 1)


def test_accents_are_composed_in_the_files_that_have_some(workspace: Workspace) -> None:
    add_creatives(workspace, "a", "caf\u00e9")
    write_parquet(workspace.events_folder / "1.parquet", [impression(1), impression(2, "cafe\u0301")])
    write_parquet(workspace.events_folder / "2.parquet", [click(2, "caf\u00e9"), impression(3)])
    log = read_log(workspace, by=())
    assert log.read == 2
    found = {row["creative_id"]: (row["impressions"], row["clicks"]) for row in log.counts.to_pyarrow().to_pylist()}
    assert found == {"a": (2, 0), "caf\u00e9": (1, 1)}


@pytest.mark.slow
def test_settings_that_a_summary_depends_on_make_it_anew(workspace: Workspace) -> None:
    rows = by_day(drawn_log(5, size=40))
    write_log(workspace.events_folder, rows)
    everything = [row for part in rows.values() for row in part]
    for changed in ({}, {"late_after_hours": 400}, {"attribution_hours": 1}, {"clock_skew_seconds": 1}):
        config = CONFIG.changed(**changed)
        assert said(partial(in_files, workspace, config)) == at_once(workspace, everything, config)


def test_the_stage_says_how_many_files_it_read(workspace: Workspace) -> None:
    for number in (1, 2):
        rows = [impression(n) for n in range(10 * number, 10 * number + 5)] + [click(10 * number)]
        write_parquet(workspace.events_folder / f"{number}.parquet", rows)
        manifest = run(clicks(workspace, workspace.settings.clicks))
    assert manifest.result["files"] == {"read": 1, "known": 1}
    assert "files of the log: 1 read anew, 1 known from before" in manifest.result["summary"]


def test_summaries_that_no_log_asks_for_go_after_a_week(workspace: Workspace) -> None:
    path = write_parquet(workspace.events_folder / "1.parquet", [impression(n) for n in range(5)])
    read_log(workspace)
    (old,) = (folder for folder in kept_summaries(workspace).iterdir() if folder.is_dir())
    write_parquet(path, [impression(n) for n in range(6)])
    read_log(workspace)
    assert old.exists()
    os.utime(old, (time.time() - 8 * DAY,) * 2)
    read_log(workspace)
    assert not old.exists()


def test_damaged_summaries_are_made_anew(workspace: Workspace) -> None:
    write_parquet(workspace.events_folder / "1.parquet", [impression(n) for n in range(5)])
    read_log(workspace)
    (tied,) = kept_summaries(workspace).glob("*/tied.parquet")
    tied.write_bytes(b"nonsense")
    write_parquet(workspace.events_folder / "2.parquet", [impression(n) for n in range(4, 9)])
    for read in (None, 2):
        for part in kept_summaries(workspace).glob("*/counted-*"):
            shutil.rmtree(part)
        log = read_log(workspace)
        assert log.read == read
        assert sum(log.counts.to_pyarrow()["impressions"].to_pylist()) == 9


@pytest.mark.slow
def test_a_killed_run_leaves_nothing_that_counts(workspace: Workspace) -> None:
    """Killed at many moments of reading; whatever is there then, the next run counts the same."""
    days = by_day(drawn_log(7, size=80))
    write_log(workspace.events_folder, days)
    code = f"""
from datetime import UTC, datetime
from clickscape.clicks import incremental
from clickscape.config import ClicksConfig
from clickscape.stages.clicks import read_log
from clickscape.workspace import Workspace
incremental.PART_BYTES = incremental.LEAST_BYTES = 0
config = ClicksConfig.model_validate_json({CONFIG.model_dump_json()!r})
workspace = Workspace.open({str(workspace.path)!r})
print("begun", flush=True)
read_log(workspace, config=config, by=("day", "device"), now=datetime.fromisoformat({NOW.isoformat()!r}))
"""
    for wait in (0.0, 0.3, 0.8, 1.5):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=dict(os.environ)) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(wait)
            process.send_signal(signal.SIGKILL)
    rows = [row for part in days.values() for row in part]
    assert said(lambda: in_files(Workspace.open(workspace.path))) == at_once(workspace, rows)
    assert not list(kept_summaries(workspace).glob(".tmp-*"))


def test_a_log_of_another_process_that_is_reading_is_read_without_its_summaries(workspace: Workspace) -> None:
    from clickscape.regular_files import locked

    write_parquet(workspace.events_folder / "1.parquet", [impression(n) for n in range(5)])
    with locked(kept_summaries(workspace) / ".lock"):
        log = read_log(workspace)
    assert (log.read, log.known) == (1, 0)
    assert not [path for path in kept_summaries(workspace).iterdir() if path.is_dir()]
    assert locations.locate(workspace.clicks, ClicksConfig()).unread == ()
    assert pq.read_table(workspace.events_folder / "1.parquet").num_rows == 5
