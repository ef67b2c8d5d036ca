"""What the outline of a cut-out says about how a product can be shown: its foot, its mass, the camera's elevation.

The base of a bottle or a pot is a circle, which a camera that looks down by e shows as an ellipse of aspect sin e; its
lower half is the end of the outline. Only where a half ellipse fits well between upright sides is e known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from jaxtyping import UInt8

Mask = npt.NDArray[np.bool_]

_SOLID = 128  # alpha from which a pixel is product
_FOOT = 0.035  # share of the longer side above the lowest pixel up to which the outline touches the ground
_NARROW = 0.12  # of the width: a foot that is no wider is a point
_OVERHANG = 0.06  # of the width by which the mass may lie beside the foot: perspective, and soft soles
_WORKING = 512  # pixels of the longer side on which outlines are measured
_ABOVE_FOOT, _HIGHER = (
    0.10,
    0.25,
)  # of the height (no more than 3 × the width): where the sides above a foot are measured
_UPRIGHT = 0.12  # share by which the width may change between the two
_INNER = 0.86  # share of the half width within which the arc is fitted: its ends are rounded off
_FLATTEST, _ROUNDEST = 0.045, 0.50  # sines: a flat base says nothing, and a ball's is no ellipse
_MISFIT, _TILT = 0.006, 0.02  # of the half width: largest mean error of the arc, and largest slope


@dataclass(frozen=True, slots=True)
class Silhouette:
    """Shares of the cut-out's own width, but for `aspect` (height by width) and `fill` (opaque share of its box).

    `foot`: from where to where the lowest part of the outline reaches; `mass`: the column of the center of mass.
    `elevation`: degrees by which the camera looked down at it, None where its foot does not say.
    """

    aspect: float
    fill: float
    foot: tuple[float, float]
    mass: float
    elevation: float | None = None

    @property
    def stable(self) -> bool:
        """Whether it would stand as it is: on more than a point, and with its mass over its foot."""
        left, right = self.foot
        return right - left >= _NARROW and left - _OVERHANG <= self.mass <= right + _OVERHANG


def silhouette(cutout: UInt8[np.ndarray, "rows columns 4"]) -> Silhouette:
    """Measure a cut-out (row, column, 4) whose alpha shows something; a faint one counts as a full box."""
    solid = cutout[..., 3] >= _SOLID
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    if not rows.size:
        return Silhouette(cutout.shape[0] / cutout.shape[1], 1.0, (0.0, 1.0), 0.5)
    mask = solid[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    aspect = mask.shape[0] / mask.shape[1]
    shrink = min(1.0, _WORKING / max(mask.shape))
    size = (max(2, round(mask.shape[1] * shrink)), max(2, round(mask.shape[0] * shrink)))
    mask = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_AREA) if shrink < 1 else mask, np.float32)
    seen = mask >= 0.5
    height, width = seen.shape
    lowest = np.where(seen.any(0), height - 1 - np.argmax(seen[::-1], 0), -height)
    foot = np.flatnonzero(lowest >= lowest.max() - _FOOT * max(height, width))
    middle = float((mask.sum(0) * (np.arange(width) + 0.5)).sum() / mask.sum())
    reach = (int(foot[0]) / width, (int(foot[-1]) + 1) / width)
    return Silhouette(aspect, float(mask.mean()), reach, middle / width, _elevation(seen, lowest, int(np.median(foot))))


def _elevation(seen: Mask, lowest: npt.NDArray[np.int64], column: int) -> float | None:
    """Degrees from the arc of the foot that lies around `column`."""
    height, width = seen.shape
    tall = min(height, 3 * width)
    foot, above = (_run(seen[height - 1 - round(share * tall)], column) for share in (_ABOVE_FOOT, _HIGHER))
    if foot is None or above is None:
        return None
    (left, right), (left_above, right_above) = foot, above
    half = (right - left + 1) / 2
    if half < 12 or abs((right_above - left_above + 1) / (2 * half) - 1) > _UPRIGHT:
        return None
    across = (np.arange(left, right + 1) + 0.5 - left - half) / half
    inner = np.abs(across) < _INNER
    across, low = across[inner], lowest[left : right + 1][inner]
    terms = np.stack([np.ones_like(across), np.sqrt(1 - across * across), across], 1)
    found, *_ = np.linalg.lstsq(terms, low.astype(float), rcond=None)
    misfit = float(np.sqrt(np.mean((terms @ found - low) ** 2)))
    sine, slope = float(found[1]) / half, float(found[2]) / half
    if misfit > max(_MISFIT * half, 0.45) or abs(slope) > _TILT or not _FLATTEST <= sine <= _ROUNDEST:
        return None
    return math.degrees(math.asin(sine))


def _run(row: Mask, column: int) -> tuple[int, int] | None:
    """First and last column of the opaque stretch of `row` (column,) in which `column` lies."""
    if not row[column]:
        return None
    gaps = np.flatnonzero(~row)
    left = gaps[gaps < column]
    right = gaps[gaps > column]
    return (int(left[-1]) + 1 if left.size else 0, int(right[0]) - 1 if right.size else len(row) - 1)
