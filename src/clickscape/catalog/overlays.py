"""What a shop laid over its photo: badges ("-20%") and lines of text; neither is the product.

The choice made here: rules, no network that reads.  Letters are small parts of one color that stand in a row; a badge
is a part of its own, flat, round or square, near the picture's edge, with such marks in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from clickscape.catalog.background import Floats, Mask, disc

_CONTRAST = 18  # LAB lightness by which a letter differs from what is around it
_SMALLEST, _TALLEST = 0.013, 0.16  # height of a letter, share of the picture's longer side
_LETTERS = 4  # in a row make a line
_ONE_COLOR = 12.0  # LAB distance between the letters of a line
_BADGE = 0.12  # share of the picture that a badge takes at most
_FLAT = 8.0  # LAB distance from the badge's own color
_MARK = 25.0  # LAB distance of what is written on it


@dataclass(frozen=True, slots=True)
class Line:
    """A line of text: its box in pixels (left, top, right, bottom; the latter two exclusive)."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def window(self) -> tuple[slice, slice]:
        """The box as rows and columns."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def lies_in(self, other: Line) -> bool:
        """Whether most of this line is part of another."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        return across > 0.7 * (self.right - self.left) and down > 0.7 * (self.bottom - self.top)


def text_lines(lab: Floats) -> list[Line]:
    """Lines of four letters or more in a picture (height, width, 3) in LAB, dark or light, level."""
    lightness, found = np.ascontiguousarray(lab[..., 0]), []
    for reach in (max(5, max(lightness.shape) // 40), max(9, max(lightness.shape) // 14)):
        brush = np.ones((2 * (reach // 2) + 1,) * 2, np.uint8)
        for way in (cv2.MORPH_BLACKHAT, cv2.MORPH_TOPHAT):
            marks = cv2.morphologyEx(lightness, way, brush) > _CONTRAST
            found += _rows(_letters(marks, lab))
    found.sort(key=lambda line: -(line.right - line.left) * (line.bottom - line.top))
    return [line for number, line in enumerate(found) if not any(line.lies_in(other) for other in found[:number])]


def without_overlays(mask: Mask, lab: Floats, lines: Sequence[Line]) -> tuple[Mask, bool, bool]:
    """The product's mask (height, width) without badges and text; whether there are any badges, and any text.

    Text counts where it lies beside the largest part of the mask; what is printed on the product stays.
    """
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        return mask, False, False
    main = int(statistics[1:, cv2.CC_STAT_AREA].argmax()) + 1
    kept, badge, text = mask.copy(), False, False
    for part in range(1, count):
        if part != main and _is_badge(part, labels, statistics, lab, main=int(statistics[main, cv2.CC_STAT_AREA])):
            kept[labels == part], badge = False, True
    product = cv2.morphologyEx((labels == main).astype(np.uint8), cv2.MORPH_CLOSE, disc(max(3, max(mask.shape) // 60)))
    for line in lines:
        inside = labels[line.window]
        if product[line.window].mean() > 0.02 or (badge and (mask & ~kept)[line.window].any()):
            continue
        text = True
        for part in np.unique(inside[inside > 0]):
            _, top, width, height, _ = statistics[part]
            if top >= line.top - 2 and top + height <= line.bottom + 2 and width <= line.right - line.left + 4:
                kept[labels == part] = False
    return kept, badge, text


def _letters(marks: Mask, lab: Floats) -> NDArray[np.float32]:
    """Boxes and colors of what may be letters: (letter, left + top + width + height + L + a + b)."""
    height, width = marks.shape
    side = max(height, width)
    _, labels, statistics, _ = cv2.connectedComponentsWithStats(marks.astype(np.uint8), connectivity=8)
    left, top, wide, tall, area = statistics.T
    fits = (tall > max(6, _SMALLEST * side)) & (tall < _TALLEST * side) & (wide < 1.6 * tall) & (wide > 0.12 * tall)
    fits &= (area > 0.12 * wide * tall) & (left > 0) & (top > 0) & (left + wide < width) & (top + tall < height)
    fits[0] = False
    boxes = []
    for part in np.flatnonzero(fits):
        window = (slice(top[part], top[part] + tall[part]), slice(left[part], left[part] + wide[part]))
        colors = lab[window][labels[window] == part]
        middle = np.median(colors, 0)
        if np.median(np.abs(colors - middle).sum(1)) < 8:
            boxes.append((left[part], top[part], wide[part], tall[part], *middle))
    return np.array(boxes, np.float32).reshape(-1, 7)


def _rows(letters: NDArray[np.float32]) -> list[Line]:
    """The lines that letters of like height and color make, each beside the next."""
    letters = letters[np.argsort(letters[:, 0])]
    left, top, wide, tall = letters[:, :4].T
    used, lines = np.zeros(len(letters), np.bool_), []
    for first in range(len(letters)):
        if used[first]:
            continue
        row = [first]
        for other in range(first + 1, len(letters)):
            last = row[-1]
            high = max(tall[last], tall[other])
            gap = left[other] - left[last] - wide[last]
            if gap > 1.1 * high:
                if left[other] > left[last] + wide[last] + 2.5 * high:
                    break
                continue
            level = abs(top[other] + tall[other] - top[last] - tall[last]) < 0.3 * high
            alike = high < 1.7 * min(tall[last], tall[other]) and gap > -0.2 * high
            if level and alike and np.linalg.norm(letters[other, 4:] - letters[first, 4:]) < _ONE_COLOR:
                row.append(other)
        chosen = np.array(row)
        # letters differ in width, and in what they fill; studs, laces and keys do not
        if len(row) < _LETTERS or wide[chosen].std() < 0.08 * wide[chosen].mean():
            continue
        used[chosen] = True
        box = (left[chosen].min(), top[chosen].min(), (left + wide)[chosen].max(), (top + tall)[chosen].max())
        lines.append(Line(int(box[0]), int(box[1]), int(box[2]), int(box[3])))
    return lines


def _is_badge(part: int, labels: NDArray[np.int32], statistics: NDArray[np.int32], lab: Floats, *, main: int) -> bool:
    """Whether a part of the mask is flat, compact, near an edge of the picture, and has marks written on it."""
    left, top, width, height, area = statistics[part]
    tall, wide = labels.shape
    if not 0.002 * labels.size < area < min(_BADGE * labels.size, 0.5 * main):
        return False
    beside = min(left, wide - left - width) < 0.12 * wide, min(top, tall - top - height) < 0.12 * tall
    if not any(beside):
        return False
    window = (slice(top, top + height), slice(left, left + width))
    solid = (labels[window] == part).astype(np.uint8)
    outline, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    hull = cv2.convexHull(np.concatenate(outline))
    filled = cv2.drawContours(np.zeros_like(solid), outline, -1, 1, -1)
    if filled.sum() < 0.8 * cv2.contourArea(hull):
        return False
    inside = cv2.erode(filled, disc(2), borderValue=0) > 0
    if inside.sum() < 60:
        return False
    away = np.linalg.norm(lab[window] - np.median(lab[window][inside], 0), axis=2)
    if (away[inside] < _FLAT).mean() < 0.5:
        return False
    _, _, marks, _ = cv2.connectedComponentsWithStats(((away > _MARK) & inside).astype(np.uint8), connectivity=8)
    written = marks[1:]
    return int((written[:, cv2.CC_STAT_HEIGHT] > 0.1 * height).sum()) >= 2
