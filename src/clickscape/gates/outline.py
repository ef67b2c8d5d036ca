"""A product's outline unrolled: the colors along the normals of its outline, as one array (point, depth).

A halo, a seam and a texture that runs on look alike everywhere on an outline once it is unrolled; the background's own
pattern does not follow it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from jaxtyping import Float32

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

INNER, OUTER = -1, 26  # depths, pixels: inside the outline, and out into the background
_SHORTEST = 24  # points of an outline worth a look: specks say nothing
_LONGEST = 30_000  # points of an outline that are looked at: OpenCV's maps have fewer than 32,767 rows
_FLAT = 1e-3


@dataclass(frozen=True, slots=True)
class Outline:
    """One closed outline, n points with depths INNER … OUTER along the outward normal, 1 pixel apart.

    `image` and `product` (point, depth, 3): display colors 0..1 of the picture, and of the cut-out times its alpha;
    `alpha` (point, depth); `clear` (point, depth): in the picture and without any product; `checked` (point,): not near
    the foot, where contact shadow and reflection belong to a right picture; `side` (point,): where the outline faces,
    0 left, 1 right, 2 up, −1 down.
    """

    image: Floats
    product: Floats
    alpha: Floats
    clear: Mask
    checked: Mask
    side: npt.NDArray[np.int8]

    def at(self, depth: int) -> int:
        """Index of a depth, pixels."""
        return depth - INNER


def unroll(
    image: Float32[np.ndarray, "height width 3"],
    product: Float32[np.ndarray, "height width 4"],
    *,
    foot_share: float = 0.12,
) -> list[Outline]:
    """The outlines, holes included, of a placed product (height, width, 4) in an image (height, width, 3), both 0..1.

    `foot_share` of the product's height above its lowest pixel, and outlines that face down, are not checked.
    """
    height, width = image.shape[:2]
    alpha = product[..., 3]
    solid = (alpha >= 0.5).astype(np.uint8)
    rows = np.flatnonzero(solid.any(1))
    if not rows.size:
        return []
    foot = rows[-1] - foot_share * (rows[-1] - rows[0])
    away = cv2.distanceTransform(1 - solid, cv2.DIST_L2, 5) - cv2.distanceTransform(solid, cv2.DIST_L2, 5)
    away = cv2.GaussianBlur(away, (0, 0), 2)
    slope = np.dstack([cv2.Sobel(away, cv2.CV_32F, 1, 0), cv2.Sobel(away, cv2.CV_32F, 0, 1)])
    layers = np.dstack([product[..., :3] * alpha[..., None], alpha])
    depths = np.arange(INNER, OUTER + 1, dtype=np.float32)
    made = []
    for points in cv2.findContours(solid, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)[0]:
        if len(points) < _SHORTEST:
            continue
        column, row = points[:: math.ceil(len(points) / _LONGEST), 0].T
        normal = smooth(slope[row, column], 1.5)
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), _FLAT)
        across = column[:, None].astype(np.float32) + normal[:, :1] * depths
        down = row[:, None].astype(np.float32) + normal[:, 1:] * depths
        seen = cv2.remap(image, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        placed = cv2.remap(layers, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        inside = (across >= 0) & (across <= width - 1) & (down >= 0) & (down <= height - 1)
        made.append(
            Outline(
                image=np.asarray(seen, np.float32),
                product=np.asarray(placed[..., :3], np.float32),
                alpha=np.asarray(placed[..., 3], np.float32),
                clear=inside & (placed[..., 3] < 0.004),
                side=_side(normal),
                checked=(normal[:, 1] < 0.5) & (row < foot),
            )
        )
    return made


def _side(normal: Floats) -> npt.NDArray[np.int8]:
    across, down = normal[:, 0], normal[:, 1]
    level = np.where(across < 0, 0, 1)
    return np.where(np.abs(across) > np.abs(down), level, np.where(down < 0, 2, -1)).astype(np.int8)


def smooth(values: Float32[np.ndarray, "point ..."], sigma: float) -> Float32[np.ndarray, "point ..."]:
    """Values (point, …) of a closed outline, blurred along it by a Gaussian of `sigma` points."""
    reach = min(round(3 * sigma), len(values) - 1)
    offsets = np.arange(-reach, reach + 1)
    kernel = np.exp(-(offsets**2) / (2 * sigma**2)).astype(np.float32)
    round_about = np.concatenate([values[-reach:], values, values[:reach]]).reshape(len(values) + 2 * reach, -1)
    blurred = cv2.filter2D(round_about, -1, kernel[:, None] / kernel.sum(), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred[reach : reach + len(values)].reshape(values.shape), np.float32)
