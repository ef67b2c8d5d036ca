"""Click logs as Ibis tables, events or counts, checked and cleaned before anything is estimated from them.

Everything is an Ibis expression until a check asks for its few rows, so a log larger than memory streams through
DuckDB; the same expressions run on any engine that Ibis reaches. What comes out is small, and a table of a DuckDB here.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import ibis
import pyarrow as pa

from clickscape.clicks import allocation, cleaning, duckdb_engine, incremental, log_files, sources
from clickscape.clicks.allocation import AllocatedTraffic
from clickscape.clicks.cells import STRATA, Stratum
from clickscape.clicks.checks import check_cleaned, check_events, check_shares
from clickscape.clicks.cleaning import Cleaned
from clickscape.clicks.cleaning_report import CleaningReport, out_of_order, report_cleaning
from clickscape.clicks.count_checks import check_counts, check_numbers
from clickscape.clicks.locations import LogLocation
from clickscape.clicks.sources import Source
from clickscape.clicks.spelling import in_known_spelling
from clickscape.config import ClicksConfig
from clickscape.errors import ClickscapeError, ConfigError, LogError
from clickscape.files import temporary_folder

_LONGEST = 500  # characters of an engine's own message
_KEYS = ("creative_id", "product_id", "position")


@dataclass(frozen=True)
class Log:
    """A checked log: its `counts` and, for a log of events, the report of its cleaning.

    `newest`: when the last event happened, in seconds since 1970, None where the log has no times. `allocated`: how
    its impressions came to the creatives, those that cleaning leaves out, too. `read` and `known`: files that were read
    for it, and files whose summaries were there; None where it was read at once.
    """

    counts: ibis.Table
    cleaning: CleaningReport | None
    allocated: AllocatedTraffic
    newest: int | None = None
    read: int | None = None
    known: int | None = None


@dataclass(frozen=True)
class CleanedLog:
    """Events after each cleaning step and the report of it; `where` and `newest` as of `Log` and its messages."""

    cleaned: Cleaned
    report: CleaningReport
    where: str
    newest: int | None


def read(
    log: LogLocation | ibis.Table,
    *,
    creatives: pa.Table,
    config: ClicksConfig,
    by: Sequence[Stratum] = (),
    connection: Any = None,
    store: Path | None = None,
    now: datetime | None = None,
) -> Log:
    """Read, check, clean and count a click log; LogError names the file, the fault and the remedy.

    `log`: as `locations.locate` finds it, or a table of any Ibis connection. `creatives`: creative_id and product_id of
    every creative that may be in it. `by`: columns to count separately, besides creative, product and position; one
    that the log lacks is left out. `connection`: the DuckDB that reads files and keeps the counts. `store`: folder in
    which summaries of files are kept, so that new files alone are read next time. `now` (UTC) defaults to the present.
    """
    connection = connection or connect()
    now = now or datetime.now(UTC)
    if isinstance(log, LogLocation) and log.files:
        with reading(log, config):
            found = incremental.summed(log, config=config, now=now, connection=connection, store=store)
            if found:
                return _of_files(log, found, creatives=creatives, config=config, by=by, connection=connection)
    location, source = _source(log, config=config, connection=connection)
    with reading(location, config):
        counted, report, facts = _count(source, location, by=by, config=config, now=now, duck=connection)
        known = connection.create_table("creatives", creatives, temp=True, overwrite=True)
        respelled = in_known_spelling(ibis.memtable(counted), known, where=source.where)
        local = connection.create_table("counts", respelled, temp=True, overwrite=True)
        events = (lambda: source.table) if source.kind == "events" else None
        check_counts(local, known, where=source.where, events=events, report=report)
        allocated = _allocated(source, facts, config=config)
    return Log(local, report, allocated, facts.get("newest"))


def _of_files(
    location: LogLocation,
    found: incremental.Summed,
    *,
    creatives: pa.Table,
    config: ClicksConfig,
    by: Sequence[Stratum],
    connection: Any,
) -> Log:
    """The log whose files were summed, checked against the creatives."""
    where = str(location)
    known = connection.create_table("creatives", creatives, temp=True, overwrite=True)
    summed = connection.create_table("summed", found.counts, temp=True, overwrite=True)
    strata = [name for name in _checked(by) if ("at" if name == "day" else name) in found.columns]
    counted = summed.group_by([*_KEYS, *strata]).agg(
        impressions=lambda table: table.impressions.sum().cast("int64"),
        clicks=lambda table: table.clicks.sum().cast("int64"),
    )
    respelled = in_known_spelling(_dated(counted), known, where=where)
    local = connection.create_table("counts", respelled, temp=True, overwrite=True)

    def events() -> ibis.Table:
        return _source(location, config=config, connection=connection)[1].table

    check_counts(local, known, where=where, events=events, report=found.report)
    stated: dict[str, int] = {name: found.facts.get(called, 0) for name, called in allocation.fact_names().items()}
    has_column = "allocation" in found.columns
    allocated = allocation.count_of(stated if has_column else {config.allocation: found.facts["shown"]})
    return Log(local, found.report, allocated, found.facts.get("newest"), found.read, found.known)


def connect(*, threads: int = 2, memory: str = "1GB", spill: Path | None = None) -> Any:
    """Return an in-memory DuckDB with few threads and a bounded memory.

    spill: folder for what does not fit; without one DuckDB makes one among the system's temporary files.
    """
    folder = spill or Path(tempfile.gettempdir(), f"clickscape-{os.getpid()}")
    made = ibis.duckdb.connect(
        threads=threads, memory_limit=memory, temp_directory=folder, preserve_insertion_order=False
    )
    made.raw_sql("SET TimeZone = 'UTC'")
    return made


@contextmanager
def connected(config: ClicksConfig, *, folder: Path) -> Iterator[Any]:
    """Yield a DuckDB with the memory that the settings allow, which puts what does not fit into `folder`.

    The file vanishes at the end, or, if the process is killed, when the workspace that the folder is in is opened next.
    LogError where the memory is too small.
    """
    with ExitStack() as stack:
        try:
            spill = stack.enter_context(temporary_folder(folder, name="spill"))
        except OSError:  # of a workspace that may be read only
            spill = None
        try:
            yield connect(memory=config.memory_limit, spill=spill)
        except duckdb.OutOfMemoryException as error:
            raise too_small(config, error) from None


def too_small(config: ClicksConfig, error: duckdb.Error) -> LogError:
    """Return the error of a log that DuckDB has no room for: in memory, or on the disk for what does not fit there."""
    if "max_temp_directory_size" in str(error):
        return LogError(
            f"the disk has no room for what does not fit into memory_limit = {config.memory_limit!r} of [clicks]. Free "
            f"some, or raise memory_limit."
        )
    return LogError(
        f"memory_limit = {config.memory_limit!r} of [clicks] is too small for this log. Raise it, such as to '2GB'."
    )


def counts(
    events: ibis.Table, *, config: ClicksConfig | None = None, now: datetime | None = None, by: Sequence[Stratum] = ()
) -> ibis.Table:
    """Return impressions and clicks per creative_id, product_id, position and columns of `by`; for any engine.

    Events are cleaned by the rules of `cleaning`; without `now` none is in the future. `day` is the UTC date of the
    impression; a click counts where its impression does.
    """
    if "at" not in events.columns:
        events = sources.events_of(events, where="the log")
    cleaned = cleaning.clean(events, config=config or ClicksConfig(), now=now, engine=cleaning.PORTABLE)
    return tally(cleaned.events, by=by)


def read_cleaned(
    log: LogLocation | ibis.Table, *, config: ClicksConfig, connection: Any, now: datetime | None = None
) -> CleanedLog:
    """Read, check and clean a log of events, for who counts them by user; LogError as of `read`, and for counts.

    Arguments as of `read`. The tables are expressions over the log and `connection`, which has to stay open.
    """
    location, source = _source(log, config=config, connection=connection)
    with reading(location, config):
        if source.kind == "counts":
            raise LogError(f"{source.where}: holds counts, expected events. Name a log of events with --log.")
        cleaned, report, facts = clean(
            source, location, config=config, now=now or datetime.now(UTC), duck=connection, kept=("allocation",)
        )
    return CleanedLog(cleaned, report, source.where, facts.get("newest"))


def _names(config: ClicksConfig) -> dict[str, str]:
    return {str(name): called for name, called in config.columns.items()}


def _source(log: LogLocation | ibis.Table, *, config: ClicksConfig, connection: Any) -> tuple[LogLocation, Source]:
    location = log if isinstance(log, LogLocation) else LogLocation(table=log.get_name())
    names = _names(config)
    with reading(location, config):
        if not isinstance(log, LogLocation):
            return location, sources.as_source(log, where=str(location), columns=names)
        source = sources.read(location, connection=connection, columns=names)
        if location.files:  # Ibis writes the whole expression as SQL anew for every query; a view is written once
            source = replace(source, table=connection.create_view(ibis.util.gen_name("log"), source.table))
        return location, source


def _count(
    source: Source, location: LogLocation, *, by: Sequence[Stratum], config: ClicksConfig, now: datetime, duck: Any
) -> tuple[pa.Table, CleaningReport | None, dict[str, int]]:
    """The counts of either kind of log, in memory; of a log of events its cleaning report and what was counted."""
    if source.kind == "counts":
        check_numbers(source.table, where=source.where)
        keys = [*_KEYS, *_present(by, source.table)]
        added = source.table.group_by(keys).agg(
            impressions=lambda table: table.impressions.sum().cast("int64"),
            clicks=lambda table: table.clicks.sum().cast("int64"),
        )
        return added.to_pyarrow(), None, {}
    unused = [name for name in (*sources.CHOICES, "policy_id", "variant") if name in source.table.columns]
    events = source.table.drop(*unused)
    cleaned, report, facts = clean(Source("events", events, source.where), location, config=config, now=now, duck=duck)
    return tally(cleaned.events, by=by).to_pyarrow(), report, facts


def _allocated(source: Source, facts: Mapping[str, int], *, config: ClicksConfig) -> AllocatedTraffic:
    """How the impressions were allocated: as the log says, or without its column, as the settings do."""
    if source.kind == "events":
        if "allocation" in source.table.columns:
            return allocation.count_of({name: facts[called] for name, called in allocation.fact_names().items()})
        return allocation.count_of({config.allocation: facts["shown"]})
    has_column = "allocation" in source.table.columns
    stated = source.table.allocation.fill_null("unknown") if has_column else ibis.literal(config.allocation)
    keyed = source.table.mutate(stated=stated)
    rows = keyed.group_by("stated").agg(shown=keyed.impressions.sum().cast("int64")).to_pyarrow().to_pylist()
    return allocation.count_of({row["stated"]: row["shown"] for row in rows})


def clean(
    source: Source,
    location: LogLocation,
    *,
    config: ClicksConfig,
    now: datetime,
    duck: Any,
    kept: Sequence[str] = (),
) -> tuple[Cleaned, CleaningReport, dict[str, int]]:
    """Check and clean the events of a source; return each step of it, its report, and what `check_events` counted.

    `duck`: the DuckDB that reads files. `kept`: columns that stay, though the checks alone ask for them. LogError for
    what no rule leaves out.
    """
    facts = check_events(source.table, where=source.where, config=config, now=now)
    engine = duckdb_engine.engine(duck) if location.files else cleaning.CACHED
    moment = now if facts.get("future") else None  # nothing to leave out: the comparison is saved in every pass
    checked_only = [
        name for name in source.table.columns if name.startswith("given_") or name in ("respelled", "allocation")
    ]
    events = source.table.drop(*(name for name in checked_only if name not in kept))
    cleaned = cleaning.clean(events, config=config, now=moment, engine=engine)
    disorder = out_of_order(events, connection=duck) if location.files else None
    report = report_cleaning(cleaned, facts=facts, out_of_order=disorder)
    if report.duplicates:
        check_cleaned(cleaned, where=source.where)
    check_shares(cleaned, report, facts=facts, where=source.where, config=config)
    return cleaned, report, facts


def tally(events: ibis.Table, *, by: Sequence[Stratum]) -> ibis.Table:
    """Return impressions and clicks of cleaned events per creative_id, product_id, position and columns of `by`."""
    strata = _present(by, events)
    counted = events.group_by([*_KEYS, *strata]).agg(
        impressions=events.count(where=events.kind == "impression").cast("int64"),
        clicks=events.count(where=events.kind == "click").cast("int64"),
    )
    return _dated(counted)


def _dated(counted: ibis.Table) -> ibis.Table:
    """Counts with dates for days: they are grouped as numbers, and few numbers made dates."""
    if "day" not in counted.columns:
        return counted
    return counted.mutate(day=(ibis.literal(date(1970, 1, 1)) + counted.day.as_interval("D")).cast("date"))


def _present(by: Sequence[Stratum], table: ibis.Table) -> list[str]:
    return [name for name in _checked(by) if name in table.columns]


def _checked(by: Sequence[Stratum]) -> Sequence[Stratum]:
    if unknown := [name for name in by if name not in STRATA]:
        raise ConfigError(f"a log cannot be counted by {unknown[0]!r}, expected any of {', '.join(STRATA)}.")
    return by


@contextmanager
def reading(location: LogLocation, config: ClicksConfig) -> Iterator[None]:
    """Turn engines' own errors into one line; those of a database lose their words, which may quote the address."""
    names = _names(config)
    try:
        yield
    except ClickscapeError:
        raise
    except duckdb.OutOfMemoryException as error:
        raise too_small(config, error) from None
    except (duckdb.Error, ibis.common.exceptions.IbisError, pa.ArrowException) as error:
        log_files.explain(location.files, wanted=sources.wanted_columns(names), ids=sources.id_columns(names))
        said = type(error).__name__ if not location.files else str(error).strip().splitlines()[0][:_LONGEST]
    except Exception as error:
        if location.files and not isinstance(error, OSError):
            raise
        said = type(error).__name__
    else:
        return
    raise LogError(f"{location}: cannot be read ({said}). Correct the file or the table, or export it again.") from None
