"""Typeset untrusted text as lines of glyphs in a font.

The choice made here: lines are balanced rather than filled, glyphs are placed one by one with kerning and tracking, and
scripts that need shaping are drawn as whole lines.  A letter that the font lacks is an error, never a box.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont, features

from clickscape.errors import TextError

BUNDLED_FONT = Path(__file__).parent / "assets" / "fonts" / "InterDisplay-SemiBold.otf"
"""Latin, Greek, Cyrillic and Vietnamese."""

LONGEST = {"tagline": 120, "badge": 32}
"""Letters at most: more is no tagline."""

LEADING, TRACKING = 1.1, -0.018
"""Distance of baselines, and space added between letters, both in em of the tagline."""

_UNIT = 256  # pixels an em at which lines are measured
_WEIGHT = 600  # of a variable font
_SPACED = re.compile(r"\s+")
_JOINERS = "\u200c\u200d"
_CJK = "\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff"
_TOKENS = re.compile(f"[{_CJK}]|[^\\s{_CJK}]+")
_NOT_FIRST = "、。，．,.:;!?：；！？)]}）］｝」』】〉》〕’”ーぁぃぅぇぉっゃゅょゎァィゥェォッャュョヮヵヶ々…‥・％%"
_NOT_LAST = "([{（［｛「『【〈《〔‘“"
_LETTER_BY_LETTER = re.compile(f"[\x20-\u058f\u1e00-\u2bff{_CJK}]*")  # the rest of the scripts join or reorder letters


@dataclass(frozen=True, slots=True)
class Face:
    """A font file that was opened once; sizes of it are made as needed."""

    path: Path

    def at(self, size: int) -> ImageFont.FreeTypeFont:
        """The font at `size` pixels an em."""
        return _font(self.path, size)

    @property
    def cap_height(self) -> float:
        """Height of a capital, or of an ideograph in a font without capitals, in em."""
        left, top, right, bottom = self.at(_UNIT).getbbox("H", anchor="ls")
        return -top / _UNIT if right > left and bottom > top else 0.75


def open_face(path: Path | None = None) -> Face:
    """The font at `path`, or the bundled one; TextError when it cannot be read."""
    if path is not None and path.exists() and not path.is_file():
        raise TextError(f"{path}: no regular file, expected a font. Give a TTF, OTF or TTC file.")
    face = Face(BUNDLED_FONT if path is None else path)
    try:
        face.at(_UNIT)
    except (OSError, ValueError) as error:
        raise TextError(f"{face.path}: no font that can be read ({error}). Give a TTF, OTF or TTC file.") from error
    return face


def cleaned(text: str, *, role: str) -> str:
    """The text in one line, composed (NFC), without control and format characters; TextError when it is too long.

    Direction overrides go too: they can make a text read as another one.
    """
    if len(text) > 50 * LONGEST[role]:
        raise TextError(f"a {role} of {len(text)} letters, expected at most {LONGEST[role]}. Shorten it.")
    text = _SPACED.sub(" ", unicodedata.normalize("NFC", text))
    text = "".join(c for c in text if c in _JOINERS or unicodedata.category(c) not in ("Cc", "Cf"))
    text = re.sub("[\ufe00-\ufe0f]", "", text).strip()
    if len(text) > LONGEST[role]:
        raise TextError(f"a {role} of {len(text)} letters, expected at most {LONGEST[role]}. Shorten it.")
    return text


def check_glyphs(text: str, face: Face, *, role: str) -> None:
    """TextError that names the first letter which the font cannot draw, or which needs a shaper that is not there."""
    for letter in text:
        if not letter.isspace() and letter not in _JOINERS and not _has_glyph(face, letter):
            name = f"{letter!r} (U+{ord(letter):04X}, {unicodedata.name(letter, 'unnamed')})"
            raise TextError(f"the {role} has {name}, which {face.path.name} cannot draw. Give a font with --font.")
    if not _LETTER_BY_LETTER.fullmatch(text) and not (features.check("raqm") and features.check("fribidi")):
        raise TextError(f"the {role} {text!r} is in a script that needs libraqm and fribidi to be set. Install them.")


def break_lines(text: str, face: Face, *, most: int) -> list[tuple[str, ...]]:
    """Return the text broken into 1, 2, … `most` lines, each with its longest line as short as possible.

    Lines break between words and, in Chinese, Japanese and Korean, between letters, but not before closing marks.
    """
    pieces = _pieces(text)
    font = face.at(_UNIT)
    count = len(pieces)
    widths = {
        (start, end): font.getlength("".join(pieces[start:end]).strip())
        for start in range(count)
        for end in range(start + 1, count + 1)
    }
    # longest[n][end]: the shortest possible longest line when pieces[:end] stand in n lines, and where the last starts
    longest: list[dict[int, tuple[float, int]]] = [{0: (0.0, 0)}]
    for _ in range(min(most, count)):
        before = longest[-1]
        longest.append(
            {
                end: min((max(before[start][0], widths[start, end]), -start) for start in before if start < end)
                for end in range(1, count + 1)
                if any(start < end for start in before)
            }
        )
    ways = []
    for lines in range(1, len(longest)):
        if count in longest[lines]:
            cuts, end = [count], count
            for n in range(lines, 0, -1):
                end = -longest[n][end][1]
                cuts.append(end)
            ways.append(tuple("".join(pieces[a:b]).strip() for a, b in pairwise(cuts[::-1])))
    return ways


def line_width(line: str, face: Face, *, tracking: float = TRACKING, leftward: bool = False) -> float:
    """Width of a line in em, tracking included; a line of a text that is read leftward has none."""
    return face.at(_UNIT).getlength(line) / _UNIT + tracking * _tracked(line) * (not leftward)


def draw_line(
    canvas: UInt8[np.ndarray, "height width"],
    line: str,
    face: Face,
    *,
    size: int,
    at: tuple[float, float],
    tracking: float = TRACKING,
    leftward: bool = False,
) -> None:
    """Draw the coverage of a line, 0..255, into `canvas` (height, width); `at`: left end of its baseline, pixels.

    leftward: the text that the line is of is read from right to left, even if the line begins with a Latin name.
    """
    font, picture = face.at(size), Image.fromarray(canvas)
    pen, (left, baseline) = ImageDraw.Draw(picture), at
    if leftward or not _tracked(line):
        direction = "rtl" if leftward else None
        pen.text((left, baseline), line, fill=255, font=font, anchor="ls", direction=direction)
    else:
        clusters = _clusters(line)
        for number, cluster in enumerate(clusters):
            start = "".join(clusters[: number + 1])
            offset = font.getlength(start) - font.getlength(cluster) + number * tracking * size
            pen.text((left + offset, baseline), cluster, fill=255, font=font, anchor="ls")
    np.maximum(canvas, np.asarray(picture), out=canvas)


def reads_leftward(text: str) -> bool:
    """Whether the first letter that has a direction is read from right to left, or most of them are (a name first)."""
    found = [way != "L" for way in map(unicodedata.bidirectional, text) if way in ("L", "R", "AL")]
    return bool(found) and (found[0] or 2 * sum(found) > len(found))


def _tracked(line: str) -> int:
    """Gaps between letters that tracking may change; none where letters join."""
    return len(_clusters(line)) - 1 if _LETTER_BY_LETTER.fullmatch(line) else 0


def _clusters(line: str) -> list[str]:
    """Letters with the marks that stand on them."""
    clusters: list[str] = []
    for letter in line:
        if clusters and (unicodedata.combining(letter) or letter in _JOINERS):
            clusters[-1] += letter
        else:
            clusters.append(letter)
    return clusters


def _pieces(text: str) -> list[str]:
    """What a line may break between, spaces in front where there were some."""
    pieces: list[str] = []
    end = 0
    for found in _TOKENS.finditer(text):
        token, spaced = found[0], found.start() > end
        glued = pieces and not spaced and (token[0] in _NOT_FIRST or pieces[-1][-1] in _NOT_LAST)
        if glued:
            pieces[-1] += token
        else:
            pieces.append(" " * spaced + token)
        end = found.end()
    return pieces


@lru_cache(maxsize=64)
def _font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.truetype(path, size)
    try:
        axes: Sequence[ImageFont.Axis] = font.get_variation_axes()
    except (OSError, NotImplementedError):
        return font  # not a variable font
    values = [float(axis["default"] or 0) for axis in axes]
    for number, axis in enumerate(axes):
        if axis["name"] in (b"Weight", "Weight"):
            values[number] = min(max(_WEIGHT, float(axis["minimum"] or 0)), float(axis["maximum"] or _WEIGHT))
    font.set_variation_by_axes(values)
    return font


@cache
def _missing_glyph(face: Face) -> tuple[bytes, tuple[int, int]]:
    """What the font draws for a code point that no font has."""
    mask = face.at(64).getmask("\U0010ffff")
    return bytes(mask), mask.size


def _has_glyph(face: Face, letter: str) -> bool:
    mask = face.at(64).getmask(letter)
    return (bytes(mask), mask.size) != _missing_glyph(face) and bool(mask.getbbox())
