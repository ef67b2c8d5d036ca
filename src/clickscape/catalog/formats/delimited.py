"""Delimited text (CSV and TSV) as a stream of cells: one line in memory, however large the file."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from clickscape.catalog.formats.row import Row, fail, wrong_encoding

LONGEST_LINE = 1_000_000  # characters; a file without line ends must not fill the memory


@dataclass(frozen=True, slots=True)
class Table:
    """The header of a delimited file: its columns, what parts them, and the line on which it stands."""

    columns: tuple[str, ...]
    delimiter: str
    line: int


def header(path: Path) -> Table:
    """The first line that is neither empty nor a comment (#, as in Meta's templates); no columns in an empty file."""
    with _opened(path) as stream:
        try:
            for number, line in enumerate(_lines(stream, path), 1):
                if line.strip() and not line.startswith(("#", '"#')):
                    delimiter = max(",\t;|", key=line.count)  # the first of them where none occurs
                    return Table(tuple(next(csv.reader([line], delimiter=delimiter))), delimiter, number)
        except UnicodeDecodeError as error:
            wrong_encoding(path, error)
        except csv.Error as error:
            fail(str(path), f"broken header ({error}). Fix it", error)
    return Table((), ",", 1)


def rows(path: Path, table: Table) -> Iterator[Row]:
    """Every row below the header, its cells by column name; a row with too many fields carries that as its problem."""
    columns = table.columns
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        fail(f"{path}, line {table.line}", f"the column {twice!r} occurs twice. Rename or remove one")
    with _opened(path) as stream:
        lines = _lines(stream, path)
        for _ in range(table.line):
            next(lines, None)
        reader = csv.reader(lines, strict=True, delimiter=table.delimiter)
        before = 0
        try:
            for cells in reader:
                line, before = table.line + before + 1, reader.line_num
                if len(cells) > len(columns):
                    problem = f"more than {len(columns)} fields. Put quotes around texts with commas"
                    yield Row("line", line, problem=problem)
                elif cells:
                    named: Mapping[str, object] = dict(zip(columns, cells, strict=False))
                    yield Row("line", line, named)
        except UnicodeDecodeError as error:
            wrong_encoding(path, error)
        except csv.Error as error:
            where = f"{path}, line {table.line + reader.line_num}"
            fail(where, f"broken CSV ({error}). Fix or remove it", error)


def _opened(path: Path) -> TextIO:
    return path.open(encoding="utf-8-sig", newline="")


def _lines(stream: TextIO, path: Path) -> Iterator[str]:
    number = 0
    while line := stream.readline(LONGEST_LINE):
        number += 1
        if "\0" in line:
            fail(f"{path}, line {number}", "a NUL byte, so this is no text in UTF-8. Save the file as UTF-8")
        if len(line) == LONGEST_LINE and line[-1] not in "\r\n":
            fail(f"{path}, line {number}", f"over {LONGEST_LINE:,} characters in one line. Save it with line ends")
        yield line
