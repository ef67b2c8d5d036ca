"""Clicks and expected examinations of every creative by audience, for a reward model of what audiences like."""

from __future__ import annotations

import ibis
import numpy as np
import pyarrow as pa

from clickscape.clicks import cells as counted
from clickscape.clicks.cells import UNKNOWN, Cells, Factor, Floats
from clickscape.clicks.ctr import ClickModel

AUDIENCES = pa.schema(
    {
        "creative_id": pa.string(),
        "audience": pa.string(),
        "clicks": pa.int64(),
        "examinations": pa.float64(),
    }
)


def count_by_audience(counts: ibis.Table, model: ClickModel) -> pa.Table:
    """Return table AUDIENCES: one row per creative and audience that saw it; none for a log that names no audience.

    `counts`: as of `ctr.estimate_ctr`, which made `model`. Impressions of nobody knows whom are left out.
    """
    cells = counted.read(counts)
    audience = next((one for one in cells.strata if one.name == "audience"), None)
    if audience is None:
        return AUDIENCES.empty_table()
    examined = cells.impressions * _multiplier(cells, model)
    known = np.array([name != UNKNOWN for name in audience.values])[audience.code]
    key, row = np.unique(cells.creative * len(audience.values) + audience.code, return_inverse=True)
    columns = [np.bincount(row, values, len(key)) for values in (cells.clicks, examined, known * cells.impressions)]
    seen = columns[2] > 0
    creative, code = np.divmod(key[seen], len(audience.values))
    return pa.Table.from_arrays(
        [
            cells.creatives.take(pa.array(creative)),
            pa.array(audience.values, pa.string()).take(pa.array(code)),
            pa.array(columns[0][seen].astype(np.int64)),
            pa.array(columns[1][seen]),
        ],
        schema=AUDIENCES,
    )


def _multiplier(cells: Cells, model: ClickModel) -> Floats:
    """Expected examinations per impression of every row, (row,)."""
    found = np.ones(len(cells.creative))
    if model.examination.corrected and cells.position is not None:
        found *= np.array(model.examination.probability)[cells.position.code]
    factors: dict[str, Factor] = {one.name: one for one in cells.strata}
    if cells.positioned is not None:
        factors[cells.positioned.name] = cells.positioned
    for stratum in model.strata:
        if stratum.reason is None and (factor := factors.get(stratum.name)) is not None:
            found *= np.array(stratum.effect)[factor.code]
    return found
