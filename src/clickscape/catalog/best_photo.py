"""Choose the photograph of a product whose cut-out an ad should show.

The choice made here: the shop's first photo says what the product looks like.  Another one must show the same thing:
its colors are the first one's, and it is no rectangle where that is none (a size chart, a card, a whole picture).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from clickscape.catalog.background import disc
from clickscape.catalog.cutout import Cutout, trim

_ENOUGH = 800  # pixels of the product's longer side beyond which more are no better
_CLEARLY = 1.1  # how many times better another picture must be than the shop's own order of them
_SHARP_SIDE = 256  # longest side, pixels, on which sharpness is compared
_SAME = 0.5  # share of a cut-out whose colors must be those of the first one
_COMMON = 0.004  # share of a cut-out that makes a color one of its own
_FULL, _NOT_FULL = 0.97, 0.93  # share of its box that a rectangle fills, and that anything else fills at most
_UNKNOWN = 0.7  # stands for a confidence that nobody knows


@dataclass(frozen=True, slots=True)
class PhotoScore:
    """What speaks for a cut-out, each above 0 and better when larger; ``score`` is their product."""

    certain: float
    whole: float
    large: float
    sharp: float
    alone: float

    @property
    def score(self) -> float:
        """One number to compare by."""
        return self.certain * self.whole * self.large * self.sharp * self.alone


@dataclass(frozen=True, slots=True)
class Choice:
    """Index of the best cut-out, and why it is, in a few words."""

    index: int
    reason: str


_REASONS = {
    "certain": "its cut-out is surer",
    "whole": "the product is whole in the picture",
    "large": "it has more pixels",
    "sharp": "it is sharper",
    "alone": "nothing else is in the picture",
}


def choose_photo(cutouts: Sequence[Cutout]) -> Choice:
    """The best of a product's cut-outs, in the shop's order; the first stays unless another of it is clearly better.

    ValueError when there is none.
    """
    if not cutouts:
        raise ValueError("choose needs at least one cut-out")
    merits = [score_photo(cutout) for cutout in cutouts]
    shown = [index for index, cutout in enumerate(cutouts) if not index or _is_same(cutouts[0], cutout)]
    best = max(shown, key=lambda index: merits[index].score)
    if len(merits) == 1:
        return Choice(0, "the only picture")
    if merits[best].score < _CLEARLY * merits[0].score:
        return Choice(0, "the first picture, and none is clearly better")
    gains = {name: getattr(merits[best], name) / getattr(merits[0], name) for name in _REASONS}
    return Choice(best, _REASONS[max(gains, key=lambda name: gains[name])])


def score_photo(cutout: Cutout) -> PhotoScore:
    """The merits of one cut-out, which must not be trimmed: its margin says whether the product is whole."""
    alpha = cutout.pixels[..., 3]
    solid = alpha > 127
    touching = max(line.mean() for line in (solid[0], solid[-1], solid[:, 0], solid[:, -1]))
    product = trim(cutout.pixels)
    _, _, statistics, _ = cv2.connectedComponentsWithStats(solid.astype(np.uint8), connectivity=8)
    areas = statistics[1:, cv2.CC_STAT_AREA]
    return PhotoScore(
        certain=max(0.05, _UNKNOWN if cutout.confidence is None else cutout.confidence),
        whole=max(0.1, 1.0 - 2.0 * float(touching)) if touching > 0.01 else 1.0,
        large=min(1.0, max(product.shape[:2]) / _ENOUGH) ** 0.5,
        sharp=_sharpness(product) ** 0.25,
        alone=float(areas.max() / areas.sum()) if areas.size else 0.5,
    )


def _is_same(first: Cutout, other: Cutout) -> bool:
    """Whether another cut-out may show the product of the first one."""
    one, two = (trim(cutout.pixels) for cutout in (first, other))
    if _fullness(two) > _FULL and _fullness(one) < _NOT_FULL:
        return False
    known = _colors(one) > _COMMON
    for axis in range(known.ndim):  # light differs from photo to photo: neighbors count, too
        around = np.pad(known, [(int(own == axis),) * 2 for own in range(known.ndim)])
        size = known.shape[axis]
        known = np.logical_or.reduce([around.take(range(start, start + size), axis) for start in range(3)])
    return float(_colors(two)[known].sum()) > _SAME


def _fullness(product: NDArray[np.uint8]) -> float:
    return float((product[..., 3] > 127).mean())


def _colors(product: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Share of the product that each color takes: lightness, a and b in steps of 32, 16 and 16 of 256, (8, 16, 16)."""
    scale = min(1.0, _SHARP_SIDE / max(product.shape[:2]))
    small = cv2.resize(product, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    solid = small[small[..., 3] > 127][:, None, :3]
    if not solid.size:
        return np.zeros((8, 16, 16))
    light, a, b = (cv2.cvtColor(solid, cv2.COLOR_RGB2LAB)[:, 0] // (32, 16, 16)).T
    counts = np.bincount((light * 16 + a) * 16 + b, minlength=8 * 16 * 16)
    return (counts / counts.sum()).reshape(8, 16, 16)


def _sharpness(product: NDArray[np.uint8]) -> float:
    """Mean strength of the finest detail inside the product, lightness steps at a common size; at least 0.1."""
    scale = _SHARP_SIDE / max(product.shape[:2])
    size = (max(8, round(product.shape[1] * scale)), max(8, round(product.shape[0] * scale)))
    small = cv2.resize(product, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    inside = cv2.erode((small[..., 3] > 250).astype(np.uint8), disc(3), borderValue=0) > 0
    if not inside.any():
        return 0.1
    gray = cv2.cvtColor(small[..., :3], cv2.COLOR_RGB2GRAY).astype(np.float32)
    return max(0.1, float(np.abs(cv2.Laplacian(gray, cv2.CV_32F))[inside].mean()))
