"""The probability with which Thompson sampling shows each creative, by quadrature: nothing is simulated.

Thompson sampling draws one value from every creative's posterior and shows the creative with the largest (Thompson
1933; Chapelle and Li 2011). With independent posteriors, creative j wins with probability ∫ f_j(x) Π_{i≠j} F_i(x) dx. A
Gauss–Legendre rule on panels between edges that follow every posterior integrates that for all creatives at once. The
edges of different creatives are offset against each other, so that equal posteriors make narrow panels: the integrand
is narrow there, too.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from clickscape.errors import ExperimentError

Floats = NDArray[np.float64]

_STEP = 1.5  # standard deviations between two edges of one posterior
_CUTS = _STEP * (np.arange(8) - 4.0)
_REACH = 7.0  # standard deviations beyond which a normal is taken for 0: Φ(−7) = 1e-12
_NODE, _WEIGHT = np.polynomial.legendre.leggauss(3)
_NODE, _WEIGHT = (_NODE + 1) / 2, _WEIGHT / 2


def best_probabilities(mean: Floats, sd: Floats) -> Floats:
    """Return P(creative j has the largest value), (…, creative), for independent normals; sums to 1 over creatives.

    mean, sd: (…, creative), of any scale; leading axes are computed at once. Within 1e-4 of the integral.
    Values that are not finite, or an sd that is not above 0, are an ExperimentError.
    """
    mean, sd = np.broadcast_arrays(np.asarray(mean, np.float64), np.asarray(sd, np.float64))
    if mean.ndim == 0 or not mean.size or not (np.isfinite(mean).all() and np.isfinite(sd).all() and (sd > 0).all()):
        raise ExperimentError(
            "the posterior of a creative has no finite mean or no standard deviation above 0. "
            "Look for counts that are not numbers, or settings of 0."
        )
    shape, count = mean.shape, mean.shape[-1]
    mean, sd = mean.reshape(-1, count), sd.reshape(-1, count)
    low = (mean - _REACH * sd).max(axis=1, keepdims=True)
    high = (mean + _REACH * sd).max(axis=1, keepdims=True)
    offset = np.arange(count)[:, None] * (_STEP / count)
    edges = (mean[:, :, None] + sd[:, :, None] * (_CUTS + offset)).reshape(len(mean), -1)
    edges = np.concatenate([low, np.sort(np.clip(edges, low, high), axis=1), high], axis=1)

    across, tightness = np.ascontiguousarray(mean.T), np.ascontiguousarray(1 / sd.T)

    def distribution(x: Floats, case: NDArray[np.int64]) -> tuple[Floats, Floats]:
        z = (x - across[:, case]) * tightness[:, case]
        below = ndtr(z)
        np.exp(np.multiply(z, -0.5 * z, out=z), out=z)
        z *= tightness[:, case]
        return below, z

    return best_of(edges, distribution).reshape(shape)


def best_of(edges: Floats, distribution: Callable[[Floats, NDArray[np.int64]], tuple[Floats, Floats]]) -> Floats:
    """Return P(creative j has the largest value), (case, creative), for independent posteriors of any form.

    edges: (case, edge), sorted, between which all densities are smooth. `distribution(x, case)`: cumulative
    probability, above 0, and density (up to one factor) of every creative at the points x (point,) of these cases, both
    (creative, point).
    """
    width = np.diff(edges, axis=1)
    case, panel = np.nonzero(width > 0)
    span = width[case, panel]
    points = (edges[case, panel][:, None] + span[:, None] * _NODE).ravel()
    below, density = distribution(points, np.repeat(case, len(_NODE)))
    density /= below
    density *= np.prod(below, axis=0) * (span[:, None] * _WEIGHT).ravel()
    sums = np.add.reduceat(density, np.searchsorted(case, np.arange(len(edges))) * len(_NODE), axis=1).T
    return np.asarray(sums / sums.sum(axis=1, keepdims=True))


def with_floor(probability: Floats, *, floor: float) -> Floats:
    """Return the nearest probabilities, (…, creative), of which none is under a floor: the others give in proportion.

    ExperimentError for a floor that so many creatives cannot have together.
    """
    count = probability.shape[-1]
    if not 0 <= floor * count <= 1:
        raise ExperimentError(
            f"a floor of {floor} for each of {count} creatives is {floor * count:.2f} of the traffic, expected 0 to 1. "
            "Lower the floor, or retire creatives."
        )
    ordered = np.sort(probability, axis=-1)[..., ::-1]
    kept = np.arange(1, count + 1)  # how many creatives stay above the floor
    scale = (1 - floor * (count - kept)) / np.maximum(np.cumsum(ordered, axis=-1), np.finfo(float).tiny)
    held = np.maximum((scale * ordered >= floor).sum(axis=-1, keepdims=True), 1)
    scale = np.take_along_axis(scale, held - 1, axis=-1)
    raised = np.maximum(probability * scale, floor)
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))
