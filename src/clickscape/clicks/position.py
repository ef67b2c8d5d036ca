"""Position bias: how likely each position is looked at, estimated from creatives that moved between positions.

The position-based model (Richardson, Dominowska & Ragno, WWW 2007): a click needs a look, and the look depends on the
position alone. Its likelihood is maximized directly (`likelihood`): the same maximum as EM in a few
steps instead of hundreds, with standard errors, and with a reason where no maximum exists.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from clickscape.clicks.cells import Floats, Integers


@dataclass(frozen=True)
class Examination:
    """Probability that a position is looked at, relative to the first; `reason` says why nothing was corrected.

    `positions`, `probability`, `log_se` (standard error of the log): (position,).
    """

    positions: tuple[int, ...]
    probability: tuple[float, ...]
    log_se: tuple[float, ...]
    reason: str | None = None

    @property
    def corrected(self) -> bool:
        """Return whether impressions are scaled at all."""
        return self.reason is None


@dataclass(frozen=True, eq=False)
class ComparableRows:
    """Rows for which the likelihood has a unique finite maximum; else `reason` says why it has none."""

    reason: str | None
    creative: Integers
    column: Integers
    impressions: NDArray
    clicks: NDArray


def comparable_rows(
    creative: Integers, column: Integers, positions: tuple[int, ...], *, impressions: NDArray, clicks: NDArray
) -> ComparableRows:
    """Return the rows to estimate on, or why positions cannot be compared with the first.

    column: (row,) index into `positions`. Creatives with clicks must have moved. A unique finite maximum needs more
    (Ford 1957: no group of positions beats all others without ever losing a click to them); with too few clicks for
    that an imaginary creative joins, shown equally and clicked half a time at every position.
    """
    count = int(creative.max()) + 1
    shown, clicked = (
        coo_array((values, (creative, column)), shape=(count, len(positions))).toarray().astype(np.float64)
        for values in (impressions, clicks)
    )
    informative = clicked.sum(axis=1) > 0
    seen = (shown > 0)[informative].astype(np.float64)
    unlinked = np.asarray(positions)[_group(seen.T @ seen, connection="weak") != 0]
    reason = None
    if unlinked.size:
        listed = ", ".join(str(number) for number in unlinked)
        reason = f"no creative with clicks was shown both at position {positions[0]} and at {listed}"
    won = (clicked > 0)[informative].T.astype(np.float64) @ seen
    if reason is None and _group(won, connection="strong").any():
        creative = np.concatenate([creative, np.full(len(positions), count)])
        column = np.concatenate([column, np.arange(len(positions))])
        impressions = np.concatenate([impressions, np.ones(len(positions))])
        clicks = np.concatenate([clicks, np.full(len(positions), 0.5)])
    return ComparableRows(reason, creative, column, impressions, clicks)


def uncorrected(positions: tuple[int, ...], *, reason: str) -> Examination:
    """Return the examination that corrects nothing (1 everywhere), with the reason."""
    return Examination(positions, (1.0,) * len(positions), (0.0,) * len(positions), reason)


def _group(links: Floats, *, connection: str) -> Integers:
    """0 for positions in the first position's component of the graph `links` (position, position), else 1."""
    _, component = connected_components(links > 0, directed=True, connection=connection)
    return (component != component[0]).astype(np.int64)
