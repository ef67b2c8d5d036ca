"""What the outline of a cut-out says about how a product can be shown: its foot, and whether its mass is above it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

_SOLID = 128  # alpha from which a pixel is product
_FOOT = 0.035  # share of the longer side above the lowest pixel up to which the outline touches the ground
_NARROW = 0.12  # of the width: a foot that is no wider is a point
_OVERHANG = 0.06  # of the width by which the mass may lie beside the foot: perspective, and soft soles
_WORKING = 256  # pixels of the longer side on which outlines are measured


@dataclass(frozen=True, slots=True)
class Silhouette:
    """Shares of the cut-out's own width, but for `aspect` (height by width) and `fill` (opaque share of its box).

    `foot`: from where to where the lowest part of the outline reaches; `mass`: the column of the center of mass.
    """

    aspect: float
    fill: float
    foot: tuple[float, float]
    mass: float

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
    return Silhouette(aspect, float(mask.mean()), (int(foot[0]) / width, (int(foot[-1]) + 1) / width), middle / width)
