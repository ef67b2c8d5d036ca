"""The background of a product photograph: its color at every pixel, and how much it strays from that.

The choice made here: a constant, or where that does not explain the border a quadratic surface (a light from the side,
a vignette), fitted to what lies near the border and then to all that a flood of the same color reaches.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

_FIT_SIDE = 96  # longest side, pixels, on which the surface is fitted
_LEAST_BORDER = 0.15  # share of the border that must show the background, or the product there is not left out
_BETTER = 0.6  # a surface must leave less than this share of the constant's spread, or the constant is kept


@dataclass(frozen=True, slots=True, eq=False)
class Ground:
    """Background color (height, width, 3) in LAB, and two LAB distances to it.

    ``spread``: what 80 % of the border stay below; ``noise``: what 95 % of the border's background pixels stay below.
    """

    color: Floats
    spread: float
    noise: float


def fit(lab: Floats, smooth: Floats, *, product: Mask) -> Ground:
    """The background of a picture (height, width, 3) in LAB; its noise is measured on the smoothed picture.

    ``product`` (height, width): where the border shows what is probably the product, which says nothing about the
    background, unless hardly anything else is left of the border.
    """
    height, width = lab.shape[:2]
    scale = min(1.0, _FIT_SIDE / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    beside = cv2.resize(product.astype(np.float32), size, interpolation=cv2.INTER_AREA) < 0.5
    coefficients, spread = _surface(cv2.resize(lab, size, interpolation=cv2.INTER_AREA), beside)
    color = _terms(height, width)[..., : len(coefficients)] @ coefficients
    ring = _without(_ring(height, width, max(2, round(0.03 * max(height, width)))), ~product)
    distance = np.linalg.norm((smooth - color)[ring], axis=1)
    usual = distance < 3 * max(0.7, 1.5 * float(np.median(distance)))
    return Ground(np.asarray(color, np.float32), spread, float(np.quantile(distance[usual], 0.95)))


def reached(passable: Mask, *, gap: int) -> Mask:
    """What a flood from outside reaches; it does not squeeze through passages narrower than twice ``gap`` pixels."""
    wide = np.pad(passable, gap + 1, constant_values=True).astype(np.uint8)
    if gap:
        wide = cv2.erode(wide, disc(gap), borderValue=1)
    _, labels = cv2.connectedComponents(wide, connectivity=4)
    flooded = (labels == labels[0, 0]).astype(np.uint8)
    if gap:
        flooded = cv2.dilate(flooded, disc(gap))
    return np.asarray(flooded[gap + 1 : -gap - 1, gap + 1 : -gap - 1] > 0) & passable


def length(vectors: Floats) -> Floats:
    """The length of the vectors (…, n) of a picture."""
    return np.asarray(np.sqrt(np.einsum("...i,...i->...", vectors, vectors)))


def disc(radius: int) -> NDArray[np.uint8]:
    """A round brush of so many pixels around its center."""
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def cleaned(mask: Mask) -> Mask:
    """The mask without specks: parts under 2 % of the largest one; beads that nearly touch are one part."""
    near = cv2.dilate(mask.astype(np.uint8), disc(max(2, max(mask.shape) // 80)))
    count, labels = cv2.connectedComponents(near, connectivity=8)
    areas = np.bincount(labels[mask], minlength=count)
    return np.asarray((areas >= 0.02 * areas.max())[labels] & mask) if count > 1 else mask


def _surface(lab: Floats, beside: Mask) -> tuple[Floats, float]:
    """Coefficients (term, 3) of the simplest surface that will do, and its spread; ``beside`` the product."""
    height, width = lab.shape[:2]
    border = _without(_ring(height, width, max(1, round(0.04 * max(height, width)))), beside)
    start = np.median(lab[border], 0).astype(np.float32)
    best, least = start[None], float(np.quantile(np.linalg.norm(lab[border] - start, axis=1), 0.8))
    for count in (1, 6):
        terms = _terms(height, width)[..., :count]
        fitted = _fitted(lab, terms, border, start=best)
        if fitted is None:
            continue
        spread = float(np.quantile(np.linalg.norm(lab - terms @ fitted, axis=2)[border], 0.8))
        if count == 1 or spread < _BETTER * least:
            best, least = fitted, spread
    return best, least


def _fitted(lab: Floats, terms: Floats, border: Mask, *, start: Floats) -> Floats | None:
    """Trimmed least squares: thrice on the border, then on whatever is flooded; None when too few pixels agree."""
    surface = terms[..., : len(start)] @ start
    coefficients = start
    for attempt in range(5):
        residual = np.linalg.norm(lab - surface, axis=2)
        scale = max(0.7, 1.4826 * float(np.median(residual[border])))
        chosen = border & (residual < 3 * scale) if attempt < 3 else reached(residual < 2.5 * scale, gap=0)
        if chosen.sum() < 3 * terms.shape[-1]:
            return None
        coefficients = np.linalg.lstsq(terms[chosen], lab[chosen], rcond=None)[0].astype(np.float32)
        surface = terms @ coefficients
    return coefficients


def _terms(height: int, width: int) -> Floats:
    """The six terms of a quadratic surface, (height, width, 6), the constant first."""
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    across = np.linspace(-1, 1, width, dtype=np.float32)[None]
    terms = (np.float32(1), across, down, across * across, across * down, down * down)
    return np.stack([np.broadcast_to(term, (height, width)) for term in terms], -1)


def _without(ring: Mask, beside: Mask) -> Mask:
    """The part of the ring beside the product, or all of it where that part is small."""
    part = ring & beside
    return part if part.sum() > _LEAST_BORDER * ring.sum() else ring


def _ring(height: int, width: int, thickness: int) -> Mask:
    ring = np.ones((height, width), np.bool_)
    ring[thickness:-thickness, thickness:-thickness] = False
    return ring
