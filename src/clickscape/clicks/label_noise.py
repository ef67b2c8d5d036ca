"""How often clicks alone order two creatives as their true CTRs do: the noise ceiling where nobody knows the truth.

The posterior of the CTRs says it of every pair, with its own clicks and its own impressions. Halves of a log say it of
the average pair only: what halves of much and of little traffic agree on does not average to what all of it would (the
map is concave), and calls the ceiling 2 to 3 points too high where impressions differ (docs/experiments/clicks.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from clickscape.clicks import shrinkage
from clickscape.clicks.cells import Floats
from clickscape.clicks.pairs import probability_above
from clickscape.types import CreativePair


def order_probability(estimates: pa.Table, pairs: Sequence[CreativePair]) -> Floats:
    """Return P(true CTR of the first > true CTR of the second), given all clicks, (pair,).

    estimates: table `ctr.ESTIMATES` with every creative of the pairs. With the Beta prior, whose strength was chosen
    and not learned, the prior of the Gammas is learned here.
    """
    row_of = {name: row for row, name in enumerate(estimates["creative_id"].to_pylist())}
    first, second = (np.array([row_of[getattr(pair, side)] for pair in pairs], int) for side in ("first", "second"))
    shape, rate, shared = _posterior(estimates)
    away = np.sum((shared[first] - shared[second]) ** 2, axis=1)
    return probability_above(shape[first], rate[first], shape[second], rate[second], away)


def _posterior(estimates: pa.Table) -> tuple[Floats, Floats, Floats]:
    """Shape, rate (creative,) and shared errors (creative, error) of every CTR."""
    if not estimates["shape"].null_count:
        shared = np.array(estimates["shared"].to_pylist(), dtype=np.float64).reshape(estimates.num_rows, -1)
        return estimates["shape"].to_numpy(), estimates["rate"].to_numpy(), shared
    product = np.unique(estimates["product_id"].to_pylist(), return_inverse=True)[1]
    found = shrinkage.shrink(
        estimates["clicks"].to_numpy().astype(np.float64), estimates["examinations"].to_numpy(), product
    )
    return found.shape, found.rate, found.pull[:, None]
