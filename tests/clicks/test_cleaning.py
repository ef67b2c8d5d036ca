"""Each cleaning rule on a log that one can work out by hand, and the counts that are left."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickscape.clicks.cleaning_report import CleaningReport
from clickscape.clicks.logs import Log
from clickscape.config import ClicksConfig
from clickscape.errors import ConfigError, LogError
from clickscape.stages.clicks import read_log
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


def cleaned(workspace: Workspace, rows: Iterable[Row], **config: float) -> Log:
    write(workspace.events_folder, rows)
    return read_log(
        workspace, config=ClicksConfig(max_unmatched_share=1, max_untimely_share=1, **config), by=(), now=NOW
    )


def total(log: Log) -> tuple[int, int]:
    table = log.counts.to_pyarrow()
    return sum(table["impressions"].to_pylist()), sum(table["clicks"].to_pylist())


def report(log: Log) -> CleaningReport:
    assert log.cleaning is not None
    return log.cleaning


BASE = [event(1), event(2, at=1)]
MINUTE = [event(10 + n, at=60 + n, user_key="busy") for n in range(4)]
RULES: dict[str, tuple[list[Row], dict[str, float], dict[str, int], tuple[int, int]]] = {
    "nothing to leave out": ([event(1, "click", at=5)], {}, {}, (2, 1)),
    "an impression logged three times counts once":
        ([event(2, at=1), event(2, at=1), event(1, "click", at=5)], {}, {"duplicates": 2}, (2, 1)),
    "a click logged twice counts once": ([event(1, "click", at=5)] * 2, {}, {"duplicates": 1}, (2, 1)),
    "an event sent again later counts once": ([event(2, at=9)], {}, {"duplicates": 1}, (2, 0)),
    "an event after a later one counts": ([event(3, at=-5)], {}, {"out_of_order": 1}, (3, 0)),
    "received after 73 hours is left out":
        ([event(3, received_at=NOON + timedelta(hours=73))], {}, {"late": 1}, (2, 0)),
    "received after 72 hours counts":
        ([event(3, received_at=NOON + timedelta(hours=72))], {}, {"out_of_order": 1}, (3, 0)),
    "61 seconds after now is left out": ([event(3, at=10 * 86_400 + 61)], {}, {"future": 1}, (2, 0)),
    "60 seconds after now counts": ([event(3, at=10 * 86_400 + 60)], {}, {}, (3, 0)),
    "all events of a bot are left out":
        ([*MINUTE, event(10, "click", at=600, user_key="busy")], {"bot_events_per_minute": 3},
            {"bots": 1, "bot_events": 5, "busiest_bot": "busy"}, (2, 0)),
    "as many events as allowed are no bot": (MINUTE, {"bot_events_per_minute": 4}, {}, (6, 0)),
    "events of two minutes are not added up":
        ([{**row, "ts": NOON + timedelta(seconds=118 + n)} for n, row in enumerate(MINUTE)],
                              {"bot_events_per_minute": 3}, {}, (6, 0)),
    "one event logged often is no bot": ([MINUTE[0]] * 9, {"bot_events_per_minute": 3}, {"duplicates": 8}, (3, 0)),
    "events without a user are no bot":
        ([{**row, "user_key": None} for row in MINUTE], {"bot_events_per_minute": 3}, {}, (6, 0)),
    "a user with over a thousand events on a day counts, and is named":
        ([event(100 + n, at=100 + 2.5 * n, user_key="slow") for n in range(1_001)], {},
            {"heavy_users": 1, "heavy_events": 1_001, "heaviest_user": "slow"}, (1_003, 0)),
    "a thousand events on each of two days are not many":
        ([event(100 + n, at=72 * n, user_key="keen") for n in range(1_000)], {}, {}, (1_002, 0)),
    "a click without impression is left out": ([event(9, "click", at=5)], {}, {"unmatched_clicks": 1}, (2, 0)),
    "a click 61 seconds before its impression is left out":
        ([event(1, "click", at=-61)], {}, {"early_clicks": 1, "out_of_order": 1}, (2, 0)),
    "a click 60 seconds before its impression counts":
        ([event(1, "click", at=-60)], {}, {"skewed_clicks": 1, "out_of_order": 1}, (2, 1)),
    "a click after more than 24 hours is left out": ([event(1, "click", at=86_401)], {}, {"expired_clicks": 1}, (2, 0)),
    "a click after 24 hours counts": ([event(1, "click", at=86_400)], {}, {}, (2, 1)),
    "a second click on an impression is left out":
        ([event(1, "click", at=5), event(7, "click", at=6, decision_id="d1")], {}, {"repeated_clicks": 1}, (2, 1)),
    "a click after a faulty one counts": ([event(7, "click", at=-90, decision_id="d1"), event(1, "click", at=5)], {},
                              {"early_clicks": 1, "out_of_order": 1}, (2, 1)),
    "an impression logged again under a new id counts once":
        ([event(2, at=1, event_id="again"), event(2, "click", at=5)], {}, {"relogged": 1}, (2, 1)),
    "an impression logged again under a new id and later counts once":
        ([event(2, at=n, event_id=f"again-{n}", received_at=NOON + timedelta(hours=n)) for n in (3, 4)], {},
                              {"relogged": 2}, (2, 0)),
    "an impression of the same decision at another position counts":
        ([event(2, at=1, event_id="other", position=2)], {}, {}, (3, 0)),
    "an impression of the same decision to another user counts":
        ([event(2, at=1, event_id="other", user_key="somebody")], {}, {}, (3, 0)),
    "two users who see one decision, as on a cached page, may both click":
        ([event(2, at=9, event_id="other", user_key="somebody"), event(2, "click", at=20),
          event(7, "click", at=21, decision_id="d2", user_key="somebody")], {}, {}, (3, 2)),
    "of two users who see one decision each clicks once":
        ([event(2, at=9, event_id="other", user_key="somebody"), event(2, "click", at=20), event(8, "click", at=21,
          decision_id="d2", user_key="u2")], {}, {"repeated_clicks": 1}, (3, 1)),
    "there are no more clicks than users who saw it":
        ([event(2, at=9, event_id="other", user_key="somebody"), *(event(n, "click", at=20 + n, decision_id="d2")
          for n in (2, 7, 8))], {}, {"repeated_clicks": 1}, (3, 2)),
    "a click waits from its own user's impression":
        ([event(2, at=90_000, event_id="other", user_key="somebody"), event(7, "click", at=90_005, decision_id="d2",
          user_key="somebody"), event(8, "click", at=90_006, decision_id="d2")],
          {}, {"expired_clicks": 1}, (3, 1)),
    "a click of a user that the impression does not name belongs to its decision":
        ([event(2, "click", at=20, user_key=None), event(7, "click", at=21, decision_id="d2", user_key="later")],
          {}, {"repeated_clicks": 1}, (2, 1)),
    "an impression of the same decision of another creative counts":
        ([event(2, at=1, event_id="other", creative="b")], {}, {}, (3, 0)),
    "an impression logged again for an unknown user counts once":
        ([event(3, at=2, user_key=None), event(3, at=2, user_key=None, event_id="again")], {}, {"relogged": 1}, (3, 0)),
    "a click of a late impression is left out":
        ([event(3, received_at=NOON + timedelta(hours=73)), event(3, "click", at=4)], {},
                                   {"late": 1, "unmatched_clicks": 1}, (2, 0)),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
def test_each_cleaning_rule_leaves_out_exactly_its_events(workspace: Workspace, name: str) -> None:
    rows, config, expected, left = RULES[name]
    log = cleaned(workspace, [*BASE, *rows], **config)
    figures = {
        key: getattr(report(log), key) for key in CleaningReport.__slots__ if key not in ("events", "out_of_order")
    }
    expected = dict(expected)
    if "out_of_order" in expected:
        assert report(log).out_of_order == expected.pop("out_of_order")
    assert {key: value for key, value in figures.items() if value} == expected
    assert report(log).events == len(BASE) + len(rows)
    assert total(log) == left
    assert len(report(log).lines()) == len(
        {*expected} - {"bots", "busiest_bot", "heavy_users", "heaviest_user"}
    ) + bool(report(log).out_of_order)


def test_figures_that_need_a_missing_column_are_none(workspace: Workspace) -> None:
    schema = pa.schema([field for field in SCHEMA if field.name not in ("ts", "received_at", "user_key", "device")])
    write(workspace.events_folder, [{k: row[k] for k in schema.names} for row in BASE], schema=schema)
    log = read_log(workspace, now=NOW, by=("day", "device"))
    blank = dict.fromkeys(("out_of_order", "late", "future", "bots", "heavy_users", "early_clicks", "expired_clicks"))
    assert {key: getattr(report(log), key) for key in blank} == blank
    assert log.counts.columns == ("creative_id", "product_id", "position", "impressions", "clicks")


@pytest.mark.slow
def test_a_click_counts_on_the_day_and_device_of_its_impression(workspace: Workspace) -> None:
    evening = 12 * 3_600 - 1
    rows = [event(1, at=evening), event(1, "click", at=evening + 5, device=None), event(2, at=evening + 2)]
    write(workspace.events_folder, rows)
    counts = read_log(workspace, now=NOW, by=("day", "device")).counts
    table = counts.order_by("day").to_pyarrow()
    same = {"creative_id": "a", "product_id": "p", "position": 1, "device": "phone", "impressions": 1}
    assert table.to_pylist() == [
        {**same, "day": date(2026, 3, 1), "clicks": 1},
        {**same, "day": date(2026, 3, 2), "clicks": 0},
    ]
    with pytest.raises(ConfigError, match=r"cannot be counted by 'hour', expected any of day, placement"):
        read_log(workspace, by=("hour",))  # type: ignore[arg-type]


MIXED = [*BASE, *MINUTE, event(1, "click", at=5), event(7, "click", at=6, decision_id="d1"), event(2, "click", at=-70)]
MIXED += [event(3, creative="b", at=30), event(3, "click", "b", at=31), event(20, "click"), event(4, at=1e6)]


@pytest.mark.slow
@given(st.permutations(MIXED), st.lists(st.sampled_from(MIXED), max_size=8), st.integers(1, len(MIXED)))
@settings(max_examples=6)
def test_counts_do_not_depend_on_the_order_repetition_or_files_of_events(
    tmp_path_factory: pytest.TempPathFactory, shuffled: list[Row], again: list[Row], cut: int
) -> None:
    made = Workspace.create(tmp_path_factory.mktemp("shop") / "one")
    made.write_creatives([Creative(name, "p", f"{name}.webp", "", {}, "studio", "tiny", 0) for name in "ab"])
    config = ClicksConfig(bot_events_per_minute=3, max_unmatched_share=1)
    rows = [*shuffled, *again]
    write(made.events_folder, rows[:cut], name="one")
    write(made.events_folder, rows[cut:], name="two")
    log = read_log(made, config=config, now=NOW, by=("day", "device"))
    table = log.counts.order_by("creative_id").to_pyarrow()
    assert list(zip(table["impressions"].to_pylist(), table["clicks"].to_pylist(), strict=True)) == [(2, 1), (1, 1)]
    assert (report(log).duplicates, report(log).bots, report(log).future) == (
        sum(row["user_key"] != "busy" and row["event_id"] != "impression-4" for row in again),
        1,
        1 + again.count(event(4, at=1e6)),
    )


def test_impressions_without_position_and_time_are_logged_again_too(workspace: Workspace) -> None:
    schema = pa.schema([field for field in SCHEMA if field.name not in ("ts", "received_at", "position", "user_key")])
    rows = [*BASE, event(2, event_id="again"), event(3)]
    write(workspace.events_folder, [{k: row[k] for k in schema.names} for row in rows], schema=schema)
    log = read_log(workspace, now=NOW, by=())
    assert (total(log), report(log).relogged) == ((3, 0), 1)


def many(count: int, kind: str = "impression", **other: object) -> list[Row]:
    return [event(100 + n, kind, **{"at": 10 * n, **other}) for n in range(count)]  # type: ignore[arg-type]


DAYS = timedelta(days=4)
UNTIMELY: dict[str, tuple[list[Row], str]] = {
    "clicks in a local time behind UTC": (
        [*many(10), *({**row, "ts": row["ts"] - timedelta(hours=5)} for row in many(10, "click"))],  # type: ignore[operator]
        r"10 of 10 clicks are left out for their time: 10 before their impression\. Are the times .* one time zone",
    ),
    "clicks that happened four days later": (
        [*many(10), *({**row, "ts": row["ts"] + DAYS} for row in many(10, "click"))],  # type: ignore[operator]
        r"10 of 10 clicks .*: 10 too long after their impression",
    ),
    "clicks that arrived four days later": (
        [*many(10), *({**row, "received_at": row["ts"] + DAYS} for row in many(10, "click"))],  # type: ignore[operator]
        r"10 of 10 clicks .*: 10 received too late.*max_untimely_share",
    ),
    "clicks of tomorrow and of yesterday": (
        [*many(10), *many(5, "click"), *many(1, "click", at=-90, event_id="x"), *many(2, "click", at=1e6)][:-1],
        r"2 of 7 clicks .*: 1 before their impression, 1 in the future",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", UNTIMELY)
def test_a_log_that_loses_too_many_clicks_to_rules_about_time_is_refused(workspace: Workspace, name: str) -> None:
    rows, message = UNTIMELY[name]
    write(workspace.events_folder, rows)
    with pytest.raises(LogError, match=message):
        read_log(workspace, now=NOW)


@pytest.mark.slow
def test_how_many_clicks_may_have_the_wrong_time_is_a_setting(workspace: Workspace) -> None:
    write(workspace.events_folder, UNTIMELY["clicks of tomorrow and of yesterday"][0])
    assert total(read_log(workspace, config=ClicksConfig(max_untimely_share=1), now=NOW))[0] == 10


@pytest.mark.slow
def test_a_fifth_of_the_clicks_may_be_left_out_for_their_time(workspace: Workspace) -> None:
    rows = [*many(10), *many(8, "click"), *many(2, "click", at=-90, event_id="x", decision_id="d109")]
    write(workspace.events_folder, [{**row, "event_id": f"{n}"} for n, row in enumerate(rows)])
    log = read_log(workspace, now=NOW)
    assert (total(log), report(log).early_clicks) == ((10, 8), 2)


@pytest.mark.slow
@pytest.mark.parametrize("shared", ["unknown", "-", "null"])
def test_a_user_key_that_many_share_is_named_where_it_is_left_out_as_a_bot(workspace: Workspace, shared: str) -> None:
    write(workspace.events_folder, [*BASE, *many(70, user_key=shared, at=1)])
    log = read_log(workspace, now=NOW)
    assert (report(log).bot_events, report(log).busiest_bot) == (70, shared)
    (line,) = [line for line in report(log).lines() if "too busy to be people" in line]
    assert f"most of {shared!r}; a placeholder for visitors nobody knows is no user: leave it empty" in line


NOTHING_LEFT: dict[str, tuple[list[Row], str]] = {
    "bots": (many(70, user_key="busy", at=1), r"70 of users too busy to be people, most of 'busy'"),
    "future": (many(7, at=1e6), r"7 in the future"),
    "late": (many(7, received_at=NOON + DAYS), r"7 received too late"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTHING_LEFT)
def test_a_log_of_which_nothing_is_left_says_what_left_it_out(workspace: Workspace, name: str) -> None:
    rows, cause = NOTHING_LEFT[name]
    write(workspace.events_folder, rows)
    with pytest.raises(LogError, match=rf"none of its {len(rows)} events is an impression that counts: {cause}\. C"):
        read_log(workspace, now=NOW)
    write(workspace.events_folder, [*rows, *BASE[:1], *many(5, "click")])
    if name != "future":
        with pytest.raises(LogError, match=rf"clicks have no impression, such .*Events were left out besides: {cause}"):
            read_log(workspace, now=NOW)
