"""Photographed backdrops: a piece of a panorama (or a painted room), enlarged and blurred like an open lens blurs it.

Panoramas are 360° × the band from +45° to −22.5°, Radiance HDR, so that highlights stay highlights under the blur.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import cv2
import numpy as np

from clickscape.render.studio.color import Floats, hex_to_linear
from clickscape.render.studio.gbuffer import GBuffer

_TOP, _BAND = 45.0, 67.5  # degrees: elevation of the first row, height of the band
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
}


def panorama(name: str) -> Floats:
    """Linear light (row, column, 3) of one panorama, RGB; its well-lit parts are about 0.45."""
    if name in _PAINTED:
        return _PAINTED[name]()
    data = resources.files(__package__).joinpath(f"assets/panoramas/{name}.hdr").read_bytes()
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
    assert picture is not None
    light = np.ascontiguousarray(picture[..., ::-1], np.float32)
    level = float(np.percentile(light[: int(len(light) * 0.9)].mean(2), 60))
    return np.minimum(light * np.float32(0.45 / level), np.float32(_HIGHLIGHT))


def photograph(buffer: GBuffer, view: View, choice: int, source: Floats) -> Floats:
    """The backdrop as the set's camera sees it, (height, width, 3), linear and ready for display (white is about 1)."""
    height, width = buffer.part.shape
    stride = 2 if height > 200 else 1
    x, y, z = buffer.direction[:, ::stride, ::stride]
    rows, columns = source.shape[:2]
    zoom = view.zoom * buffer.camera.lens**_STEP_BACK
    around = np.arctan2(x, z) * np.float32(zoom) + np.float32(np.radians(view.yaws[choice]) - buffer.camera.yaw)
    above = np.arcsin(np.clip(y, -1, 1)) * np.float32(zoom) + np.float32(np.radians(view.lift))
    at_column = ((around / np.float32(2 * np.pi) + np.float32(0.5)) * columns) % columns
    at_row = np.clip((np.float32(_TOP) - np.degrees(above)) / np.float32(_BAND) * rows, 0, rows - 1)
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


class _Canvas:
    """A wall to paint on, by degrees: columns −180 to 180, rows by elevation; it is only ever seen blurred."""

    def __init__(self, wall: str) -> None:
        self.light = np.empty((384, 2048, 3), np.float32)  # 5.7 pixels per degree
        self.light[:] = hex_to_linear(wall)

    def _pixel(self, along: float, up: float) -> tuple[int, int]:
        rows, columns = self.light.shape[:2]
        return round((along / 360 + 0.5) * columns), round((_TOP - up) / _BAND * rows)

    def block(self, left: float, top: float, right: float, bottom: float, color: str, gain: float = 1.0) -> None:
        value = (hex_to_linear(color) * gain).tolist()
        cv2.rectangle(self.light, self._pixel(left, top), self._pixel(right, bottom), value, -1)

    def disc(self, along: float, up: float, radius: float, color: str, gain: float = 1.0) -> None:
        value = (hex_to_linear(color) * gain).tolist()
        cv2.circle(self.light, self._pixel(along, up), round(radius * 5.7), value, -1, cv2.LINE_AA)

    def finished(self) -> Floats:
        return np.asarray(cv2.GaussianBlur(self.light, (0, 0), 2), np.float32)


def _kitchen() -> Floats:
    """Cabinets, tiled splash, worktop with jars, a small window and pendant lamps; every 45° again."""
    canvas = _Canvas("#cdbfa8")
    for start in range(-180, 180, 45):
        canvas.block(start, 45, start + 45, 2, "#cfdcd6", 0.9)
        for column in range(0, 45, 5):
            for row in range(2, 45, 4):
                canvas.block(start + column + 0.3, row + 3.7, start + column + 4.7, row + 0.3, "#f3f8f5", 0.92)
        canvas.block(start, 2, start + 45, 0, "#b9824c")
        canvas.block(start, 0, start + 45, -24, "#3f6f6a", 0.9)
        for column in (0, 15, 30):
            canvas.block(start + column + 1, -1, start + column + 14, -22, "#5b948c")
            canvas.block(start + column + 6, -2, start + column + 9, -3, "#e9c27a", 1.2)
        canvas.block(start, 45, start + 11, 17, "#d8b98d", 0.8)
        canvas.block(start + 11.6, 45, start + 22, 17, "#d8b98d", 0.8)
        canvas.block(start + 29, 27, start + 41, 9, "#ffffff")
        canvas.block(start + 29.7, 26.3, start + 34.6, 9.7, "#d9f0ff", 1.9)
        canvas.block(start + 35.4, 26.3, start + 40.3, 9.7, "#e6f7d9", 1.9)
        canvas.block(start + 4, 9, start + 8, 2, "#c2452d")
        canvas.block(start + 10, 7, start + 13, 2, "#e0a93e", 1.1)
        canvas.disc(start + 20.5, 8, 3.4, "#4f8a3a")
        canvas.block(start + 19, 5, start + 22, 2, "#f1ebe0")
        canvas.disc(start + 25.5, 24, 2.2, "#ffcf8a", 6.0)
    return canvas.finished()


def _living_room() -> Floats:
    """A sofa with cushions, framed pictures, a floor lamp, a plant and a shelf of books; every 60° again."""
    canvas = _Canvas("#d9b99a")
    books = ("#b5533c", "#e3c27a", "#4b6a7d", "#efe6d6", "#7d4a5c", "#58784f")
    for start in range(-180, 180, 60):
        canvas.block(start, -12, start + 60, -24, "#8a5d3b", 0.8)
        canvas.block(start + 2, 8, start + 30, -3, "#54687f")  # sofa
        canvas.block(start, 3, start + 33, -12, "#48596e")
        canvas.block(start + 3, 2, start + 16, -5, "#6b8199")
        canvas.block(start + 17, 2, start + 30, -5, "#6b8199")
        canvas.block(start + 4, 7, start + 10, 1, "#e0a13f", 1.1)
        canvas.block(start + 23, 7, start + 29, 1, "#d9694a", 1.1)
        for left, top, color in ((6, 27, "#f4efe6"), (18, 25, "#f4efe6")):
            canvas.block(start + left, top, start + left + 9, top - 12, "#5a4030")
            canvas.block(start + left + 0.7, top - 0.7, start + left + 8.3, top - 11.3, color)
            canvas.disc(start + left + 4.5, top - 6, 2.6, "#c9785a" if left == 6 else "#4f7f78")
        canvas.block(start + 35.6, 12, start + 36.2, -12, "#3a3029")  # lamp
        canvas.block(start + 32.8, 19, start + 39, 12, "#ffd592", 2.6)
        canvas.block(start + 42, 30, start + 57, -12, "#6e4a31")  # shelf
        for row in range(5):
            canvas.block(start + 42.8, 29 - 8 * row, start + 56.2, 22 - 8 * row, "#3f2a1d")
            for column in range(8):
                color = books[(column * 5 + row * 3) % len(books)]
                spine = start + 43.2 + column * 1.6
                canvas.block(spine, 28 - 8 * row - (column * 7 + row) % 3, spine + 1.3, 22.3 - 8 * row, color)
        for along, up in ((0, 10), (-2.4, 7), (2.2, 6.5), (-1, 13), (1.4, 12.5)):
            canvas.disc(start + 60 - 1.2 + along - 60, up - 2, 2.6, "#3f7a3c", 0.9)  # plant
    return canvas.finished()


_PAINTED = {"kitchen": _kitchen, "living room": _living_room}
