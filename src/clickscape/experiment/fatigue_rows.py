"""Daily counts as the rows of the decay regression, checked: who began when, and which factors every row has."""

from __future__ import annotations

from dataclasses import dataclass

import ibis
import numpy as np
import pyarrow as pa

from clickscape.clicks.cells import Factor, Floats, Integers
from clickscape.errors import ExperimentError
from clickscape.experiment.decay import Rows

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MIN_DAYS = 7
MAX_DAYS = 400
_NEEDED = ("creative_id", "product_id", "day", "impressions", "clicks")


@dataclass(frozen=True, eq=False)
class DailyLog:
    """Rows of the regression, the names behind its numbers, and when creatives began and ended: days since 1970."""

    rows: Rows
    creatives: tuple[str, ...]
    products: tuple[str, ...]
    impressions: Integers
    day: Integers
    first: Integers
    ended: Integers
    last: int

    @classmethod
    def read(cls, counts: ibis.Table | pa.Table) -> DailyLog:
        """Read the counts; ExperimentError names the fault and the remedy."""
        table = counts if isinstance(counts, pa.Table) else counts.to_pyarrow()
        if missing := [name for name in _NEEDED if name not in table.column_names]:
            raise ExperimentError(
                f"counts without a column {missing[0]!r}; fatigue needs {', '.join(_NEEDED)}. Add it."
            )
        day = _days(table["day"])
        impressions, clicks = (np.asarray(table[name].to_numpy(), np.float64) for name in ("impressions", "clicks"))
        if len(table) == 0 or clicks.sum() == 0:
            raise ExperimentError("the log has no clicks: nothing says how CTR changes. Wait for some.")
        if wrong := np.flatnonzero(~((clicks >= 0) & (impressions > 0))).tolist():
            raise ExperimentError(
                f"row {wrong[0] + 1}: {clicks[wrong[0]]:g} clicks of {impressions[wrong[0]]:g} impressions; expected "
                "clicks of at least one impression. Leave empty rows out."
            )
        span = int(day.max() - day.min()) + 1
        if not MIN_DAYS <= span <= MAX_DAYS:
            raise ExperimentError(f"the log spans {span} days; fatigue is read from {MIN_DAYS} to {MAX_DAYS}. "
                                  f"{'Wait' if span < MIN_DAYS else 'Give the last ones'}.")  # fmt: skip
        creatives, creative = np.unique(table["creative_id"].to_numpy(zero_copy_only=False), return_inverse=True)
        products, of_row = np.unique(table["product_id"].to_numpy(zero_copy_only=False), return_inverse=True)
        product = np.zeros(len(creatives), np.int64)
        product[creative] = of_row
        if np.any(product[creative] != of_row):
            name = creatives[creative[np.argmax(product[creative] != of_row)]]
            raise ExperimentError(f"creative {str(name)!r} belongs to two products. Give each its own creative_id.")
        first = np.full(len(creatives), day.max())
        np.minimum.at(first, creative, day)
        ended = np.full(len(creatives), day.min())
        np.maximum.at(ended, creative, day)
        rows = Rows(
            creative=creative.astype(np.int64),
            product=product,
            examinations=_optional(table, "examinations", otherwise=impressions),
            clicks=clicks,
            exposures=_optional(table, "exposures") if "exposures" in table.column_names else None,
            weeks=(day - first[creative]) / 7,
            calendar=(day - (day.min() + day.max()) / 2) / 7,
            factors=_factors(table, day),
        )
        names = tuple(map(str, creatives)), tuple(map(str, products))
        return cls(rows, *names, impressions.astype(np.int64), day, first, ended, int(day.max()))


def _days(column: pa.ChunkedArray) -> Integers:
    """Days since 1970 from a column of them, of dates or of times."""
    if column.null_count:
        raise ExperimentError("a row of the counts has no day. Leave it out, or add its day.")
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.date32(), safe=False)
    if pa.types.is_date(column.type):
        column = column.cast(pa.date32()).cast(pa.int32())
    if not pa.types.is_integer(column.type):
        raise ExperimentError(f"the column day holds {column.type}, expected dates. Convert it.")
    return column.to_numpy().astype(np.int64)


def _optional(table: pa.Table, name: str, *, otherwise: Floats | None = None) -> Floats:
    if name in table.column_names:
        return np.asarray(table[name].to_numpy(), np.float64)
    assert otherwise is not None
    return otherwise


def _factors(table: pa.Table, day: Integers) -> tuple[Factor, ...]:
    weekday = (day + 3) % 7  # 1970 began on a Thursday
    days, of_day = np.unique(day, return_inverse=True)
    found = [
        Factor("weekday", WEEKDAYS, weekday),
        Factor("day", tuple(str(one) for one in days), of_day.astype(np.int64)),
    ]
    if "activity" in table.column_names:
        bands, code = np.unique(table["activity"].to_numpy(), return_inverse=True)
        found.append(Factor("activity", tuple(map(str, bands)), code.astype(np.int64)))
    return tuple(found)
