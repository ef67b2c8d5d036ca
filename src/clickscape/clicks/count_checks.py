"""Checks of counts against themselves and the creatives, whether they were logged or counted here."""

from __future__ import annotations

from datetime import date

import ibis

from clickscape.clicks.checks import refuse, short
from clickscape.clicks.cleaning_report import CleaningReport
from clickscape.errors import LogError

_IDS = ("creative_id", "product_id")


def check_numbers(counts: ibis.Table, *, where: str) -> None:
    """Refuse counts that are missing, not whole or negative, and positions that are no whole number."""
    for name in _IDS:
        refuse(
            counts.filter(counts[name].isnull()),
            f"a row of creative {{creative_id!r}} has no {name}. Fill it in.",
            where=where,
        )
    for name in ("impressions", "clicks"):
        refuse(
            counts.filter(counts[name].isnull()),
            f"creative {{creative_id!r}} has no {name}, or no whole number there: {{given_{name}!r}}. Correct it.",
            where=where,
        )
    if "day" in counts.columns:
        refuse(
            counts.filter((counts.day < date(2000, 1, 1)) | (counts.day >= date(2100, 1, 1))),
            "creative {creative_id!r} was shown on {day}; a log lies between 2000 and 2100. Correct the day.",
            where=where,
        )
    if "given_position" in counts.columns:
        refuse(
            counts.filter(counts.position.isnull() & counts.given_position.notnull()),
            "creative {creative_id!r} is at position {given_position!r}, expected a whole number. Correct it.",
            where=where,
        )
    refuse(
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


def _refuse_creative(offenders: ibis.Table, message: str, where: str, events: ibis.Table | None) -> None:
    rows = offenders.order_by("creative_id").limit(1).to_pyarrow().to_pylist()
    if not rows:
        return
    if events is not None and "filename" in events.columns:
        files = events.filter(events.creative_id == rows[0]["creative_id"]).aggregate(
            file=lambda table: table.filename.min()
        )
        where = files.to_pyarrow()["file"][0].as_py()
    raise LogError(f"{where}: {message.format(**short(rows[0]))}")
