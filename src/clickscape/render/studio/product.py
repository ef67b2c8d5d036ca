"""The product in the picture: where it stands, its exact pixels, and what the set needs of it.

The cut-out stands as a billboard in the plane z = 0. Its shadow on any point is the blurred alpha where the light ray
from that point crosses the plane; four blurs are one picture of four channels, so one look-up serves all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from clickscape.errors import ImageError
from clickscape.render.color import Bytes, Floats, linear_of_byte, to_display
from clickscape.render.physical_size import PhysicalSize
from clickscape.render.renderer import NO_MARGINS, Box, Margins
from clickscape.render.studio.geometry import Camera

SHARES: dict[PhysicalSize, tuple[float, float]] = {"small": (0.42, 0.48), "usual": (0.55, 0.70), "large": (0.60, 0.80)}
"""Of the picture's reference side and of its width, that a product of each physical_size may fill."""
_TALLER, _WIDER = 0.75, 0.17  # what a skyscraper adds to them: slim products may rise, all may come nearer to its edges
_PORTRAIT, _NEARER, _LANDSCAPE = 0.30, 0.15, 0.14  # what a portrait (9 : 16) and a landscape (1.91 : 1) add: no bands
SINK = 0.006  # share of the height by which the lowest pixel lies below the base row: no gap under round bottoms
_SOLID = 48  # alpha from which a pixel counts as product when its bounds are sought
_DUST = 10  # alpha below which a pixel is leftover
SHADOW_BLURS = (1.5, 5.0, 14.0, 34.0)  # sigmas at 512 px


@dataclass(frozen=True, slots=True)
class Placed:
    """A product at its place: `canvas` is exact; the rest are maps for shading (some strided, see `Camera`)."""

    canvas: Bytes  # (height, width, 4) sRGB + straight alpha
    shadows: Floats  # strided (height, width, 4): alpha under SHADOW_BLURS
    contact: Floats  # occlusion on the floor, rows are depth, strided
    feet: Floats | None  # strided (height, width): occlusion under feet behind the foremost, where they are seen
    mirror: Floats  # strided (height, width, 4): linear color × alpha, alpha


def map_stride(height: int) -> int:
    """Shadows, contact and reflections are soft: half size suffices, except in small pictures."""
    return 2 if height > 200 else 1


def bounds(cutout: UInt8[np.ndarray, "height width 4"]) -> Box:
    """The smallest box around the product in a cut-out (height, width, 4); ImageError when there is none."""
    around = Box(*cv2.boundingRect((cutout[..., 3] >= _SOLID).astype(np.uint8)))
    if not around.width:
        raise ImageError("the cut-out is fully transparent; give an image whose alpha channel shows the product")
    return around


def lowest_foot(margins: Margins) -> float:
    """Share of the height below which a product that keeps the margins may not stand; see `Camera.lowest`."""
    return 1 - margins.bottom - SINK if margins.bottom else 1.0


def placement_box(
    shape: tuple[int, int],
    *,
    size: tuple[int, int],
    offset: float = 0.0,
    margins: Margins = NO_MARGINS,
    physical_size: PhysicalSize = "usual",
) -> Box:
    """Where a trimmed product of `shape` (height, width) goes in a picture of `size` (width, height).

    It stands on the camera's base row (0.80 of the height, higher in narrow pictures and above the bottom margin),
    `offset` of the width right of the center, as large as the SHARES of its physical size (more where the picture is no
    square) and the margins allow.
    """
    width, height = size
    high, wide = SHARES[physical_size]
    camera = Camera(width, height, lowest=lowest_foot(margins))
    portrait, landscape = _toward(height / width, 16 / 9), _toward(width / height, 1.91)
    taller = max(_TALLER * camera.skyscraper, _PORTRAIT * portrait, _LANDSCAPE * landscape * (1 - camera.banner))
    wider = max(_WIDER * camera.skyscraper, _NEARER * portrait)
    near, above, far, below = margins.inside(size)
    bottom = min(round(camera.base_row + SINK * height), below)
    scale = min(
        high * (1 + taller) * camera.reference / shape[0],
        min(wide * (1 + wider), 0.9) * width / shape[1],
        (bottom - above) / shape[0],
        (far - near) / shape[1],
    )
    box_height, box_width = max(2, round(shape[0] * scale)), max(2, round(shape[1] * scale))
    left = round(width / 2 + offset * width - box_width / 2)
    return Box(max(near, min(left, far - box_width)), bottom - box_height, box_width, box_height)


def _toward(ratio: float, end: float) -> float:
    """How far a ratio of sides is on its way from 1 to `end`, 0 to 1."""
    return min(1.0, max(0.0, (ratio - 1) / (end - 1)))


def scaled(cutout: UInt8[np.ndarray, "rows columns 4"], box: Box) -> UInt8[np.ndarray, "height width 4"]:
    """The trimmed cut-out at the size of `box`, (height, width, 4); colors weigh by alpha: no fringe appears."""
    around = bounds(cutout)
    piece = cutout[around.top : around.top + around.height, around.left : around.left + around.width]
    *colors, alpha = (plane.astype(np.float32) for plane in cv2.split(piece))  # by planes: a third of the time
    alpha *= piece[..., 3] >= _DUST
    share = alpha * np.float32(1 / 255)
    for color in colors:
        color *= share
    method = cv2.INTER_AREA if box.height < around.height else cv2.INTER_CUBIC
    small = np.clip(cv2.resize(cv2.merge([*colors, alpha]), (box.width, box.height), interpolation=method), 0, 255)
    color = small[..., :3] * (255 / np.maximum(small[..., 3:], np.float32(1)))
    return np.clip(np.concatenate([color, small[..., 3:]], -1) + 0.5, 0, 255).astype(np.uint8)


def on_canvas(piece: Bytes, box: Box, size: tuple[int, int]) -> UInt8[np.ndarray, "height width 4"]:
    """A scaled cut-out at its box in an empty picture of `size` (width, height): (height, width, 4)."""
    width, height = size
    canvas = np.zeros((height, width, 4), np.uint8)
    top, left = max(0, box.top), max(0, box.left)
    bottom, right = min(height, box.top + box.height), min(width, box.left + box.width)
    canvas[top:bottom, left:right] = piece[top - box.top : bottom - box.top, left - box.left : right - box.left]
    return canvas


def place(piece: Bytes, box: Box, camera: Camera, *, foot: bool = True, legs: bool = False) -> Placed:
    """Put a scaled cut-out into an empty picture and derive the maps that shade the set around it.

    `foot`: it stands, and darkens the ground below its lowest pixels; else what it lies on or hangs before, all around.
    `legs`: it may stand on thin ones, at different depths.
    """
    canvas = on_canvas(piece, box, (camera.width, camera.height))
    alpha = canvas[..., 3].astype(np.float32) * np.float32(1 / 255)
    stride = map_stride(camera.height)
    unit = camera.reference / 512 / stride
    shadows = _blurs(_shrunk(alpha, stride), unit)
    return Placed(
        canvas=canvas,
        shadows=shadows,
        contact=_contact(alpha, camera) if foot else np.einsum("hwc,c->hw", shadows, _HALO),
        feet=_feet(alpha, camera, legs=legs) if foot else None,
        mirror=_shrunk(_light_of(canvas, alpha), stride),
    )


def _light_of(canvas: Bytes, alpha: Floats) -> Floats:
    """Linear color × alpha, and alpha, (height, width, 4)."""
    result = np.zeros(canvas.shape, np.float32)
    left, top, width, height = cv2.boundingRect(canvas[..., 3])
    part = (slice(top, top + height), slice(left, left + width))
    table = linear_of_byte()
    planes = [np.take(table, canvas[*part, channel], mode="clip") * alpha[part] for channel in range(3)]
    if height:
        cv2.merge([*planes, alpha[part]], result[part])
    return result


def over(
    background: UInt8[np.ndarray, "height width 3"], canvas: UInt8[np.ndarray, "height width 4"]
) -> UInt8[np.ndarray, "height width 3"]:
    """The product (height, width, 4; straight alpha) over a background (height, width, 3), mixed as light, sRGB.

    Bytes are copied where alpha is 255 and where it is 0. In between light adds up as it does in a lens, so a bright
    background wraps the outline; mixed as display values it would wear a dark line.
    """
    alpha = canvas[..., 3]
    picture = cv2.copyTo(np.ascontiguousarray(canvas[..., :3]), (alpha == 255).astype(np.uint8), background.copy())
    rim = np.nonzero((alpha > 0) & (alpha < 255))
    share = alpha[rim][:, None].astype(np.float32) / 255
    light = linear_of_byte()
    mixed = share * light[canvas[rim][:, :3]] + (1 - share) * light[background[rim]]
    picture[rim] = np.rint(np.clip(to_display(mixed), 0, 1) * 255).astype(np.uint8)
    return np.asarray(picture)


def _shrunk(picture: Floats, stride: int) -> Floats:
    if stride == 1:
        return picture
    size = (-(-picture.shape[1] // stride), -(-picture.shape[0] // stride))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.float32)


def _blurs(alpha: Floats, unit: float) -> Floats:
    """Four blurs of alpha; the wide ones are made small and enlarged."""
    height, width = alpha.shape
    layers = []
    for sigma in SHADOW_BLURS:
        shrink = max(1, int(sigma * unit / 3))
        small = alpha
        if shrink > 1:
            size = (max(4, width // shrink), max(4, height // shrink))
            small = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(
            small, (0, 0), max(0.3, sigma * unit * small.shape[0] / height), borderType=cv2.BORDER_CONSTANT
        )
        layers.append(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR) if shrink > 1 else small)
    return np.asarray(cv2.merge(layers), np.float32)


_HALO = np.array([0.50, 0.40, 0.10, 0.0], np.float32)  # weights of the shadows' blurs around what lies or hangs

_CONTACT_LAYERS = ((0.008, 0.010, 0.90), (0.030, 0.045, 0.75), (0.085, 0.180, 0.75))
"""Blur and reach of the gap under a column, both as share of the picture's reference side, and weight."""


def contact_shape(camera: Camera) -> tuple[int, int]:
    """Rows (depth) and columns of the contact map; the product's plane is its middle row."""
    stride = map_stride(camera.height)
    return 2 * round(0.30 * camera.reference / stride) + 1, -(-camera.width // stride)


def _contact(alpha: Floats, camera: Camera) -> Floats:
    """Occlusion on the floor from each column's lowest opaque pixel: those that touch darken most, raised ones less."""
    stride = map_stride(camera.height)
    rows, columns = contact_shape(camera)
    solid = alpha > 0.5
    lowest = np.where(solid.any(0), len(solid) - 1 - np.argmax(solid[::-1], 0), -1)
    base = lowest.max()
    gap = np.where(lowest < 0, np.inf, (base - lowest) / camera.reference)[::stride][:columns]
    depth = _depth(gap, stride / camera.reference)
    away = (np.arange(rows, dtype=np.float32) - rows // 2)[:, None] * np.float32(stride / camera.reference)
    inside = np.abs(away - 0.3 * depth) <= depth
    result = np.zeros((rows, columns), np.float32)
    for blur, reach, weight in _CONTACT_LAYERS:
        layer = (inside * np.exp(-gap / reach) * weight).astype(np.float32)
        result += cv2.GaussianBlur(
            layer, (0, 0), max(0.5, blur * camera.reference / stride), borderType=cv2.BORDER_CONSTANT
        )
    return result


_FOOT_LAYERS = ((1.3, 0.004, 0.85), (2.6, 0.012, 0.45))  # size by the foot's, blur as share of the reference, weight
_FLAT, _APART = 0.006, 0.04  # of the longer side: unevenness of one foot, and how far around it nothing is lower
_BACK, _LEGS_BACK = 0.08, 0.20  # of the longer side: how far above the foremost foot another may be seen
_DEEPEST = 0.02  # share of the reference side: half the depth of a foot's shadow
_BROAD = 0.06  # of the width: what is narrower is a foot of what has legs only, else a handle or a lace


def feet_of(alpha: Float32[np.ndarray, "height width"], *, legs: bool) -> list[tuple[int, int, int]]:
    """First column, last column and row of each foot that is seen behind the foremost ones; alpha: 0..1.

    A foot is a stretch of the lower outline that is lower than everything near it: rear legs of a chair, the second
    shoe of a pair. `legs`: thin ones count as well.
    """
    solid = alpha > 0.5
    columns, rows = np.flatnonzero(solid.any(0)), np.flatnonzero(solid.any(1))
    if not columns.size:
        return []
    wide, tall = int(columns[-1] - columns[0] + 1), int(rows[-1] - rows[0] + 1)
    side = max(wide, tall)
    lowest = np.where(solid.any(0), len(solid) - 1 - np.argmax(solid[::-1], 0), -1).astype(np.float32)
    around = max(2, round(_APART * side))
    lower = cv2.dilate(lowest[None], np.ones((1, 2 * around + 1), np.uint8), borderValue=-1)[0]
    gap = lowest.max() - lowest
    foot = (lowest >= lower - max(1, _FLAT * side)) & (gap > 0.01 * side)
    foot &= gap <= (_LEGS_BACK if legs else _BACK) * side
    marked = np.concatenate([[False], foot & (lowest >= 0), [False]])
    starts, ends = np.flatnonzero(~marked[:-1] & marked[1:]), np.flatnonzero(marked[:-1] & ~marked[1:])
    return [
        (int(start), int(end) - 1, int(lowest[start:end].max()))
        for start, end in zip(starts, ends, strict=True)
        if legs or end - start >= _BROAD * wide
    ]


def _feet(alpha: Floats, camera: Camera, *, legs: bool) -> Floats | None:
    found = feet_of(alpha, legs=legs)
    if not found:
        return None
    stride = map_stride(camera.height)
    height, width = -(-camera.height // stride), -(-camera.width // stride)
    flat = camera.eye_level / camera.distance  # a circle on the ground is seen as flat as that
    result = np.zeros((height, width), np.float32)
    for size, blur, weight in _FOOT_LAYERS:
        layer = np.zeros((height, width), np.float32)
        for first, last, row in found:
            half = size * ((last - first + 1) / 2 + 1) / stride
            deep = min(half * max(flat, 0.3), _DEEPEST * camera.reference / stride)  # a shoe's sole is no disc
            axes = (max(1, round(half)), max(1, round(deep)))
            cv2.ellipse(
                layer, (round((first + last) / 2 / stride), round((row + 1) / stride)), axes, 0, 0, 360, weight, -1
            )
        result += cv2.GaussianBlur(layer, (0, 0), max(0.5, blur * camera.reference / stride))
    return result


def _depth(gap: np.typing.NDArray[np.floating], pixel: float) -> Floats:
    """Half the depth of the foot under each column: an ellipse over every run of columns that touch the floor."""
    touching = np.concatenate([[False], gap < 0.02, [False]])
    starts, ends = np.flatnonzero(~touching[:-1] & touching[1:]), np.flatnonzero(touching[:-1] & ~touching[1:])
    depth = np.full(gap.size, 0.02)
    for start, end in zip(starts, ends, strict=True):
        half = (end - start) / 2
        around = (np.arange(start, end) + 0.5 - start - half) / half
        depth[start:end] = np.maximum(0.012, min(0.45 * half * pixel, 0.11) * np.sqrt(1 - around**2))
    return depth.astype(np.float32)
