"""What some files of a log add to its counts, as small tables that are kept: sums, and what is compared with others'.

A part is summarized alone, whatever else the log holds. Counts of impressions add up, as do events per user; ids and
keys are kept sorted, so that those which another part has as well are found in one pass; a user's events per minute and
day are kept where they are many enough to make a bot together with those of other parts (`busy_users`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clickscape.clicks.cells import NAMED_STRATA
from clickscape.clicks.cleaning import HEAVY_EVENTS
from clickscape.clicks.part_events import (
    ACCENT,
    AT,
    CLICK,
    DAY,
    FAULT,
    FUTURE,
    ID,
    IMPRESSION,
    KEY,
    KIND,
    TAG,
    UNTIMELY,
    USER,
    VIEW,
    put,
)
from clickscape.config import ClicksConfig

CELL = ("creative_id", "product_id", "position", "day", *NAMED_STRATA)

OVERLAP = 8
"""How many parts may hold events of one minute without more than a comparison of the spans that are kept."""

Numbers = NDArray[np.uint64]

_AT_ONCE = 1 << 23  # numbers that are sorted at once
_DAY = 86_400

_THIN = f"""
    CREATE OR REPLACE TEMP TABLE thin AS
    SELECT *, key << {TAG} | (coalesce("user", 0) & {(1 << TAG) - 1}) AS seen
    FROM (
        SELECT {ID} AS id, {KEY} AS key, {USER} AS "user", {AT}, flags, stated,
               CASE WHEN flags & {KIND} = {CLICK} THEN hash(decision_id) END AS decision
        FROM {VIEW}
    )
"""
_TIMELY = f"flags & {UNTIMELY} = 0"


class CannotSumError(Exception):
    """A part has events that the checks of the whole log refuse, in their own words."""


def spans(config: ClicksConfig) -> tuple[tuple[int, int, int], ...]:
    """Return, for minutes and days: their seconds, events above which a user is busy, and the least that is kept."""
    limits = ((60, config.bot_events_per_minute), (_DAY, HEAVY_EVENTS))
    return tuple((seconds, limit, max(1, limit // OVERLAP)) for seconds, limit in limits)


def read_thin(connection: Any) -> bool:
    """Read the numbers of the view into the table `thin`, in the order of the rows; return whether all texts are ASCII.

    CannotSumError for an event that no log may have.
    """
    con = connection.con
    con.execute("SET preserve_insertion_order = true")
    try:
        con.execute(_THIN)
    finally:
        con.execute("SET preserve_insertion_order = false")
    (found,) = con.execute("SELECT bit_or(flags) FROM thin").fetchone()
    if found is None or found & FAULT:
        raise CannotSumError
    return not found & ACCENT


def summarize(folder: Path, *, connection: Any, columns: Sequence[str], config: ClicksConfig) -> None:
    """Write the summary of the view and of `thin` into a folder; columns: those that the files have."""
    con = connection.con
    rows = con.execute(f"SELECT flags, stated, count(*), max({AT}) FROM thin GROUP BY ALL").fetchall()
    first, last, disorder = _order(con)
    facts = {
        "columns": list(columns),
        "rows": sum(row[2] for row in rows),
        "flags": [[flags, stated, count] for flags, stated, count, _ in rows],
        "newest": max((newest for *_, newest in rows if newest is not None), default=None),
        "first": first,
        "last": last,
        "out_of_order": disorder,
        "depends_on_now": any(flags & FUTURE for flags, *_ in rows),
    }
    total = facts["rows"]
    again: list[Numbers] = []
    with _writer(folder / "ids.parquet", id=pa.uint64()) as write:
        for ids in _sorted(con, "id", where=_TIMELY, rows=total):
            again.append(_repeated(ids))
            write(distinct(ids))
    put(connection, "again", np.concatenate(again))
    clicks = con.execute(
        f'SELECT c.*, i.key IS NOT NULL AS own FROM (SELECT id, key, seen, decision, "user" FROM thin '
        f'WHERE {_TIMELY} AND flags & {KIND} = {CLICK}) AS c LEFT JOIN (SELECT DISTINCT key, "user" FROM thin '
        f"WHERE {_TIMELY} AND flags & {KIND} = {IMPRESSION} AND key IN (SELECT key FROM thin WHERE flags & {KIND} = "
        f'{CLICK})) AS i ON c.key = i.key AND c."user" = i."user"'
    ).to_arrow_table()
    tied = [
        clicks["key"].to_numpy(),
        con.execute("SELECT key FROM thin SEMI JOIN again ON id = number").to_arrow_table()[0].to_numpy(),
    ]
    with _writer(folder / "seen.parquet", seen=pa.uint64()) as write:
        shown = f"{_TIMELY} AND flags & {KIND} = {IMPRESSION}"
        for seen in _sorted(con, "seen", where=shown, rows=total):
            tied.append(_repeated(seen >> np.uint64(TAG)))
            different = distinct(seen)
            write(different)
    pq.write_table(clicks, folder / "clicks.parquet")
    pq.write_table(pa.table({"key": np.unique(np.concatenate(tied))}), folder / "tied.parquet")
    frequent: list[Numbers] = []
    with _writer(folder / "users.parquet", user=pa.uint64(), events=pa.int64(), shown=pa.int64()) as write:
        marked = f'"user" << 1 | (flags & {KIND} = {IMPRESSION})::UTINYINT'
        for number in _sorted(con, marked, where=f'{_TIMELY} AND "user" IS NOT NULL', rows=total):
            users = number >> np.uint64(1)
            starts = (
                np.flatnonzero(np.concatenate([[True], users[1:] != users[:-1]])) if len(users) else np.zeros(0, int)
            )
            events = np.diff(np.append(starts, len(number)))
            shows = np.add.reduceat((number & np.uint64(1)).astype(np.int64), starts) if len(starts) else events
            frequent.append(users[starts][events >= spans(config)[-1][-1]])
            write(users[starts], events, shows)
    pq.write_table(_spans(connection, config, frequent=np.concatenate(frequent)), folder / "spans.parquet")
    timed = f'{_TIMELY} AND "user" IS NOT NULL AND {AT} IS NOT NULL'
    minutes = f"SELECT {AT} // 60 AS span, count(*) AS events FROM thin WHERE {timed} GROUP BY ALL"
    pq.write_table(con.execute(minutes).to_arrow_table(), folder / "minutes.parquet")
    pq.write_table(_impressions(con), folder / "impressions.parquet", compression="zstd")
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")


def member(numbers: Numbers, among: Numbers) -> NDArray[np.bool_]:
    """Return which numbers are among sorted ones."""
    if not len(among):
        return np.zeros(len(numbers), bool)
    place = np.minimum(np.searchsorted(among, numbers), len(among) - 1)
    return among[place] == numbers


def range_ends(ranges: int) -> list[int]:
    """Return the ends of ranges of equal length that share 64-bit numbers; numbers of one key are in one range."""
    return [((number << 40) // ranges) << 24 for number in range(ranges + 1)]


def distinct(ordered: Numbers) -> Numbers:
    """Return every number of ascending ones once."""
    return ordered if len(ordered) < 2 else ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])]


def _repeated(ordered: Numbers) -> Numbers:
    return distinct(ordered[1:][ordered[1:] == ordered[:-1]])


def _sorted(con: Any, expression: str, *, where: str, rows: int) -> Iterator[Numbers]:
    """Yield the numbers in ascending order, of large parts a range after the other; equal ones come together."""
    ranges = -(-rows // _AT_ONCE) or 1
    ends = range_ends(ranges)
    for low, high in pairwise(ends):
        within = f"AND number BETWEEN {low} AND {high - 1}" if ranges > 1 else ""
        sql = f"SELECT number FROM (SELECT {expression} AS number FROM thin WHERE {where}) WHERE true {within}"
        yield np.sort(con.execute(sql).to_arrow_table()["number"].to_numpy())


def _order(con: Any) -> tuple[int | None, int | None, int]:
    """Times of the first and the last row that has one, and how many stand right after a later one."""
    con.execute("SET preserve_insertion_order = true")
    try:
        first = last = None
        disorder = 0
        for batch in con.execute(f"SELECT {AT} FROM thin").to_arrow_reader(1 << 20):
            times = batch["at"].drop_null().to_numpy()
            if len(times):
                disorder += int((np.diff(times) < 0).sum()) + (last is not None and int(times[0]) < last)
                first, last = int(times[0]) if first is None else first, int(times[-1])
        return first, last, disorder
    finally:
        con.execute("SET preserve_insertion_order = false")


def _spans(connection: Any, config: ClicksConfig, *, frequent: Numbers) -> pa.Table:
    """Users with so many different events in a minute or a day that those of other parts might make them busy.

    frequent: users with as many in all of the part, the least of a day.
    """
    con = connection.con
    timed = f'{_TIMELY} AND "user" IS NOT NULL AND {AT} IS NOT NULL'
    tables = []
    for seconds, _, least in spans(config):
        span = f"{AT} // {seconds}"
        crowded = "true"
        if seconds == _DAY:
            put(connection, "frequent", frequent)
            crowded = '"user" IN (SELECT number FROM frequent)'
        elif least > 1:
            (rows,) = con.execute("SELECT count(*) FROM thin").fetchone()
            buckets = 1 << min(22, max(10, rows.bit_length()))  # one for each event, or almost
            bucket = f'(hash("user", {span}) % {buckets})::UINTEGER'
            chosen = con.execute(f"SELECT {bucket} FROM thin WHERE {timed}")
            put(connection, "crowded", _crowded(chosen, buckets=buckets, least=least))
            crowded = f"{bucket} IN (SELECT number FROM crowded)"
        tables.append(
            con.execute(
                f'SELECT {seconds} AS seconds, "user", {span} AS span, count(DISTINCT id) AS different '
                f"FROM thin WHERE {timed} AND {crowded} GROUP BY ALL HAVING count(*) >= {least}"
            ).to_arrow_table()
        )
    return pa.concat_tables(tables)


def _crowded(chosen: Any, *, buckets: int, least: int) -> NDArray[np.int64]:
    """The buckets that come at least so often."""
    tally = np.zeros(buckets, np.int64)
    for batch in chosen.to_arrow_reader(_AT_ONCE):
        tally += np.bincount(batch[0].to_numpy(), minlength=buckets)
    return np.flatnonzero(tally >= least)


def _impressions(con: Any) -> pa.Table:
    strata = ", ".join(NAMED_STRATA)
    return con.execute(
        f"SELECT creative_id, product_id, position, {DAY} AS day, {strata}, count(*) AS impressions FROM {VIEW} "
        f"WHERE timely AND kind = 'impression' GROUP BY ALL"
    ).to_arrow_table()


@contextmanager
def _writer(path: Path, **columns: pa.DataType) -> Iterator[Any]:
    """Yield a function that appends arrays to a Parquet file."""
    schema = pa.schema(columns)
    encoding = dict.fromkeys(columns, "DELTA_BINARY_PACKED")
    with pq.ParquetWriter(path, schema, use_dictionary=False, column_encoding=encoding, compression="none") as writer:

        def write(*arrays: NDArray[Any]) -> None:
            if len(arrays[0]):
                made = [pa.array(array).cast(kind) for array, kind in zip(arrays, columns.values(), strict=True)]
                writer.write_table(pa.Table.from_arrays(made, schema=schema), row_group_size=1 << 17)

        yield write
