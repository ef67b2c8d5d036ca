"""Where a click log comes from: files of several formats, or a table of any database that Ibis reaches.

Whatever it is called there, it becomes a table of events or of counts with clickscape's own column names and types, and
times become whole seconds since 1970 in UTC, so that no rule after this file depends on an engine's time zone. Files
and addresses come from outside: names are quoted by Ibis, and an address is never shown with what may be a secret.
"""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any, Literal
from urllib.parse import urlsplit

import ibis
import pyarrow as pa
import pyarrow.parquet as pq

from clickscape.clicks.cells import NAMED_STRATA
from clickscape.config import ClicksConfig
from clickscape.config.environment import ALLOWED, allowed
from clickscape.errors import LogError

_EVENT_TEXTS = ("event_id", "kind", "decision_id", "creative_id", "product_id")
_TEXTS = ("user_key", *NAMED_STRATA)
_TIMES = {"ts": "at", "received_at": "received"}
_EVENTS = (*_EVENT_TEXTS, "position", *_TIMES, *_TEXTS)
_COUNTS = ("creative_id", "product_id", "impressions", "clicks", "position", "day", *NAMED_STRATA)
_COUNT_TEXTS = ("creative_id", "product_id")
_COUNT_NUMBERS = ("impressions", "clicks")
_ALIASES = {"impressions": "exp_impression_cnt", "clicks": "exp_click_cnt"}  # the public CreativeRanking lists
_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")


@dataclass(frozen=True)
class LogLocation:
    """Where a log is stored: `files`, or else the `table` of a database at `url` (as the settings name it)."""

    files: tuple[Path, ...] = ()
    url: str = ""
    table: str = ""
    folder: Path | None = None

    def __str__(self) -> str:
        if not self.files:
            return f"{redact(self.url)}, table {self.table}" if self.url else f"table {self.table}"
        return str(self.folder or self.files[0])


@dataclass(frozen=True)
class Source:
    """A log as a table, before any check: `events` and `counts` have the columns of `events_of` and `counts_of`."""

    kind: Literal["events", "counts"]
    table: ibis.Table
    where: str


def locate(folder: Path, config: ClicksConfig) -> LogLocation:
    """Find the log that `config.source` names, else events/*.parquet or counts.parquet in `folder`.

    A file that `config.source` names is looked for beside `folder`. LogError where there is no log, or two.
    """
    if is_address(config.source):
        if not config.table:
            raise LogError(f"{redact(config.source)} is a database without a table. Name one with --table or `table`.")
        return LogLocation(url=config.source, table=config.table)
    if config.source:
        pattern = str(folder.parent / Path(config.source).expanduser())
        found = sorted(path for name in glob.glob(pattern, recursive=True) if (path := Path(name)).is_file())
        if not found:
            raise LogError(f"{pattern}: no such file. Correct the path; quote a glob, so that the shell keeps it.")
        return LogLocation(files=tuple(found), folder=Path(pattern))
    events, counts = sorted((folder / "events").glob("[!.]*.parquet")), folder / "counts.parquet"
    if events and counts.exists():
        raise LogError(f"{folder}: both events/ and counts.parquet would count every click twice. Delete one of them.")
    if not events and not counts.exists():
        raise LogError(f"{folder}: no click log. Put Parquet files into events/, or a counts.parquet.")
    return LogLocation(files=tuple(events), folder=folder / "events") if events else LogLocation((counts,))


def read(location: LogLocation, *, connection: Any, columns: Mapping[str, str] | None = None) -> Source:
    """Return the log there as a table; `connection`: the DuckDB that reads files. LogError for missing columns."""
    names = columns or {}
    if location.url:
        return as_source(_table_of(location), where=str(location), columns=names)
    table, where = _read_files(location.files, connection=connection, columns=names), str(location)
    if not _is_counts(table, names):
        for file in location.files:
            if file.suffix == ".parquet":
                _require(_EVENT_TEXTS, _parquet_columns(file), names, where=str(file))
    return as_source(table, where=where, columns=names, seconds=_duckdb_seconds)


def as_source(
    table: ibis.Table,
    *,
    where: str,
    columns: Mapping[str, str] | None = None,
    seconds: Callable[[Any], Any] | None = None,
) -> Source:
    """Return events or counts, whichever the columns are of, with clickscape's names and types."""
    names = columns or {}
    if _is_counts(table, names):
        return Source("counts", counts_of(table, where=where, columns=names), where)
    return Source("events", events_of(table, where=where, columns=names, seconds=seconds or portable_seconds), where)


def events_of(
    table: ibis.Table,
    *,
    where: str,
    columns: Mapping[str, str] | None = None,
    seconds: Callable[[Any], Any] | None = None,
) -> ibis.Table:
    """Return events with event_id, kind, decision_id, creative_id, product_id and the optional columns of the log.

    Optional: position (a column of nulls where the log has none), at and received (whole seconds since 1970, UTC),
    user_key, placement, device, audience, filename.
    """
    names = columns or {}
    _require(_EVENT_TEXTS, table.columns, names, where=where)
    picked = {name: table[names.get(name, name)].cast("string") for name in _EVENT_TEXTS}
    position = _find("position", table.columns, names)
    picked["position"] = table[position].cast("int32") if position else ibis.null("int32")
    for name, ours in _TIMES.items():
        if found := _find(name, table.columns, names):
            picked[ours] = (seconds or portable_seconds)(_timestamp(table[found], where=where))
    for name in _TEXTS:
        if found := _find(name, table.columns, names):
            picked[name] = table[found].cast("string")
    if "filename" in table.columns:
        picked["filename"] = table.filename
    return table.select(**picked)


def counts_of(table: ibis.Table, *, where: str, columns: Mapping[str, str] | None = None) -> ibis.Table:
    """Return counts: creative_id, product_id, position, impressions, clicks, any of day, placement, device, audience.

    Numbers that are not whole, NaN among them, become null, which the check refuses.
    """
    names = columns or {}
    _require(_COUNTS[:4], table.columns, names, where=where)
    picked = {name: table[names.get(name, name)].cast("string") for name in _COUNT_TEXTS}
    position = _find("position", table.columns, names)
    picked["position"] = table[position].cast("int32") if position else ibis.null("int32")
    for name in _COUNT_NUMBERS:
        picked[name] = whole(table[_find(name, table.columns, names)])
    if found := _find("day", table.columns, names):
        picked["day"] = table[found].cast("date")
    for name in NAMED_STRATA:
        if found := _find(name, table.columns, names):
            picked[name] = table[found].cast("string")
    return table.select(**picked)


def whole(number: Any) -> Any:
    """Return a numeric column as int64, null where it is not whole (`NaN >= 0` is true in DuckDB, false elsewhere)."""
    if not number.type().is_floating():
        return number.cast("int64")
    usable = ~number.isnan() & ~number.isinf() & (number == number.floor())
    return ibis.ifelse(usable, number, ibis.null(number.type())).cast("int64")


def portable_seconds(time: Any) -> Any:
    """Return a timestamp as whole seconds since 1970, UTC, rounded down: engines differ in how they cast a fraction."""
    return time.epoch_seconds().floor().cast("int64")


def is_address(source: str) -> bool:
    """Return whether a source is the connection URL of a database rather than a file."""
    return _URL.match(source) is not None


def redact(address: str) -> str:
    """Return an address without user, password and parameters; only its scheme when it is ambiguous."""
    scheme = address.split("://", maxsplit=1)[0]
    try:
        parts = urlsplit(address)
        if "@" in parts.path + parts.query + parts.fragment:
            return f"{scheme}://…"
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return f"{scheme}://…"
    return f"{scheme}://{parts.hostname or ''}{port}{parts.path}"


def _table_of(location: LogLocation) -> ibis.Table:
    """The table of a database; LogErrors hold no word of the driver's own messages, which may quote the password."""
    safe = redact(location.url)
    scheme = location.url.split("://", maxsplit=1)[0].replace("postgresql", "postgres")
    if scheme not in _databases():
        raise LogError(f"{safe}: no database that Ibis reaches; it knows {', '.join(sorted(_databases()))}.")
    try:
        address = Template(location.url).substitute(allowed())
    except (KeyError, ValueError):
        raise LogError(f"{safe}: a ${{NAME}} in it is not set, or not listed. Export the variable, and list it, as in: "
                       f"export {ALLOWED}=NAME; write $$ for a dollar.") from None  # fmt: skip
    parts = urlsplit(address)
    file = Path(parts.netloc + parts.path)
    if scheme in ("duckdb", "sqlite") and not file.is_file():
        raise LogError(f"{safe}: no such file. Correct the path.")
    try:
        connection = ibis.connect(address, **({"read_only": True} if scheme == "duckdb" else {}))
    except ImportError:
        raise LogError(f"{safe}: no driver for it. Run: pip install 'ibis-framework[{scheme}]'") from None
    except Exception as error:
        raise LogError(
            f"{safe}: no connection ({type(error).__name__}). Check address, user, password and network."
        ) from None
    schema, _, name = location.table.rpartition(".")
    try:
        return connection.table(name, database=schema or None)
    except Exception as error:
        raise LogError(f"{safe}: no table {location.table!r} ({type(error).__name__}). Check --table.") from None


def _databases() -> set[str]:
    return {entry.name for entry in ibis.util.backend_entry_points()}


def _read_files(files: tuple[Path, ...], *, connection: Any, columns: Mapping[str, str]) -> ibis.Table:
    suffixes = {file.suffix.lower() for file in files}
    if len(suffixes) > 1:
        raise LogError(f"{files[0].parent}: files of several kinds ({', '.join(sorted(suffixes))}). Name one kind.")
    paths = [glob.escape(str(file)) for file in files]
    match suffixes.pop():
        case ".parquet":
            for file in files:
                _parquet_columns(file)
            return connection.read_parquet(paths, filename=True, union_by_name=True)
        case ".csv" | ".tsv":  # all text, else an id such as 007 would be read as the number 7
            return connection.read_csv(paths, filename=True, union_by_name=True, header=True, all_varchar=True)
        case ".jsonl" | ".ndjson":
            options = {"format": "newline_delimited", "filename": True, "union_by_name": True}
            found = connection.read_json(paths, **options).columns
            wanted = {columns.get(name, name) for name in {*_EVENTS, *_COUNTS}} | set(_ALIASES.values())
            texts = {name: "VARCHAR" for name in found if name in wanted}  # else ids that look like UUIDs change case
            return connection.read_json(paths, columns=texts, **options) if texts else ibis.memtable({"none": [""]})
        case other:
            raise LogError(f"{files[0]}: {other or 'no ending'} is no kind of log. Use .parquet, .csv or .jsonl.")


def _is_counts(table: ibis.Table, columns: Mapping[str, str]) -> bool:
    """Whether it has a column of counts, and none that says what kind of event a row is."""
    has_counts = any(_find(name, table.columns, columns) for name in _COUNT_NUMBERS)
    return has_counts and not _find("kind", table.columns, columns)


def _find(name: str, among: Any, columns: Mapping[str, str]) -> str:
    """What the log calls a column, or an empty string when it has none."""
    wanted = columns.get(name, name)
    if wanted in among:
        return wanted
    alias = _ALIASES.get(name, "")
    return alias if alias in among and name not in columns else ""


def _require(wanted: tuple[str, ...], among: Any, columns: Mapping[str, str], *, where: str) -> None:
    missing = [name for name in wanted if not _find(name, among, columns)]
    if missing:
        called = columns.get(missing[0], missing[0])
        raise LogError(
            f"{where}: no column {called!r}; expected {', '.join(wanted)}. Add the column, or say in [clicks] columns "
            f"what it is called."
        )


def _timestamp(column: Any, *, where: str) -> Any:
    if column.type().is_string():
        return column.cast("timestamp('UTC')")
    if not (column.type().is_timestamp() or column.type().is_date()):
        raise LogError(f"{where}: column {column.get_name()!r} is {column.type()}, expected a timestamp. Convert it.")
    return column if column.type().is_timestamp() else column.cast("timestamp")


@ibis.udf.scalar.builtin(name="epoch_us", signature=(("timestamp('UTC')",), "int64"))  # type: ignore[untyped-decorator]
def _epoch_us(time: Any) -> int:  # type: ignore[empty-body]
    """DuckDB's own microseconds since 1970; Ibis' way casts the time zone away first, a third of the whole reading."""


def _duckdb_seconds(time: Any) -> Any:
    return (_epoch_us(time) // 1_000_000).cast("int64")


def _parquet_columns(file: Path) -> list[str]:
    try:
        return list(pq.read_schema(file).names)
    except (pa.ArrowException, OSError) as error:
        raise LogError(f"{file}: not a Parquet file ({error}). Export it again.") from None
