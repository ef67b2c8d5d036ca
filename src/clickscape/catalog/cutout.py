"""Cutting a product out of its picture, and putting the cut-out on a canvas.

The choice made here: real alpha is believed; else a plain background is flooded from the borders, through soft shadows
(they are darker and gradual, a product's edge is abrupt); else GrabCut tries.  A mask that cannot be a product is
refused rather than used.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from contextlib import suppress
from os import PathLike
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clickscape.catalog.images import open_image
from clickscape.errors import ImageError

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

FAINT = 24  # alpha below this is leftover shadow or glow: it would make the product float
_WORKING = 1000  # longest side, pixels, on which masks are found
_CACHE_BYTES = 128_000_000
_REMEDY = "Save the picture with a transparent background, or photograph the product on a plain one."


def cut_out(image: Pixels) -> Pixels:
    """The product with straight alpha, uint8 (height, width, 4), from a picture (height, width, 3 or 4) sRGB.

    ImageError when neither the alpha, nor a plain background, nor GrabCut gives a plausible product.
    """
    if has_alpha(image):
        return image
    if image.shape[2] == 4:
        opaque = image[..., 3:].astype(np.float32) / 255
        image = np.rint(image[..., :3] * opaque + 255 * (1 - opaque)).astype(np.uint8)
    height, width = image.shape[:2]
    scale = min(1.0, _WORKING / max(height, width))
    small_size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, small_size, interpolation=cv2.INTER_AREA) if scale < 1 else image
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)

    background, spread = _border_color(lab)
    mask = _flood(lab, background, spread) if spread < 10 else None
    plain = mask is not None and _plausible(mask)
    if not plain:
        mask = _grab(small, lab)
        if mask is None or not _plausible(mask):
            raise ImageError(f"the product cannot be told from its background. {_REMEDY}")
    assert mask is not None
    if scale < 1:
        mask = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) > 0.5
    return _matte(image, mask, band=max(1, round(1 / scale)), plain=plain)


def has_alpha(image: Pixels) -> bool:
    """Whether the picture has an alpha channel that cuts something out: part clearly visible, part clearly not."""
    if image.shape[2] != 4:
        return False
    clear, solid = float((image[..., 3] < 64).mean()), float((image[..., 3] > 128).mean())
    return clear > 0.005 and solid > 0.001


def trim(cutout: Pixels, *, faint: int = FAINT) -> Pixels:
    """The cut-out without the margin in which no alpha reaches ``faint``; ImageError when nothing is visible."""
    visible = cutout[..., 3] >= faint
    rows, columns = np.flatnonzero(visible.any(1)), np.flatnonzero(visible.any(0))
    if not rows.size:
        raise ImageError(f"the cut-out is empty: no pixel has an alpha of {faint} or more. {_REMEDY}")
    return cutout[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def place(cutout: Pixels, size: tuple[int, int], *, fill: float = 0.86, foot: float | None = None) -> Pixels:
    """The trimmed cut-out on a transparent canvas of ``size`` = (width, height), as large as ``fill`` of it allows.

    It stands in the middle, or with its lowest pixel at ``foot`` (share of the canvas height from the top).
    """
    width, height = size
    product = trim(cutout)
    scale = fill * min(width / product.shape[1], height / product.shape[0])
    scaled_size = (max(1, round(product.shape[1] * scale)), max(1, round(product.shape[0] * scale)))
    # Pillow scales RGBA with premultiplied alpha, so that hidden colors do not bleed into the edge
    scaled = np.asarray(Image.fromarray(np.ascontiguousarray(product)).resize(scaled_size, Image.Resampling.BICUBIC))
    left = (width - scaled_size[0]) // 2
    top = (height - scaled_size[1]) // 2 if foot is None else round(foot * height) - scaled_size[1]
    top = min(max(top, 0), height - scaled_size[1])
    canvas = np.zeros((height, width, 4), np.uint8)
    canvas[top : top + scaled_size[1], left : left + scaled_size[0]] = scaled
    return canvas


def product_picture(
    cutout: Pixels, size: int = 96, background: tuple[int, int, int] = (245, 245, 245), *, fill: float = 0.9
) -> Pixels:
    """The bare product as models see it: uint8 (size, size, 3) on a plain ``background``."""
    canvas = place(cutout, (size, size), fill=fill)
    alpha = canvas[..., 3:].astype(np.float32) / 255
    return np.rint(canvas[..., :3] * alpha + np.array(background, np.float32) * (1 - alpha)).astype(np.uint8)


def open_cutout(path: str | PathLike[str]) -> Pixels:
    """The trimmed cut-out of a file, read-only and cached until the file changes; cut out first if it has no alpha."""
    status = None
    with suppress(OSError):  # open_image says what is wrong
        status = Path(path).stat()
    key = (str(path), status.st_mtime_ns if status else 0, status.st_size if status else 0)
    cached = _CACHE.get(key)
    if cached is None:
        pixels = open_image(path)
        try:
            cached = np.ascontiguousarray(trim(cut_out(pixels)))
        except ImageError as error:
            raise ImageError(f"{path}: {error}") from error
        cached.setflags(write=False)
        _CACHE.put(key, cached)
    return cached


class _PictureCache:
    """The most recently used pictures, up to a number of bytes; safe to share between threads."""

    def __init__(self, limit: int) -> None:
        self.limit, self.bytes = limit, 0
        self._pictures: OrderedDict[tuple[str, int, int], Pixels] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[str, int, int]) -> Pixels | None:
        with self._lock:
            if key in self._pictures:
                self._pictures.move_to_end(key)
            return self._pictures.get(key)

    def put(self, key: tuple[str, int, int], picture: Pixels) -> None:
        with self._lock:
            if key in self._pictures or picture.nbytes > self.limit:
                return
            self._pictures[key] = picture
            self.bytes += picture.nbytes
            while self.bytes > self.limit:
                self.bytes -= self._pictures.popitem(last=False)[1].nbytes


_CACHE = _PictureCache(_CACHE_BYTES)


def _border_color(lab: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Median color of the outermost pixels and how far (LAB distance) 80 % of them stray from it.

    80 %, because a product or its shadow may touch an edge.
    """
    border = np.concatenate([lab[0], lab[-1], lab[1:-1, 0], lab[1:-1, -1]])
    color = np.median(border, 0)
    return color, float(np.quantile(np.linalg.norm(border - color, axis=1), 0.8))


def _flood(lab: NDArray[np.float32], background: NDArray[np.float32], spread: float) -> Mask:
    """Product mask: what a flood of background color, or of smooth gray shadow on it, cannot reach from the borders."""
    smooth = cv2.GaussianBlur(lab, (0, 0), 0.8)
    difference = smooth - background
    tint = np.hypot(difference[..., 1], difference[..., 2])
    near = np.hypot(difference[..., 0], tint) < max(3.5, 2.5 * spread)
    slope = np.hypot(
        cv2.Sobel(smooth[..., 0], cv2.CV_32F, 1, 0, scale=1 / 8),
        cv2.Sobel(smooth[..., 0], cv2.CV_32F, 0, 1, scale=1 / 8),
    )
    gentle = 2.2 * 400 / max(lab.shape[:2])  # lightness units a pixel; a shadow's slope shrinks as the picture grows
    shadow = (difference[..., 0] < 1) & (difference[..., 0] > -45) & (tint < 5) & (slope < max(gentle, 0.9))
    strict, lenient = _reached(near, gap=0), _reached(near | shadow, gap=max(2, max(lab.shape[:2]) // 100))
    # a flood that ate most of what stands out from the background has leaked into a gray product
    leaked = (~lenient).sum() < 0.5 * (~strict).sum()
    return _cleaned(~strict if leaked else ~(lenient | strict))


def _reached(passable: Mask, *, gap: int) -> Mask:
    """What a flood from outside reaches; it does not squeeze through passages narrower than twice ``gap`` pixels."""
    wide = np.pad(passable, gap + 1, constant_values=True).astype(np.uint8)
    if gap:
        wide = cv2.erode(wide, _disc(gap), borderValue=1)
    _, labels = cv2.connectedComponents(wide, connectivity=4)
    reached = (labels == labels[0, 0]).astype(np.uint8)
    if gap:
        reached = cv2.dilate(reached, _disc(gap))
    return np.asarray(reached[gap + 1 : -gap - 1, gap + 1 : -gap - 1] > 0) & passable


def _grab(small: Pixels, lab: NDArray[np.float32]) -> Mask | None:
    """Product mask of GrabCut, which takes what lies near the borders for background; None when all looks alike."""
    if float(lab.reshape(-1, 3).std(0).max()) < 2:
        return None
    height, width = small.shape[:2]
    scale = min(1.0, 320 / max(height, width))
    tiny = cv2.resize(
        small, (max(8, round(width * scale)), max(8, round(height * scale))), interpolation=cv2.INTER_AREA
    )
    margin_x, margin_y = max(1, tiny.shape[1] // 20), max(1, tiny.shape[0] // 20)
    box = (margin_x, margin_y, tiny.shape[1] - 2 * margin_x, tiny.shape[0] - 2 * margin_y)
    labels = np.zeros(tiny.shape[:2], np.uint8)
    cv2.setRNGSeed(0)  # GrabCut starts from k-means; the same picture shall always give the same mask
    try:
        cv2.grabCut(tiny, labels, box, np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_RECT)
    except cv2.error:
        return None
    found = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    mask = _cleaned(cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5)
    if not mask.any() or mask.all():
        return None
    contrast = float(np.linalg.norm(np.median(lab[mask], 0) - np.median(lab[~mask], 0)))
    return mask if contrast > 8 else None


def _cleaned(mask: Mask) -> Mask:
    """The mask without specks (parts under 2 % of the largest one)."""
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        return mask
    areas = statistics[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    return np.asarray((areas >= 0.02 * areas.max())[labels] & mask)


def _plausible(mask: Mask) -> bool:
    """Whether the mask can be a product: no speck, not the whole picture, not lying on all four edges, no crumbs.

    Crumbs, small parts far apart, are what is left of a white product on white: its label's letters, its cap.
    """
    edges = [mask[0].mean(), mask[-1].mean(), mask[:, 0].mean(), mask[:, -1].mean()]
    if not (0.004 < mask.mean() < 0.93 and min(edges) < 0.02 and np.mean(edges) < 0.6):
        return False
    solid = mask.astype(np.uint8)
    largest = cv2.connectedComponentsWithStats(solid)[2][1:, cv2.CC_STAT_AREA].max() / mask.sum()
    filled = mask.sum() / max(1.0, cv2.contourArea(cv2.convexHull(cv2.findNonZero(solid))))
    return bool(largest > 0.55 or filled > 0.5)


def _matte(image: Pixels, mask: Mask, *, band: int, plain: bool) -> Pixels:
    """Soft alpha along the mask's edge, and the background's color taken out of the pixels there.

    In the band a pixel is I = a·F + (1 − a)·B with F the nearest sure product color and B the nearest sure background
    color; a is the projection of I − B on F − B.
    """
    # a flood stops at the first mixed pixel, so the true edge lies inside the mask
    inside = cv2.erode(mask.astype(np.uint8), _disc(3 * band), borderValue=1)
    outside = 1 - cv2.dilate(mask.astype(np.uint8), _disc(band))
    pixels = np.dstack([image, np.where(mask, 255, 0).astype(np.uint8)])
    edge = (inside == 0) & (outside == 0)
    if not edge.any() or not inside.any() or not outside.any():
        return pixels
    product, background = _nearest(image, inside)[edge], _nearest(image, outside)[edge]
    observed = image[edge].astype(np.float32)
    span = product - background
    length = (span * span).sum(1)
    alpha = np.clip(((observed - background) * span).sum(1) / np.maximum(length, 1e-6), 0, 1)
    # where product and background look alike, the projection says nothing: keep the hard mask
    alpha = np.where(length > (30 if plain else 50) ** 2, alpha, mask[edge])
    unmixed = background + (observed - background) / np.maximum(alpha, 0.05)[:, None]
    pixels[edge, :3] = np.clip(np.rint(np.where(alpha[:, None] > 0.05, unmixed, product)), 0, 255).astype(np.uint8)
    pixels[edge, 3] = np.rint(alpha * 255).astype(np.uint8)
    return pixels


def _disc(radius: int) -> NDArray[np.uint8]:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))


def _nearest(image: Pixels, sure: NDArray[np.uint8]) -> NDArray[np.float32]:
    """For every pixel the color of the nearest one where ``sure`` is set."""
    _, labels = cv2.distanceTransformWithLabels(1 - sure, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    colors = np.zeros((int(labels.max()) + 1, 3), np.float32)
    at = sure > 0
    colors[labels[at]] = image[at]
    return colors[labels]
