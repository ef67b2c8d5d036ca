"""Set a tagline and a badge over an image: off by default, and only where the placement allows text.

The choice made here: every place of a grid inside the safe zone is tried at falling sizes; a place counts when it keeps
clear of the product and when the worst hundredth of the pixels behind the glyphs still has WCAG contrast 4.5:1.  Among
those the calmest ground and the largest letters win.  Where none counts, the ground is shaded softly and tried again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product as combinations
from pathlib import Path
from typing import Literal, get_args

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from clickscape.errors import TextError
from clickscape.render.color import Bytes, Floats, linear_of_byte
from clickscape.render.renderer import Box
from clickscape.render.typeset import (
    LEADING,
    Face,
    break_lines,
    check_glyphs,
    cleaned,
    draw_line,
    line_width,
    open_face,
    reads_leftward,
)

CONTRAST = 4.5
"""WCAG 2.2, success criterion 1.4.3, level AA."""

WORST = 0.01
"""Share of the pixels behind the glyphs from which the contrast is computed: the worst ones."""

Align = Literal["left", "center", "right"]

_SIZES = tuple(0.088 * 0.92**step for step in range(14))  # em of the tagline, share of the picture's mean side
_LEAST, _BADGE_SMALLEST = 10.0, 8.0  # em in pixels below which letters of the tagline and of the badge are no letters
_MARGIN = 0.06  # to the picture's edge, share of its shorter side
_CLEARANCE = 0.04  # to the product, share of the picture's shorter side
_ROWS = 17
_MOST_LINES = 4
_BADGE, _BADGE_LEAST = 0.40, 0.030  # em of the badge: share of the tagline's, and of the mean side
_BADGE_ALONE = 0.5
_PILL_HEIGHT, _PILL_PADDING, _PILL_GAP = 1.95, 0.85, 0.50  # em of the badge; the gap in em of the tagline
_BADGE_TRACKING = 0.012
_REACH = 2.6  # of the shade, em of the tagline
_SHADES = (0.0, 0.2, 0.35, 0.5, 0.65, 0.8, 0.92)
_FOG = 0.7  # what a whitened ground costs: it looks like haze, a darkened one like light falling off


@dataclass(frozen=True, slots=True)
class TextResult:
    """The picture with its words; where they stand (tagline, then badge); the least contrast of the two, as n:1."""

    image: Bytes
    boxes: tuple[Box, ...]
    contrast: float


@dataclass(frozen=True, slots=True)
class _Setting:
    """How words may be set: `share` of the picture's mean side and `size` in pixels are the tagline's em."""

    share: float
    size: int
    lines: tuple[str, ...]
    align: Align
    leftward: bool  # what is read from right to left has its right edge straight wherever it stands

    @property
    def cost(self) -> float:
        """Small letters are bad, and very small ones worse; more than two lines are a little bad."""
        relative = self.share / _SIZES[0]
        return 1.3 * (1 - relative) + 6 * max(0.0, 0.75 - relative) + 0.35 * max(0, len(self.lines) - 2)


@dataclass(frozen=True, slots=True, eq=False)
class _Block:
    """Words set one way: coverages 0..255 (height, width), and boxes inside the block."""

    letters: Bytes
    pill: Bytes
    badge: Bytes
    behind: NDArray[np.bool_]  # what lies behind and right around the letters and the pill
    boxes: tuple[Box, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """A block at its place, on a ground shaded by `shade` as far as `reach` pixels; the least cost looks best."""

    block: _Block
    box: Box
    ink: Bytes
    paper: Bytes
    shade: float
    reach: float
    cost: float


def check_text_allowed(placement: str, *, allows_text: bool) -> None:
    """TextError where a placement forbids words over the picture, as Google does for `image_link`."""
    if not allows_text:
        raise TextError(
            f"{placement} forbids text over the picture: Google rejects an image_link with promotional text, as others "
            "do. Leave out the tagline and the badge, or choose a placement that allows text."
        )


def set_text(
    image: UInt8[np.ndarray, "height width 3"],
    product: UInt8[np.ndarray, "height width 4"],
    *,
    safe: Box,
    tagline: str = "",
    badge: str = "",
    font_path: Path | None = None,
) -> TextResult:
    """Set a tagline, a badge or both over a picture (height, width, 3) sRGB, inside the box `safe`, in pixels.

    `product` (height, width, 4) is the placed cut-out: where it is opaque no pixel changes, and the words keep a
    distance.  TextError when there is nothing to set, a letter has no glyph, or nothing fits.
    """
    words = {"tagline": cleaned(tagline, role="tagline"), "badge": cleaned(badge, role="badge")}
    if not any(words.values()):
        raise TextError("there are no words to set. Give a tagline, a badge or both.")
    face = open_face(font_path)
    for role, text in words.items():
        check_glyphs(text, face, role=role)
    height, width = image.shape[:2]
    margin = round(_MARGIN * min(height, width))
    left, top = max(safe.left, margin), max(safe.top, margin)
    right, bottom = min(safe.left + safe.width, width - margin), min(safe.top + safe.height, height - margin)
    room = Box(left, top, right - left, bottom - top)
    places = _places(image, _taken(product), words["tagline"], words["badge"], face, room=room)
    best = min(places, key=lambda place: place.cost, default=None)
    if best is not None:
        return _painted(image, product, best)
    said = " and ".join(f"the {role} {text!r}" for role, text in words.items() if text)
    raise TextError(
        f"{said} fit nowhere beside the product in a safe zone of {max(room.width, 0)} × {max(room.height, 0)} pixels. "
        "Shorten the text, or choose a picture with more room."
    )


def _settings(tagline: str, face: Face, *, room: Box, side: float, leftward: bool) -> list[_Setting]:
    """Every size, way of breaking lines and alignment whose lines fit into `room`."""
    ways = break_lines(tagline, face, most=_MOST_LINES) if tagline else [()]
    widest = {lines: max((line_width(line, face, leftward=leftward) for line in lines), default=0.0) for lines in ways}
    return [
        _Setting(share, round(share * side), lines, align, leftward)
        for share, lines, align in combinations(_SIZES, ways, get_args(Align))
        if widest[lines] * share * side <= room.width
        and len(lines) * LEADING * share * side <= room.height
        and share * side >= (_LEAST if lines else _BADGE_SMALLEST / _BADGE_ALONE)
    ]


def _composed(setting: _Setting, badge: str, face: Face, *, side: float) -> _Block:
    """The badge in its pill above the lines of the tagline, cropped to what is drawn."""
    lines, align, size = setting.lines, "right" if setting.leftward else setting.align, setting.size
    badge_size = round(max(_BADGE * size, _BADGE_LEAST * side, _BADGE_SMALLEST) if lines else _BADGE_ALONE * size)
    widths = [line_width(line, face, leftward=setting.leftward) * size for line in lines]
    pill_height = round(_PILL_HEIGHT * badge_size) if badge else 0
    turned = reads_leftward(badge)
    badge_width = line_width(badge, face, tracking=_BADGE_TRACKING, leftward=turned) * badge_size if badge else 0.0
    pill_width = round(max(badge_width + 2 * _PILL_PADDING * badge_size, pill_height)) if badge else 0
    width = round(max([*widths, pill_width]))
    lead = size  # room on all sides for what reaches over its line
    gap = _PILL_GAP * size if badge and lines else 0
    cap = face.cap_height
    first = lead + pill_height + gap + cap * size
    shape = (round(first + max(len(lines) - 1, 0) * LEADING * size) + lead, width + 2 * lead)
    letters, pill, glyphs = (np.zeros(shape, np.uint8) for _ in range(3))

    def start(own: float) -> float:
        return lead + {"left": 0.0, "center": (width - own) / 2, "right": width - own}[align]

    for number, (line, own) in enumerate(zip(lines, widths, strict=True)):
        at = (start(own), first + number * LEADING * size)
        draw_line(letters, line, face, size=size, at=at, leftward=setting.leftward)
    if badge:
        left = round(start(pill_width))
        pill[lead : lead + pill_height, left : left + pill_width] = _pill(pill_width, pill_height)
        baseline = lead + (pill_height + cap * badge_size) / 2
        at = (left + (pill_width - badge_width) / 2, baseline)
        draw_line(glyphs, badge, face, size=badge_size, at=at, tracking=_BADGE_TRACKING, leftward=turned)
    drawn = [Box(*cv2.boundingRect(mask)) for mask in (letters, pill) if mask.any()]
    left, top = min(box.left for box in drawn), min(box.top for box in drawn)
    right, bottom = max(box.left + box.width for box in drawn), max(box.top + box.height for box in drawn)
    letters, pill, glyphs = (mask[top:bottom, left:right] for mask in (letters, pill, glyphs))
    boxes = tuple(Box(box.left - left, box.top - top, box.width, box.height) for box in drawn)
    around = np.ones((1 + 2 * max(1, size // 32),) * 2, np.uint8)
    behind = cv2.dilate(np.maximum(letters, pill), around) > 0
    return _Block(letters, pill, glyphs, behind, boxes)


def _pill(width: int, height: int) -> Bytes:
    """A bar with round ends, drawn large and scaled down: Pillow's own edges are hard."""
    picture = Image.new("L", (4 * width, 4 * height))
    ImageDraw.Draw(picture).rounded_rectangle((0, 0, 4 * width - 1, 4 * height - 1), radius=2 * height, fill=255)
    return np.asarray(picture.resize((width, height), Image.Resampling.BOX))


def _taken(product: Bytes) -> NDArray[np.int32]:
    """Summed-area table of the product and a margin around it."""
    reach = max(1, round(_CLEARANCE * min(product.shape[:2])))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return cv2.integral(cv2.dilate((product[..., 3] > 0).astype(np.uint8), kernel))


def _places(
    image: Bytes, taken: NDArray[np.int32], tagline: str, badge: str, face: Face, *, room: Box
) -> Iterator[_Place]:
    """Places that are clear of the product and reach the contrast, each better than those before."""
    lightness = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)[..., 0].astype(np.float32) * np.float32(100 / 255)
    detail, side = cv2.integral2(lightness), float(lightness.size) ** 0.5
    composed = cache(lambda setting: _composed(setting, badge, face, side=side))
    leftward = reads_leftward(tagline or badge)
    settings = _settings(tagline, face, room=room, side=side, leftward=leftward)
    plans = sorted(
        (
            (setting.cost + (0.4 + 1.6 * shade if shade else 0.0), shade, setting)
            for shade in _SHADES
            for setting in settings
        ),
        key=lambda plan: plan[0],
    )
    cheapest = np.inf
    for fixed, shade, setting in plans:
        if fixed >= cheapest:
            return
        block = composed(setting)
        height, width = block.letters.shape
        slack, drop = room.width - width, room.height - height
        left = room.left + {"left": 0, "center": slack // 2, "right": slack}[setting.align]
        for row in range(_ROWS if slack >= 0 and drop >= 0 else 0):
            down = row / (_ROWS - 1)
            box = Box(left, room.top + round(down * drop), width, height)
            cost = fixed + _taste(setting.align, down, leftward=leftward) + _unrest(detail, box) * (1 - shade / 2)
            if cost >= cheapest or _sum(taken, box):
                continue
            for ink, paper in _inks(image[_at(box)], block.behind, shade=shade):
                fog = _FOG if shade and paper[1] > ink[1] else 0.0
                if cost + fog < cheapest:
                    cheapest = cost + fog
                    yield _Place(block, box, ink, paper, shade, _REACH * setting.size, cheapest)


def _at(box: Box) -> tuple[slice, slice]:
    return slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)


def _sum(table: NDArray[np.generic], box: Box) -> float:
    """What a summed-area table holds in a box."""
    right, bottom = box.left + box.width, box.top + box.height
    corners = table[bottom, right], table[box.top, right], table[bottom, box.left], table[box.top, box.left]
    return float(corners[0]) - float(corners[1]) - float(corners[2]) + float(corners[3])


def _taste(align: Align, down: float, *, leftward: bool) -> float:
    """Words begin where reading does, at the top, else at the bottom, and rather at an edge of the room than afloat."""
    first, last = ("right", "left") if leftward else ("left", "right")
    return {first: 0.0, "center": 0.08, last: 0.30}[align] + 1.3 * min(down, 0.30 + 1.2 * (1 - down))


def _unrest(detail: tuple[NDArray[np.generic], NDArray[np.generic]], box: Box) -> float:
    """How restless the ground is: standard deviation of its lightness (0..100), in units of 12."""
    mean, square = (_sum(table, box) / (box.width * box.height) for table in detail)
    return float(np.sqrt(max(square - mean**2, 0.0))) / 12


def _inks(ground: Bytes, behind: NDArray[np.bool_], *, shade: float) -> list[tuple[Bytes, Bytes]]:
    """Ink and paper that reach 4.5:1, out of light on dark and dark on light; the better contrast first."""
    light, dark = _tones(ground)
    pairs = [(light, dark), (dark, light)]
    contrasts = [_contrast(_mixed(ground[behind], paper, shade), ink) for ink, paper in pairs]
    return [pairs[at] for at in np.argsort(contrasts)[::-1] if contrasts[at] >= CONTRAST]


def _tones(ground: Bytes) -> tuple[Bytes, Bytes]:
    """Nearly white and nearly black, both with a touch of the ground's own hue."""
    mean = ground.reshape(1, -1, 3).mean(1, dtype=np.float32, keepdims=True) / 255
    _, a, b = cv2.cvtColor(mean, cv2.COLOR_RGB2LAB)[0, 0]
    chroma = max(float(np.hypot(a, b)), 1e-6)
    tones = [(98.0, min(1.0, 2.5 / chroma)), (13.0, min(1.0, 14.0 / chroma))]
    lab = np.array([[[lightness, share * a, share * b] for lightness, share in tones]], np.float32)
    light, dark = np.clip(np.rint(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)[0] * 255), 0, 255).astype(np.uint8)
    return light, dark


def _mixed(pixels: Bytes, color: Bytes, amount: float | Floats) -> Bytes:
    """Pixels (…, 3) moved towards `color` by `amount`, 0..1."""
    return np.rint(pixels + (color.astype(np.float32) - pixels) * np.float32(amount)).astype(np.uint8)


def _contrast(ground: Bytes, ink: Bytes) -> float:
    """WCAG contrast n:1 of one ink with the worst hundredth of the pixels (pixel, 3) behind it."""
    weights = np.array([0.2126, 0.7152, 0.0722], np.float32)
    of_ink = float(linear_of_byte()[ink] @ weights)
    behind = linear_of_byte()[ground] @ weights
    dark, light = np.quantile(behind, (WORST, 1 - WORST))
    if of_ink > light:
        return (of_ink + 0.05) / (float(light) + 0.05)
    return max(1.0, (float(dark) + 0.05) / (of_ink + 0.05))


def _painted(image: Bytes, product: Bytes, place: _Place) -> TextResult:
    block, at = place.block, _at(place.box)
    picture = image.copy()
    if place.shade:
        falloff = _falloff(product, place.box, reach=place.reach)
        picture = _mixed(image, place.paper, place.shade * falloff[..., None])
    contrasts = [_contrast(picture[at][block.behind], place.ink)]
    for coverage, color in ((block.letters, place.ink), (block.pill, place.ink), (block.badge, place.paper)):
        if color is place.paper and coverage.any():
            contrasts.append(_contrast(picture[at][coverage > 0], place.paper))
        picture[at] = _mixed(picture[at], color, coverage[..., None] * np.float32(1 / 255))
    boxes = tuple(Box(place.box.left + box.left, place.box.top + box.top, box.width, box.height) for box in block.boxes)
    return TextResult(picture, boxes, min(contrasts))


def _falloff(product: Bytes, box: Box, *, reach: float) -> Floats:
    """1 in the box and between it and the picture's nearest edges, falling softly to 0 at `reach`; 0 on the product."""
    height, width = product.shape[:2]
    left, right = box.left, box.left + box.width
    top, bottom = box.top, box.top + box.height
    spread = 0.2 * width
    left, right = (0 if left < spread else left), (width if right > width - spread else right)
    top, bottom = (0, bottom) if top < height - bottom else (top, height)
    across, down = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    aside = np.maximum(np.maximum(left - across, across - right + 1), 0)
    below = np.maximum(np.maximum(top - down, down - bottom + 1), 0)
    near = np.clip(1 - np.hypot(aside, below) / np.float32(reach), 0, 1)
    smooth = near * near * (3 - 2 * near)
    return np.asarray(smooth * (1 - product[..., 3].astype(np.float32) / 255), np.float32)
