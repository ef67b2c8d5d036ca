"""Position bias alone, without strata: what the joint fit of `exposure` must agree with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clickscape.clicks.cells import Factor, Integers
from clickscape.clicks.likelihood import maximize
from clickscape.clicks.position import Examination, comparable_rows, uncorrected


def examine(creative: Integers, position: Integers, impressions: NDArray, clicks: NDArray) -> Examination:
    """Estimate the examination of every position by maximum likelihood; arrays: (row,), `creative` counts from 0."""
    positions, column = np.unique(position, return_inverse=True)
    rows = comparable_rows(creative, column, tuple(positions.tolist()), impressions=impressions, clicks=clicks)
    if rows.reason:
        return uncorrected(tuple(positions.tolist()), reason=rows.reason)
    factor = Factor("position", tuple(map(str, positions.tolist())), rows.column)
    found = maximize(rows.creative, [factor], impressions=rows.impressions, clicks=rows.clicks)
    log_se = np.sqrt(np.maximum(found.covariance.diagonal(), 0))
    return Examination(tuple(positions.tolist()), tuple(np.exp(found.log_effect).tolist()), tuple(log_se.tolist()))
