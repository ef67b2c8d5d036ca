"""From which side a product was lit: the set's key light goes to that side, because the product is never lit anew.

The cut-out is taken for an inflated body: its normals come from the distance to its outline (as in Lumo, Johnston
2002). Where faces that look to the left are brighter than faces of the same color that look to the right, in
most bands of the picture, the light came from the left. When that is not clear, the answer is None.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from jaxtyping import UInt8

from clickscape.render.color import Floats

KeySide = Literal["left", "right"]

_SIDE = 96  # pixels of the longer side on which shading is measured
_BANDS = 8  # horizontal slices that are compared with themselves: what lies higher is often brighter
_HUES = 10.0  # CIELAB a and b within which pixels count as one material
_FEWEST, _FEWEST_ALL = 12, 100  # pixels that one material of a band, and the product, must have
_MOST = 0.7  # natural logarithm of light by which a pixel may stray from its material: print and highlights
_SLOPE, _FIT, _AGREED = 0.10, 0.20, 0.70
"""Least change of log light from facing left to facing right, least correlation, and share of bands that agree."""


def key_side(cutout: UInt8[np.ndarray, "rows columns 4"]) -> KeySide | None:
    """The side of the key light on a cut-out (row, column, 4), sRGB + straight alpha; None where it is not clear."""
    color, alpha = _small(cutout)
    inner = cv2.erode((alpha > 0.95).astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0) > 0
    if inner.sum() < _FEWEST_ALL:
        return None
    light = np.log(np.clip(color @ np.array([0.2126, 0.7152, 0.0722], np.float32), 0.003, 1))
    hues = np.round(cv2.cvtColor(color, cv2.COLOR_RGB2LAB)[..., 1:] / np.float32(_HUES)).astype(np.int32)
    across = _facing_right(alpha)
    band = np.arange(len(alpha))[:, None] * _BANDS // len(alpha)
    material = (band * 10_000 + (hues[..., 0] + 50) * 100 + hues[..., 1] + 50)[inner]
    numbers, member, count = np.unique(material, return_inverse=True, return_counts=True)
    x, y = across[inner], light[inner]
    x = x - np.bincount(member, x)[member] / count[member]
    y = y - _medians(y, member, count)[member]
    y = np.clip(y, -_MOST, _MOST)
    y = y - np.bincount(member, y)[member] / count[member]
    kept = count[member] >= _FEWEST
    where = (numbers // 10_000)[member][kept]
    together, spread = (np.bincount(where, values[kept], minlength=_BANDS) for values in (x * y, x * x))
    slope = together.sum() / max(spread.sum(), 1e-6)
    fit = together.sum() / max(float(np.sqrt(spread.sum() * (y[kept] ** 2).sum())), 1e-6)
    agreed = spread[np.sign(together) == np.sign(slope)].sum() / max(spread.sum(), 1e-6)
    if abs(slope) < _SLOPE or abs(fit) < _FIT or agreed < _AGREED:
        return None
    return "left" if slope < 0 else "right"


def _medians(values: Floats, member: npt.NDArray[np.intp], count: npt.NDArray[np.intp]) -> Floats:
    """The median of each group's values; `member`: group of each value, `count`: values of each group, at least one."""
    ordered = values[np.lexsort((values, member))]
    first = np.cumsum(count) - count
    return (ordered[first + (count - 1) // 2] + ordered[first + count // 2]) / np.float32(2)


def _small(cutout: npt.NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """Display color (row, column, 3) and alpha (row, column), 0..1, of what is visible, _SIDE pixels at most."""
    left, top, wide, tall = cv2.boundingRect((cutout[..., 3] >= 128).astype(np.uint8))
    piece = cutout[top : top + max(tall, 1), left : left + max(wide, 1)]
    *colors, opaque = (plane.astype(np.float32) / np.float32(255) for plane in cv2.split(piece))
    for color in colors:
        color *= opaque
    scale = _SIDE / max(opaque.shape)
    size = (max(8, round(opaque.shape[1] * scale)), max(8, round(opaque.shape[0] * scale)))
    small = np.asarray(cv2.resize(cv2.merge([*colors, opaque]), size, interpolation=cv2.INTER_AREA), np.float32)
    alpha = np.ascontiguousarray(small[..., 3])
    return np.clip(small[..., :3] / np.maximum(alpha[..., None], np.float32(1e-3)), 0, 1), alpha


def _facing_right(alpha: Floats) -> Floats:
    """Share of the inflated body's normal that looks to the right, −1..1, (row, column)."""
    solid = cv2.copyMakeBorder((alpha > 0.5).astype(np.uint8), 2, 2, 2, 2, cv2.BORDER_CONSTANT)
    inside = cv2.distanceTransform(solid, cv2.DIST_L2, 5)[2:-2, 2:-2]
    height = np.sqrt(np.maximum(2 * inside.max() * inside - inside * inside, 0))
    slope = np.gradient(cv2.GaussianBlur(height, (0, 0), 2.0), axis=1)
    return np.asarray(-slope / np.sqrt(1 + slope * slope), np.float32)
