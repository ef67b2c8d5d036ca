"""Heat map by occlusion: hide one window of the picture after the other and score the rest.

A window is hidden by what surrounds it: the picture itself, blurred until no detail is left, under soft edges. Gray
squares would be something to see themselves. Windows overlap by half; a pixel's value is the mean of the windows over
it, so the map is as smooth as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from clickscape.errors import ImageError
from clickscape.reward.protocol import HALF_WIDTH, RewardModel, joined
from clickscape.types import Product

CELLS = 8
"""Windows along the longer side; each is as wide as two of these cells."""

_SMALL = 64  # pixels of the longer side at which the picture is blurred: no detail survives, so no more are needed
_SOFT = 0.9  # share of half a window in which it fades
_CHUNK = 32  # pictures that wait for the model at once

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HeatMap:
    """By how much the log-odds fall when a window is hidden: positive where it helps, negative where it hurts.

    value, low, high: (height, width), the log-odds and the interval of what the model knows (infinite for a
    lone head). cells: (row, column), the value of every window.
    """

    value: Floats
    low: Floats
    high: Floats
    cells: Floats


def occlude(model: RewardModel, product: Product, image: NDArray[np.uint8], *, cells: int = CELLS) -> HeatMap:
    """Hide every window of one picture, (height, width, 3) sRGB, and compare with the whole picture.

    Both forms are asked for the log-odds of the whole picture against the one with a window hidden. ImageError for
    anything that is not such a picture or has fewer pixels than cells.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or min(image.shape[:2]) < 2 * cells:
        raise ImageError(
            f"expected uint8 (height, width, 3) of at least {2 * cells} pixels a side, "
            f"got {image.dtype} {image.shape}. Draw the creative larger."
        )
    longer = max(image.shape[:2])
    down, across = (_windows(side, max(round(cells * side / longer), 2)) for side in image.shape[:2])
    blurred = _blurred(image, cells=cells)
    windows = [(row, column) for row in range(len(down)) for column in range(len(across))]
    odds = joined([
        model.odds([product] * len(part), [image] * len(part),
                   [_hidden(image, blurred, down[row], across[column]) for row, column in part])
        for part in (windows[start : start + _CHUNK] for start in range(0, len(windows), _CHUNK))
    ])  # fmt: skip
    weight = np.outer(down.sum(0), across.sum(0))

    def spread(cells: Floats) -> Floats:
        grid = cells.reshape(len(down), len(across))
        return np.asarray(np.einsum("rh,rc,cw->hw", down, grid, across, optimize=True) / weight)

    value = spread(odds.mean)
    half_width = HALF_WIDTH * spread(odds.sd) if odds.known else np.full(image.shape[:2], np.inf)
    return HeatMap(value, value - half_width, value + half_width, cells=odds.mean.reshape(len(down), len(across)))


def _windows(side: int, count: int) -> Floats:
    """How much of every pixel of a side each window hides, (window, pixel), from 0 to 1; windows overlap by half."""
    half = side / count
    center = (np.arange(count) + 0.5) * half
    away = np.abs(np.arange(side) + 0.5 - center[:, None])
    inside = np.clip((half - away) / (_SOFT * half), 0, 1)
    return np.asarray(inside**2 * (3 - 2 * inside))


def _blurred(image: NDArray[np.uint8], *, cells: int) -> Floats:
    """The picture without detail: every pixel the mean of about a window around it, (height, width, 3)."""
    height, width = image.shape[:2]
    shrink = min(_SMALL / max(height, width), 1)
    size = (max(round(width * shrink), 1), max(round(height * shrink), 1))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    small = cv2.GaussianBlur(small, (0, 0), max(size) / cells, borderType=cv2.BORDER_REFLECT_101)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float64)


def _hidden(image: NDArray[np.uint8], blurred: Floats, down: Floats, across: Floats) -> NDArray[np.uint8]:
    """The picture with one window hidden; outside of it, its own pixels."""
    rows, columns = (slice(inside[0], inside[-1] + 1) for inside in (np.flatnonzero(down), np.flatnonzero(across)))
    share = np.outer(down[rows], across[columns])[..., None]
    hidden = image.copy()
    hidden[rows, columns] = np.rint((1 - share) * image[rows, columns] + share * blurred[rows, columns])
    return hidden
