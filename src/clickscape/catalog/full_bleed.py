"""Photos that are the product from edge to edge: covers, posters, the front of a box.

The choice made here: two signs together, since a wrong guess would put a whole photograph on a podium.  Seen with a
margin around it the picture is one thing to the network that else finds products in pictures; and it is printed: text
on its plain ground, one flat rectangle on a flat color, or rounded corners of another color.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from clickscape.catalog.background import Floats, Mask, length, reached
from clickscape.catalog.mask import Found
from clickscape.catalog.matting import saliency
from clickscape.catalog.overlays import Line

Pixels = NDArray[np.uint8]

PRINTED, PERHAPS = 0.95, 0.5  # confidence of a picture with plain signs of print, and of a busy one with a title

_SIDE = 400  # longest side, pixels, that the network sees
_MARGIN = 0.15  # of the white around it, share of the longer side
_RING = 0.04  # the picture's border, share of the longer side
_ONE_THING = 0.9  # mean saliency of that border in a picture that is one thing
_WHITE, _GRAY = 88.0, 8.0  # LAB lightness and chroma of a ground that is paper or a studio's, not a printed color
_TITLE = 0.25  # share of the width that a line of a title takes; a word of a title is as tall as a share _TALL
_TALL = 0.03
_FILLED = 0.8  # share of the picture that a box with a thin margin around it takes at least
_SQUARE = 0.985  # share of its box that a printed rectangle fills
_SURELY = 0.9  # share of it whose color is not the ground's nor that of glass before it
_DRAWN = 1.2  # background noise, LAB units, of what is printed in one color
_CORNER = 0.015  # share of the picture that a rounded corner takes at most
_ONE_COLOR = 6.0  # LAB distance within the corners


def full_bleed(image: Pixels, lab: Floats, found: Found | None, lines: Sequence[Line]) -> tuple[Mask | None, float]:
    """The product's mask and its confidence where a picture (height, width, 3) is all product.

    No mask where it is not, and then the most that a cut-out of it can be sure.  ``lab``: the picture in LAB;
    ``found``: its cut-out from a plain background, if it has one; ``lines``: its text.
    """
    whole = np.ones(lab.shape[:2], np.bool_)
    if (framed := _framed(lab)) is not None:
        return framed, PRINTED
    corners = _round_corners(lab)
    titles = [line for line in lines if _is_title(line, lab.shape)]
    if corners is not None and _is_one_thing(image):
        return ~corners, PRINTED
    if found is None:
        return (whole, PERHAPS) if titles and _is_one_thing(image) else (None, 1.0)
    ground = np.median(found.ground.color.reshape(-1, 3), 0)
    if ground[0] > _WHITE and np.hypot(ground[1], ground[2]) < _GRAY:
        return None, 1.0
    printed = any(_on_ground(line, lab, found) for line in titles)
    if not printed and not (found.ground.noise < _DRAWN and found.sure > _SURELY and _is_rectangle(found.mask)):
        return None, 1.0
    if _is_one_thing(image):
        return whole, PRINTED
    return None, PERHAPS if printed else 1.0


def _is_one_thing(image: Pixels) -> bool:
    """Whether the network, shown the picture with a white margin around it, takes the picture's border for product."""
    scale = min(1.0, _SIDE / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    margin, ring = round(_MARGIN * max(size)), max(2, round(_RING * max(size)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    framed = cv2.copyMakeBorder(small, *(margin,) * 4, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    seen = saliency(framed.astype(np.uint8))[margin:-margin, margin:-margin]
    border = np.concatenate(
        [seen[:ring].ravel(), seen[-ring:].ravel(), seen[:, :ring].ravel(), seen[:, -ring:].ravel()]
    )
    return float(border.mean()) > _ONE_THING


def _is_title(line: Line, shape: tuple[int, ...]) -> bool:
    return line.right - line.left > _TITLE * shape[1] and line.bottom - line.top > _TALL * shape[0]


def _on_ground(line: Line, lab: Floats, found: Found) -> bool:
    """Whether what is around a line's letters is the background, not a label's color."""
    window = line.window
    away = length(lab[window] - found.ground.color[window])
    tolerance = max(3.0, 2 * found.ground.noise)
    rim = np.concatenate([away[0], away[-1], away[:, 0], away[:, -1]])
    return bool((away < tolerance).mean() > 0.3 and (rim < tolerance).mean() > 0.5)


def _is_rectangle(mask: Mask) -> bool:
    """Whether a mask is one upright rectangle in the middle, from a fifth of the picture to nearly all of it."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    inside = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    middle = abs(columns[0] + columns[-1] + 1 - mask.shape[1]) < 0.03 * mask.shape[1]
    return bool(middle and inside.size > 0.2 * mask.size and inside.mean() > _SQUARE)


def _framed(lab: Floats) -> Mask | None:
    """The quadrilateral (height, width) that fills a picture but for a thin margin of one color; None without one."""
    border = np.concatenate([lab[0], lab[-1], lab[:, 0], lab[:, -1]])
    color = np.median(border, 0)
    if (length(border - color) < _ONE_COLOR).mean() < 0.97:
        return None
    inside = ~reached(length(lab - color) < _ONE_COLOR, gap=0)
    if inside.mean() < _FILLED or inside[[0, -1]].any() or inside[:, [0, -1]].any():
        return None
    hull = cv2.convexHull(cv2.findNonZero(inside.astype(np.uint8)))
    corners = cv2.approxPolyDP(hull, 0.02 * cv2.arcLength(hull, closed=True), closed=True)
    return inside if len(corners) == 4 and inside.sum() > 0.97 * cv2.contourArea(hull) else None


def _round_corners(lab: Floats) -> Mask | None:
    """What lies beyond four rounded corners (height, width), of one color and not that of the border; else None."""
    height, width = lab.shape[:2]
    places = [(0, 0), (0, width - 1), (height - 1, 0), (height - 1, width - 1)]
    color = np.mean([lab[place] for place in places], 0)
    alike = length(lab - color) < _ONE_COLOR
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(alike.astype(np.uint8), connectivity=4)
    parts = [labels[place] for place in places]
    if 0 in parts or len(set(parts)) < 4:
        return None
    areas = statistics[parts, cv2.CC_STAT_AREA]
    if areas.max() > _CORNER * labels.size or areas.max() > 2 * areas.min() + 12:
        return None
    return np.asarray(np.isin(labels, parts))
