"""Flag cut-outs that a person should review: thin products and glass.

Thin is recognized by the alpha; glass by the photograph: its inside is the background seen through it, its rim is
not.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import cv2
import numpy as np
from numpy.typing import NDArray

from clickscape.catalog.background import Floats, Ground, Mask, disc

Pixels = NDArray[np.uint8]

_SIDE = 320  # longest side, pixels, that a product is measured at
_NEAR = 5  # pixels of it from the edge: thin is what has hardly anything further inside
_THIN_SHARE = 0.7  # of a product within _NEAR of its edge
_SEEN_THROUGH = 0.6  # share of the inside that looks like the background
_SEEN = 8.0  # LAB distance, added to the background's noise, up to which it does
_RIM = 2.0  # how many times more the rim differs from the background than the inside does
_VEILED = 0.25  # share of the visible product whose given alpha is between clear and solid


@dataclass(frozen=True, slots=True)
class Flags:
    """What is special about a product; ``names`` lists what is.

    ``whole``: it fills its photo; ``badge``, ``text``: the shop had laid some over the photo, and they were left out.
    """

    thin: bool = False
    glass: bool = False
    whole: bool = False
    badge: bool = False
    text: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The flags that are set, in words."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name))


def flag(
    cutout: Pixels,
    *,
    ground: Ground | None = None,
    lab: Floats | None = None,
    badge: bool = False,
    text: bool = False,
) -> Flags:
    """The flags of a cut-out (height, width, 4); ``badge`` and ``text``: what was left out of it.

    ``ground`` and ``lab`` (height, width, 3), of the photograph that it came from at any size, tell opaque glass;
    without them glass is recognized by its alpha alone.
    """
    alpha = cutout[..., 3]
    solid = alpha > 127
    if not solid.any():
        return Flags()
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    piece = solid[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    glass = _is_veiled(alpha) or _is_seen_through(solid, ground, lab)
    return Flags(thin=thinness(piece) > _THIN_SHARE, glass=glass, badge=badge, text=text)


def thinness(mask: Mask) -> float:
    """Share of a trimmed mask that lies near its edge, 0..1, whatever its size."""
    scale = _SIDE / max(mask.shape)
    size = (max(1, round(mask.shape[1] * scale)), max(1, round(mask.shape[0] * scale)))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    share = cv2.resize(mask.astype(np.float32), size, interpolation=way)
    solid = np.pad((share > 0.3).astype(np.uint8), 1)
    depth = cv2.distanceTransform(solid, cv2.DIST_L2, 5)
    return float((depth[solid > 0] <= _NEAR).mean())


def _is_veiled(alpha: Pixels) -> bool:
    visible = (alpha > 24).astype(np.uint8)
    inside = cv2.erode(visible, disc(2), borderValue=0) > 0  # every edge is half clear
    return bool(((alpha > 40) & (alpha < 215) & inside).sum() > _VEILED * visible.sum())


def _is_seen_through(solid: Mask, ground: Ground | None, lab: Floats | None) -> bool:
    if ground is None or lab is None:
        return False
    height, width = lab.shape[:2]
    mask = (cv2.resize(solid.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA) > 0.5).astype(np.uint8)
    reach = max(3, max(height, width) // 60)
    inside = cv2.erode(mask, disc(reach), borderValue=0) > 0
    rim = (mask > 0) & ~inside
    if inside.sum() < 50 or not rim.any():
        return False
    distance = np.linalg.norm(lab - ground.color, axis=2)
    seen = float((distance[inside] < _SEEN + ground.noise).mean())
    contrast = float(np.quantile(distance[rim], 0.8)) / max(1.0, float(np.median(distance[inside])))
    return seen > _SEEN_THROUGH and contrast > _RIM
