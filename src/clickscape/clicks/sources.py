"""A click log as one table of events or of counts with clickscape's own column names and types.

It comes from files of several formats (`log_files`), or from a table of any database that Ibis reaches (`databases`).
Times become whole seconds since 1970 in UTC, so that no rule after this file depends on an engine's time zone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import ibis

from clickscape.clicks import databases, duckdb_engine, log_files, values
from clickscape.clicks.cells import NAMED_STRATA
from clickscape.clicks.locations import LogLocation
from clickscape.clicks.values import Values
from clickscape.errors import LogError

_EVENT_TEXTS = ("event_id", "kind", "decision_id", "creative_id", "product_id")
_TEXTS = ("user_key", "policy_id", "allocation", "variant", *NAMED_STRATA)
CHOICES = ("candidates", "propensities")
"""Optional lists of an impression, of equal length: what could have been shown instead, and with which probability."""

_TIMES = {"ts": "at", "received_at": "received"}
_IDS = frozenset({"event_id", "decision_id", "creative_id", "product_id", "user_key"})
EVENTS = (*_EVENT_TEXTS, "position", *_TIMES, *_TEXTS)
_COUNTS = ("creative_id", "product_id", "impressions", "clicks", "position", "day", "allocation", *NAMED_STRATA)
_COUNT_TEXTS = ("creative_id", "product_id")
_COUNT_NUMBERS = ("impressions", "clicks")
_ALIASES = {"impressions": "exp_impression_cnt", "clicks": "exp_click_cnt"}  # the public CreativeRanking lists


@dataclass(frozen=True)
class Source:
    """A log as a table, before any check: `events` and `counts` have the columns of `events_of` and `counts_of`."""

    kind: Literal["events", "counts"]
    table: ibis.Table
    where: str


def read(
    location: LogLocation, *, connection: Any, columns: Mapping[str, str] | None = None, choices: bool = False
) -> Source:
    """Return the log there as a table; `connection`: the DuckDB that reads files. LogError for missing columns.

    choices: with the lists CHOICES, which nobody needs who counts, and which are most of a log's bytes.
    """
    names = columns or {}
    if location.url:
        return as_source(databases.table_of(location), where=str(location), columns=names)
    wanted = wanted_columns(names, choices=choices)
    parts = log_files.read(location, connection=connection, wanted=wanted, ids=id_columns(names))
    kind = _kind(parts[0].table, names)
    _check_named(names, [part.table for part in parts], kind=kind, where=str(location))
    read = [_converted(part.table, where=part.where, columns=names, engine=duckdb_engine.VALUES) for part in parts]
    others = [part.where for part in read if part.kind != kind]
    if others:
        raise LogError(f"{others[0]}: not {kind} as {read[0].where} holds. Name files of one kind.")
    return Source(kind, _union([part.table for part in read]), str(location))


def read_part(
    location: LogLocation, *, connection: Any, columns: Mapping[str, str], normalized: bool
) -> ibis.Table | None:
    """Return some files of a log of events as a table with columns of `events_of`; None where they hold counts.

    normalized: ids in Unicode's composed form, which costs as much as the rest where they are ASCII. Columns that the
    settings name may be in other files.
    """
    parts = log_files.read(location, connection=connection, wanted=wanted_columns(columns), ids=id_columns(columns))
    if any(_kind(part.table, columns) != "events" for part in parts):
        return None
    engine = duckdb_engine.VALUES if normalized else replace(duckdb_engine.VALUES, normalize=None)
    return _union([events_of(part.table, where=part.where, columns=columns, engine=engine) for part in parts])


def as_source(table: ibis.Table, *, where: str, columns: Mapping[str, str] | None = None) -> Source:
    """Return events or counts, whichever the columns are of, with clickscape's names and types."""
    names = columns or {}
    _check_named(names, [table], kind=_kind(table, names), where=where)
    return _converted(table, where=where, columns=names, engine=values.PORTABLE)


def _converted(table: ibis.Table, *, where: str, columns: Mapping[str, str], engine: Values) -> Source:
    kind = _kind(table, columns)
    of_kind = counts_of if kind == "counts" else events_of
    return Source(kind, of_kind(table, where=where, columns=columns, engine=engine), where)


def _check_named(
    columns: Mapping[str, str], tables: Sequence[ibis.Table], *, kind: Literal["events", "counts"], where: str
) -> None:
    """LogError for a column that the settings name and no table has: without it, its rules would not hold."""
    ours = EVENTS if kind == "events" else _COUNTS
    for name, called in columns.items():
        if name in ours and not any(_find(name, table.columns, columns) for table in tables):
            raise LogError(
                f"{where}: no column {called!r}, which [clicks] columns names for {name}. Correct the name there."
            )


def wanted_columns(columns: Mapping[str, str], *, choices: bool = False) -> frozenset[str]:
    """Return what the log may call the columns that are read."""
    names = (*EVENTS, *_COUNTS, *(CHOICES if choices else ()))
    return frozenset(columns.get(name, name) for name in names) | set(_ALIASES.values())


def id_columns(columns: Mapping[str, str]) -> frozenset[str]:
    """Return what the log calls the columns whose texts say which event, creative, product or user it is."""
    return frozenset(columns.get(name, name) for name in _IDS)


def events_of(
    table: ibis.Table, *, where: str, columns: Mapping[str, str] | None = None, engine: Values = values.PORTABLE
) -> ibis.Table:
    """Return events with event_id, kind, decision_id, creative_id, product_id and the optional columns of the log.

    Optional: position (a column of nulls where the log has none), at and received (whole seconds since 1970, UTC),
    user_key, policy_id, allocation, variant, placement, device, audience, filename, candidates and propensities (lists,
    or their JSON as a text). Where a position or a time came in a type that may hold something else, `given_position`,
    `given_at` and `given_received` are the texts that came; `respelled`: whether an id was not in Unicode's composed
    form.
    """
    names = columns or {}
    _require(_EVENT_TEXTS, table.columns, names, where=where)
    picked = _texts(table, (*_EVENT_TEXTS, *_TEXTS), where=where, columns=names, engine=engine)
    picked |= _position(table, names)
    picked |= {name: table[found] for name in CHOICES if (found := _find(name, table.columns, names))}
    for name, ours in _TIMES.items():
        if found := _find(name, table.columns, names):
            picked[ours] = values.seconds(table[found], where=where, engine=engine)
            if not table[found].type().is_temporal():
                picked[f"given_{ours}"] = table[found].cast("string")
    if log_files.FILE in table.columns:
        picked["filename"] = table[log_files.FILE]
    return table.select(**picked)


def counts_of(
    table: ibis.Table, *, where: str, columns: Mapping[str, str] | None = None, engine: Values = values.PORTABLE
) -> ibis.Table:
    """Return counts: creative_id, product_id, position, impressions, clicks, any of day, allocation and strata.

    Numbers that are not whole, NaN among them, become null, which the check refuses; `given_impressions`,
    `given_clicks` and `given_position` are the texts that came.
    """
    names = columns or {}
    _require(_COUNTS[:4], table.columns, names, where=where)
    picked = _texts(table, (*_COUNT_TEXTS, "allocation", *NAMED_STRATA), where=where, columns=names, engine=engine)
    picked |= _position(table, names)
    for name in _COUNT_NUMBERS:
        column = table[_find(name, table.columns, names)]
        picked |= {name: values.whole(column), f"given_{name}": column.cast("string")}
    if found := _find("day", table.columns, names):
        picked["day"] = values.day(table[found], where=where)
    if log_files.FILE in table.columns:
        picked["filename"] = table[log_files.FILE]
    return table.select(**picked)


def _texts(
    table: ibis.Table, wanted: tuple[str, ...], *, where: str, columns: Mapping[str, str], engine: Values
) -> dict[str, Any]:
    """Those of the wanted columns that are there, as texts; and whether normalizing changed one."""
    found = {name: called for name in wanted if (called := _find(name, table.columns, columns))}
    texts = {name: values.text(table[called], where=where) for name, called in found.items()}
    if not engine.normalize:
        return texts
    composed = {name: engine.normalize(text) for name, text in texts.items()}
    changed = [(composed[name] != texts[name]).fill_null(False) for name in texts if name in _IDS]
    return {**composed, "respelled": ibis.or_(*changed)}


def _position(table: ibis.Table, columns: Mapping[str, str]) -> dict[str, Any]:
    found = _find("position", table.columns, columns)
    if not found:
        return {"position": ibis.null("int32")}
    number = values.whole(table[found])
    position = {"position": ibis.ifelse(number.abs() < 2**31, number, ibis.null("int64")).cast("int32")}
    return position | ({} if table[found].type().is_integer() else {"given_position": table[found].cast("string")})


def _union(tables: list[ibis.Table]) -> ibis.Table:
    """All rows of tables that may lack columns of each other."""
    kinds = {name: table[name].type() for table in tables for name in table.columns}
    aligned = [
        table.select(
            **{name: table[name] if name in table.columns else ibis.null(kind) for name, kind in kinds.items()}
        )
        for table in tables
    ]
    return ibis.union(*aligned, distinct=False) if len(aligned) > 1 else tables[0]


def _kind(table: ibis.Table, columns: Mapping[str, str]) -> Literal["events", "counts"]:
    """Counts where it has a column of counts, and none that says what kind of event a row is."""
    has_counts = any(_find(name, table.columns, columns) for name in _COUNT_NUMBERS)
    return "counts" if has_counts and not _find("kind", table.columns, columns) else "events"


def _find(name: str, among: Any, columns: Mapping[str, str]) -> str:
    """What the log calls a column, or an empty string when it has none."""
    names = [columns.get(name, name)] + ([_ALIASES[name]] if name in _ALIASES and name not in columns else [])
    for wanted in names:
        if wanted in among:
            return wanted
        for column in among:  # a header " Position" is no other column than position
            if column.strip().casefold() == wanted.casefold():
                return str(column)
    return ""


def _require(wanted: tuple[str, ...], among: Any, columns: Mapping[str, str], *, where: str) -> None:
    missing = [name for name in wanted if not _find(name, among, columns)]
    if missing:
        called = columns.get(missing[0], missing[0])
        raise LogError(
            f"{where}: no column {called!r}; expected {', '.join(wanted)}. Add the column, or say in [clicks] columns "
            f"what it is called."
        )
