"""What surrounds the product, as a shopper's eye meets it: a tone that hides it, clutter beside it.

Both are measured in the picture as drawn. A cast is not: a picture alone does not tell orange light from an oak table
that fills it, and every measure of it that was tried refused more right pictures than wrong ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32

from clickscape.gates.outline import Floats, Outline

_BEHIND = range(4, 10)  # depths, pixels, at which the background behind the outline is looked at
_ALIKE = 14.0  # CIELAB distance below which product and background run into each other
_BAND = (4.0, 0.18)  # pixels, and share of the product's size, between which what stands beside it is clutter
_STEEP = 8.0  # units per pixel beyond which an edge counts no more
_SMOOTH = 3.0  # pixels over which grain, joints of tiles and veins of marble average out


@dataclass(frozen=True, slots=True)
class Surround:
    """`lost`: share of the outline where the product has the tone of what is behind it.

    `clutter`: mean step of color (CIELAB a and b) per pixel beside it.
    """

    lost: float
    clutter: float


def measure_surround(
    image: Float32[np.ndarray, "height width 3"],
    product: Float32[np.ndarray, "height width 4"],
    outlines: Sequence[Outline],
) -> Surround:
    """Measure an image (height, width, 3) with its placed product (height, width, 4), both 0..1, and its outlines."""
    lab = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2LAB)
    return Surround(lost=_lost(outlines), clutter=_clutter(lab[..., 1:], product[..., 3]))


def _lost(outlines: Sequence[Outline]) -> float:
    """Share of the outline, its foot left out, along which product and background are alike."""
    alike = known = 0
    for outline in outlines:
        behind = slice(outline.at(_BEHIND[0]), outline.at(_BEHIND[-1]) + 1)
        weight = outline.clear[:, behind].astype(np.float32)
        rim = outline.alpha[:, 0]
        usable = outline.checked & (weight.sum(1) >= 3) & (rim > 0.5)
        if not usable.any():
            continue
        seen = (outline.image[:, behind] * weight[..., None]).sum(1)[usable] / weight.sum(1)[usable, None]
        own = outline.product[usable, 0] / rim[usable, None]
        pair = np.stack([np.clip(own, 0, 1), seen]).astype(np.float32)
        apart = np.linalg.norm(np.diff(cv2.cvtColor(pair, cv2.COLOR_RGB2LAB), axis=0)[0], axis=-1)
        alike, known = alike + int((apart < _ALIKE).sum()), known + apart.size
    return alike / known if known else 0.0


def _clutter(color: Floats, alpha: Floats) -> float:
    """Mean step per pixel of colors (height, width, 2) in a band around the product, above its foot.

    Steps of lightness were tried as well: walls of tiles and shadows have more of them than clutter has.
    """
    rows, columns = np.nonzero(alpha >= 0.5)
    if not rows.size:
        return 0.0
    size = float(np.sqrt((np.ptp(rows) + 1) * (np.ptp(columns) + 1)))
    away = cv2.distanceTransform((alpha < 0.02).astype(np.uint8), cv2.DIST_L2, 5)
    band = (away > _BAND[0]) & (away < _BAND[1] * size)
    band[rows.max() - int(0.1 * np.ptp(rows)) :] = False
    if not band.any():
        return 0.0
    even = cv2.GaussianBlur(np.ascontiguousarray(color), (0, 0), _SMOOTH)
    slopes = [cv2.Sobel(even, cv2.CV_32F, *step, scale=1 / 8)[band] for step in ((1, 0), (0, 1))]
    steps = np.sqrt(sum((slope * slope).sum(-1) for slope in slopes))
    return float(np.minimum(steps, _STEEP).mean())
