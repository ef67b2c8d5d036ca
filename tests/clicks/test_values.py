"""Numbers are whole or refused and times are what they say, in whatever type and unit they come."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.clicks.conftest import add_creatives, click, impression, write_parquet

from clickscape.clicks import logs, values
from clickscape.config import ClicksConfig
from clickscape.errors import LogError
from clickscape.stages.clicks import read_log
from clickscape.workspace import Workspace

COUNT: dict[str, Any] = {"creative_id": "a", "product_id": "p", "impressions": 1_200, "clicks": 60}
NOT_WHOLE = [
    48.6,
    Decimal("48.60"),
    "48.6",
    "60.4",
    "1e3",
    "1,200",
    "many",
    "0x10",
    "1.000",
    "-20.000",
    float("inf"),
    float("nan"),
    True,
]


def csv_of(row: dict[str, Any]) -> str:
    return f"{','.join(row)}\n{','.join(str(value) for value in row.values())}\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"),
    [*(("impressions", value) for value in (48.6, "many")),
     *((name, value) for name in ("clicks", "position") for value in NOT_WHOLE)],
    ids=str,
)  # fmt: skip
def test_a_count_or_position_that_is_not_whole_is_refused_in_every_type(
    workspace: Workspace, name: str, value: Any
) -> None:
    row = {**COUNT, "position": 1, name: value}
    write_parquet(workspace.counts_path, [row])
    said = "position|whole number" if name == "position" else f"no {name}, or no whole number there: "
    with pytest.raises(LogError, match=said):
        read_log(workspace)
    if "," not in str(value):
        (workspace.path / "log.csv").write_text(csv_of(row))
        with pytest.raises(LogError, match=rf"log\.csv: creative 'a' .*(whole number.*|'){value}"):
            read_log(workspace, config=ClicksConfig(source="log.csv"))


@pytest.mark.slow
def test_a_whole_number_is_read_in_every_type(workspace: Workspace) -> None:
    values = [48, 48.0, Decimal("48.00"), Decimal("48.000"), "48", "48.0", "48.000000", " 48 ", "+48"]
    names = [f"c{number}" for number in range(len(values))]
    add_creatives(workspace, *names)
    for name, value in zip(names, values, strict=True):
        row = {**COUNT, "creative_id": name, "clicks": value, "position": value}
        write_parquet(workspace.counts_path / f"{name}.parquet", [row])
    rows = read_log(workspace, by=()).counts.to_pyarrow().to_pylist()
    assert {row["creative_id"]: (row["clicks"], row["position"]) for row in rows} == dict.fromkeys(names, (48, 48))


@pytest.mark.parametrize("value", [1.5, 2.5, "1.5", Decimal("2.5"), "first", 3e9], ids=repr)
def test_a_position_between_two_positions_is_refused(workspace: Workspace, value: Any) -> None:
    write_parquet(workspace.events_folder / "a.parquet", [impression(1, position=value)])
    with pytest.raises(LogError, match=r"event 'e1' is at position '\S+', expected a whole number"):
        read_log(workspace)


NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
_SECONDS = int(NOON.timestamp())
DUCK = logs.connect(threads=1)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [int, float, str, Decimal])
def test_numbers_of_any_unit_are_times(workspace: Workspace, kind: type) -> None:
    units = [1, 10**3, 10**6, 10**9]
    for number, unit in enumerate(units):
        time = kind(_SECONDS * unit)
        rows = [impression(number, ts=time), click(number, ts=time)]
        write_parquet(workspace.events_folder / f"{number}.parquet", rows)
    log = read_log(workspace, by=("day",))
    assert [(row["day"], row["clicks"]) for row in log.counts.to_pyarrow().to_pylist()] == [(NOON.date(), len(units))]
    assert log.newest == _SECONDS
    assert log.cleaning is not None
    assert log.cleaning.lines()[0].startswith("8 times are numbers: read as seconds, or as milli-")


WRONG = {
    "seconds as milliseconds": pa.array([_SECONDS], pa.timestamp("ms", "UTC")),
    "milliseconds as seconds": pa.array([_SECONDS * 1_000_000_000], pa.timestamp("us", "UTC")),
    "microseconds as nanoseconds": pa.array([_SECONDS * 1_000_000], pa.timestamp("ns", "UTC")),
    "no time known": pa.array([0], pa.timestamp("us")),
    "a day as a number": pa.array([20260301]),
    "a time as a number": pa.array(["20260301120000"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_times_in_a_wrong_unit_are_refused_with_their_year(workspace: Workspace, name: str) -> None:
    for column in ("ts", "received_at"):
        table = pa.Table.from_pylist([impression(1, ts=NOON)]).drop_columns(["ts"])
        other = "received_at" if column == "ts" else "ts"
        table = table.append_column(other, pa.array([NOON])).append_column(column, WRONG[name])
        write_table(workspace, table)
        with pytest.raises(LogError, match=rf"the {column} of event 'e1' is in the year \d+; a log lies between"):
            read_log(workspace)


@pytest.mark.parametrize("day", ["1970-01-21", "2100-01-01"])
def test_a_day_of_counts_far_from_now_is_refused(workspace: Workspace, day: str) -> None:
    write_parquet(workspace.counts_path, [{**COUNT, "day": "2026-03-01"}, {**COUNT, "day": day}])
    with pytest.raises(LogError, match=rf"'a' was shown on {day}; a log lies between 2000 and 2100"):
        read_log(workspace)


def write_table(workspace: Workspace, table: pa.Table) -> None:
    workspace.events_folder.mkdir(exist_ok=True)
    pq.write_table(table, workspace.events_folder / "a.parquet")


def test_a_text_that_is_no_time_is_refused_with_event_and_file(workspace: Workspace) -> None:
    write_parquet(workspace.events_folder / "a.parquet", [impression(1, ts="2026-03-01T12:00:00Z")])
    write_parquet(workspace.events_folder / "b.parquet", [impression(2, ts="01.03.2026 12:00")])
    with pytest.raises(LogError, match=r"b\.parquet: event 'e2' has ts '01.03.2026 12:00', expected a time such as"):
        read_log(workspace)


@pytest.mark.slow
@given(st.lists(st.text(st.sampled_from("0123456789.-+e, "), max_size=18), min_size=1, max_size=20))
def test_a_text_is_the_number_that_it_says_or_null(texts: list[str]) -> None:
    table = DUCK.create_table("texts", pa.table({"text": pa.array(texts, pa.string())}), temp=True, overwrite=True)
    found = table.select(number=values.whole(table.text)).to_pyarrow()["number"].to_pylist()
    for text, number in zip(texts, found, strict=True):
        if number is not None:
            assert Decimal(text.strip()) == number
        elif text.strip().isdecimal():
            assert len(text.strip()) > 15


@pytest.mark.parametrize("zone", ["EST", "BST", "CST", "IST", "cet"])
def test_letters_that_name_several_time_zones_are_refused(workspace: Workspace, zone: str) -> None:
    write_parquet(workspace.events_folder / "a.parquet", [impression(1, ts=f"2026-03-01 12:00:00 {zone}")])
    with pytest.raises(LogError, match=f"event 'e1' has ts '2026-03-01 12:00:00 {zone}', expected a time such as"):
        read_log(workspace)


@pytest.mark.slow
def test_a_zone_that_is_clear_is_read(workspace: Workspace) -> None:
    """In every zone the last second of a day of UTC, and the first one of the next."""
    last, first = "2026-03-01 23:59:59", "2026-03-02 00:00:00"
    zones = dict.fromkeys(("", " UTC", " GMT", "Z"), (last, first))
    zones[" Europe/Berlin"] = ("2026-03-02 00:59:59", "2026-03-02 01:00:00")
    add_creatives(workspace, *(f"in{zone}" for zone in zones))
    rows = [
        impression(2 * number + place, f"in{zone}", ts=f"{time}{zone}")
        for number, (zone, times) in enumerate(zones.items())
        for place, time in enumerate(times)
    ]
    write_parquet(workspace.events_folder / "a.parquet", rows)
    counts = read_log(workspace, by=("day",)).counts.to_pyarrow().to_pylist()
    days = sorted((row["creative_id"], str(row["day"]), row["impressions"]) for row in counts)
    assert days == sorted((f"in{zone}", day, 1) for zone in zones for day in ("2026-03-01", "2026-03-02"))


def test_a_decimal_of_more_digits_than_are_read_is_refused(workspace: Workspace) -> None:
    table = pa.Table.from_pylist([impression(1)]).drop_columns(["position"])
    for digits in (38, 50):
        column = pa.array([Decimal(3)], pa.decimal256(digits, 2))
        write_table(workspace, table.append_column("position", column))
        if digits == 38:
            assert read_log(workspace).counts.to_pyarrow()["position"].to_pylist() == [3]
    with pytest.raises(LogError, match=r"column 'position' is decimal256\(50, 2\), of which 38 digits are read"):
        read_log(workspace)
