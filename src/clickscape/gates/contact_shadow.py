"""Measure whether a product stands on something: contact shadow or reflection right below each of its feet.

A contact shadow is darkest where the product touches and fades within a few pixels, so the picture brightens from pixel
to pixel below the foot; little else in a scene does so just there. A glossy surface shows the product's colors instead.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float32, Int

from clickscape.gates.outline import Floats
from clickscape.render.color import LUMINANCE, to_linear

_FEWEST, _FEWEST_WIDE, _FEWEST_TALL, _LONG = 96, 200, 400, 3.0
"""Pixels of the shorter side from which floating shows: of most pictures, and of those _LONG times as long as short."""
FOOT = 6  # pixels above the lowest one up to which a column still stands
_FADE = slice(2, 6)  # pixels below the foot in which a contact shadow fades fastest
_MIRROR = slice(2, 9)  # pixels below the foot in which a reflection begins
_BESIDE = (16, 60)  # pixels beside the foot from which the bare surface's color is taken
_STEPS = (-0.03, 0.08)  # brightening per pixel, natural logarithm, beyond which a step is a pattern and counts no more
_DARKEST = 0.004  # linear light that keeps logarithms of black apart from grain
_EVEN = 21  # columns over which grain and texture average out
_MIRROR_FROM, _MIRROR_WEIGHT = 0.15, 0.15  # share of the product's chroma that is chance, and what the rest counts
_BETWEEN, _LEAST_SHARE = 12, 0.15  # columns between two feet, and share of all that a foot must have to count
_APART = 0.008  # brightening by which one foot may fall short of the limit that all together must reach


def shows_ground(shape: tuple[int, int]) -> bool:
    """Whether a picture of `shape` (height, width) has pixels enough to tell a contact shadow from none."""
    height, width = shape
    if height > _LONG * width:
        return width >= _FEWEST_TALL
    if width > _LONG * height:
        return height >= _FEWEST_WIDE
    return min(shape) >= _FEWEST


def measure_contact_shadow(
    image: Float32[np.ndarray, "height width 3"], product: Float32[np.ndarray, "height width 4"]
) -> float | None:
    """Return the brightening below the foot, natural logarithm of linear light per pixel, plus a weighted reflection.

    `image` (height, width, 3) and `product` (height, width, 4) are 0..1. About 0.06 under a product that stands, about
    0 under one that floats; of several feet the one that stands least counts, up to what _APART allows for chance. None
    where too few rows lie below the product to know.
    """
    solid = product[..., 3] >= 0.5
    height = len(solid)
    if not solid.any():
        return None
    lowest = np.where(solid.any(0), height - 1 - np.argmax(solid[::-1], 0), -height)
    if lowest.max() + _MIRROR.stop >= height:
        return None
    columns = np.flatnonzero(lowest >= lowest.max() - FOOT)
    whole = _standing(image, columns, lowest)
    return min([whole, *(_standing(image, foot, lowest) + _APART for foot in feet(solid))])


def feet(solid: Bool[np.ndarray, "height width"]) -> list[Int[np.ndarray, " column"]]:
    """The connected runs of columns that touch the ground; none where there is one alone, or they are too narrow."""
    rows = np.flatnonzero(solid.any(1))
    columns = np.flatnonzero(solid[rows[-1] - FOOT : rows[-1] + 1].any(0))
    runs = np.split(columns, np.flatnonzero(np.diff(columns) > _BETWEEN) + 1)
    wide = [run for run in runs if len(run) >= max(_EVEN, _LEAST_SHARE * len(columns))]
    return wide if len(wide) > 1 else []


def _standing(image: Floats, foot: npt.NDArray[np.intp], lowest: npt.NDArray[np.intp]) -> float:
    """Brightening and weighted reflection below the columns of one foot."""
    mirrored = _mirrored(image, foot, lowest[foot])
    return _brightening(image, foot, lowest[foot]) + _MIRROR_WEIGHT * max(0.0, mirrored - _MIRROR_FROM)


def _brightening(image: Floats, foot: npt.NDArray[np.intp], lowest: npt.NDArray[np.intp]) -> float:
    """Mean step of log light, row by row downward, over the columns of the foot."""
    rows = lowest + np.arange(_FADE.start, _FADE.stop)[:, None]
    light = np.log(to_linear(image[rows, foot]) @ LUMINANCE + np.float32(_DARKEST))
    even = cv2.blur(light, (_EVEN, 1), borderType=cv2.BORDER_REFLECT)
    return float(np.clip(np.diff(even, axis=0), *_STEPS).mean())


def _mirrored(image: Floats, foot: npt.NDArray[np.intp], lowest: npt.NDArray[np.intp]) -> float:
    """Share (−0.5 … 1) of the way from the bare surface's chroma to the product's that the foot's ground has gone."""
    width = image.shape[1]
    left, right = int(foot[0]), int(foot[-1])
    near, far = _BESIDE
    beside = [
        *range(max(0, left - far), max(0, left - near)),
        *range(min(width, right + near), min(width, right + far)),
    ]
    if not beside:
        return 0.0
    below, base = np.arange(_MIRROR.start, _MIRROR.stop)[:, None], int(lowest.max())
    ground = _chroma(image[lowest + below, foot])
    bare = _chroma(image[base + below, np.array(beside)])
    own = _chroma(image[np.maximum(lowest - below, 0), foot])
    way = own - bare
    return float(np.clip(((ground - bare) * way).sum() / ((way * way).sum() + 100), -0.5, 1))


def _chroma(colors: Floats) -> Floats:
    """Mean CIELAB a and b of display colors (row, column, 3)."""
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(colors), cv2.COLOR_RGB2LAB)[..., 1:].mean((0, 1)), np.float32)
