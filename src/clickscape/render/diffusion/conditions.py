"""Inputs of the inpainting model: the product's edges, the mask of what to draw, and the image to start from.

All three come from the placed cut-out alone. Edges are found on a plain gray that keeps its distance from the product's
rim, so that a black product has an outline as well as a white one.
"""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt
from jaxtyping import UInt8

from clickscape.render.color import Bytes, Floats
from clickscape.render.studio.product import over

EDGE_QUANTILES = (0.60, 0.85)
"""Canny's lower and upper threshold, as quantiles of the product's gradients."""

_FLAT = 64  # gradient (Sobel; a step of 16 display levels) below which there is shading and noise, not an edge
_FAR = 0.25  # sigma of the out-of-focus background, as share of the longer side
_COARSE = 48  # pixels of the longer side at which it is blurred


def neutral_gray(canvas: UInt8[np.ndarray, "height width 4"]) -> int:
    """The gray (display level) from which nine tenths of the product's rim keep the greatest distance.

    Distance is the largest over the color channels; of equally good grays the one nearest to the middle is taken.
    """
    rim = canvas[..., :3][_rim(canvas[..., 3])].astype(np.int16)
    if not rim.size:
        return 128
    grays = np.arange(256, dtype=np.int16)
    colors, counts = np.unique(rim, axis=0, return_counts=True)
    distance = np.abs(colors[:, None, :] - grays[None, :, None]).max(2)
    order = np.argsort(distance, axis=0)
    reached = np.cumsum(counts[order], axis=0) >= 0.1 * counts.sum()
    least = np.take_along_axis(distance, order, 0)[reached.argmax(0), grays]
    best = np.flatnonzero(least == least.max())
    return int(best[np.abs(best - 128).argmin()])


def edges(
    canvas: UInt8[np.ndarray, "height width 4"], *, quantiles: tuple[float, float] = EDGE_QUANTILES
) -> UInt8[np.ndarray, "height width 3"]:
    """Return the product's edges, white on black, (height, width, 3); thresholds are quantiles of its own gradients.

    A loud pattern cannot raise the thresholds above the outline, which is the edge that counts most.
    """
    alpha = canvas[..., 3]
    share = alpha[..., None].astype(np.float32) / 255
    flat = np.rint(canvas[..., :3] * share + neutral_gray(canvas) * (1 - share)).astype(np.uint8)
    across, down = (cv2.Sobel(flat, cv2.CV_16S, *order, ksize=3) for order in ((1, 0), (0, 1)))
    strength = (np.abs(across.astype(np.int32)) + np.abs(down.astype(np.int32))).max(2)
    present = strength[(alpha > 0) & (strength > _FLAT)]
    if not present.size:
        return np.zeros_like(flat)
    outline = strength[_rim(alpha)]
    loudest = float(np.quantile(outline, 0.1)) if outline.size else np.inf
    upper = max(_FLAT, min(float(np.quantile(present, quantiles[1])), loudest))
    lower = max(_FLAT, min(float(np.quantile(present, quantiles[0])), upper / 2))
    found = cv2.Canny(across, down, min(lower, upper), upper)
    return np.repeat(found[..., None], 3, axis=2)


def mask(alpha: UInt8[np.ndarray, "height width"], *, erode: float, blur: float) -> UInt8[np.ndarray, "height width"]:
    """Return the inpainting mask, (height, width): 255 the background, 0 the product; soft as the alpha itself.

    The product loses a rim of `erode` pixels, so that background grows under its edge, and the step is blurred by a
    sigma of `blur` pixels; nothing outside the product is ever kept.
    """
    kept = alpha
    if radius := round(erode):
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        kept = cv2.erode(kept, kernel)
    if blur > 0:
        kept = cv2.GaussianBlur(kept, (0, 0), blur)
    return (255 - np.minimum(kept, alpha)).astype(np.uint8)


def start(
    canvas: UInt8[np.ndarray, "height width 4"], *, fill: Literal["neutral", "blurred"]
) -> UInt8[np.ndarray, "height width 3"]:
    """The picture to start from, (height, width, 3): the product on mid-gray, or on its own colors out of focus."""
    height, width = canvas.shape[:2]
    if fill == "neutral":
        return over(np.full((height, width, 3), 128, np.uint8), canvas)
    return over(_out_of_focus(canvas), canvas)


def _out_of_focus(canvas: Bytes) -> Bytes:
    """The product's colors, each spread as far as `_FAR`, wherever there is none: (height, width, 3)."""
    height, width = canvas.shape[:2]
    alpha = canvas[..., 3:].astype(np.float32) / 255
    weighted = np.concatenate([canvas[..., :3] * alpha, alpha], -1).astype(np.float32)
    shrink = max(1.0, max(height, width) / _COARSE)
    size = (max(2, round(width / shrink)), max(2, round(height / shrink)))
    small = cv2.resize(weighted, size, interpolation=cv2.INTER_AREA)
    spread: Floats = cv2.GaussianBlur(small, (0, 0), _FAR * max(size), borderType=cv2.BORDER_REPLICATE)
    color = spread[..., :3] / np.maximum(spread[..., 3:], np.float32(1e-6))
    large = cv2.resize(color, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.clip(np.rint(large), 0, 255).astype(np.uint8)


def _rim(alpha: Bytes) -> npt.NDArray[np.bool_]:
    """The product's outermost solid pixels, two wide, (height, width)."""
    solid = (alpha >= 128).astype(np.uint8)
    inner = cv2.erode(solid, np.ones((5, 5), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1)
    return (solid > 0) & (inner == 0)
