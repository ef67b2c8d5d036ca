"""Painted places for backdrops: blocks, discs and triangles of light, only ever seen through an open lens.

A canvas covers 360° × the band from +45° to −22.5°. Small bright discs become the bokeh of lamps when they are blurred.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from clickscape.render.color import Floats, hex_to_linear

TOP, BAND = 45.0, 67.5  # degrees: elevation of the first row, height of the band


class _Canvas:
    """A wall to paint on, by degrees: columns −180 to 180, rows by elevation; it is only ever seen blurred."""

    def __init__(self, wall: str) -> None:
        self.light = np.empty((384, 2048, 3), np.float32)  # 5.7 pixels per degree
        self.light[:] = hex_to_linear(wall)

    def _pixel(self, along: float, up: float) -> tuple[int, int]:
        rows, columns = self.light.shape[:2]
        return round((along / 360 + 0.5) * columns), round((TOP - up) / BAND * rows)

    def block(self, left: float, top: float, right: float, bottom: float, color: str, gain: float = 1.0) -> None:
        value = (hex_to_linear(color) * gain).tolist()
        cv2.rectangle(self.light, self._pixel(left, top), self._pixel(right, bottom), value, -1)

    def disc(self, along: float, up: float, radius: float, color: str, gain: float = 1.0) -> None:
        value = (hex_to_linear(color) * gain).tolist()
        cv2.circle(self.light, self._pixel(along, up), round(radius * 5.7), value, -1, cv2.LINE_AA)

    def sky(self, top: str, bottom: str, horizon: float) -> None:
        """A gradient from the upper edge down to `horizon` degrees."""
        last = self._pixel(0, horizon)[1]
        share = np.linspace(0, 1, last, dtype=np.float32)[:, None, None]
        self.light[:last] = hex_to_linear(top) * (1 - share) + hex_to_linear(bottom) * share

    def fir(
        self, along: float, foot: float, tall: float, color: str, rng: np.random.Generator, snow: str | None = None
    ) -> None:
        """A conifer of `tall` degrees: boughs from the foot to the tip, drooping and ragged, with snow where given."""
        boughs = max(6, round(tall / 1.6))
        for bough in range(boughs):
            share = bough / boughs
            middle, half = foot + tall * share, tall * 0.23 * (1 - share) ** 0.9 * rng.uniform(0.78, 1.1) + 0.25
            peak, droop = middle + tall * 0.17, rng.uniform(0.3, 0.9)
            self._polygon(
                [(along - half, middle - droop), (along, middle + 0.6), (along + half, middle - droop), (along, peak)],
                color,
            )
            if snow is not None and share > 0.08:
                for side in (-1, 1):
                    reach = half * rng.uniform(0.6, 1.0)
                    self._polygon(
                        [
                            (along + side * reach, middle - 0.6 * droop),
                            (along + side * 0.15 * reach, middle + 0.45 * (peak - middle)),
                            (along + side * 0.35 * reach, middle + 0.15 * (peak - middle)),
                        ],
                        snow,
                    )

    def _polygon(self, corners: list[tuple[float, float]], color: str) -> None:
        points = np.array([self._pixel(*corner) for corner in corners], np.int32)
        cv2.fillPoly(self.light, [points], hex_to_linear(color).tolist(), cv2.LINE_AA)

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


def _cafe() -> Floats:
    """A bright shop front with plants, a tiled counter with an espresso machine, shelves, a board and warm lamps."""
    canvas = _Canvas("#6d4b36")
    cups = ("#efe7da", "#c9785a", "#3f6f6a", "#e3c27a")
    for start in range(-180, 180, 60):
        canvas.block(start, -10, start + 60, -24, "#7b5a3f", 0.8)
        canvas.block(start + 2, 33, start + 24, -6, "#2d3a36")  # window front
        for left in (3, 10.2, 17.4):
            canvas.block(start + left, 31.5, start + left + 6.2, 5, "#dff0f4", 2.0)
            canvas.block(start + left, 4, start + left + 6.2, -5, "#b9d3c4", 1.1)
        canvas.block(start + 28, 30, start + 57, -2, "#4a3224")  # back wall with shelves
        for row in range(3):
            canvas.block(start + 30, 24 - 9 * row, start + 46, 23 - 9 * row, "#c99a62", 1.1)
            for column in range(9):
                color = cups[(column * 3 + row) % len(cups)]
                cup = start + 30.6 + column * 1.7
                canvas.block(cup, 26.4 - 9 * row + column % 2, cup + 1.2, 24 - 9 * row, color, 1.05)
        canvas.block(start + 48.5, 26, start + 56.5, 10, "#22302c")  # board
        for line in range(4):
            canvas.block(start + 49.8, 24 - 3.4 * line, start + 54 + line % 2, 23.4 - 3.4 * line, "#e9e4dc", 0.9)
        canvas.block(start + 26, 0, start + 60, -2, "#d9b07a", 1.1)  # counter
        canvas.block(start + 26, -2, start + 60, -16, "#2f5e58")
        for column in range(17):
            canvas.block(start + 26.2 + 2 * column, -2.4, start + 27.9 + 2 * column, -15.6, "#3c756d")
        canvas.block(start + 38, 6, start + 46, 0, "#b8bcc0", 1.2)  # espresso machine
        canvas.block(start + 38.6, 3.4, start + 45.4, 1.4, "#33373a")
        for along, up in ((31.0, 29.0), (41.0, 31.0), (51.0, 29.0)):
            canvas.disc(start + along, up, 1.7, "#ffc97a", 8.0)
        for along, up in ((0, 8), (-1.8, 5), (2, 5.6), (-0.6, 11), (1.2, 11.6)):
            canvas.disc(start + 25 + along, up, 2.4, "#4d8444")
    return canvas.finished()


def _snow() -> Floats:
    """A winter sky over white hills, firs far and near, and some flakes in the air."""
    canvas = _Canvas("#e8eff6")
    canvas.sky("#86add8", "#f6e9e2", 3.0)
    rng = np.random.default_rng(11)
    for along in np.arange(-180.0, 180.0, 9.0):
        canvas.disc(along, -8 + 2.5 * np.sin(along / 21), 11.5, "#dbe6f2")
    for along in np.arange(-180.0, 180.0, 1.7):
        canvas.fir(along + rng.normal(), 1.0, rng.uniform(4, 8), "#8aa5b4", rng)
    for along in np.arange(-180.0, 180.0, 4.3):
        canvas.fir(along + 1.5 * rng.normal(), -1.5, rng.uniform(8, 15), "#5b7f80", rng, snow="#dbe6ee")
    for along in np.arange(-176.0, 180.0, 15.0):
        canvas.fir(along + 3 * rng.normal(), -4.0, rng.uniform(18, 30), "#2c5148", rng, snow="#f7fafd")
    canvas.block(-180, -2.6, 180, -24, "#f1f5fa", 1.0)
    for _ in range(700):
        canvas.disc(rng.uniform(-180, 180), rng.uniform(-6, 45), rng.uniform(0.18, 0.3), "#ffffff", 1.5)
    return canvas.finished()


def _night_city() -> Floats:
    """Dark towers with lit windows under a blue night; traffic and neon become discs when the lens is open."""
    canvas = _Canvas("#0d1226")
    canvas.sky("#070b1c", "#2b2850", -1.0)
    rng = np.random.default_rng(12)
    neon = ("#ff4fa0", "#38d0ff", "#ffb04a", "#ff6a3c", "#8a6cff", "#5dffb8")
    along = -180.0
    while along < 180:
        wide, tall = rng.uniform(5, 11), rng.uniform(9, 36)
        canvas.block(along, tall, along + wide, -6, "#141a33", rng.uniform(0.6, 1.3))
        for up in np.arange(1.5, tall - 1, 2.3):
            for left in np.arange(along + 0.8, along + wide - 0.8, 1.5):
                if rng.random() < 0.34:
                    color = "#ffd596" if rng.random() < 0.75 else "#a8d4ff"
                    canvas.block(left, up + 1, left + 0.8, up, color, rng.uniform(0.6, 2.4))
        along += wide + rng.uniform(0.2, 1.5)
    canvas.block(-180, -6, 180, -24, "#10131f")
    for _ in range(150):  # signs and street lamps
        color = neon[rng.integers(len(neon))]
        canvas.disc(rng.uniform(-180, 180), rng.uniform(-4, 20), rng.uniform(0.35, 0.75), color, rng.uniform(6, 14))
    for _ in range(120):  # cars, and their mirror on wet asphalt
        right, color = rng.uniform(-180, 180), ("#ff3b30", "#fff1d0")[rng.integers(2)]
        canvas.disc(right, rng.uniform(-6, -3), 0.45, color, 9.0)
        canvas.block(right - 0.3, -8, right + 0.3, -15, color, 0.5)
    return canvas.finished()


def _festive() -> Floats:
    """A warm room at Christmas: trees full of lights, a fireplace, a window on a blue evening, garlands of bulbs."""
    canvas = _Canvas("#5b1f1c")
    rng = np.random.default_rng(13)
    bulbs = ("#ffd27a", "#ffd27a", "#ffe9b8", "#ff6a4a", "#ffb347")
    for start in range(-180, 180, 60):
        canvas.block(start, -9, start + 60, -24, "#4a2c1c")
        canvas.block(start + 34, 16, start + 56, -9, "#7c4534")  # fireplace
        canvas.block(start + 32.5, 18, start + 57.5, 15.5, "#e7d8c2", 0.9)
        canvas.block(start + 38.5, 9, start + 51.5, -9, "#160c08")
        for flame in range(9):
            canvas.disc(start + 40 + 1.3 * flame, -5 + rng.uniform(0, 5), rng.uniform(0.8, 1.6), "#ff8a2a", 5.0)
        canvas.block(start + 38, 38, start + 52, 22, "#d8c9ae", 0.8)  # window
        canvas.block(start + 38.9, 37, start + 44.6, 23, "#5f86c4", 0.9)
        canvas.block(start + 45.4, 37, start + 51.1, 23, "#5f86c4", 0.9)
        canvas.fir(start + 15, -10, 46, "#123a22", rng)
        for _ in range(75):
            up = rng.uniform(-8, 30)
            reach = 0.27 * (34 - up)
            right = start + 15 + rng.uniform(-reach, reach)
            canvas.disc(right, up, rng.uniform(0.3, 0.55), bulbs[rng.integers(5)], rng.uniform(5, 11))
        for _ in range(14):
            up = rng.uniform(-7, 24)
            right = start + 15 + rng.uniform(-1, 1) * 0.25 * (34 - up)
            canvas.disc(right, up, 1.0, ("#c22a2a", "#d9a94f")[rng.integers(2)], 1.2)
        canvas.disc(start + 15, 35, 1.6, "#ffe08a", 9.0)
        for bulb in range(24):  # a garland along the ceiling
            along = start + 2.5 * bulb
            canvas.disc(along, 41 - 2.2 * np.sin(bulb / 24 * 4 * np.pi) ** 2, 0.45, "#ffd27a", 9.0)
    return canvas.finished()


PAINTED: dict[str, Callable[[], Floats]] = {
    "kitchen": _kitchen,
    "living room": _living_room,
    "cafe": _cafe,
    "snow": _snow,
    "night city": _night_city,
    "festive": _festive,
}
"""Name of the place → linear light (384, 2048, 3)."""
