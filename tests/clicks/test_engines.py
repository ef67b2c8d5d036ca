"""One expression for every engine: the SQL of its steps on file, its counts the same on DuckDB and Spark."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import ibis
import pyarrow as pa
import pytest

from clickscape.clicks import cleaning, clickers, logs
from clickscape.config import ClicksConfig

SQL = Path(__file__).parent / "cleaning.sql"
NOW = datetime(2026, 3, 11, tzinfo=UTC)
_TEXT = ("event_id", "kind", "decision_id", "creative_id", "product_id", "user_key", "device")
_TIMES = ("ts", "received_at")
CONFIG = ClicksConfig(bot_events_per_minute=5, max_unmatched_share=1)


def log() -> pa.Table:
    """Return events of two users and a bot on two days, with every fault at least once."""
    rows = []
    for number, (kind, decision, user, second) in enumerate(
        [
            *(("impression", n, "ann", 40 * n) for n in range(6)),
            *(("impression", n, "bot", 300 + n) for n in range(6, 12)),
            ("impression", 12, None, 86_400),
            ("impression", 13, "ann", 9_000_000),
            ("click", 0, "ann", 5),
            ("click", 0, "ann", 6),
            ("click", 1, "ann", 10),
            ("click", 2, "ann", -90),
            ("click", 3, "ann", 90_000),
            ("click", 6, "bot", 400),
            ("click", 99, "ann", 70),
            ("impression", 12, None, 86_405),  # logged again under a new id
            ("impression", 1, "bob", 100_000),  # of a cached page
            ("click", 1, "bob", 100_005),
            ("click", 1, None, 7),
        ]
    ):
        time = datetime.fromtimestamp(1_772_366_400 + second, UTC)
        row = {"event_id": str(number), "kind": kind, "decision_id": str(decision), "creative_id": "ab"[decision % 2]}
        row |= {"product_id": "p", "user_key": user, "device": "phone", "ts": time, "received_at": time}
        rows += [{**row, "position": 1 + decision % 3}] * (1 + (number in (1, 14)))
    types = [*((name, pa.string()) for name in _TEXT), ("position", pa.int32())]
    return pa.Table.from_pylist(rows, schema=pa.schema([*types, *((n, pa.timestamp("us", tz="UTC")) for n in _TIMES)]))


def as_texts(table: pa.Table) -> pa.Table:
    """Return the same events with positions as texts and times as texts of milliseconds."""
    milliseconds = [str(round(1_000 * time.timestamp())) for time in table["ts"].to_pylist()]
    table = table.set_column(table.column_names.index("ts"), "ts", pa.array(milliseconds))
    return table.set_column(table.column_names.index("position"), "position", table["position"].cast(pa.string()))


def sorted_rows(table: pa.Table) -> list[dict[str, object]]:
    return sorted(table.to_pylist(), key=lambda row: tuple(str(value) for value in row.values()))


def steps() -> dict[str, ibis.Table]:
    """Each step of the cleaning from named tables, with no more columns than it needs."""
    ids = {"event_id": "string", "decision_id": "string", "creative_id": "string", "at": "int64"}
    seen = {**ids, "kind": "string", "user_key": "string"}
    clicks = ibis.table({**seen, "product_id": "string", "position": "int32"}, name="clicks")
    once = ids | {"position": "int32"}
    cells = {"kind": "string", "creative_id": "string", "product_id": "string", "position": "int32", "day": "int64"}
    users = {"event_id": "string", "user_key": "string", "at": "int64"}
    actions = dict.fromkeys(("kind", "decision_id", "creative_id", "user_key"), "string")
    clicked = {"user_key": "string", "shown": "int64", "clicked": "int64"}
    people = {"ctr": "float64", "variance": "float64"}
    return {
        "users too busy to be people": cleaning.users_above(
            CONFIG.bot_events_per_minute, ibis.table(users, name="timely"), 60
        ),
        "impressions that a click names": clickers.clicked_impressions(ibis.table(actions, name="without_busy")),
        "impressions and clicks of every user": clickers.clicks_by_user(
            ibis.table(actions, name="without_busy"), ibis.table(actions, name="clicked")
        ),
        "how people click": clickers.moments(ibis.table({**clicked, "weight": "float64"}, name="users")),
        "users who click too often to be people": clickers.improbable(
            ibis.table({**clicked, "users": "int64"}, name="users"), ibis.table(people, name="people"), 0.01
        ),
        "every event once": cleaning.deduplicate(
            ibis.table(once, name="without_bots"), ibis.table(once, name="repeated"), cleaning.PORTABLE
        ),
        "impressions logged again": cleaning.relogged_impressions(
            ibis.table({**once, "kind": "string", "user_key": "string"}, name="without_bots"),
            ibis.table({**once, "kind": "string", "user_key": "string"}, name="repeated"),
            cleaning.PORTABLE,
        ),
        "clicks with their fault": cleaning.attribute_clicks(
            clicks, ibis.table({**seen, "position": "int32"}, name="clicked"), CONFIG, cleaning.PORTABLE
        ),
        "counts": logs.tally(ibis.table(cells, name="events"), by=("day",)),
    }


def test_the_sql_of_every_cleaning_step_is_the_reviewed_one() -> None:
    found = [f"-- {name}\n{ibis.to_sql(step, dialect='duckdb')};\n" for name, step in steps().items()]
    assert SQL.read_text(encoding="utf-8") == "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("dialect", ["duckdb", "bigquery", "clickhouse"])
def test_the_whole_cleaning_is_one_query_in_every_dialect(dialect: str) -> None:
    events = ibis.table(ibis.Schema.from_pyarrow(log().schema), name="events")
    sql = str(ibis.to_sql(logs.counts(events, config=CONFIG, now=NOW, by=("day", "device")), dialect=dialect))
    assert sql.lower().startswith(("select", "with"))
    assert all(fault in sql for fault in ("unmatched", "early", "expired", "repeated"))
    assert "epoch_us" not in sql.lower(), "a function of DuckDB's alone"


@pytest.mark.parametrize("written", [log, lambda: as_texts(log())], ids=["typed", "texts"])
def test_the_whole_expression_counts_what_one_counts_by_hand(written: Callable[[], pa.Table]) -> None:
    table = logs.connect(threads=1).create_table("events", written())
    counted = logs.counts(table, config=CONFIG, now=NOW, by=("day", "device")).to_pyarrow()
    assert sum(counted["impressions"].to_pylist()) == 8  # six of Ann's, one of Bob's, one of nobody known
    assert (
        sum(counted["clicks"].to_pylist()) == 3
    )  # Ann's first on decision 0; two of three on decision 1, which two users saw
    assert len(set(counted["day"].to_pylist())) == 2


@pytest.mark.spark
def test_spark_counts_what_duckdb_counts(tmp_path: Path) -> None:
    pytest.importorskip("pyspark")
    import pyarrow.parquet as pq

    for name, table in (("typed", log()), ("texts", as_texts(log()))):
        pq.write_table(table, tmp_path / f"{name}.parquet")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Spark's own, about versions of pandas
        from pyspark.sql import SparkSession

        builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
        settings = {"spark.sql.session.timeZone": "America/New_York", "spark.sql.shuffle.partitions": "2"}
        session = builder.config(map=settings).getOrCreate()
        try:
            spark = ibis.pyspark.connect(session)
            found = []
            for name in ("typed", "texts"):
                events = spark.read_parquet(str(tmp_path / f"{name}.parquet"))
                found.append(logs.counts(events, config=CONFIG, now=NOW, by=("day", "device")).to_pyarrow())
        finally:
            session.stop()
    near = logs.connect(threads=1).create_table("events", log())
    here = logs.counts(near, config=CONFIG, now=NOW, by=("day", "device")).to_pyarrow()
    assert [sorted_rows(far.select(here.column_names)) for far in found] == [sorted_rows(here)] * 2
