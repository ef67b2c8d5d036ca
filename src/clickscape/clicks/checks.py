"""Checks of a click log against itself and the creatives; every LogError is one line with the file and the remedy."""

from __future__ import annotations

from datetime import datetime

import ibis

from clickscape.clicks import cleaning
from clickscape.clicks.cleaning import UNMATCHED, Cleaned
from clickscape.config import ClicksConfig
from clickscape.errors import LogError

KINDS = ("impression", "click", "conversion")
_REQUIRED = ("event_id", "kind", "decision_id", "creative_id", "product_id")
_CONTENT = ("kind", "decision_id", "creative_id", "product_id", "position")
_NUMBERS = ("creative_id", "product_id", "impressions", "clicks")


def check_events(
    events: ibis.Table, *, where: str, config: ClicksConfig, now: datetime | None = None
) -> dict[str, int]:
    """Refuse nulls, unknown kinds and bad positions; return the numbers of rows and, where known, late and future."""
    required = events.event_id.isnull()
    for name in _REQUIRED[1:]:
        required |= events[name].isnull()
    known = {"late": cleaning.is_late(events, config), "future": cleaning.is_future(events, config, now)}
    facts = (
        events.aggregate(
            rows=events.count(),
            incomplete=events.count(where=required),
            unknown_kind=events.count(where=events.kind.notin(KINDS)),
            with_position=events.position.count(),
            before_first=events.count(where=events.position < 1),
            **{name: events.count(where=flag) for name, flag in known.items() if flag is not None},
        )
        .to_pyarrow()
        .to_pylist()[0]
    )
    if not facts["rows"]:
        raise LogError(f"{where}: the click log is empty: it has no event. Put events there, or export it again.")
    if facts["incomplete"]:
        _refuse(
            events.filter(required),
            "event {event_id!r} (creative {creative_id!r}) lacks an id or a kind. Fill it in.",
            where=where,
        )
    if facts["unknown_kind"]:
        kinds = ", ".join(KINDS)
        _refuse(
            events.filter(events.kind.notin(KINDS)),
            f"event {{event_id!r}} is of kind {{kind!r}}, expected one of {kinds}. Rename or drop it.",
            where=where,
        )
    if facts["before_first"]:
        _refuse(
            events.filter(events.position < 1),
            "event {event_id!r} is at position {position}; positions count from 1. Add 1 to all of them.",
            where=where,
        )
    if 0 < facts["with_position"] < facts["rows"]:
        _refuse(
            events.filter(events.position.isnull()),
            "event {event_id!r} has no position though others have one. Fill it in, or drop the column.",
            where=where,
        )
    return facts


def check_cleaned(cleaned: Cleaned, *, where: str, config: ClicksConfig) -> None:
    """Refuse two events under one id, and a log whose clicks mostly have no impression."""
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
    faults = cleaned.clicks.group_by("fault").agg(clicks=lambda table: table.count()).to_pyarrow().to_pylist()
    unmatched = sum(row["clicks"] for row in faults if row["fault"] == UNMATCHED)
    total = sum(row["clicks"] for row in faults)
    if unmatched > config.max_unmatched_share * total:
        _refuse(
            cleaned.clicks.filter(cleaned.clicks.fault == UNMATCHED).order_by("event_id"),
            f"{unmatched:,} of {total:,} clicks have no impression, such as {{event_id!r}} on {{creative_id!r}}. "
            f"Export the impressions of the same period too, or raise max_unmatched_share.",
            where=where,
        )


def check_numbers(counts: ibis.Table, *, where: str) -> None:
    """Refuse counts that are missing, not whole or negative, and positions below 1."""
    for name in _NUMBERS:
        message = f"a row of creative {{creative_id!r}} has no {name}, or no whole number there. Fill it in."
        _refuse(counts.filter(counts[name].isnull()), message, where=where)
    _refuse(
        counts.filter((counts.impressions < 0) | (counts.clicks < 0)),
        "creative {creative_id!r} has a negative count. Counts start at 0; export them again.",
        where=where,
    )


def check_counts(counted: ibis.Table, known: ibis.Table, *, where: str, events: ibis.Table | None = None) -> ibis.Table:
    """Return the counts unchanged if they match the table `creatives` (`known`) and every click has an impression.

    `events`, when given, lets the error name the file that the creative is in.
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
    rows = offenders.limit(1).to_pyarrow().to_pylist()
    if rows:
        raise LogError(f"{rows[0].get('filename', where)}: {message.format(**rows[0])}")


def _refuse_creative(offenders: ibis.Table, message: str, where: str, events: ibis.Table | None) -> None:
    rows = offenders.order_by("creative_id").limit(1).to_pyarrow().to_pylist()
    if not rows:
        return
    if events is not None and "filename" in events.columns:
        files = events.filter(events.creative_id == rows[0]["creative_id"]).aggregate(
            file=lambda table: table.filename.min()
        )
        where = files.to_pyarrow()["file"][0].as_py()
    raise LogError(f"{where}: {message.format(**rows[0])}")
