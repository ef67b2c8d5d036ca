"""Split a log into two independent halves, whose agreement gives the noise ceiling where the truth is unknown.

Poisson clicks thinned by a coin are two independent Poisson clicks (each click falls into one half, each impression as
well), so counts suffice: no event has to be read again.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def split_half(estimates: pa.Table, *, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the log-CTR of every row of `ctr.ESTIMATES` from each half of its clicks, (creative,) twice.

    The posterior mean of each half under the prior that shrank the whole (its shape and rate, less the clicks and the
    examinations); with the Beta prior, which has none, half a click joins in every half.
    """
    clicks = estimates["clicks"].to_numpy().astype(np.int64)
    examinations = estimates["examinations"].to_numpy()
    first = rng.binomial(clicks, 0.5)
    prior_shape, prior_rate = _prior(estimates, clicks, examinations)
    one, other = (
        np.log((prior_shape + half) / (prior_rate + np.maximum(examinations / 2, 1e-9)))
        for half in (first, clicks - first)
    )
    return one, other


def _prior(estimates: pa.Table, clicks: np.ndarray, examinations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    shape, rate = (
        estimates[name].to_numpy(zero_copy_only=False).astype(np.float64) if name in estimates.column_names else None
        for name in ("shape", "rate")
    )
    if shape is None or rate is None or not (np.isfinite(shape).all() and np.isfinite(rate).all()):
        return np.full(len(clicks), 0.5), np.zeros(len(clicks))
    return np.maximum(shape - clicks, 1e-6), np.maximum(rate - examinations, 1e-9)
