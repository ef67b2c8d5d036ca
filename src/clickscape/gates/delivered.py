"""Compare a picture that a platform delivered with the one that was approved: the same, or what was done to it.

The delivered picture is registered first (scale, crop, mirror), then compared pixel by pixel after one change of color
for the whole picture is taken out. A pixel counts as changed only where it leaves the range that its neighborhood has
in the approved picture, so that resampling and JPEG's loss at edges are no change. Limits come from studio ads that
were encoded and resized again, see docs/experiments/delivered.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float32, UInt8

from clickscape.gates.registration import Registration, Size, register

Change = Literal["mirrored", "cropped", "stretched", "extended", "colors", "product", "background", "picture", "other"]

WORKING = 640  # pixels of the longer side at which pictures are compared
CROPPED = 0.01  # share of the approved picture's area that may be missing: rounding of a platform's sizes
STRETCHED = 0.01  # relative difference of the two scales
EXTENDED = 0.01  # share of the delivered picture that may lie outside the approved one
COLORS = 1.25  # mean ΔE76 of the change of color that fits best
CHANGED = 11.0  # levels (0–255) by which a pixel must leave its neighborhood's range, averaged over 5 × 5
AREA = 4e-4  # share of the picture that the largest changed region may have
SIMILAR = 0.5  # correlation below which nothing is compared
RIDGE = 1e-4  # how strongly the change of color is drawn toward none
_SPREAD = 9  # pixels over which a lossy format may spread a color
OTHER = 0.4  # share of changed pixels from which it is another picture


@dataclass(frozen=True, slots=True)
class Region:
    """A changed part: its box (left, top, width, height) in pixels of the approved picture, its share of the area."""

    box: tuple[int, int, int, int]
    share: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """What became of an approved picture.

    crop: the part of the approved picture that is shown, (left, top, width, height) in its pixels, and `cut`, the share
    of its area that is not. extended: share of the delivered picture that the approved one does not have. color: mean
    ΔE76 of the best change of color. regions: changed parts, largest first. changed: their share altogether.
    identical: every pixel is the same. size: (width, height) delivered.
    """

    changes: tuple[Change, ...]
    size: tuple[int, int]
    identical: bool
    crop: tuple[int, int, int, int]
    cut: float
    extended: float
    color: float
    regions: tuple[Region, ...]
    changed: float
    similarity: float

    @property
    def approved(self) -> bool:
        """Whether it is still the approved picture: at most resized and encoded again."""
        return not self.changes


def compare(
    delivered: UInt8[np.ndarray, "height width 3"],
    approved: UInt8[np.ndarray, "rows columns 3"],
    *,
    product: Bool[np.ndarray, "rows columns"] | None = None,
) -> Comparison:
    """Compare a delivered picture with the approved one, both uint8 sRGB.

    `product`: where the approved picture shows the product; with it a changed part is said to be of the product or of
    the background, without it only of the picture.
    """
    size = (delivered.shape[1], delivered.shape[0])
    area = approved.shape[0] * approved.shape[1]
    if delivered.shape == approved.shape and np.array_equal(delivered, approved):
        return Comparison((), size, True, (0, 0, approved.shape[1], approved.shape[0]), 0.0, 0.0, 0.0, (), 0.0, 1.0)
    found = register(delivered, approved)
    crop, outside = _crop(found, size, (approved.shape[1], approved.shape[0]))
    cut = 1 - crop[2] * crop[3] / area
    view = _view(delivered, approved, found, product) if found.similarity >= SIMILAR and cut < 1 else None
    if view is None:
        return Comparison(("other",), size, False, crop, cut, outside, 0.0, (), 1.0, found.similarity)
    color, expected = _recolored(view)
    changed = _changed(view.picture, expected)
    share = float(changed.mean())
    regions = _regions(changed, crop)
    kinds: list[Change] = ["mirrored"] if found.mirrored else []
    if abs(np.log(found.scale_x / found.scale_y)) > STRETCHED:
        kinds.append("stretched")
    if cut > CROPPED:
        kinds.append("cropped")
    if outside > EXTENDED:
        kinds.append("extended")
    if color > COLORS:
        kinds.append("colors")
    if regions:
        kinds += _where(changed, view.product)
    if share > OTHER:
        kinds = ["other"]
    return Comparison(tuple(kinds), size, False, crop, cut, outside, color, regions, share, found.similarity)


@dataclass(frozen=True, slots=True)
class _View:
    """Both pictures where they overlap, at one size, blurred by a pixel; `product` as there."""

    picture: Float32[np.ndarray, "height width 3"]
    expected: Float32[np.ndarray, "height width 3"]
    product: Bool[np.ndarray, "height width"] | None


def _crop(found: Registration, size: Size, approved: Size) -> tuple[tuple[int, int, int, int], float]:
    """Which box of the approved picture the delivered one shows, and which share of the delivered one lies outside."""
    left, top, right, bottom = found.frame(approved)
    shown = (max(left, 0.0), max(top, 0.0), min(right, float(size[0])), min(bottom, float(size[1])))
    width, height = max(0.0, shown[2] - shown[0]), max(0.0, shown[3] - shown[1])
    outside = 1 - width * height / (size[0] * size[1])
    first = (shown[2] - right) / -found.scale_x if found.mirrored else (shown[0] - left) / found.scale_x
    box = (
        round(first),
        round((shown[1] - top) / found.scale_y),
        min(approved[0], round(width / found.scale_x)),
        min(approved[1], round(height / found.scale_y)),
    )
    return box, outside


def _view(
    delivered: UInt8[np.ndarray, "height width 3"],
    approved: UInt8[np.ndarray, "rows columns 3"],
    found: Registration,
    product: Bool[np.ndarray, "rows columns"] | None,
) -> _View | None:
    """Both at WORKING pixels, or at the smaller of their sizes; None when they hardly overlap."""
    factor = min(1.0, WORKING / max(delivered.shape[:2]), 1 / max(found.scale_x, found.scale_y))
    size = (max(1, round(delivered.shape[1] * factor)), max(1, round(delivered.shape[0] * factor)))
    there = Registration(
        found.scale_x * size[0] / delivered.shape[1],
        found.scale_y * size[1] / delivered.shape[0],
        found.shift_x * size[0] / delivered.shape[1],
        found.shift_y * size[1] / delivered.shape[0],
        found.mirrored,
    )
    left, top, right, bottom = there.frame((approved.shape[1], approved.shape[0]))
    rows = slice(max(0, int(np.ceil(top))), min(size[1], int(np.floor(bottom))))
    columns = slice(max(0, int(np.ceil(left))), min(size[0], int(np.floor(right))))
    if rows.stop - rows.start < 8 or columns.stop - columns.start < 8:
        return None
    picture = cv2.resize(delivered, size, interpolation=cv2.INTER_AREA) if factor < 1 else delivered
    mask = None
    if product is not None:
        mask = there.warp(product.astype(np.float32), size)[rows, columns] > 0.5
    return _View(
        _smooth(picture[rows, columns]),
        _smooth(there.warp(approved, size)[rows, columns]),
        mask,
    )


def _smooth(picture: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "height width 3"]:
    return cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 1.0)


def _recolored(view: _View) -> tuple[float, Float32[np.ndarray, "height width 3"]]:
    """The best change of color for the whole picture as its mean ΔE76, and the approved picture with it.

    Values and their squares of three channels, fitted with Tukey's weights that begin with no change at all: what
    covers the picture does not count, and a recolored product is no change of color of the whole picture.
    """
    before, after = view.expected.reshape(-1, 3) / 255, view.picture.reshape(-1, 3) / 255
    step = max(1, len(before) // 20_000)
    before, after = before[::step].astype(np.float64), after[::step].astype(np.float64)
    design = _colors(before)
    change = np.zeros((7, 3))
    for _ in range(8):
        residual = after - before - design @ change
        size = np.linalg.norm(residual, axis=1)
        spread = 1.4826 * float(np.median(size)) + 4e-3
        weights = np.clip(1 - (size / (4.7 * spread)) ** 2, 0, None) ** 2
        normal = (design * weights[:, None]).T @ design + RIDGE * len(before) * np.eye(7)
        change = np.linalg.solve(normal, (design * weights[:, None]).T @ (after - before))
    flat = view.expected.reshape(-1, 3) / 255
    made = np.clip(flat + (_colors(flat) @ change).astype(np.float32), 0, 1).reshape(view.expected.shape)
    was = np.clip(view.expected / 255, 0, 1).astype(np.float32)
    made = made.astype(np.float32)
    gap = np.linalg.norm(cv2.cvtColor(made, cv2.COLOR_RGB2LAB) - cv2.cvtColor(was, cv2.COLOR_RGB2LAB), axis=2)
    return float(gap.mean()), made * 255


def _colors(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """What a change of color is linear in: (pixel, 7)."""
    return np.concatenate([values, values**2, np.ones((len(values), 1), values.dtype)], 1)


def _changed(
    picture: Float32[np.ndarray, "height width 3"], expected: Float32[np.ndarray, "height width 3"]
) -> Bool[np.ndarray, "height width"]:
    """Pixels that leave the range of values that the approved picture has around them.

    The range of color is taken over a wider neighborhood than that of lightness: lossy formats keep it at half the
    resolution, and spread it.
    """
    there, here = (cv2.cvtColor(one / 255, cv2.COLOR_RGB2YCrCb) * 255 for one in (picture, expected))
    near, wide = np.ones((3, 3), np.uint8), np.ones((_SPREAD, _SPREAD), np.uint8)
    beyond = np.zeros(picture.shape[:2], np.float32)
    for channel, around in ((0, near), (1, wide), (2, wide)):
        above = there[..., channel] - cv2.dilate(here[..., channel], around)
        below = cv2.erode(here[..., channel], around) - there[..., channel]
        beyond = np.maximum(beyond, np.maximum(above, below))
    return cv2.blur(beyond, (5, 5)) > CHANGED


def _regions(changed: Bool[np.ndarray, "height width"], crop: tuple[int, int, int, int]) -> tuple[Region, ...]:
    """Connected changed parts that are large enough, largest first."""
    count, _, stats, _ = cv2.connectedComponentsWithStats(changed.astype(np.uint8), connectivity=8)
    scale_x, scale_y = crop[2] / changed.shape[1], crop[3] / changed.shape[0]
    found = []
    for left, top, width, height, pixels in stats[1:count]:
        if pixels / changed.size >= AREA:
            box = (
                crop[0] + round(left * scale_x),
                crop[1] + round(top * scale_y),
                round(width * scale_x),
                round(height * scale_y),
            )
            found.append(Region(box, float(pixels / changed.size)))
    return tuple(sorted(found, key=lambda one: -one.share))


def _where(changed: Bool[np.ndarray, "height width"], product: Bool[np.ndarray, "height width"] | None) -> list[Change]:
    """Whether the product, the background or both changed: each if AREA of the picture, and a tenth of the change."""
    if product is None:
        return ["picture"]
    parts: list[Change] = []
    for name, part in (("product", product), ("background", ~product)):
        share = float((changed & part).mean())
        if share >= AREA and share >= 0.1 * changed.mean():
            parts.append(name)  # type: ignore[arg-type]
    return parts or ["picture"]
