"""Delimited text (CSV and TSV) as a stream of cells: one row in memory, however large the file.

The choice made here: a quotation mark quotes where a cell begins and ends with one, and is a letter everywhere else.
The standard library's reader refuses such marks, or takes the rows behind them for a part of the cell.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from clickscape.catalog.formats.lines import Lines, open_text, text_problem
from clickscape.catalog.formats.row import Row, fail, shown, spelled

LONGEST_LINE = 1_000_000  # characters; a file without line ends must not fill the memory

_SINGLE = frozenset({"id", "product_id", "title", "price", "image", "image_link"})
_INSIDE = re.compile(r'[^"]*+(?:""[^"]*+)*+')  # of quotation marks; doubled ones are letters
_NO_HEADER = re.compile(r'\s*"?#.*|\s*"?sep=.?"?\s*|[\s,;|"]*', re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Table:
    """The header of a delimited file: its columns as they are spelled here, what parts them, and its last line."""

    columns: tuple[str, ...]
    delimiter: str
    line: int


def header(path: Path) -> Table:
    """The first line that is neither empty nor a comment (#, as in Meta's templates); no columns in an empty file."""
    with open_text(path) as stream:
        lines = Lines(stream, path, longest=LONGEST_LINE)
        for line in lines:
            if problem := text_problem(line):
                fail(f"{path}, line {lines.number}", problem)
            outside = re.sub('"[^"]*(?:"|$)', "", line)
            delimiter = max(",\t;|", key=outside.count)  # the first of them where none occurs
            lines.put_back([line])
            cells, _ = _record(lines, delimiter, width=0)
            if not _NO_HEADER.fullmatch(line):
                return Table(tuple(map(spelled, cells)), delimiter, lines.number)
    return Table((), ",", lines.number)


def rows(path: Path, table: Table) -> Iterator[Row]:
    """Every row below the header that says anything, its cells by column name; a repeated column holds a list.

    A row that cannot be read carries that as its problem; cells without a column's name are left out.
    """
    columns = table.columns
    repeated = {name for name, count in Counter(columns).items() if name and count > 1}
    if single := sorted(repeated & _SINGLE):
        fail(f"{path}, line {table.line}", f"the column {single[0]!r} occurs twice. Rename or remove one")
    with open_text(path) as stream:
        lines = Lines(stream, path, longest=LONGEST_LINE)
        while lines.number < table.line:
            lines.take()
        while True:
            number = lines.number + 1
            cells, problem = _record(lines, table.delimiter, width=len(columns))
            if lines.number < number:
                return
            if problem:
                yield Row("line", number, problem=problem)
            elif any(map(str.strip, cells)):
                named: dict[str, object] = dict(zip(columns, cells, strict=False))
                named.pop("", None)
                lists: dict[str, object] = {name: [] for name in repeated}
                for name, cell in zip(columns, cells, strict=False) if repeated else ():
                    if isinstance(several := lists.get(name), list) and cell.strip():
                        several.append(cell)
                yield Row("line", number, named | lists)


def _record(lines: Lines, delimiter: str, *, width: int) -> tuple[list[str], str]:
    """The cells of the next row, and why it cannot be read; nothing is taken at the end of the file."""
    first = lines.take()
    text = first.rstrip("\r\n")
    cells, opened = _split(text, delimiter)
    whole = _continued(lines, first, cells, opened, delimiter, width=width) if opened else None
    problem = text_problem(text)
    if whole is not None:
        cells, problem = whole, problem or text_problem("".join(whole))
    if not problem and width and any(map(str.strip, cells[width:])):
        unclosed = "a quotation mark opens and never closes. Close or remove it"
        many = f"more than {width} fields. Put quotes around texts with commas"
        problem = f"{unclosed if opened and whole is None else many}; the row begins with {shown(cells[0])}"
    return cells, problem


def _split(text: str, delimiter: str) -> tuple[list[str], tuple[int, int] | None]:
    """The cells of one line; which of them, if any, opens a quotation mark that stays open, and where it goes on."""
    if '"' not in text:
        return text.split(delimiter), None
    if f"{delimiter} " not in text:  # the standard library is fast, and right about marks that quote something
        with suppress(csv.Error):
            return next(csv.reader([text], delimiter=delimiter, strict=True)), None
    cells: list[str] = []
    opened, at = None, 0
    while at <= len(text):
        found = _cell(delimiter).match(text, at)
        quoted, plain = found.groups() if found else (None, "")  # the pattern's second half matches anything
        if opened is None and plain and plain.lstrip(" ").startswith('"'):
            start = text.index('"', at) + 1
            if _closing(text, start) == len(text):
                opened = (len(cells), start)
        cells.append(plain if quoted is None else quoted.replace('""', '"'))
        at = (found.end() if found else len(text)) + 1
    return cells, opened


def _closing(text: str, start: int) -> int:
    """Where the quotation mark behind which ``start`` lies closes; the text's length where it does not."""
    found = _INSIDE.match(text, start)
    return found.end() if found else len(text)


@cache
def _cell(delimiter: str) -> re.Pattern[str]:
    part = re.escape(delimiter)
    return re.compile(rf' *"([^"]*+(?:""[^"]*+)*+)" *(?={part}|\Z)|([^{part}]*)')


def _continued(
    lines: Lines, first: str, cells: list[str], opened: tuple[int, int], delimiter: str, *, width: int
) -> list[str] | None:
    """The cells of a row whose quotation mark closes on a later line; None, and no line taken, where it does not.

    Tabs hardly ever occur inside of a text: lines that have all of the table's cells by themselves are rows.
    """
    taken, characters = [], len(first)
    full = delimiter == "\t" and first.count(delimiter) == width - 1
    cells, parts = cells[: opened[0]], [first[opened[1] :]]
    for line in lines:
        taken.append(line)
        characters += len(line)
        if characters > LONGEST_LINE or (full and line.count(delimiter) == width - 1):
            break
        end = _closing(line, 0)
        if end == len(line):
            parts.append(line)
            continue
        rest = line[end + 1 :].lstrip(" ")
        text = rest.rstrip("\r\n")
        if text and not text.startswith(delimiter):
            break
        cells.append("".join([*parts, line[:end]]).replace('""', '"'))
        more, again = _split(text[1:], delimiter) if text else ([], None)
        if again is None:
            cells += more
            if width and any(map(str.strip, cells[width:])):
                break
            return cells
        cells, parts = [*cells, *more[: again[0]]], [rest[1 + again[1] :]]
    lines.put_back(taken)
    return None
