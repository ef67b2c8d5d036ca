"""Events → counts by day and by how often a user had seen the creative before: what fatigue is read from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ibis

from clickscape.errors import LogError

_BANDS = (1, 2, 3, 5, 9, 17, 33, 65)
"""Earlier exposures from which a band starts; before the first there was none."""

_NEEDED = ("kind", "decision_id", "creative_id", "product_id", "at")


def count_exposures(events: ibis.Table, *, examination: Mapping[int, float] | None = None) -> ibis.Table:
    """Return counts per creative_id, product_id, day, band of earlier exposures and activity of the user.

    Columns: `day` (days since 1970), `band`, `activity` (band of a user's impressions in the whole log), impressions,
    examinations (impressions × what `examination` says of their position, or of 0 without one), clicks, `exposures`
    (mean of log(1 + earlier exposures of the user to the creative)). Without user_key band, activity and exposures are
    missing; impressions without a user are left out. A click counts where its impression does.

    events: kind, decision_id, creative_id, product_id, `at` (seconds since 1970), of the creative's whole time on air;
    any user_key and position, after the cleaning of bots. LogError where a column is missing.
    """
    if missing := [name for name in _NEEDED if name not in events.columns]:
        raise LogError(
            f"fatigue is read from events with times: no column {missing[0]!r}. Add it, or give daily counts."
        )
    has_users = "user_key" in events.columns
    key = ["decision_id", "creative_id", *(["user_key"] if has_users else [])]
    shown = events.filter(events.kind == "impression", events["at"].notnull())
    if has_users:
        shown = shown.filter(shown.user_key.notnull())
    looked: Any = {"position": shown.position.min()} if "position" in events.columns else {}
    once = shown.group_by(key).agg(at=shown["at"].min(), product_id=shown.product_id.min(), **looked)
    clicks = events.filter(events.kind == "click")
    clicked = clicks.select("decision_id", "creative_id").distinct().mutate(clicked=1)
    rows = once.left_join(clicked, ["decision_id", "creative_id"], rname="{name}_of_click")
    rows = rows.mutate(
        clicked=rows.clicked.fill_null(0), day=rows["at"] // 86_400, examined=_examined(rows, examination)
    )
    bands: dict[str, Any] = {}
    if has_users:
        order = [rows["at"], rows.decision_id]
        rows = rows.mutate(
            earlier=ibis.row_number().over(group_by=["creative_id", "user_key"], order_by=order),
            of_user=rows.count().over(group_by="user_key"),
        )
        rows = rows.mutate(band=_band(rows.earlier), activity=_band(rows.of_user))
        bands = {"exposures": (rows.earlier.cast("float64") + 1).ln().mean()}
    groups = ["creative_id", "product_id", "day", *(["band", "activity"] if has_users else [])]
    return rows.group_by(groups).agg(
        impressions=rows.count().cast("int64"),
        examinations=rows.examined.sum(),
        clicks=rows.clicked.sum().cast("int64"),
        **bands,
    )


def _band(number: Any) -> Any:
    """The number of the last band that starts at or below a count."""
    return ibis.cases(*((number < start, place) for place, start in enumerate(_BANDS)), else_=len(_BANDS)).cast("int16")


def _examined(rows: ibis.Table, examination: Mapping[int, float] | None) -> Any:
    if not examination or "position" not in rows.columns:
        return ibis.literal(1.0)
    place = rows.position.fill_null(0)
    chances = [(place == position, float(chance)) for position, chance in sorted(examination.items())]
    return ibis.cases(*chances, else_=1.0).cast("float64")
