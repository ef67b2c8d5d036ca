"""Counts of a log's parts: all of a part's impressions, less those that a rule looks at, plus what the rule lets count.

Only clicks, the impressions that they name and what was logged again is read with its texts, a few events of a hundred,
and cleaned by `cleaning.attribute`. What lies in several parts is kept, and cleaned together with what the others keep.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clickscape.clicks import checks, cleaning, clickers, duckdb_engine
from clickscape.clicks.crossing import Crossing
from clickscape.clicks.log_files import literal
from clickscape.clicks.part_events import COLUMNS, DAY, ID, KEY, SELECTED, TAG, USER, VIEW, put
from clickscape.clicks.part_summary import CELL, CannotSumError, Numbers, member
from clickscape.config import ClicksConfig
from clickscape.errors import LogError
from clickscape.files import atomic_folder

_AT_ONCE = 2_000_000  # events that are cleaned at once
_TOGETHER = -1  # the part of what lies in several


@dataclass(frozen=True)
class UncountedPart:
    """A part to be counted into the folder `target`, where its summary is and what it has in common with others."""

    summary: Path
    target: Path
    show: Callable[[], None]
    crossing: Crossing
    left_out: Numbers
    has_conversions: bool


@dataclass
class Figures:
    """What cleaning found among some events; a + b pools them."""

    duplicates: int = 0
    relogged: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    skewed: int = 0

    def __add__(self, other: Figures) -> Figures:
        names = {*self.faults, *other.faults}
        faults = {name: self.faults.get(name, 0) + other.faults.get(name, 0) for name in names}
        return Figures(
            self.duplicates + other.duplicates, self.relogged + other.relogged, faults, self.skewed + other.skewed
        )


def count_parts(
    parts: Sequence[UncountedPart],
    counted: Sequence[Path],
    *,
    left_out: Numbers,
    columns: Sequence[str],
    config: ClicksConfig,
    connection: Any,
) -> tuple[pa.Table, Figures]:
    """Write the counts of parts into their folders; return those of what lies in several parts, old ones too.

    counted: folders of parts that were counted. left_out: users who are no people, ascending. columns: those that the
    log has. CannotSumError for two different events under one id.
    """
    con = connection.con
    put(connection, "left_out", left_out)
    kinds = ", ".join(f'"{name}" {kind}' for name, kind in _TYPES.items())
    empty = f'CREATE OR REPLACE TEMP TABLE aside (part INTEGER, {kinds}, key UBIGINT, "user" UBIGINT, crosses BOOLEAN)'
    con.execute(empty)
    pending: list[UncountedPart] = []
    together = list(counted)
    result = None
    for place, part in enumerate(parts):
        _put_aside(part, number=len(pending), connection=connection)
        pending.append(part)
        together.append(part.target)
        (size,) = con.execute("SELECT count(*) FROM aside").fetchone()
        if size > _AT_ONCE and place + 1 < len(parts):
            _count(pending, [], columns=columns, config=config, connection=connection)
            con.execute(empty)
            pending = []
    result = _count(pending, together, columns=columns, config=config, connection=connection)
    return result


_TYPES = {name: {"position": "INTEGER", "at": "BIGINT", "received": "BIGINT"}.get(name, "VARCHAR") for name in COLUMNS}


def _put_aside(part: UncountedPart, *, number: int, connection: Any) -> None:
    """Add the events of a part that a rule looks at to the table `aside`."""
    con = connection.con
    part.show()
    crossing = part.crossing.keys >> np.uint64(TAG)
    tied = pq.read_table(part.summary / "tied.parquet")["key"].to_numpy()
    put(connection, "tied", np.union1d(tied, crossing))
    put(connection, "crossing", crossing)
    put(connection, "theirs", part.left_out)
    put(connection, "crossing_ids", part.crossing.ids)
    also = 'OR "user" IN (SELECT number FROM theirs)' if len(part.left_out) else ""
    crosses = "key IN (SELECT number FROM crossing)"
    if len(part.crossing.ids) and part.has_conversions:  # one is nobody's business but that of its id
        again = f"(kind = 'conversion' AND {ID} IN (SELECT number FROM crossing_ids))"
        also, crosses = f"{also} OR {again}", f"({crosses} OR {again})"
    con.execute(
        f'INSERT INTO aside SELECT {number}, {SELECTED}, key, "user", {crosses} '
        f'FROM (SELECT *, {KEY} AS key, {USER} AS "user" FROM {VIEW} WHERE timely) '
        f"WHERE key IN (SELECT number FROM tied) {also}"
    )
    if len(part.crossing.ids):  # an id that two parts have under two keys is two events: the whole log says which
        found = con.execute(f"SELECT {ID} AS id FROM aside WHERE part = {number} AND crosses").to_arrow_table()
        if not member(part.crossing.ids, np.unique(found["id"].to_numpy())).all():
            raise CannotSumError


def _count(
    pending: Sequence[UncountedPart],
    together: Sequence[Path],
    *,
    columns: Sequence[str],
    config: ClicksConfig,
    connection: Any,
) -> tuple[pa.Table, Figures]:
    """Clean what is aside; write the counts of the pending parts, return those of what lies in several."""
    con = connection.con
    crossing = [
        con.execute(f'SELECT {SELECTED}, key, "user" FROM aside WHERE part = {number} AND crosses').to_arrow_table()
        for number in range(len(pending))
    ]
    old = [path / "crossing.parquet" for path in together if (path / "crossing.parquet").exists()]
    people = f'SELECT part, {SELECTED}, "user" FROM aside WHERE NOT crosses'
    if together:
        people += f' UNION ALL SELECT {_TOGETHER}, {SELECTED}, "user" FROM aside WHERE crosses'
    if old:
        people += f' UNION ALL SELECT {_TOGETHER}, {SELECTED}, "user" FROM read_parquet($files)'
    con.execute(
        f"CREATE OR REPLACE TEMP TABLE people AS SELECT part, {SELECTED} FROM ({people}) AS e "
        f'WHERE "user" IS NULL OR NOT EXISTS (FROM left_out WHERE number = e."user")',
        {"files": list(map(literal, old))} if old else {},
    )
    events = connection.table("people").select("part", *(name for name in COLUMNS if name in columns))
    engine = duckdb_engine.engine(connection)
    clicked = engine.keep(clickers.clicked_impressions(events))
    found = cleaning.attribute(events, clicked=clicked, config=config, engine=engine)
    figures = _figures(found)
    if any(one.duplicates for one in figures.values()):
        try:
            checks.check_cleaned(found, where="")
        except LogError:
            raise CannotSumError from None
    cell = [name for name in CELL if name in found.events.columns]
    tallied = found.events.group_by(["part", *cell]).agg(
        impressions=found.events.count(where=found.events.kind == "impression").cast("int64"),
        clicks=found.events.count(where=found.events.kind == "click").cast("int64"),
    )
    plus = tallied.select(
        "part", *(tallied[name] if name in cell else _null(name) for name in CELL), "impressions", "clicks"
    )
    connection.create_table("plus", plus, temp=True, overwrite=True)
    names = ", ".join(CELL)
    for number, (part, rows) in enumerate(zip(pending, crossing, strict=True)):
        added = con.execute(
            f"SELECT {names}, sum(impressions)::BIGINT AS impressions, sum(clicks)::BIGINT AS clicks FROM ("
            f"SELECT {names}, impressions, 0 AS clicks FROM read_parquet($file) UNION ALL "
            f"SELECT {names}, impressions, clicks FROM plus WHERE part = {number} UNION ALL "
            f"SELECT {names.replace('day', DAY)}, -count(*), 0 FROM aside "
            f"WHERE part = {number} AND kind = 'impression' GROUP BY ALL"
            f") GROUP BY ALL HAVING sum(impressions) <> 0 OR sum(clicks) <> 0",
            {"file": literal(part.summary / "impressions.parquet")},
        ).to_arrow_table()
        with atomic_folder(part.target) as folder:
            pq.write_table(added, folder / "counts.parquet", compression="zstd")
            if rows.num_rows:
                pq.write_table(rows, folder / "crossing.parquet", compression="zstd")
            (folder / "figures.json").write_text(json.dumps(vars(figures.get(number, Figures()))), encoding="utf-8")
    shared = con.execute(f"SELECT {names}, impressions, clicks FROM plus WHERE part = {_TOGETHER}").to_arrow_table()
    return shared, figures.get(_TOGETHER, Figures())


def _figures(found: cleaning.Attributed) -> dict[int, Figures]:
    """What was found in each part."""
    figures: dict[int, Figures] = {}
    again = found.repeated.group_by("part").agg(rows=lambda t: t.count(), ids=lambda t: t.event_id.nunique())
    for row in again.to_pyarrow().to_pylist():
        figures.setdefault(row["part"], Figures()).duplicates = row["rows"] - row["ids"]
    for row in found.relogged.group_by("part").agg(rows=lambda t: t.count()).to_pyarrow().to_pylist():
        figures.setdefault(row["part"], Figures()).relogged = row["rows"]
    clicks = found.clicks.group_by(["part", "fault"]).agg(rows=lambda t: t.count(), skewed=lambda t: t.skewed.sum())
    for row in clicks.to_pyarrow().to_pylist():
        one = figures.setdefault(row["part"], Figures())
        one.faults[row["fault"]] = row["rows"]
        one.skewed += row["skewed"] if row["fault"] == "" else 0
    return figures


def _null(name: str) -> Any:
    return ibis.null("int64" if name == "day" else "int32" if name == "position" else "string").name(name)
