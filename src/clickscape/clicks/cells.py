"""Counts as arrays: every row is a cell (creative × position × strata), every name a number.

A stratum is what an impression had beside its creative and position: the columns of STRATA that the counts have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

NAMED_STRATA = ("placement", "device", "audience")
"""Optional text columns of a log by which counts can be split; `day` comes from the time of an event."""

Stratum = Literal["day", "placement", "device", "audience"]
STRATA: tuple[Stratum, ...] = ("day", "placement", "device", "audience")
UNKNOWN = "unknown"
POSITIONED = "has a position"
"""The stratum of impressions that a log of positions has without one: nobody knows where they stood."""


@dataclass(frozen=True, eq=False)
class Factor:
    """A categorical variable: its `values` in order, and `code` (row,), the index of every row's value among them.

    precision: of the normal prior of its log effects around 0; with 0 there is no prior and the first value's effect
    is 1. reference: the value whose effect is 1 in what is reported; None: the average impression's is.
    """

    name: str
    values: tuple[str, ...]
    code: Integers
    precision: float = 0.0
    reference: int | None = None


@dataclass(frozen=True, eq=False)
class Cells:
    """The counts, in the order of creatives; `product`: number of each creative's product, (creative,).

    `creative`, `impressions`, `clicks`: (row,). `position` is None where the log has none; a row without one has the
    code of the first. `positioned`: whether a row has one, None where all have or none has. `strata` lists those that
    the counts have, in the order of STRATA.
    """

    creatives: pa.Array
    products: pa.Array
    product: Integers
    creative: Integers
    impressions: Integers
    clicks: Integers
    position: Factor | None
    positioned: Factor | None
    strata: tuple[Factor, ...]

    def per_creative(self, values: NDArray) -> Floats:
        """Return the sum of `values` (row,) over each creative's rows, (creative,)."""
        return np.bincount(self.creative, weights=values, minlength=len(self.creatives)).astype(np.float64)


def read(counts: ibis.Table) -> Cells:
    """Return arrays of the table creative_id, product_id, position, impressions, clicks and any columns of STRATA."""
    named = [name for name in STRATA if name in counts.columns]
    rows = counts.order_by(["creative_id", "position", *named]).to_pyarrow()
    creatives, creative = _coded(rows["creative_id"])
    products, product_of_row = _coded(rows["product_id"])
    product = np.zeros(len(creatives), dtype=np.int64)
    product[creative] = product_of_row
    position, positioned = _positions(rows["position"].combine_chunks())
    return Cells(
        creatives=creatives,
        products=products,
        product=product,
        creative=creative,
        impressions=rows["impressions"].to_numpy().astype(np.int64),
        clicks=rows["clicks"].to_numpy().astype(np.int64),
        position=position,
        positioned=positioned,
        strata=tuple(_factor(name, rows[name]) for name in named),
    )


def _positions(column: pa.Array) -> tuple[Factor | None, Factor | None]:
    """Positions, and which rows have one."""
    has = column.is_valid().to_numpy(zero_copy_only=False)
    if not has.any():
        return None, None
    positions, code = np.unique(column.drop_null().to_numpy(), return_inverse=True)
    codes = np.zeros(len(column), dtype=np.int64)
    codes[has] = code
    position = Factor("position", tuple(map(str, positions.tolist())), codes)
    positioned = Factor(POSITIONED, ("no", "yes"), has.astype(np.int64), reference=1)
    return position, None if has.all() else positioned


def _factor(name: str, column: pa.ChunkedArray) -> Factor:
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.date32())
    values, code = _coded(column.cast(pa.string()).fill_null(UNKNOWN))
    return Factor(name, tuple(values.to_pylist()), code)


def _coded(column: pa.ChunkedArray) -> tuple[pa.Array, Integers]:
    """The values of a column of strings in order, and the index of each row's value among them."""
    encoded = column.cast(pa.string()).combine_chunks().dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return encoded.dictionary.take(pa.array(order)), rank[encoded.indices.to_numpy()]
