"""What a photo's own alpha shows and is no product: the photographer's shadow, and stray pixels.

A product that kept them would stand on them, and so hang in the air.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from clickscape.catalog.background import Mask, disc

Pixels = NDArray[np.uint8]

FAINT = 24  # alpha below this is leftover shadow or glow
_SOLID = 200  # alpha from which a pixel is surely product
_SPECK = 0.001  # share of the largest part below which a part of a cut-out is none
_OPAQUE = 0.2  # share of what is visible that must be solid, or the product itself is transparent
_DARK, _GRAY = 45, 9  # LAB lightness and chroma up to which a pixel may be shadow
_EDGE = 3  # pixels around what is solid that are its soft edge
_ALIKE = 0.95  # share of a soft part that must be dark and gray


def without_remnants(cutout: Pixels) -> Pixels:
    """The cut-out (height, width, 4) without soft gray shadows beside the product and without specks.

    It is returned as it is where it has neither.
    """
    shadow = _shadow(cutout)
    visible = (cutout[..., 3] >= FAINT) & ~shadow
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(visible.astype(np.uint8), connectivity=8)
    areas = statistics[1:, cv2.CC_STAT_AREA]
    specks = np.flatnonzero(areas < _SPECK * areas.max(initial=0)) + 1
    if not specks.size and not shadow.any():
        return cutout
    kept = cutout.copy()
    kept[shadow | np.isin(labels, specks), 3] = 0
    return kept


def _shadow(cutout: Pixels) -> Mask:
    """The soft parts of a cut-out that are dark and gray, as a shadow in the alpha is; none in transparent products."""
    alpha = cutout[..., 3]
    solid = alpha >= _SOLID
    soft = (alpha > 0) & ~solid & (cv2.dilate(solid.astype(np.uint8), disc(_EDGE)) == 0)
    if not soft.any() or solid.sum() < _OPAQUE * (alpha >= FAINT).sum():
        return np.zeros_like(solid)
    inside = cutout[soft]
    lab = cv2.cvtColor(inside[None, :, :3].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    gray = (lab[:, 0] < _DARK) & (np.hypot(lab[:, 1], lab[:, 2]) < _GRAY)
    count, labels = cv2.connectedComponents(soft.astype(np.uint8), connectivity=8)
    part = labels[soft]

    def total(weights: NDArray[np.bool_] | Pixels) -> NDArray:
        return np.bincount(part, weights=weights, minlength=count)

    size = np.maximum(np.bincount(part, minlength=count), 1)
    faint = inside[:, 3]
    shadows = (total(gray) > _ALIKE * size) & (total(faint) < 0.7 * _SOLID * size) & (total(faint >= FAINT) > 0)
    return np.asarray(shadows[labels] & soft)
