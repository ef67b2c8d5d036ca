"""Read counts as people's tables write them: "1,234", "1.234", "1 234", and refuse what could mean two things.

Which sign groups thousands and which one marks the fraction is decided once for a file, from all of its cells.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from clickscape.errors import ExperimentError

_SPACES = "\u00a0\u202f\u2009' \u2019"
_DIGITS = 12  # of a number: sums of a million rows fit 64 bits
_PLAIN = re.compile(r"\d+")
_GROUPED = re.compile(r"\d{1,3}(?:[.,]\d{3})+")
_INDIAN = re.compile(r"\d{1,2}(?:,\d{2})+,\d{3}")
_NUMBER = re.compile(r"[-+]?[\d.,\u00a0\u202f\u2009'\u2019 ]*\d")
_UNITS = re.compile(r"^[^\d+-]{0,4}|\s*[%\u20ac$\u00a3\u00a5]$|\s*[A-Z]{3}$")


@dataclass(frozen=True, slots=True)
class NumberStyle:
    """How a file writes numbers: the sign before the fraction and the one between thousands, "" where none was seen."""

    fraction: str = ""
    group: str = ""


def number_style(cells: Iterable[str], *, where: str) -> NumberStyle:
    """Return the style of a file's numbers; ExperimentError where its cells contradict each other."""
    fractions: dict[str, str] = {}
    groups: dict[str, str] = {}
    for cell in cells:
        text = _UNITS.sub("", _UNITS.sub("", cell.strip()))
        if not _NUMBER.fullmatch(text):
            continue
        signs = [sign for sign in text if sign in ".,"]
        if len(set(signs)) == 2:
            groups.setdefault(signs[0], cell)
            fractions.setdefault(signs[-1], cell)
        elif len(signs) > 1:
            groups.setdefault(signs[0], cell)
        elif signs and len(text) - text.index(signs[0]) != 4:
            fractions.setdefault(signs[0], cell)
    if both := sorted(fractions.keys() & groups.keys()):
        raise ExperimentError(f"{where}: {groups[both[0]]!r} and {fractions[both[0]]!r} use {both[0]!r} in two ways. "
                              f"Export the table again, with the numbers of one country.")  # fmt: skip
    if len(fractions) > 1:
        raise ExperimentError(f"{where}: {fractions['.']!r} and {fractions[',']!r} mark the fraction in two ways. "
                              f"Export the table again, with the numbers of one country.")  # fmt: skip
    return NumberStyle(next(iter(fractions), ""), next(iter(groups), ""))


def read_count(cell: str, style: NumberStyle, *, where: str) -> int:
    """Return a whole number ≥ 0; ExperimentError for a fraction, a sign, "<10", "1.2K" or anything else."""
    text = _joined(cell, where=where)
    if _PLAIN.fullmatch(text):
        return int(text)
    if _INDIAN.fullmatch(text) and style.fraction != ",":
        return int(text.replace(",", ""))
    signs = {sign for sign in text if sign in ".,"}
    if _GROUPED.fullmatch(text) and len(signs) == 1:
        sign = signs.pop()
        if sign != style.fraction and style.group in ("", sign):
            return int(text.replace(sign, ""))
    elif re.fullmatch(r"\d+[.,]0{1,2}", text):
        return int(re.split(r"[.,]", text)[0])
    raise _refused(cell, where, "a whole number")


def read_amount(cell: str, style: NumberStyle, *, where: str) -> float:
    """Return a number ≥ 0 that may have a fraction, such as conversions that several ads share."""
    text = _joined(cell, where=where)
    fraction = style.fraction or ("." if style.group != "." else ",")
    other = "," if fraction == "." else "."
    whole, _, rest = text.partition(fraction)
    grouped = whole.replace(other, "") if re.fullmatch(rf"\d{{1,3}}(?:{re.escape(other)}\d{{3}})*|\d+", whole) else ""
    if not _PLAIN.fullmatch(grouped) or (rest and not _PLAIN.fullmatch(rest)):
        raise _refused(cell, where, "a number")
    if len(rest) == 3 and not style.fraction and not style.group:
        raise _refused(cell, where, "a number that can be read in one way")
    return float(f"{grouped}.{rest or 0}")


def _joined(cell: str, *, where: str) -> str:
    """The cell without spaces or apostrophes between thousands."""
    text = cell.strip()
    if sum(map(str.isdigit, text)) > _DIGITS:
        raise _refused(cell, where, f"a number of at most {_DIGITS} digits")
    if any(space in text for space in _SPACES):
        parts = re.split(f"[{_SPACES}]", text)
        tail = re.split(r"[.,]", parts[-1])[0]
        if not (1 <= len(parts[0]) <= 3 and all(len(part) == 3 for part in [*parts[1:-1], tail])):
            raise _refused(cell, where, "a whole number")
        text = "".join(parts)
    return text


def _refused(cell: str, where: str, expected: str) -> ExperimentError:
    return ExperimentError(f"{where}: {cell[:40]!r}, expected {expected}. Export the table with full numbers, in "
                           f"English or without separators.")  # fmt: skip
