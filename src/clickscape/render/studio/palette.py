"""Wall colors: their codes, and which of them answers to a product when a description asks for harmony or contrast."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from clickscape.render.color import Bytes, Floats
from clickscape.render.scene import PALETTES, Wish

PALETTE_COLORS = {
    "cream": "#f0e0c0",
    "pink": "#f29fae",
    "red": "#b3161f",
    "mint": "#9fdcc0",
    "teal": "#0f6f78",
    "blue": "#3f7fd6",
    "yellow": "#f5c22e",
    "lavender": "#ae98e0",
    "charcoal": "#34353b",
}
_GRAY = 20.0  # CIELAB chroma below which a color has no hue to speak of: cream and charcoal are neutral
_FAMILY = 40.0  # degrees within which hues are kin
_APART = 16.0  # least difference of lightness by which a product stands out from a wall of its own hue


def answer(cutout: UInt8[np.ndarray, "height width 4"], wish: Wish) -> str:
    """The palette that a product asks for; cutout: (height, width, 4), sRGB + straight alpha."""
    product = main_color(cutout)
    codes = [tuple(bytes.fromhex(PALETTE_COLORS[name].removeprefix("#"))) for name in PALETTES]
    walls = dict(zip(PALETTES, _lab(np.array([codes], np.uint8))[0], strict=True))
    if wish == "contrast":
        return max(PALETTES, key=lambda name: float(np.linalg.norm(walls[name] - product)))
    return min(PALETTES, key=lambda name: _discord(product, walls[name]))


def main_color(cutout: UInt8[np.ndarray, "height width 4"]) -> Float32[np.ndarray, " 3"]:
    """CIELAB color (3,) that a viewer would name: the mean of the opaque pixels, the vivid ones counting more."""
    opaque = cutout[..., 3] > 200
    seen = _lab(cutout[..., :3])[opaque if opaque.any() else cutout[..., 3] > 0]
    weight = 4.0 + np.hypot(seen[:, 1], seen[:, 2])
    return np.asarray((seen * weight[:, None]).sum(0) / weight.sum(), np.float32)


def _discord(product: Floats, wall: Floats) -> float:
    """Degrees of hue between two colors, and a penalty for equal lightness.

    Another family of hues counts twice; a neutral beside a color counts 60.
    """
    apart = float(np.degrees(np.arctan2(wall[2], wall[1]) - np.arctan2(product[2], product[1])))
    hues = [float(np.hypot(color[1], color[2])) >= _GRAY for color in (product, wall)]
    degrees = abs((apart + 180) % 360 - 180) if all(hues) else 60.0 * (hues[0] != hues[1])
    if all(hues) and degrees > _FAMILY:
        degrees *= 2
    return degrees + 90 * max(0.0, 1 - abs(float(wall[0] - product[0])) / _APART)


def _lab(picture: Bytes) -> Floats:
    """(height, width, 3) sRGB → CIELAB."""
    display = np.ascontiguousarray(picture, np.float32) / np.float32(255)
    return np.asarray(cv2.cvtColor(display, cv2.COLOR_RGB2LAB), np.float32)
