"""CTRs over the last days of the log, to ask whether the order of two creatives holds whenever one looks."""

from __future__ import annotations

from datetime import date

import numpy as np

from clickscape.clicks.cells import UNKNOWN, Cells, Floats
from clickscape.errors import ConfigError, LogError

WINDOWS = (7, 14, 30)
"""Days back from the last one of the log."""


def window_ctrs(cells: Cells, examinations: Floats) -> Floats:
    """Clicks per expected examination of every creative in the last WINDOWS days, (creative, window).

    examinations: (row,). NaN where a creative was not shown. ConfigError when the counts have no days.
    """
    days = next((factor for factor in cells.strata if factor.name == "day"), None)
    if days is None:
        raise ConfigError(
            "clicks.stable_order looks at the last 7, 14 and 30 days, but the log has no days. "
            'Log the time of every event, or set stable_order = "off".'
        )
    number = np.array([np.nan if value == UNKNOWN else _ordinal(value) for value in days.values])
    if np.isnan(number).all():
        raise LogError("the column day holds no day at all. Fill it in, or leave the column out.")
    age = np.nanmax(number) - number[days.code]
    ctrs = []
    for window in WINDOWS:
        inside = age < window
        shown = cells.per_creative(examinations * inside)
        clicked = cells.per_creative(cells.clicks * inside)
        ctrs.append(np.divide(clicked, shown, out=np.full_like(shown, np.nan), where=shown > 0))
    return np.stack(ctrs, axis=1)


def _ordinal(text: str) -> int:
    try:
        return date.fromisoformat(text).toordinal()
    except ValueError:
        raise LogError(f"the day {text!r} is no date; expected the like of 2026-01-31. Convert the column.") from None
