"""Checks of the events of a click log against themselves; every LogError is one line with the file and the remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import ibis

from clickscape.clicks import allocation, cleaning
from clickscape.clicks.cleaning import UNMATCHED, Attributed, Cleaned
from clickscape.clicks.cleaning_report import CleaningReport
from clickscape.clicks.values import EARLIEST, LATEST, is_number
from clickscape.config import ClicksConfig
from clickscape.errors import LogError

KINDS = ("impression", "click", "conversion")
_REQUIRED = ("event_id", "kind", "decision_id", "creative_id", "product_id")
_CONTENT = ("kind", "decision_id", "creative_id", "product_id", "position")
_LONGEST = 100  # characters of a value in a message

Fault = tuple[Any, str]
"""What no row may be, as a condition, and the message for the first row that is; it names columns in braces."""


def check_events(
    events: ibis.Table, *, where: str, config: ClicksConfig, now: datetime | None = None
) -> dict[str, int]:
    """Refuse nulls, unknown kinds, bad positions and impossible times; return what one pass over the log counts.

    That is: rows, shown (impressions), placed (those with a position); and, where the log has the columns, late,
    future, late_clicks, future_clicks, respelled (events with an id in another Unicode form), epochs (events whose time
    is a number), newest (seconds since 1970) and impressions by allocation (`allocation.fact_names`).
    """
    faults = faults_of(events)
    known = {"late": cleaning.is_received_late(events, config), "future": cleaning.is_future(events, config, now)}
    known = {name: flag for name, flag in known.items() if flag is not None}
    known |= {f"{name}_clicks": flag & (events.kind == "click") for name, flag in known.items()}
    known |= {"respelled": events.respelled} if "respelled" in events.columns else {}
    known |= {"epochs": is_number(events.given_at)} if "given_at" in events.columns else {}
    wanted = {
        "rows": events.count(),
        "shown": events.count(where=events.kind == "impression"),
        "placed": events.count(where=(events.kind == "impression") & events.position.notnull()),
        **{name: events.count(where=flag) for name, flag in known.items()},
        **({"newest": events["at"].max()} if "at" in events.columns else {}),
        **(allocation.facts_of(events) if "allocation" in events.columns else {}),
    }
    facts, fault = look_for(faults, events, **wanted)
    if not facts["rows"]:
        raise LogError(f"{where}: the click log is empty: it has no event. Put events there, or export it again.")
    if fault:
        refuse(events.filter(fault[0]), fault[1], where=where)
    return facts


def look_for(faults: Sequence[Fault], table: ibis.Table, **facts: Any) -> tuple[dict[str, Any], Fault | None]:
    """Return these aggregates of a table, and the first of the faults that a row has; one pass over the table."""
    flags = {f"fault_{number}": table.count(where=flag) for number, (flag, _) in enumerate(faults)}
    (row,) = table.aggregate(**facts, **flags).to_pyarrow().to_pylist()
    found = (fault for number, fault in enumerate(faults) if row[f"fault_{number}"])
    return {name: row[name] for name in facts}, next(found, None)


def faults_of(events: ibis.Table) -> list[Fault]:
    """What no event may have, in the order in which it is told."""
    required = events.event_id.isnull()
    for name in _REQUIRED[1:]:
        required |= events[name].isnull()
    faults = [
        (required, "event {event_id!r} (creative {creative_id!r}) lacks an id or a kind. Fill it in."),
        (
            events.kind.notin(KINDS),
            f"event {{event_id!r}} is of kind {{kind!r}}, expected one of {', '.join(KINDS)}. Rename or drop it.",
        ),
        (
            events.position < 1,
            "event {event_id!r} is at position {position}; positions count from 1. Add 1 to all of them.",
        ),
    ]
    if "allocation" in events.columns:
        flag = events.allocation.notin(allocation.ALLOCATIONS)
        faults.append((flag, f"event {{event_id!r}} has the allocation {allocation.FAULT}"))
    if "given_position" in events.columns:
        message = "event {event_id!r} is at position {given_position!r}, expected a whole number. Correct the log."
        faults.append((events.position.isnull() & events.given_position.notnull(), message))
    for name, called in (("at", "ts"), ("received", "received_at")):
        if name not in events.columns:
            continue
        if f"given_{name}" in events.columns:
            message = (
                f"event {{event_id!r}} has {called} {{given_{name}!r}}, expected a time such as 2026-03-01T12:00:00Z. "
                f"Correct the log."
            )
            faults.append((events[name].isnull() & events[f"given_{name}"].notnull(), message))
        message = (
            f"the {called} of event {{event_id!r}} is in the year {{{name}_year}}; a log lies between 2000 and 2100. "
            f"Seconds, milliseconds, microseconds or nanoseconds were taken for one another, or the time is not known. "
            f"Write the times as timestamps."
        )
        faults.append(((events[name] < EARLIEST) | (events[name] >= LATEST), message))
    return faults


def check_cleaned(cleaned: Attributed, *, where: str) -> None:
    """Refuse two different events under one id."""
    twice = cleaned.repeated
    contents = ibis.literal("")
    for name in _CONTENT:
        contents = contents + ibis.literal("\x1f") + twice[name].cast("string").fill_null("")
    file = {"filename": twice.filename.max()} if "filename" in twice.columns else {}
    contradictions = (
        twice.mutate(content=contents).group_by("event_id").agg(contents=lambda table: table.content.nunique(), **file)
    )
    refuse(
        contradictions.filter(contradictions.contents > 1),
        "two different events share the id {event_id!r}. Give every event a unique id.",
        where=where,
    )


def check_shares(
    cleaned: Cleaned, report: CleaningReport, *, facts: Mapping[str, int], where: str, config: ClicksConfig
) -> None:
    """Refuse a log of which the rules leave out too many clicks: such as have no impression, or the wrong time."""
    matched = cleaned.clicks.count().to_pyarrow().as_py()
    causes = {
        "before their impression": report.early_clicks or 0,
        "too long after their impression": report.expired_clicks or 0,
        "received too late": facts.get("late_clicks", 0),
        "in the future": facts.get("future_clicks", 0),
    }
    total = matched + causes["received too late"] + causes["in the future"]
    untimely = sum(causes.values())
    left_out = report.left_out()
    also = f" Events were left out besides: {left_out}." if left_out else ""
    if untimely > config.max_untimely_share * total:
        listed = ", ".join(f"{number:,} {cause}" for cause, number in causes.items() if number)
        raise LogError(
            f"{where}: {untimely:,} of {total:,} clicks are left out for their time: {listed}. Are the times of clicks "
            f"and impressions of one time zone, and the clicks exported in time? Export them again, or raise "
            f"max_untimely_share."
        )
    if report.unmatched_clicks > config.max_unmatched_share * matched:
        refuse(
            cleaned.clicks.filter(cleaned.clicks.fault == UNMATCHED).order_by("event_id"),
            f"{report.unmatched_clicks:,} of {matched:,} clicks have no impression, such as {{event_id!r}} on "
            f"{{creative_id!r}}.{also.replace('{', '{{').replace('}', '}}')} Export the impressions of the same period "
            f"too, or raise max_unmatched_share.",
            where=where,
        )


def refuse(offenders: ibis.Table, message: str, *, where: str) -> None:
    """Raise the LogError of the first of these rows, if there is one; the message names its columns in braces."""
    years = {
        f"{name}_year": 1970 + offenders[name] // 31_556_952 for name in ("at", "received") if name in offenders.columns
    }
    rows = offenders.mutate(**years).limit(1).to_pyarrow().to_pylist()
    if rows:
        raise LogError(f"{rows[0].get('filename', where)}: {message.format(**short(rows[0]))}")


def short(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a row for a message, long texts cut."""
    return {
        name: f"{value[:_LONGEST]}…" if isinstance(value, str) and len(value) > _LONGEST else value
        for name, value in row.items()
    }
