"""Where a product goes in the picture, and from where it is seen: on a stand, on a surface below the camera, on a wall.

Standing is `product.placement_box` and one of the stage's cameras. What lies fills more of the picture, in the middle
of what the margins leave; what hangs has the wall between the floor and the upper border; what leans has its foot on
the floor before the wall.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from clickscape.render.physical_size import PhysicalSize
from clickscape.render.renderer import NO_MARGINS, Box, Margins
from clickscape.render.staging import Staging
from clickscape.render.studio import product as products
from clickscape.render.studio.geometry import WALL_DISTANCE, Camera

_LYING: dict[PhysicalSize, tuple[float, float]] = {"small": (0.60, 0.64), "usual": (0.68, 0.74), "large": (0.70, 0.78)}
"""Of the picture's reference side and of its width, that a product seen from above may fill."""
_HANGING = (0.62, 0.66)
_LEANING = (0.64, 0.60)
_EYES = (0.60, 0.15, 1.95)  # lowest eye height, step and highest, where the cut-out says from how high it was seen
_EYE_BEFORE_WALL = 0.72  # of the usual eye height: a lower eye sees more wall above less floor
_OFF_FLOOR, _OFF_TOP = 0.05, 0.06  # shares of the height that stay free below and above what hangs on a wall
_LOWEST = 0.72  # share of the height above which what hangs free ends
WALL_GAP = 0.06  # world units from the wall to what hangs on it
LEAN_GAP = 0.16  # … to the foot of what leans on it
FREE_GAP = 0.70  # … to what hangs from the ceiling
_HALF_STEP = 0.12  # world units: products as wide as each other to so much share their set
_LIFT_STEP = 0.02
_SHEET = 0.06  # thickness, share of the shorter side, up to which what hangs hangs on the wall
_ROW_STEP = 0.04


@dataclass(frozen=True, slots=True)
class Fit:
    """What of a product its set is built to: world units that it reaches left and right, and up and down, in steps.

    `tall` is 0 where it stands. `gap`: world units to what it lies on or hangs before, in steps; None where it stands.
    `hangs`: it touches no ground. `row`: its middle, share of the picture's height, in steps.
    """

    half: float
    physical_size: PhysicalSize = "usual"
    tall: float = 0.0
    gap: float | None = None
    hangs: bool = False
    row: float = 0.5


@dataclass(frozen=True, slots=True)
class Layout:
    """The product's place in the picture, the camera, and what the set needs to know."""

    box: Box
    camera: Camera
    fit: Fit


def lay_out(
    shape: tuple[int, int],
    staging: Staging,
    *,
    size: tuple[int, int],
    view: tuple[float, float],
    offset: float = 0.0,
    walled: bool = True,
    margins: Margins = NO_MARGINS,
    physical_size: PhysicalSize = "usual",
) -> Layout:
    """Place a trimmed product of `shape` (height, width) in a picture of `size` (width, height).

    `view`: eye height and yaw of the camera; `offset`: share of the width right of the center.
    """
    eye, yaw = view
    if staging.elevation is not None:
        eye = eye_height(staging.elevation)
    lowest = products.lowest_foot(margins)
    if staging.seen == "above":
        return _lying(shape, staging, size=size, yaw=yaw, offset=offset, margins=margins, physical_size=physical_size)
    if staging.pose in ("hangs", "leans"):
        camera = Camera(*size, eye * _EYE_BEFORE_WALL, lowest=lowest)  # square to the wall, as the product is
        return _before_wall(shape, staging, camera, offset=offset, walled=walled, margins=margins)
    camera = Camera(*size, eye, yaw, lowest=lowest)
    box = products.placement_box(shape, size=size, offset=offset, margins=margins, physical_size=physical_size)
    return Layout(box, camera, Fit(_stepped(box.width / 2 / camera.pixels_per_unit), physical_size))


def eye_height(elevation: float) -> float:
    """World units above the foot of an eye that looks down by `elevation` degrees, in steps that share their sets."""
    lowest, step, highest = _EYES
    height = min(max(lowest, Camera.DISTANCE * math.tan(math.radians(elevation))), highest)
    return round(lowest + step * round((height - lowest) / step), 2)


def _lying(
    shape: tuple[int, int],
    staging: Staging,
    *,
    size: tuple[int, int],
    yaw: float,
    offset: float,
    margins: Margins,
    physical_size: PhysicalSize,
) -> Layout:
    left, top, right, bottom = margins.inside(size)
    camera = Camera(*size, yaw=yaw, above=True, middle=(top + bottom) / 2 / size[1])
    high, wide = _LYING[physical_size]
    room = (min(high * camera.reference, bottom - top), min(wide * size[0], right - left))
    box = _centered(shape, room, ((left + right) / 2 + offset * size[0], (top + bottom) / 2), (left, right))
    gap = staging.thickness * min(box.width, box.height) / camera.pixels_per_unit
    return _fitted(box, camera, physical_size, gap=_LIFT_STEP * max(1, round(gap / _LIFT_STEP)))


def _before_wall(
    shape: tuple[int, int], staging: Staging, camera: Camera, *, offset: float, walled: bool, margins: Margins
) -> Layout:
    left, top, right, bottom = margins.inside((camera.width, camera.height))
    leans, ceiling = staging.pose == "leans", staging.pose == "hangs" and staging.thickness > _SHEET
    gap = LEAN_GAP if leans else FREE_GAP if ceiling else WALL_GAP
    high, wide = _LEANING if leans else _HANGING
    foot = round(float(camera.project(*(np.full(1, at, np.float32) for at in (0, 0, WALL_DISTANCE - gap)))[1][0]))
    top += 0 if ceiling else round(_OFF_TOP * camera.height)  # a cord that ends below the border hangs in the air
    if leans:
        bottom = min(bottom, foot)
    elif ceiling or not walled:
        bottom = min(bottom, round(_LOWEST * camera.height))
    else:
        bottom = min(bottom, foot - round(_OFF_FLOOR * camera.height))
    room = (min(high * camera.reference, max(2, bottom - top)), min(wide * camera.width, right - left))
    middle = ((left + right) / 2 + offset * camera.width, (top + bottom) / 2)
    box = _centered(shape, room, middle, (left, right))
    if leans or ceiling:
        box = replace(box, top=top if ceiling else bottom - box.height)
    return _fitted(box, camera, "usual", gap=gap, hangs=not leans)


def _centered(
    shape: tuple[int, int], room: tuple[float, float], middle: tuple[float, float], sides: tuple[int, int]
) -> Box:
    scale = min(room[0] / shape[0], room[1] / shape[1])
    height, width = max(2, round(shape[0] * scale)), max(2, round(shape[1] * scale))
    left = max(sides[0], min(round(middle[0] - width / 2), sides[1] - width))
    return Box(left, round(middle[1] - height / 2), width, height)


def _fitted(box: Box, camera: Camera, physical_size: PhysicalSize, *, gap: float, hangs: bool = False) -> Layout:
    half, tall = (_stepped(side / 2 / camera.pixels_per_unit) for side in (box.width, box.height))
    row = _ROW_STEP * round((box.top + box.height / 2) / camera.height / _ROW_STEP)
    return Layout(box, camera, Fit(half, physical_size, tall, gap, hangs, row))


def _stepped(half: float) -> float:
    return _HALF_STEP * max(3, math.ceil(half / _HALF_STEP - 1e-6))
