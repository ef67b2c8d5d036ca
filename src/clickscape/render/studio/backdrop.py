"""Photographed backdrops: a piece of a panorama (or a painted place), enlarged and blurred like an open lens blurs it.

Panoramas are 360° × the band from +45° to −22.5°, Radiance HDR, so that highlights stay highlights under the blur.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32

from clickscape.render.color import Floats, hex_to_linear
from clickscape.render.studio.asset_files import read_picture
from clickscape.render.studio.gbuffer import GBuffer
from clickscape.render.studio.painted import BAND, PAINTED, TOP

_HIGHLIGHT = 10.0  # brightest value kept, in units of the picture's white
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
    "kitchen": View("kitchen", (4.0, -16.0), blur=6, zoom=2.0),
    "living room": View("living room", (18.0, 36.0), blur=5.5, zoom=2.2),
    "terrace": View("courtyard", (56.0, 112.0), "#ffffff", 0.95, 1.1, blur=6, zoom=1.9),
    "forest": View("forest", (-48.0, 62.0), "#e2f5c4", 0.85, 1.5, blur=5.5, zoom=2.0),
    "meadow": View("park", (-70.0, 118.0), "#ffffff", 1.05, 1.25, blur=6, zoom=2.2, lift=3),
    "beach": View("beach", (75.0, -60.0), "#ffffff", 1.1, 1.15, blur=4, zoom=2.2, lift=3.5),
    "desert": View("dawn", (-122.0, -25.0), "#ffc890", 2.1, 1.15, blur=5, zoom=2.0, lift=4),
    "city": View("city", (-118.0, 58.0), "#d6e6ff", 1.05, 1.25, blur=4.5, zoom=2.4, lift=6),
    "workshop": View("warehouse", (20.0, 60.0), "#f4f0dc", 0.62, 1.35, blur=5.5, zoom=2.0, lift=6),
    "cafe": View("cafe", (8.0, -26.0), gain=1.15, blur=6, zoom=2.2),
    "snow": View("snow", (12.0, -40.0), blur=6.5, zoom=2.1, lift=5),
    "night city": View("night city", (0.0, 70.0), blur=9, zoom=2.2, lift=6),
    "festive": View("festive", (12.0, -44.0), blur=8, zoom=2.3),
    "pool": View("lake", (10.0, 120.0), "#ffffff", 1.0, 1.2, blur=4, zoom=2.2, lift=4),
}


def panorama(name: str) -> Float32[np.ndarray, "row column 3"]:
    """Linear light (row, column, 3) of one panorama, RGB; its well-lit parts are about 0.45."""
    if name in PAINTED:
        return PAINTED[name]()
    picture = read_picture(f"panoramas/{name}.hdr", flags=cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    light = np.ascontiguousarray(picture[..., ::-1], np.float32)
    level = float(np.percentile(light[: int(len(light) * 0.9)].mean(2), 60))
    return np.minimum(light * np.float32(0.45 / level), np.float32(_HIGHLIGHT))


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
