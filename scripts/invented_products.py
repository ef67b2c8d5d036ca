"""Things that nobody sells, for `pretrain_tiny.py`: shaded shapes put together at random, as cut-outs.

The sample catalog has about a hundred objects, far too few to learn what is *not* a prop: a tower that saw only them
takes a bicycle's wheels for bubbles and a sweet for a bauble. These show it thousands of other outlines and skins.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from clickscape.catalog.cutout import trim

_CANVAS = 288  # pixels of the square on which a thing is put together
_FINE = 16  # polygon points are given in sixteenths of a pixel
_MOST_PARTS = 5

Mask = NDArray[np.float32]


def invented_cutout(rng: np.random.Generator, longest: int) -> NDArray[np.uint8]:
    """One thing, (height, width, 4) sRGB with straight alpha, its longer side `longest` pixels."""
    color = np.zeros((_CANVAS, _CANVAS, 3), np.float32)
    alpha = np.zeros((_CANVAS, _CANVAS), np.float32)
    palette = rng.random((int(rng.integers(1, 4)), 3)).astype(np.float32)
    if rng.random() < 0.3:
        palette = 0.15 * palette + palette.mean(1, keepdims=True) * 0.85  # steel, paper, ink
    for _ in range(int(rng.integers(1, _MOST_PARTS + 1))):
        shape = _SHAPES[int(rng.integers(len(_SHAPES)))]
        mask = shape(rng)
        skin = _skin(rng, mask, palette[int(rng.integers(len(palette)))])
        color += mask[..., None] * (skin - color)
        alpha = np.maximum(alpha, mask)
    pixels = np.dstack([color, alpha]).clip(0, 1)
    cut = trim(np.rint(255 * pixels).astype(np.uint8))
    scale = longest / max(cut.shape[:2])
    size = (max(1, round(scale * cut.shape[1])), max(1, round(scale * cut.shape[0])))
    return cv2.resize(cut, size, interpolation=cv2.INTER_AREA)


def _polygon(points: NDArray[np.floating]) -> Mask:
    """Inside of a polygon, (point, 2) in shares of the canvas, with soft edges."""
    mask = np.zeros((_CANVAS, _CANVAS), np.uint8)
    place = np.rint(points * _CANVAS * _FINE).astype(np.int32)
    cv2.fillPoly(mask, [place], 255, lineType=cv2.LINE_AA, shift=int(math.log2(_FINE)))
    return mask.astype(np.float32) / 255


def _turned(points: NDArray[np.floating], angle: float, center: NDArray[np.floating]) -> NDArray[np.floating]:
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return points @ turn.T + center


def _center(rng: np.random.Generator) -> NDArray[np.floating]:
    return rng.uniform(0.35, 0.65, 2)


def _round(rng: np.random.Generator) -> Mask:
    """A superellipse: from a diamond over an ellipse to a box with round corners."""
    angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    power = 2 / rng.uniform(1.2, 8)
    outline = np.stack([np.cos(angles), np.sin(angles)], 1)
    outline = np.sign(outline) * np.abs(outline) ** power * rng.uniform(0.05, 0.3, 2)
    return _polygon(_turned(outline, rng.choice([0.0, rng.uniform(0, np.pi)]), _center(rng)))


def _turning(rng: np.random.Generator) -> Mask:
    """What comes off a lathe: bottles, vases, cups; one profile and its mirror image."""
    knots = rng.uniform(0.03, 0.25, int(rng.integers(2, 7)))
    heights = np.linspace(0, 1, 60)
    half = np.interp(heights, np.linspace(0, 1, len(knots)), knots)
    tall = rng.uniform(0.2, 0.75)
    middle = _center(rng)
    rows = middle[1] + (heights - 0.5) * tall
    right, left = np.stack([middle[0] + half, rows], 1), np.stack([middle[0] - half, rows], 1)[::-1]
    return _polygon(np.concatenate([right, left]))


def _blob(rng: np.random.Generator) -> Mask:
    """A closed wavy outline: leaves, shells, toys, stars."""
    angles = np.linspace(0, 2 * np.pi, 160, endpoint=False)
    radius = np.full(160, 1.0)
    for wave in range(1, int(rng.integers(2, 8))):
        radius += rng.normal(0, 0.35 / wave) * np.cos(wave * angles + rng.uniform(0, 2 * np.pi))
    radius = radius.clip(0.25) * rng.uniform(0.1, 0.25)
    return _polygon(np.stack([radius * np.cos(angles), radius * np.sin(angles)], 1) + _center(rng))


def _ring(rng: np.random.Generator) -> Mask:
    """A wheel, a handle, a frame: an ellipse that is hollow, with spokes or without."""
    mask = np.zeros((_CANVAS, _CANVAS), np.uint8)
    middle = tuple(int(value) for value in _center(rng) * _CANVAS)
    radii = tuple(int(value) for value in rng.uniform(0.08, 0.28, 2) * _CANVAS)
    radii = (radii[0], radii[0]) if rng.random() < 0.6 else radii
    thick = int(rng.integers(2, 24))
    cv2.ellipse(mask, middle, radii, 0, 0, 360, 255, thick, lineType=cv2.LINE_AA)
    for spoke in range(int(rng.choice([0, 0, 3, 5, 12]))):
        angle = spoke + rng.uniform(0, 0.2)
        end = (middle[0] + int(radii[0] * math.cos(angle)), middle[1] + int(radii[1] * math.sin(angle)))
        cv2.line(mask, middle, end, 255, max(2, thick // 4), lineType=cv2.LINE_AA)
    return mask.astype(np.float32) / 255


def _stroke(rng: np.random.Generator) -> Mask:
    """A rod, a strap, a cable: a line through a few points, as thick everywhere."""
    mask = np.zeros((_CANVAS, _CANVAS), np.uint8)
    knots = rng.uniform(0.15, 0.85, (int(rng.integers(2, 6)), 2))
    along = np.linspace(0, 1, 60)
    at = np.linspace(0, 1, len(knots))
    points = np.stack([np.interp(along, at, knots[:, axis]) for axis in (0, 1)], 1)
    place = np.rint(points * _CANVAS).astype(np.int32)
    cv2.polylines(mask, [place], False, 255, int(rng.integers(2, 26)), lineType=cv2.LINE_AA)
    return mask.astype(np.float32) / 255


_SHAPES: tuple[Callable[[np.random.Generator], Mask], ...] = (_round, _turning, _blob, _ring, _stroke)


def _skin(rng: np.random.Generator, mask: Mask, color: NDArray[np.float32]) -> NDArray[np.float32]:
    """Colors of a part, (row, column, 3): lit from one side, with a highlight, a pattern and some grain."""
    rows, columns = np.mgrid[0:_CANVAS, 0:_CANVAS].astype(np.float32) / _CANVAS
    angle = rng.uniform(0, 2 * np.pi)
    across = rows * math.sin(angle) + columns * math.cos(angle)
    light = 1 + rng.uniform(0, 0.9) * (across - across[mask > 0.5].mean() if (mask > 0.5).any() else across)
    thickness = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
    if thickness.max() > 0 and rng.random() < 0.7:  # round: darker towards the outline
        light = light * (1 - rng.uniform(0.1, 0.5) * (1 - (thickness / thickness.max()).clip(0, 1)) ** 2)
    skin = color * light[..., None]
    if rng.random() < 0.35:
        second = rng.random(3).astype(np.float32)
        waves = rng.uniform(4, 24)
        pattern = np.sin(2 * np.pi * waves * across)
        if rng.random() < 0.5:
            pattern = pattern * np.sin(2 * np.pi * waves * (rows * math.cos(angle) - columns * math.sin(angle)))
        skin = np.where((pattern > rng.uniform(-0.3, 0.7))[..., None], skin, second * light[..., None])
    if rng.random() < 0.6:
        middle, wide = rng.uniform(0.3, 0.6, 2), rng.uniform(0.02, 0.12)
        shine = np.exp(-((rows - middle[0]) ** 2 + (columns - middle[1]) ** 2) / (2 * wide**2))
        skin = skin + rng.uniform(0.2, 0.8) * shine[..., None]
    return (skin + rng.normal(0, 0.02, (_CANVAS, _CANVAS, 1))).clip(0, 1).astype(np.float32)
