"""A heat map for people: the ad, the map over its gray ghost, and a legend with numbers.

The colors run from dark blue (hurts) over gray (nothing) to light yellow (helps). Their lightness rises all the way, so
the map reads the same printed in gray, and blue against yellow is what every kind of color vision tells apart.
"""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from clickscape.render.typeset import Face, open_face
from clickscape.reward.explain.occlusion import HeatMap
from clickscape.stats.bootstrap import LEVEL

Bytes = NDArray[np.uint8]

_STOPS = ((18.0, 12.0, -36.0), (40.0, 4.0, -34.0), (58.0, 0.0, 0.0), (78.0, 2.0, 52.0), (94.0, -6.0, 66.0))
"""CIELAB of the colors at −1, −½, 0, ½ and 1."""

_PAPER, _INK, _FAINT = (250, 250, 248), (28, 30, 34), (110, 114, 120)
_PANEL = 512  # pixels of the longer side of each picture
_GHOST = 0.34  # how much the ad's own light and dark shows through its map
_OUTLINED = 0.25  # share of the legend from which a region is outlined
_LEAST = 1e-3  # log-odds at the ends of the legend, at least: what is smaller is nothing


def overlay(image: Bytes, heat: HeatMap) -> Bytes:
    """Draw ad, map and legend side by side, (height, width, 3) sRGB; the legend ends at the largest value.

    Outlined: strong regions whose interval does not span zero.
    """
    longest = max(float(np.abs(heat.value).max()), _LEAST)
    ad, panel, outlined = _drawn(image, heat, longest)
    return _page(ad, panel, longest=longest, outlined=outlined)


def heat_panel(image: Bytes, heat: HeatMap) -> Bytes:
    """Draw the map over the gray ghost of the ad, (height, width, 3) sRGB, at most 512 px a side.

    The colors end at the largest value, and fade to gray where the interval spans zero, as far as it does.
    """
    half = (heat.high - heat.low) / 2
    seen = np.where(np.isfinite(half), np.clip(np.abs(heat.value) / np.maximum(half, 1e-12), 0, 1) ** 2, 1.0)
    faded = HeatMap(heat.value * seen, heat.low, heat.high, heat.cells)
    return _drawn(image, faded, max(float(np.abs(heat.value).max()), _LEAST))[1]


def _drawn(image: Bytes, heat: HeatMap, longest: float) -> tuple[Bytes, Bytes, bool]:
    """The ad, its map, and whether a region is outlined; longest: log-odds at the ends of the colors."""
    shrink = _PANEL / max(image.shape[:2])
    size = (round(image.shape[1] * shrink), round(image.shape[0] * shrink))
    ad = cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrink < 1 else cv2.INTER_CUBIC)
    value, low, high = (
        cv2.resize(one, size, interpolation=cv2.INTER_CUBIC) for one in (heat.value, heat.low, heat.high)
    )
    panel = _panel(ad, value / longest)
    outlined = ((low > 0) | (high < 0)) & (np.abs(value) >= _OUTLINED * longest)
    edges, _ = cv2.findContours(outlined.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    for color, width in ((_PAPER, 3), (_INK, 1)):  # ink on paper is seen on every color of the map
        cv2.drawContours(panel, edges, -1, color, width, cv2.LINE_AA)
    return ad, panel, bool(edges)


@cache
def _colors() -> Bytes:
    """The color scale, (256, 3) sRGB."""
    place = np.linspace(0, len(_STOPS) - 1, 256)
    stops = np.array(_STOPS)
    lab = np.stack([np.interp(place, np.arange(len(stops)), stops[:, channel]) for channel in range(3)], axis=1)
    rgb = cv2.cvtColor(lab[None].astype(np.float32), cv2.COLOR_LAB2RGB)[0]
    return np.asarray(np.rint(255 * np.clip(rgb, 0, 1)), np.uint8)


def _panel(ad: Bytes, value: NDArray[np.float64]) -> Bytes:
    """The map over the gray ghost of the ad; value: (height, width), from −1 to 1."""
    color = _colors()[np.rint(127.5 * (np.clip(value, -1, 1) + 1)).astype(np.int64)]
    light = cv2.cvtColor(ad, cv2.COLOR_RGB2GRAY).astype(np.float64) / 255
    light -= cv2.GaussianBlur(light, (0, 0), max(ad.shape) / 16)  # edges remain; broad light and dark are the map's
    return np.asarray(np.clip(color + 255 * _GHOST * light[..., None], 0, 255), np.uint8)


def _page(ad: Bytes, panel: Bytes, *, longest: float, outlined: bool) -> Bytes:
    """Both pictures on paper, and the legend below them."""
    height, width = ad.shape[:2]
    unit = 24
    page = Image.new("RGB", (max(2 * width + 3 * unit, 30 * unit), height + 6 * unit), _PAPER)
    left = (page.width - 2 * width - unit) // 2
    page.paste(Image.fromarray(ad), (left, unit))
    page.paste(Image.fromarray(panel), (left + width + unit, unit))
    pen, face = ImageDraw.Draw(page), open_face()
    top, start, length = height + 2 * unit, page.width // 2 - 6 * unit, 12 * unit
    scale = Image.fromarray(np.repeat(_colors()[None], unit * 2 // 3, axis=0)).resize((length, unit * 2 // 3))
    page.paste(scale, (start, top))
    middle = top + unit // 3
    for text, place, anchor in (("hurts", start - unit // 2, "rm"), ("helps", start + length + unit // 2, "lm")):
        pen.text((place, middle), text, fill=_INK, font=face.at(16), anchor=anchor)
    for share in (-1.0, -0.5, 0.0, 0.5, 1.0):
        place = round(start + (share + 1) / 2 * (length - 1))
        pen.line([(place, top + unit * 2 // 3), (place, top + unit * 5 // 6)], fill=_INK)
        pen.text((place, top + unit), _number(share * longest), fill=_INK, font=face.at(13), anchor="ma")
    said = "what the reward loses when a region is hidden, log-odds"
    if outlined:
        said += f"; outlined: strong, and the {100 * LEVEL:.0f} % interval does not span 0"
    pen.text((page.width // 2, top + unit * 2), said, fill=_FAINT, font=_fitting(face, said, page.width), anchor="ma")
    return np.asarray(page)


def _fitting(face: Face, text: str, width: int) -> ImageFont.FreeTypeFont:
    """The largest size, from 14 down, at which a line stays inside the page."""
    return next(
        (face.at(size) for size in range(14, 8, -1) if face.at(size).getlength(text) < 0.96 * width), face.at(8)
    )


def _number(value: float) -> str:
    return "0" if value == 0 else f"{value:+.2g}".replace("-", "−")
