"""Exposure counts: bands, activity and clicks by hand, and the same as the arrays behind a simulated log."""

from __future__ import annotations

import math

import ibis
import numpy as np
import pyarrow as pa
import pytest

from clickscape.clicks import logs, sources
from clickscape.config import SimulateConfig
from clickscape.errors import LogError
from clickscape.experiment.exposure_counts import count_exposures
from clickscape.simulator import changing_traffic
from clickscape.types import Creative

DAY = 86_400


def events(*rows: tuple) -> ibis.Table:
    names = ("kind", "decision_id", "creative_id", "product_id", "at", "user_key", "position")
    return ibis.memtable(pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))))


def test_exposures_of_a_user_by_hand() -> None:
    log = events(
        ("impression", "d1", "a", "p", 10, "anna", 1),
        ("impression", "d2", "a", "p", 20, "anna", 2),
        ("impression", "d2", "a", "p", 21, "anna", 2),  # logged twice
        ("click", "d2", "a", "p", 25, "anna", 2),
        ("click", "d2", "a", "p", 26, "anna", 2),
        ("impression", "d3", "a", "p", 30, "ben", 1),
        ("impression", "d4", "b", "p", DAY, "anna", 1),
        ("impression", "d5", "a", "p", DAY + 5, "anna", 1),
        ("click", "d5", "a", "p", 3 * DAY, "anna", 1),  # counts where its impression does
        ("impression", "d6", "a", "p", DAY + 9, None, 1),  # nobody knows who
        ("click", "d9", "a", "p", DAY + 9, "anna", 1),  # of no impression
        ("impression", "d10", "c", "p", DAY, "ben", None),  # nobody knows where
    )
    rows = count_exposures(log, examination={1: 1.0, 2: 0.5, 0: 0.8}).to_pyarrow().to_pylist()
    told = {(row["creative_id"], row["day"], row["band"], row["activity"]): row for row in rows}
    assert told.pop(("c", 1, 0, 2))["examinations"] == 0.8
    assert set(told) == {("a", 0, 0, 3), ("a", 0, 1, 3), ("a", 0, 0, 2), ("b", 1, 0, 3), ("a", 1, 2, 3)}
    second = told["a", 0, 1, 3]
    assert (second["impressions"], second["clicks"], second["examinations"]) == (1, 1, 0.5)
    assert second["exposures"] == pytest.approx(math.log(2))
    assert told["a", 1, 2, 3]["clicks"] == 1
    assert told["a", 1, 2, 3]["exposures"] == pytest.approx(math.log(3))
    assert sum(row["clicks"] for row in rows) == 2


def test_without_users_days_are_counted_and_without_times_nothing_is() -> None:
    log = events(("impression", "d1", "a", "p", 10, "u", 1), ("impression", "d2", "a", "p", 20, "u", 1))
    rows = count_exposures(log.drop("user_key", "position")).to_pyarrow()
    assert rows.num_rows == 1
    assert "exposures" not in rows.column_names
    assert rows["impressions"].to_pylist() == [2]
    with pytest.raises(LogError, match="no column 'at'"):
        count_exposures(log.drop("at"))


def test_counts_of_events_are_those_of_the_arrays_behind_them() -> None:
    ads = [Creative(f"c{n}", f"p{n // 2}", "", "", {}, "studio", "writer", n) for n in range(4)]
    drawn = changing_traffic.draw(
        ads, np.full((4, 1), math.log(0.1)), rng=np.random.default_rng(0), shares={"all": 1.0},
        config=SimulateConfig(days=5, median_impressions=400, fatigue=0.2, frequency=4.0),
    )  # fmt: skip
    named = ("event_id", "ts", "kind", "decision_id", "creative_id", "product_id", "position", "user_key")
    tables = [table.select(named).unify_dictionaries() for table in drawn.events(rng=np.random.default_rng(1))]
    plain = [pa.table([column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
                       for column in table.columns], named) for table in tables]  # fmt: skip
    table = logs.connect(threads=1).create_table("events", pa.concat_tables(plain))
    rows = count_exposures(sources.events_of(table, where="here")).to_pyarrow()
    assert sum(rows["clicks"].to_pylist()) == drawn.clicked.sum()
    assert sum(rows["impressions"].to_pylist()) == len(drawn.day)
    first = rows.to_pylist()
    assert sum(row["impressions"] for row in first if row["band"] == 0) == (drawn.exposures == 0).sum()
    assert sum(row["clicks"] for row in first if row["band"] == 2) == drawn.clicked[drawn.exposures == 2].sum()
    seen = sum(row["impressions"] * row["exposures"] for row in first)
    assert seen == pytest.approx(np.log1p(drawn.exposures).sum())
