"""Photographed backdrops: a piece of a panorama, enlarged and blurred like an open lens blurs it.

Panoramas are 360° × the band from +45° to −22.5°. They hold more light than a screen's white, so that highlights stay
highlights under the blur; `scripts/build_panoramas.py` made them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32

from clickscape.render.color import Floats, hex_to_linear
from clickscape.render.studio.asset_files import read_picture
from clickscape.render.studio.gbuffer import GBuffer

TOP, BAND = 45.0, 67.5  # degrees: elevation of a panorama's first row, height of the band that is kept
BRIGHTEST = 10.0  # light that a panorama can hold, in units of the picture's white
_STEP_BACK = 0.3  # power of the lens by which a backdrop shows more: whole, it would be a few blurred shapes


@dataclass(frozen=True, slots=True)
class View:
    """Where to look: two `yaws` in degrees; `zoom` > 1 shows more; `blur` is the radius of the disc at 512 px."""

    panorama: str
    yaws: tuple[float, float]
    tint: str = "#ffffff"
    gain: float = 1.0
    saturation: float = 1.0
    zoom: float = 1.7
    lift: float = 4.0  # degrees upward
    blur: float = 7.0


VIEWS: dict[str, View] = {
    "kitchen": View("kitchen", (166.0, -160.0), "#fff2e2", 1.5, 1.25, zoom=2.0, lift=3),
    "living room": View("living-room", (-46.0, -18.0), "#fff0dd", 1.35, 1.3, zoom=2.1, lift=1),
    "terrace": View("courtyard", (56.0, 112.0), gain=0.95, saturation=1.1, zoom=1.9),
    "forest": View("forest", (-48.0, 62.0), "#fffbe8", 1.3, 1.2, zoom=2.0, lift=2),
    "meadow": View("meadow", (-70.0, 118.0), "#fff8ea", 1.1, zoom=2.0, lift=1),
    "beach": View("beach", (75.0, -60.0), gain=1.1, saturation=1.15, zoom=2.2, lift=3.5, blur=6.5),
    "desert": View("desert", (-25.0, -122.0), "#ffd08a", 1.75, 0.8, zoom=2.0, lift=1.5),
    "city": View("city", (52.0, 0.0), "#fff4e6", 1.3, 1.3, zoom=2.2, lift=4),
    "workshop": View("workshop", (-60.0, 0.0), "#fff6ea", 0.75, 1.15, zoom=2.0, lift=4),
    "cafe": View("cafe", (84.0, -66.0), gain=1.1, zoom=2.1, lift=4, blur=8),
    "snow": View("snow", (-30.0, 148.0), "#fffaf2", 1.35, zoom=2.1, lift=2),
    "night city": View("night-city", (50.0, 110.0), gain=1.2, saturation=1.2, zoom=2.2, lift=3.5, blur=9),
    "festive": View("festive", (168.0, -96.0), gain=1.2, saturation=1.1, zoom=2.2, lift=2, blur=9),
    "pool": View("pond", (-28.0, 125.0), gain=1.1, saturation=1.1, zoom=2.0, lift=1.5, blur=6),
}


def panorama(name: str) -> Float32[np.ndarray, "row column 3"]:
    """Linear light (row, column, 3) of one panorama, RGB; its well-lit parts are about 0.45."""
    stored = read_picture(f"panoramas/{name}.webp", flags=cv2.IMREAD_COLOR)
    steps = (np.arange(256, dtype=np.float32) / np.float32(255)) ** 3 * np.float32(BRIGHTEST)
    return np.ascontiguousarray(steps[stored[..., ::-1]])


def photograph(
    buffer: GBuffer, view: View, choice: int, source: Float32[np.ndarray, "row column 3"]
) -> Float32[np.ndarray, "height width 3"]:
    """The backdrop as the set's camera sees it, (height, width, 3), linear and ready for display (white is about 1)."""
    height, width = buffer.part.shape
    stride = 2 if height > 200 else 1
    x, y, z = buffer.direction[:, ::stride, ::stride]
    rows, columns = source.shape[:2]
    zoom = view.zoom * buffer.camera.lens**_STEP_BACK
    around = np.arctan2(x, z) * np.float32(zoom) + np.float32(np.radians(view.yaws[choice]) - buffer.camera.yaw)
    above = np.arcsin(np.clip(y, -1, 1)) * np.float32(zoom) + np.float32(np.radians(view.lift))
    at_column = ((around / np.float32(2 * np.pi) + np.float32(0.5)) * columns) % columns
    at_row = np.clip((np.float32(TOP) - np.degrees(above)) / np.float32(BAND) * rows, 0, rows - 1)
    seen = cv2.remap(
        source, at_column.astype(np.float32), at_row.astype(np.float32), cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP
    )
    seen = np.maximum(seen, 0)
    gray = seen.mean(2, keepdims=True)
    seen = np.maximum(gray + (seen - gray) * np.float32(view.saturation), 0)
    seen = seen * (hex_to_linear(view.tint) * np.float32(view.gain))
    seen = _disc_blurred(seen.astype(np.float32), view.blur * buffer.camera.reference / 512 / stride)
    if stride > 1:
        seen = cv2.resize(seen, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(seen, np.float32)


def _disc_blurred(picture: Floats, radius: float) -> Floats:
    """Blur with a disc that is a little brighter at its rim, as a fast lens does."""
    reach = max(1, int(np.ceil(radius)))
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    distance = np.hypot(columns, rows)
    disc = np.clip(radius + 0.5 - distance, 0, 1) * (1 + 0.5 * (distance / max(radius, 0.5)) ** 3)
    blurred = cv2.filter2D(picture, -1, (disc / disc.sum()).astype(np.float32), borderType=cv2.BORDER_REFLECT)
    return np.asarray(cv2.GaussianBlur(blurred, (0, 0), max(0.6, radius * 0.18)), np.float32)
