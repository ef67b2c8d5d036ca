"""Give a cut-out another color, so that the color word in a variant's title is true.

Colors are compared in OKLab (Ottosson 2020, https://bottosson.github.io/posts/oklab/), where hue, chroma and lightness
can be moved one by one.  Only pixels near the source color move (a red shoe keeps its white sole); a gray source tints
the grays.  The mapping depends on the pixel's color alone, so it is computed on a small color cube, which Pillow
applies to the image in C.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Color = tuple[int, int, int]
Floats = NDArray[np.float32]

_CUBE = 25  # grid points on each axis of the color cube
_NEUTRAL = 0.045  # OKLab chroma below which a source color counts as gray
_HUE_NEAR, _HUE_FAR = np.radians(48), np.radians(75)  # hue distance that moves fully, and not at all
_HUE_KEPT = 0.3  # share of the hue differences within the source that survives, so that the variant keeps its shading
_SLOPES = (0.6, 1.6)  # bounds of the lightness curve: a light product made navy shall neither turn flat nor harsh
_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    np.float32,
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ],
    np.float32,
)
_FROM_LAB, _FROM_LMS = np.linalg.inv(_TO_LAB).astype(np.float32), np.linalg.inv(_TO_LMS).astype(np.float32)


def recolor(cutout: NDArray[np.uint8], *, source: Color, target: Color) -> NDArray[np.uint8]:
    """The cut-out (height, width, 4) with the pixels near ``source`` moved to ``target`` (sRGB); alpha stays."""
    return np.asarray(Image.fromarray(cutout).filter(_cube(source, target)))


def to_oklab(rgb: NDArray[np.generic]) -> Floats:
    """OKLab (…, 3) of sRGB values 0..255."""
    value = np.asarray(rgb, np.float32) / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T, np.float32)


def _to_linear(lab: Floats) -> Floats:
    """Linear sRGB, possibly outside 0..1, of OKLab."""
    return np.asarray((lab @ _FROM_LAB.T) ** 3 @ _FROM_LMS.T, np.float32)


def _polar(lab: Floats) -> tuple[Floats, Floats, Floats]:
    """Lightness, chroma and hue (radians)."""
    return lab[..., 0], np.hypot(lab[..., 1], lab[..., 2]), np.arctan2(lab[..., 2], lab[..., 1])


def _smoothstep(value: Floats, start: float, end: float) -> Floats:
    """0 at ``start``, 1 at ``end`` (which may be the smaller one)."""
    share = np.clip((value - start) / (end - start), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)


@lru_cache(maxsize=1)
def _grid() -> tuple[Floats, Floats, Floats, Floats]:
    """OKLab of the color cube's points, red varying fastest as Pillow wants it, and the same in polar form."""
    axis = np.linspace(0, 255, _CUBE, dtype=np.float32)
    blue, green, red = np.meshgrid(axis, axis, axis, indexing="ij")
    lab = to_oklab(np.stack([red, green, blue], -1).reshape(-1, 3))
    return lab, *_polar(lab)


@lru_cache(maxsize=64)
def _chroma_limit(hue: float) -> tuple[Floats, Floats]:
    """Lightness values and the largest chroma in sRGB at each of them: beyond it, clipping would change the hue."""
    lightness = np.linspace(0, 1, 65, dtype=np.float32)
    chroma = np.linspace(0, 0.4, 201, dtype=np.float32)
    grid = np.broadcast_arrays(lightness[:, None], chroma * np.cos(hue), chroma * np.sin(hue))
    linear = _to_linear(np.stack(grid, -1))
    inside = ((linear >= -1e-3) & (linear <= 1.001)).all(-1)
    return lightness, chroma[np.maximum(np.cumprod(inside, 1).sum(1) - 1, 0)]


@lru_cache(maxsize=64)
def _cube(source: Color, target: Color) -> ImageFilter.Color3DLUT:
    """The mapping as a color cube."""
    lab, lightness, chroma, hue = _grid()
    source_lightness, source_chroma, source_hue = (float(x) for x in _polar(to_oklab(np.array(source))))
    target_lightness, target_chroma, target_hue = (float(x) for x in _polar(to_oklab(np.array(target))))

    turn = np.angle(np.exp(1j * (hue - source_hue)))
    if source_chroma < _NEUTRAL:
        weight, turn = _smoothstep(chroma, 0.10, 0.055), np.zeros_like(turn)
        strength = np.full_like(chroma, 1.0)
    else:
        weight = _smoothstep(np.abs(turn).astype(np.float32), float(_HUE_FAR), float(_HUE_NEAR))
        weight = weight * _smoothstep(chroma, 0.15 * source_chroma, 0.45 * source_chroma)
        strength = np.clip(chroma / source_chroma, 0.6, 1.2)

    below, above = target_lightness / source_lightness, (1 - target_lightness) / (1.001 - source_lightness)
    distance = lightness - source_lightness
    slope = np.where(distance < 0, np.clip(below, *_SLOPES), np.clip(above, *_SLOPES))
    new_lightness = np.clip(target_lightness + distance * slope, 0.02, 0.995).astype(np.float32)
    new_hue = target_hue + _HUE_KEPT * turn
    new_chroma = np.minimum(target_chroma * strength, np.interp(new_lightness, *_chroma_limit(target_hue)))
    moved = np.stack([new_lightness, new_chroma * np.cos(new_hue), new_chroma * np.sin(new_hue)], -1)
    linear = np.clip(_to_linear((lab + weight[:, None] * (moved - lab)).astype(np.float32)), 0, 1)
    table = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** np.float32(1 / 2.4) - 0.055)
    return ImageFilter.Color3DLUT(_CUBE, table.astype(np.float32).ravel())
