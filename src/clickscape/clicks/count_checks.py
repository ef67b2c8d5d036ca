"""Checks of counts against themselves and the creatives, whether they were logged or counted here."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import ibis

from clickscape.clicks.allocation import ALLOCATIONS, FAULT
from clickscape.clicks.checks import Fault, look_for, refuse, short
from clickscape.clicks.cleaning_report import CleaningReport
from clickscape.errors import LogError


def check_numbers(counts: ibis.Table, *, where: str) -> None:
    """Refuse counts that are missing, not whole or negative, and positions that are no whole number."""
    faults: list[Fault] = [
        (counts[name].isnull(), f"a row of creative {{creative_id!r}} has no {name}. Fill it in.")
        for name in ("creative_id", "product_id")
    ]
    for name in ("impressions", "clicks"):
        message = f"creative {{creative_id!r}} has no {name}, or no whole number there: {{given_{name}!r}}. Correct it."
        faults.append((counts[name].isnull(), message))
    if "day" in counts.columns:
        message = "creative {creative_id!r} was shown on {day}; a log lies between 2000 and 2100. Correct the day."
        faults.append(((counts.day < date(2000, 1, 1)) | (counts.day >= date(2100, 1, 1)), message))
    if "allocation" in counts.columns:
        faults.append((counts.allocation.notin(ALLOCATIONS), f"creative {{creative_id!r}} has the allocation {FAULT}"))
    if "given_position" in counts.columns:
        message = "creative {creative_id!r} is at position {given_position!r}, expected a whole number. Correct it."
        faults.append((counts.position.isnull() & counts.given_position.notnull(), message))
    message = "creative {creative_id!r} has a negative count. Counts start at 0; export them again."
    faults.append(((counts.impressions < 0) | (counts.clicks < 0), message))
    _, fault = look_for(faults, counts)
    if fault:
        refuse(counts.filter(fault[0]), fault[1], where=where)


def check_counts(
    counted: ibis.Table,
    known: ibis.Table,
    *,
    where: str,
    events: Callable[[], ibis.Table] | None = None,
    report: CleaningReport | None = None,
) -> None:
    """Refuse counts that do not match the table `creatives` (`known`), and clicks without an impression.

    `events`, for a log of events, lets the error name the file that the creative is in; `report` lets it say
    what left nothing.
    """
    too_many = (
        "creative {creative_id!r} has {clicks} clicks, but only {impressions} impressions at position {position}. "
        "Export clicks and impressions of the same period."
    )
    owners = known.select("creative_id", owner=known.product_id)
    rows = counted.left_join(owners, "creative_id").drop("creative_id_right")
    faults: list[Fault] = [
        (
            rows.owner.isnull(),
            "an event for the unknown creative {creative_id!r}. Add it to creatives/ or drop its events.",
        ),
        (
            rows.product_id != rows.owner,
            "creative {creative_id!r} is logged for product {product_id!r}, but is of {owner!r}. Correct the log.",
        ),
        (rows.clicks > rows.impressions, too_many),
    ]
    if events is None:
        message = "creative {creative_id!r} is at position {position}; positions count from 1. Add 1 to all of them."
        faults.append((rows.position < 1, message))
    facts, fault = look_for(faults, rows, impressions=rows.impressions.sum().fill_null(0))
    if not facts["impressions"]:
        if report and (left_out := report.left_out()):
            raise LogError(
                f"{where}: none of its {report.events:,} events is an impression that counts: {left_out}. Correct "
                f"the log, or the settings of [clicks] that leave them out."
            )
        raise LogError(f"{where}: the click log is empty: it has no impression. Export the log again.")
    if fault:
        (first,) = rows.filter(fault[0]).order_by("creative_id").limit(1).to_pyarrow().to_pylist()
        if events is not None and "filename" in (table := events()).columns:
            files = table.filter(table.creative_id == first["creative_id"])
            where = files.filename.min().to_pyarrow().as_py()
        raise LogError(f"{where}: {fault[1].format(**short(first))}")
