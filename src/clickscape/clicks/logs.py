"""Click logs as Ibis tables, checked before anything is learned from them: events, or counts that were made elsewhere.

Everything is an Ibis expression until the check asks for its few rows, so a log larger than memory streams through
DuckDB; the same expressions run on any engine that Ibis reaches.
"""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clickscape.errors import LogError
from clickscape.workspace import CREATIVES, Workspace

KINDS = ("impression", "click", "conversion")
_EVENT_COLUMNS = ("event_id", "kind", "decision_id", "creative_id", "product_id", "position")
_COUNT_COLUMNS = ("creative_id", "product_id", "impressions", "clicks")
_CONTENT = ("kind", "decision_id", "creative_id", "product_id", "position")


def read(workspace: Workspace, *, connection: Any = None) -> ibis.Table:
    """Checked counts of the workspace's log: creative_id, product_id, position, impressions, clicks.

    Reads clicks/events/*.parquet or clicks/counts.parquet; LogError names the file, what is wrong and the remedy.
    """
    connection = connection or connect()
    events = sorted(workspace.events_folder.glob("[!.]*.parquet"))
    if events and workspace.counts_path.exists():
        raise LogError(
            f"{workspace.clicks}: both events/ and counts.parquet would count every click twice. Delete one of them."
        )
    if not events and not workspace.counts_path.exists():
        raise LogError(f"{workspace.clicks}: no click log. Put Parquet files into events/, or a counts.parquet.")
    known = connection.create_table("creatives", _known(workspace), temp=True, overwrite=True)
    if events:
        log = read_events(events, connection=connection)
        repeated = connection.create_table("repeated", _repeated_rows(log, connection), temp=True, overwrite=True)
        check_events(log, repeated=repeated)
        counted = connection.create_table("counts", counts(log, repeated=repeated), temp=True, overwrite=True)
        source, where = log, str(workspace.events_folder)
    else:
        counted = read_counts(workspace.counts_path, connection=connection)
        source, where = None, str(workspace.counts_path)
    return check_counts(counted, known, where=where, events=source)


def connect(*, threads: int = 2, memory: str = "1GB") -> Any:
    """An in-memory DuckDB with few threads and a bounded memory; what does not fit goes to a temporary file."""
    return ibis.duckdb.connect(threads=threads, memory_limit=memory, preserve_insertion_order=False)


def read_events(files: list[Path], *, connection: Any) -> ibis.Table:
    """Parquet files of events as one table, with `filename`; a log without positions gets a column of nulls."""
    with_position = False
    for file in files:
        names = _columns(file)
        missing = [name for name in _EVENT_COLUMNS if name not in names and name != "position"]
        if missing:
            raise LogError(f"{file}: no column {missing[0]!r}; expected {', '.join(_EVENT_COLUMNS)}. Add the column.")
        with_position |= "position" in names
    table = connection.read_parquet([glob.escape(str(file)) for file in files], filename=True, union_by_name=True)
    if not with_position:
        table = table.mutate(position=ibis.null("int32"))
    text = {name: table[name].cast("string") for name in _EVENT_COLUMNS[:-1]}
    return table.select(**text, position=table.position.cast("int32"), filename=table.filename)


def read_counts(file: Path, *, connection: Any) -> ibis.Table:
    """counts.parquet as a table; its rows are added up per creative and position, nulls count as damage."""
    names = _columns(file)
    missing = [name for name in _COUNT_COLUMNS if name not in names]
    if missing:
        raise LogError(f"{file}: no column {missing[0]!r}; expected {', '.join(_COUNT_COLUMNS)}. Add the column.")
    table = connection.read_parquet(glob.escape(str(file)))
    position = table.position if "position" in names else ibis.null("int32")
    table = table.select(
        creative_id=table.creative_id.cast("string"),
        product_id=table.product_id.cast("string"),
        position=position.cast("int32"),
        impressions=table.impressions.cast("int64"),
        clicks=table.clicks.cast("int64"),
    )
    for name in _COUNT_COLUMNS:
        message = f"a row of creative {{creative_id!r}} has no {name}. Fill it in."
        _refuse(table.filter(table[name].isnull()), message, where=str(file))
    _refuse(
        table.filter((table.impressions < 0) | (table.clicks < 0)),
        "creative {creative_id!r} has a negative count. Counts start at 0; export them again.",
        where=str(file),
    )
    return table.group_by(["creative_id", "product_id", "position"]).agg(
        impressions=table.impressions.sum().cast("int64"), clicks=table.clicks.sum().cast("int64")
    )


def check_events(events: ibis.Table, *, repeated: ibis.Table | None = None) -> None:
    """Pass if the events are sound; LogError at nulls, unknown kinds, bad positions, orphan clicks."""
    required = events.event_id.isnull()
    for name in _EVENT_COLUMNS[1:-1]:
        required |= events[name].isnull()
    facts = (
        events.aggregate(
            rows=events.count(),
            incomplete=required.sum(),
            strange=events.kind.notin(KINDS).sum(),
            placed=events.position.count(),
            before_first=(events.position < 1).sum(),
        )
        .to_pyarrow()
        .to_pylist()[0]
    )
    if not facts["rows"]:
        raise LogError("the click log is empty: its files hold no event. Put events into clicks/events/*.parquet.")
    if facts["incomplete"]:
        _refuse(
            events.filter(required),
            "event {event_id!r} (creative {creative_id!r}) lacks an id or a kind. Fill it in.",
        )
    if facts["strange"]:
        kinds = ", ".join(KINDS)
        _refuse(
            events.filter(events.kind.notin(KINDS)),
            f"event {{event_id!r}} is of kind {{kind!r}}, expected one of {kinds}. Rename or drop it.",
        )
    if facts["before_first"]:
        _refuse(
            events.filter(events.position < 1),
            "event {event_id!r} is at position {position}; positions count from 1. Add 1 to all of them.",
        )
    if 0 < facts["placed"] < facts["rows"]:
        _refuse(
            events.filter(events.position.isnull()),
            "event {event_id!r} has no position though others have one. Fill it in, or drop the column.",
        )
    twice = repeated_events(events) if repeated is None else repeated
    contents = ibis.literal("")
    for name in _CONTENT:
        contents = contents + ibis.literal("\x1f") + twice[name].cast("string").fill_null("")
    contradictions = (
        twice.mutate(content=contents)
        .group_by("event_id")
        .agg(filename=lambda table: table.filename.max(), contents=lambda table: table.content.nunique())
    )
    _refuse(
        contradictions.filter(contradictions.contents > 1),
        "two different events share the id {event_id!r}. Give every event an id of its own.",
    )
    clicks, impressions = events.filter(events.kind == "click"), events.filter(events.kind == "impression")
    _refuse(
        clicks.anti_join(impressions, ["decision_id", "creative_id"]),
        "click {event_id!r} on creative {creative_id!r} has no impression in decision {decision_id!r}. "
        "Export the impressions of the same period too.",
    )


def counts(events: ibis.Table, *, repeated: ibis.Table | None = None) -> ibis.Table:
    """Events → creative_id, product_id, position, impressions, clicks; an event_id that appears twice counts once.

    A plain count, less the repetitions: repeated ids are few, so only hashes are grouped and only those rows
    compared. `repeated`: what `repeated_events` gives, when it is at hand already.
    """
    keys = ["creative_id", "product_id", "position"]
    twice = repeated_events(events) if repeated is None else repeated
    groups = twice.group_by(["event_id", "kind", *keys]).agg(copies=lambda table: table.count())
    totals = events.group_by(["kind", *keys]).agg(number=lambda table: table.count())
    excess = groups.group_by(["kind", *keys]).agg(number=lambda table: -(table.copies - 1).sum().cast("int64"))
    both = ibis.union(totals, excess, distinct=False)
    both = both.filter(both.kind.isin(["impression", "click"]))
    return both.group_by(keys).agg(
        impressions=both.number.sum(where=both.kind == "impression").fill_null(0).cast("int64"),
        clicks=both.number.sum(where=both.kind == "click").fill_null(0).cast("int64"),
    )


def repeated_events(events: ibis.Table) -> ibis.Table:
    """The rows whose event_id (or, once in a blue moon, only its 64-bit hash) appears more than once."""
    keyed = events.mutate(key=events.event_id.hash())
    numbers = keyed.group_by("key").agg(number=lambda table: table.count())
    return keyed.semi_join(numbers.filter(numbers.number > 1), "key").drop("key")


def check_counts(counted: ibis.Table, known: ibis.Table, *, where: str, events: ibis.Table | None = None) -> ibis.Table:
    """Return the counts unchanged if they fit the table `creatives` (`known`) and every click has an impression.

    `events`, when given, lets the error name the file that the creative stands in.
    """
    if not counted.aggregate(total=counted.impressions.sum().fill_null(0)).to_pyarrow()["total"][0].as_py():
        raise LogError(f"{where}: the click log is empty: it has no impression. Export the log again.")
    unknown = counted.anti_join(known, "creative_id")
    _refuse_creative(
        unknown,
        "an event for the unknown creative {creative_id!r}. Add it to creatives/ or drop its events.",
        where,
        events,
    )
    joined = counted.join(known, "creative_id", rname="{name}_known")
    strangers = joined.filter(joined.product_id != joined.product_id_known)
    _refuse_creative(
        strangers,
        "creative {creative_id!r} is logged for product {product_id!r}, but is of {product_id_known!r}. Mend the log.",
        where,
        events,
    )
    _refuse_creative(
        counted.filter(counted.clicks > counted.impressions),
        "creative {creative_id!r} has {clicks} clicks, but only {impressions} impressions at position {position}. "
        "Export clicks and impressions of the same period.",
        where,
        events,
    )
    if events is None:
        _refuse_creative(
            counted.filter(counted.position < 1),
            "creative {creative_id!r} is at position {position}; positions count from 1. Add 1 to all of them.",
            where,
            None,
        )
    return counted


@ibis.udf.scalar.builtin(name="hash", signature=(("string",), "uint64"))  # type: ignore[untyped-decorator]
def duckdb_hash(text: str) -> int:  # type: ignore[empty-body]
    """DuckDB's own hash; Ibis' portable `hash()` wraps it in two slow casts."""


def _repeated_rows(events: ibis.Table, connection: Any) -> ibis.Table:
    """`repeated_events` with a third of the work: the hashes are sorted as 8-byte numbers instead of grouped."""
    hashes = np.sort(events.select(key=duckdb_hash(events.event_id)).to_pyarrow()["key"].drop_null().to_numpy())
    repeated = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    if not repeated.size:
        return events.limit(0)
    keys = connection.create_table("repeated_keys", pa.table({"key": repeated}), temp=True, overwrite=True)
    return events.mutate(key=duckdb_hash(events.event_id)).semi_join(keys, "key").drop("key")


def _refuse(offenders: ibis.Table, message: str, *, where: str = "") -> None:
    rows = offenders.limit(1).to_pyarrow().to_pylist()
    if rows:
        raise LogError(f"{rows[0].get('filename', where)}: {message.format(**rows[0])}")


def _refuse_creative(offenders: ibis.Table, message: str, where: str, events: ibis.Table | None) -> None:
    rows = offenders.order_by("creative_id").limit(1).to_pyarrow().to_pylist()
    if not rows:
        return
    if events is not None:
        files = events.filter(events.creative_id == rows[0]["creative_id"]).aggregate(
            file=lambda table: table.filename.min()
        )
        where = files.to_pyarrow()["file"][0].as_py()
    raise LogError(f"{where}: {message.format(**rows[0])}")


def _known(workspace: Workspace) -> pa.Table:
    table = workspace.read_table(workspace.creatives_path, CREATIVES, remedy="Run `clickscape generate` first.")
    return table.select(["creative_id", "product_id"])


def _columns(file: Path) -> list[str]:
    try:
        return list(pq.read_schema(file).names)
    except (pa.ArrowException, OSError) as error:
        raise LogError(f"{file}: not a Parquet file ({error}). Export it again.") from None
