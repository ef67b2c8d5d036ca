"""Bootstrap over clusters: entries of one (an object's color variants) depend on each other, so it is drawn whole.

One `ClusterBootstrap` holds the draws, and every figure that it resamples is paired with every other: the interval of a
difference or of a ratio comes from the same draws of both sides (Field and Welsh 2007; Davison and Hinkley 1997, 2.4).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from clickscape.types import Estimate

RESAMPLES = 2_000
LEVEL = 0.95

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClusterBootstrap:
    """Draws of whole clusters, the same for every figure that is resampled with them.

    names: of the clusters, sorted. cluster: (entry,) number of each entry's. drawn: (resample, cluster) how often.
    """

    names: NDArray
    cluster: NDArray[np.int64]
    drawn: Floats

    @classmethod
    def draw(
        cls, clusters: Sequence[str] | NDArray, *, rng: np.random.Generator, resamples: int = RESAMPLES
    ) -> ClusterBootstrap:
        """Draw as many clusters as there are, with replacement; `clusters`: the name of each entry's, (entry,)."""
        names, cluster = np.unique(np.asarray(clusters), return_inverse=True)
        count = len(names)
        return cls(names, cluster, rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float64))

    def of(self, clusters: Sequence[str] | NDArray) -> ClusterBootstrap:
        """Return the same draws for other entries of these clusters, (entry,) names."""
        return replace(self, cluster=np.searchsorted(self.names, np.asarray(clusters)))

    def sums(self, values: NDArray, among: NDArray | slice = slice(None)) -> Floats:
        """Return the sum of values (entry,) in every resample, (resample,); `among`: which entries count."""
        totals = np.bincount(self.cluster[among], weights=values[among], minlength=len(self.names))
        return np.asarray(self.drawn @ totals)

    def means(self, values: NDArray, among: NDArray | slice = slice(None)) -> Floats:
        """Return the mean of values (entry,) in every resample, (resample,); NaN where a resample holds none."""
        count = self.sums(np.ones(len(values)), among)
        return np.asarray(np.where(count > 0, self.sums(values, among) / np.maximum(count, 1), np.nan))

    def mean(self, values: NDArray, among: NDArray | slice = slice(None), *, level: float = LEVEL) -> Estimate:
        """Return the mean of values (entry,) with its interval; ValueError for no entry."""
        values = np.asarray(values, dtype=np.float64)
        mean = float(values[among].mean()) if values[among].size else math.nan
        return percentile_interval(mean, self.means(values, among), level=level)


def percentile_interval(value: float, resampled: NDArray, *, level: float = LEVEL) -> Estimate:
    """Return a value with the percentile interval of its resamples (resample,), widened to hold the value itself.

    ValueError when the value is not a number.
    """
    if math.isnan(value):
        raise ValueError("the estimate is not a number: nothing is left to count")
    low, high = np.nanquantile(resampled, [(1 - level) / 2, (1 + level) / 2]) if len(resampled) else (value, value)
    return Estimate(float(value), min(float(low), value), max(float(high), value), level)


def crossed_draws(
    rows: int, columns: int, *, rng: np.random.Generator, resamples: int = RESAMPLES
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield rows and columns drawn anew for tables of two crossed clusters, such as seeds × objects (Owen 2007)."""
    for _ in range(resamples):
        yield rng.integers(rows, size=rows), rng.integers(columns, size=columns)
