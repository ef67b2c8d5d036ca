"""Materials of a set: which tile, how glossy, how large; and their look-up for every pixel of a part, free of aliasing.

A tile is kept as one atlas of ever smaller copies (mip maps, Williams 1983), so that two look-ups per pixel, between
which the pixel's footprint interpolates, suffice for any distance.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from clickscape.render.color import Bytes, Floats, gray, linear_of_byte, to_display
from clickscape.render.studio import stones, tiles
from clickscape.render.studio.gbuffer import GBuffer

Kind = TypeVar("Kind", np.uint8, np.float32)
_LEVELS = 7  # 512 … 8 texels, or twice that
_MARGIN = 2  # texels of the opposite side around each level


@dataclass(frozen=True, slots=True)
class Material:
    """`gloss`: share mirrored head on; `rough`: 0 mirror … 1 matte; `bump`: of the height map; `scale`: world units."""

    paint: Callable[[np.random.Generator], tiles.Tile]
    gloss: float = 0.0
    rough: float = 1.0
    bump: float = 0.0
    scale: float = 1.6
    gain: float = 1.0  # albedo is stored divided by this; 2 for tiles of mean 1


MATERIALS: dict[str, Material] = {
    "white marble": Material(
        partial(stones.marble, base="#f4f3f0", vein="#8b8a8c", shade="#d3d3d2", cloud=0.75, strength=0.75),
        0.14, 0.22, 0, 2.8,
    ),
    "black marble": Material(
        partial(stones.marble, base="#151517", vein="#cfcac3", shade="#29292c", cloud=0.6, strength=0.65, sparse=0.5),
        0.16, 0.18, 0, 2.8,
    ),
    "terrazzo": Material(
        partial(stones.terrazzo, base="#e9e3da",
                chips=("#c3b9ad", "#a5a09a", "#d8cdbb", "#c9a88d", "#85827f", "#f6f3ee")),
        0.08, 0.3, 0, 2.4,
    ),
    "oak": Material(partial(tiles.wood, light="#d8b68a", dark="#a97f52", planks=6), 0.05, 0.5, 0.25, 2.8),
    "walnut": Material(partial(tiles.wood, light="#7a563c", dark="#412a1b", planks=6), 0.07, 0.45, 0.25, 2.8),
    "sand": Material(partial(tiles.sand, color="#f0d29c"), 0, 1, 1.3, 1.9),
    "linen": Material(partial(tiles.linen, color="#e4dccd", threads=150), 0, 1, 0.8, 2.0),
    "grass": Material(partial(tiles.grass, soil="#1d2c14", low="#3d6a26", high="#9db65a"), 0, 1, 0.3, 1.5),
    "water": Material(partial(tiles.water, deep="#0f7fa6", bright="#8fe0ea"), 0.22, 0.15, 0.45, 1.7),
    "slate": Material(partial(stones.slate, color="#454a50", pale="#626a71"), 0.04, 0.6, 0.8, 2.8),
    "snow": Material(partial(tiles.snow, color="#eef3f9"), 0.02, 0.7, 0.9, 1.8),
    "asphalt": Material(partial(tiles.asphalt, color="#2c2f36"), 0.16, 0.35, 0.35, 1.5),
    "paint": Material(tiles.paint, 0.0, 0.8, 0.0, 1.8, 2.0),
    "concrete": Material(tiles.concrete, 0.03, 0.8, 0.6, 1.7, 2.0),
    "ceramic": Material(partial(tiles.ceramic, count=8), 0.12, 0.2, 0.5, 2.9, 2.0),
    "pavement": Material(partial(tiles.earth, color="#9c948a"), 0.02, 0.8, 0.5, 1.6),
    "forest floor": Material(partial(tiles.earth, color="#4d4a28"), 0, 1, 0.9, 1.1),
    "red sand": Material(partial(tiles.sand, color="#c98255"), 0, 1, 1.2, 2.1),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Atlas:
    """All levels of a tile beside each other: albedo as sRGB bytes, gradient of heights; corner and side of each."""

    albedo: Bytes
    gradient: Floats | None
    left: Floats
    top: Floats
    side: Floats


def atlas(name: str) -> Atlas:
    """Paint a material and lay its levels out; about 0.05 to 0.2 CPU-seconds."""
    material = MATERIALS[name]
    albedo, height = material.paint(np.random.default_rng(zlib.crc32(name.encode())))
    levels = [albedo / np.float32(material.gain)]
    slopes = [_gradient(height)] if material.bump else []
    for _ in range(_LEVELS - 1):
        levels.append(_halved(levels[-1]))
        if slopes:
            slopes.append(_halved(slopes[-1]))
    sides = np.array([len(level) for level in levels], np.int32)
    left = np.where(np.arange(_LEVELS) == 0, 0, len(albedo) + 2 * _MARGIN) + _MARGIN
    top = np.concatenate([[0], [0], np.cumsum(sides[1:-1] + 2 * _MARGIN)]) + _MARGIN
    width = len(albedo) + len(albedo) // 2 + 4 * _MARGIN
    rows = int((top + sides).max()) + _MARGIN
    canvas = np.zeros((rows, width, 3), np.float32)
    slope_canvas = np.zeros((rows, width, 2), np.float32) if slopes else None
    for number, level in enumerate(levels):
        _lay(canvas, level, left[number], top[number])
        if slope_canvas is not None:
            _lay(slope_canvas, slopes[number], left[number], top[number])
    display = np.clip(to_display(np.clip(canvas, 0, 1)) * 255 + 0.5, 0, 255).astype(np.uint8)
    return Atlas(display, slope_canvas, left.astype(np.float32), top.astype(np.float32), sides.astype(np.float32))


def to_arrays(sheet: Atlas) -> dict[str, npt.NDArray[np.generic]]:
    """The arrays of an atlas by name; `from_arrays` puts them together again."""
    arrays = {name: getattr(sheet, name) for name in ("albedo", "left", "top", "side")}
    return arrays if sheet.gradient is None else arrays | {"gradient": sheet.gradient}


def from_arrays(arrays: Mapping[str, Any]) -> Atlas:
    """The atlas that `to_arrays` took apart; TypeError when an array is missing."""
    return Atlas(**{"gradient": None, **arrays})


def _gradient(height: Floats) -> Floats:
    right = (np.roll(height, -1, 1) - np.roll(height, 1, 1)) * np.float32(len(height) / 512)
    down = (np.roll(height, -1, 0) - np.roll(height, 1, 0)) * np.float32(len(height) / 512)
    return np.stack([right, down], -1).astype(np.float32)


def _halved(level: Floats) -> Floats:
    side = len(level) // 2
    return np.asarray(cv2.resize(level, (side, side), interpolation=cv2.INTER_AREA), np.float32)


def _lay(canvas: Floats, level: Floats, left: int, top: int) -> None:
    padded = np.pad(level, ((_MARGIN, _MARGIN), (_MARGIN, _MARGIN), (0, 0)), mode="wrap")
    canvas[top - _MARGIN : top - _MARGIN + len(padded), left - _MARGIN : left - _MARGIN + len(padded)] = padded


@dataclass(frozen=True, slots=True)
class Sample:
    """A material on the picture rows `top` … `bottom`: linear albedo (row, column, 3), gradient (row, column, 2)."""

    top: int
    bottom: int
    albedo: Floats
    gradient: Floats | None


def sample(buffer: GBuffer, part: int, name: str, sheet: Atlas, *, moved: float = 0.0) -> Sample | None:
    """Look a material up for all pixels of one part, `moved` tiles along both axes; None when the part is not seen."""
    present = np.nonzero((buffer.part == part).any(1))[0]
    if not present.size:
        return None
    top, bottom = int(present[0]), int(present[-1]) + 1
    material = MATERIALS[name]
    inverse = np.float32(1 / material.scale)
    u = buffer.texture_u[top:bottom] * inverse + np.float32(moved)
    v = buffer.texture_v[top:bottom] * inverse + np.float32(moved)
    u -= np.floor(u)
    v -= np.floor(v)
    texels = buffer.footprint[top:bottom] * (inverse * np.float32(sheet.side[0]))
    level = np.clip(np.log2(np.maximum(texels, 1e-6)), 0, _LEVELS - 1.001).astype(np.float32)
    lower = level.astype(np.int32)
    share = level - lower
    fine, coarse = (_map(sheet, u, v, lower + offset) for offset in (0, 1))
    near, far = _look_up(sheet.albedo, fine), _look_up(sheet.albedo, coarse)
    albedo = np.take(linear_of_byte(), near, mode="clip")
    albedo += (np.take(linear_of_byte(), far, mode="clip") - albedo) * gray(share)
    if material.gain != 1:
        albedo *= np.float32(material.gain)
    gradient = None
    if sheet.gradient is not None:
        gradient = _look_up(sheet.gradient, fine)
        gradient += (_look_up(sheet.gradient, coarse) - gradient) * cv2.merge((share, share))
        gradient *= np.float32(material.bump)
    return Sample(top, bottom, albedo, gradient)


def _map(sheet: Atlas, u: Floats, v: Floats, level: npt.NDArray[np.int32]) -> tuple[Floats, Floats]:
    side, left, top = (np.take(each, level, mode="clip") for each in (sheet.side, sheet.left, sheet.top))
    return u * side + (left - np.float32(0.5)), v * side + (top - np.float32(0.5))


def _look_up(canvas: npt.NDArray[Kind], at: tuple[Floats, Floats]) -> npt.NDArray[Kind]:
    return np.asarray(cv2.remap(canvas, at[0], at[1], cv2.INTER_LINEAR), canvas.dtype)
