"""A cut-out corrected by hand: a few points or strokes say what belongs to the product and what does not.

The choice made here: a stroke stands for what hangs together with it and has its color; dropped parts that stand alone
go as a whole.  GrabCut starts from the cut-out as it is and takes that for certain, and of what it would change only
that happens which hangs together with a stroke; the rest of the outline stays where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import cv2
import numpy as np
from numpy.typing import NDArray

from clickscape.catalog.background import Mask, disc
from clickscape.catalog.cutout import Cutout, examine
from clickscape.catalog.flags import Flags, flag
from clickscape.catalog.matte import soften
from clickscape.errors import ImageError

Pixels = NDArray[np.uint8]
Stroke = Sequence[tuple[int, int]]
"""Points (x, y) in pixels of the photo, joined by straight lines; a single one is a dab."""

_SIDE = 480  # longest side, pixels, that is corrected
_BRUSH = 0.012  # radius of a stroke, share of the longer side
_ALIKE = 7.0  # LAB distance per channel, up to which neighbors have a stroke's color
_ROUNDS = 4  # of GrabCut


def correct(image: Pixels, *, keep: Sequence[Stroke] = (), drop: Sequence[Stroke] = (), whole: bool = False) -> Cutout:
    """The cut-out of a picture (height, width, 3 or 4) sRGB with what strokes keep and without what they drop.

    ``whole``: all of the picture is product to begin with, not what `examine` finds.  ImageError for a point outside of
    the picture, where strokes contradict each other, and when nothing is left.
    """
    height, width = image.shape[:2]
    for stroke in (*keep, *drop):
        for x, y in stroke:
            if not (0 <= x < width and 0 <= y < height):
                raise ImageError(
                    f"the point {x},{y} lies outside of the picture, which has {width} x {height} pixels. "
                    "Count from its upper left corner."
                )
    colors = _flat(image)
    before = np.dstack([colors, np.full((height, width), 255 if whole else 0, np.uint8)])
    if not whole:
        with suppress(ImageError):  # where nothing is found, the strokes have to say it all
            found = examine(image)
            if not keep and not drop:
                return found
            before = found.pixels
    kept, dropped = _painted(keep, (height, width)), _painted(drop, (height, width))
    if (kept & dropped).any():
        raise ImageError("a stroke to keep and one to drop cross each other. Move one of them.")
    solid = before[..., 3] > 127
    mask = _changed(colors, solid & ~_apart(solid, dropped, kept), kept, dropped)
    if not mask.any():
        raise ImageError("nothing of the picture is left. Name a point of the product with --keep x,y.")
    band = max(1, round(max(height, width) / 800))
    near = cv2.dilate((mask != solid).astype(np.uint8), disc(4 * band)) > 0
    pixels = np.where(near[..., None], soften(colors, mask, band=band), before)
    return Cutout(pixels, "strokes", None, Flags(whole=True) if mask.all() else flag(pixels))


def _flat(image: Pixels) -> Pixels:
    if image.shape[2] == 3:
        return image
    opaque = image[..., 3:].astype(np.float32) / 255
    return np.rint(image[..., :3] * opaque + 255 * (1 - opaque)).astype(np.uint8)


def _painted(strokes: Sequence[Stroke], shape: tuple[int, int]) -> Mask:
    canvas = np.zeros(shape, np.uint8)
    radius = max(1, round(_BRUSH * max(shape)))
    for stroke in strokes:
        points = np.array(stroke, np.int32)
        cv2.polylines(canvas, [points.reshape(-1, 1, 2)], False, 1, 2 * radius + 1)
        cv2.circle(canvas, tuple(map(int, points[0])), radius, 1, -1)
    return canvas > 0


def _changed(colors: Pixels, start: Mask, kept: Mask, dropped: Mask) -> Mask:
    """The mask after the strokes, each (height, width)."""
    height, width = start.shape
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    small = cv2.resize(colors, size, interpolation=cv2.INTER_AREA)
    before, keep, drop = (
        cv2.resize(part.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0.5 for part in (start, kept, dropped)
    )
    smooth = cv2.GaussianBlur(cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), (0, 0), 1)
    keep = keep | _spread(smooth, keep, within=~before & ~drop)
    drop = drop | _spread(smooth, drop, within=before & ~keep)
    labels = np.where(before, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[keep], labels[drop] = cv2.GC_FGD, cv2.GC_BGD
    cv2.setRNGSeed(0)
    with suppress(cv2.error):  # one of both has no pixel: the strokes alone decide
        cv2.grabCut(small, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), _ROUNDS, cv2.GC_INIT_WITH_MASK)
    after = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD))
    after = (after | keep) & ~drop
    added = _touched(after & ~before, keep)
    removed = _touched(before & ~after, drop)
    removed = (cv2.dilate(removed.astype(np.uint8), disc(1)) > 0) & ~after  # enlarged, it leaves no rim behind
    difference = cv2.resize((added * 1.0 - removed * 1.0).astype(np.float32), (width, height))
    return np.asarray(((start & (difference > -0.5)) | (difference > 0.5) | kept) & ~dropped)


def _spread(smooth: NDArray[np.float32], stroke: Mask, *, within: Mask) -> Mask:
    """What lies within a region, hangs together with a stroke, and has the color that it has there."""
    barred = np.pad((~within & ~stroke).astype(np.uint8), 1)
    for y, x in np.argwhere(cv2.erode(stroke.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)[::7]:
        if barred[y + 1, x + 1] == 0:
            flags = 4 | cv2.FLOODFILL_MASK_ONLY | cv2.FLOODFILL_FIXED_RANGE | (2 << 8)
            cv2.floodFill(smooth, barred, (int(x), int(y)), (0,) * 3, (_ALIKE,) * 3, (_ALIKE,) * 3, flags)
    return (barred[1:-1, 1:-1] == 2) & within


def _apart(mask: Mask, drop: Mask, keep: Mask) -> Mask:
    """The parts of the mask that a stroke drops and none keeps, but for the largest."""
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    largest = int(statistics[1:, cv2.CC_STAT_AREA].argmax()) + 1 if len(statistics) > 1 else 0
    parts = np.setdiff1d(labels[drop], [0, largest, *np.unique(labels[keep])])
    return np.isin(labels, parts)


def _touched(change: Mask, stroke: Mask) -> Mask:
    """The parts of a change that hang together with a stroke."""
    _, labels = cv2.connectedComponents((change | stroke).astype(np.uint8), connectivity=8)
    return np.isin(labels, np.unique(labels[stroke])) & change
