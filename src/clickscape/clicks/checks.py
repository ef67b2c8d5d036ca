"""Checks of a click log against itself and the creatives; every LogError is one line with the file and the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import ibis

from clickscape.clicks import cleaning
from clickscape.clicks.cleaning import UNMATCHED, Cleaned
from clickscape.clicks.cleaning_report import CleaningReport
from clickscape.clicks.values import EARLIEST, LATEST, is_number
from clickscape.config import ClicksConfig
from clickscape.errors import LogError

KINDS = ("impression", "click", "conversion")
_REQUIRED = ("event_id", "kind", "decision_id", "creative_id", "product_id")
_CONTENT = ("kind", "decision_id", "creative_id", "product_id", "position")
_LONGEST = 100  # characters of a value in a message
_COUNT_IDS = ("creative_id", "product_id")


def check_events(
    events: ibis.Table, *, where: str, config: ClicksConfig, now: datetime | None = None
) -> dict[str, int]:
    """Refuse nulls, unknown kinds, bad positions and impossible times; return what one pass over the log counts.

    That is: rows; and, where the log has the columns, with_position, late, future, late_clicks, future_clicks,
    respelled (events with an id in another Unicode form), epochs (events whose time is a number) and newest (seconds
    since 1970).
    """
    faults = _faults(events)
    known = {"late": cleaning.is_late(events, config), "future": cleaning.is_future(events, config, now)}
    known = {name: flag for name, flag in known.items() if flag is not None}
    known |= {f"{name}_clicks": flag & (events.kind == "click") for name, flag in known.items()}
    known |= {"respelled": events.respelled} if "respelled" in events.columns else {}
    known |= {"epochs": is_number(events.given_at)} if "given_at" in events.columns else {}
    facts = (
        events.aggregate(
            rows=events.count(),
            with_position=events.position.count(),
            **{f"fault_{number}": events.count(where=flag) for number, (flag, _) in enumerate(faults)},
            **{name: events.count(where=flag) for name, flag in known.items()},
            **({"newest": events["at"].max()} if "at" in events.columns else {}),
        )
        .to_pyarrow()
        .to_pylist()[0]
    )
    if not facts["rows"]:
        raise LogError(f"{where}: the click log is empty: it has no event. Put events there, or export it again.")
    for number, (flag, message) in enumerate(faults):
        if facts.pop(f"fault_{number}"):
            _refuse(events.filter(flag), message, where=where)
    if 0 < facts["with_position"] < facts["rows"]:
        _refuse(
            events.filter(events.position.isnull()),
            "event {event_id!r} has no position though others have one. Fill it in, or drop the column.",
            where=where,
        )
    return facts


def _faults(events: ibis.Table) -> list[tuple[Any, str]]:
    """What no event may have, and the message for the first that does."""
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


def check_cleaned(cleaned: Cleaned, *, where: str) -> None:
    """Refuse two different events under one id."""
    twice = cleaned.repeated
    contents = ibis.literal("")
    for name in _CONTENT:
        contents = contents + ibis.literal("\x1f") + twice[name].cast("string").fill_null("")
    file = {"filename": twice.filename.max()} if "filename" in twice.columns else {}
    contradictions = (
        twice.mutate(content=contents).group_by("event_id").agg(contents=lambda table: table.content.nunique(), **file)
    )
    _refuse(
        contradictions.filter(contradictions.contents > 1),
        "two different events share the id {event_id!r}. Give every event a unique id.",
        where=where,
    )


def check_shares(
    cleaned: Cleaned, report: CleaningReport, *, facts: Mapping[str, int], where: str, config: ClicksConfig
) -> None:
    """Refuse a log of which the rules leave out too many clicks: such as have no impression, or the wrong time."""
    faults = cleaned.clicks.group_by("fault").agg(clicks=lambda table: table.count()).to_pyarrow().to_pylist()
    matched = sum(row["clicks"] for row in faults)
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
        _refuse(
            cleaned.clicks.filter(cleaned.clicks.fault == UNMATCHED).order_by("event_id"),
            f"{report.unmatched_clicks:,} of {matched:,} clicks have no impression, such as {{event_id!r}} on "
            f"{{creative_id!r}}.{also.replace('{', '{{').replace('}', '}}')} Export the impressions of the same period "
            f"too, or raise max_unmatched_share.",
            where=where,
        )


def check_numbers(counts: ibis.Table, *, where: str) -> None:
    """Refuse counts that are missing, not whole or negative, and positions that are no whole number."""
    for name in _COUNT_IDS:
        _refuse(
            counts.filter(counts[name].isnull()),
            f"a row of creative {{creative_id!r}} has no {name}. Fill it in.",
            where=where,
        )
    for name in ("impressions", "clicks"):
        _refuse(
            counts.filter(counts[name].isnull()),
            f"creative {{creative_id!r}} has no {name}, or no whole number there: {{given_{name}!r}}. Correct it.",
            where=where,
        )
    if "day" in counts.columns:
        _refuse(
            counts.filter((counts.day < date(2000, 1, 1)) | (counts.day >= date(2100, 1, 1))),
            "creative {creative_id!r} was shown on {day}; a log lies between 2000 and 2100. Correct the day.",
            where=where,
        )
    if "given_position" in counts.columns:
        _refuse(
            counts.filter(counts.position.isnull() & counts.given_position.notnull()),
            "creative {creative_id!r} is at position {given_position!r}, expected a whole number. Correct it.",
            where=where,
        )
    _refuse(
        counts.filter((counts.impressions < 0) | (counts.clicks < 0)),
        "creative {creative_id!r} has a negative count. Counts start at 0; export them again.",
        where=where,
    )


def check_counts(
    counted: ibis.Table,
    known: ibis.Table,
    *,
    where: str,
    events: ibis.Table | None = None,
    report: CleaningReport | None = None,
) -> ibis.Table:
    """Return the counts unchanged if they match the table `creatives` (`known`) and every click has an impression.

    `events`, when given, lets the error name the file that the creative is in; `report` lets it say what left nothing.
    """
    if not counted.aggregate(total=counted.impressions.sum().fill_null(0)).to_pyarrow()["total"][0].as_py():
        if report and (left_out := report.left_out()):
            raise LogError(
                f"{where}: none of its {report.events:,} events is an impression that counts: {left_out}. Correct "
                f"the log, or the settings of [clicks] that leave them out."
            )
        raise LogError(f"{where}: the click log is empty: it has no impression. Export the log again.")
    unknown = counted.anti_join(known, "creative_id")
    _refuse_creative(
        unknown,
        "an event for the unknown creative {creative_id!r}. Add it to creatives/ or drop its events.",
        where,
        events,
    )
    joined = counted.join(known, "creative_id", rname="{name}_known")
    mismatched = joined.filter(joined.product_id != joined.product_id_known)
    _refuse_creative(
        mismatched,
        "creative {creative_id!r} is logged for product {product_id!r}, but is of {product_id_known!r}. "
        "Correct the log.",
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


def _refuse(offenders: ibis.Table, message: str, *, where: str) -> None:
    years = {
        f"{name}_year": 1970 + offenders[name] // 31_556_952 for name in ("at", "received") if name in offenders.columns
    }
    rows = offenders.mutate(**years).limit(1).to_pyarrow().to_pylist()
    if rows:
        raise LogError(f"{rows[0].get('filename', where)}: {message.format(**_short(rows[0]))}")


def _refuse_creative(offenders: ibis.Table, message: str, where: str, events: ibis.Table | None) -> None:
    rows = offenders.order_by("creative_id").limit(1).to_pyarrow().to_pylist()
    if not rows:
        return
    if events is not None and "filename" in events.columns:
        files = events.filter(events.creative_id == rows[0]["creative_id"]).aggregate(
            file=lambda table: table.filename.min()
        )
        where = files.to_pyarrow()["file"][0].as_py()
    raise LogError(f"{where}: {message.format(**_short(rows[0]))}")


def _short(row: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a row for a message, long texts cut."""
    return {
        name: f"{value[:_LONGEST]}…" if isinstance(value, str) and len(value) > _LONGEST else value
        for name, value in row.items()
    }
