"""Result tables that people download: CSV with lines above its header, tab-separated UTF-16, or an API's JSON.

Every cell stays a text, so that an id never becomes a number; every row knows its line.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clickscape.errors import ExperimentError

_MOST_ROWS, _MOST_COLUMNS, _DEEPEST = 1_000_000, 500, 6
_TITLE_LINES = 10  # lines above a header: name of the report, period, empty ones
_FORMULA = "=+@"  # a cell that a spreadsheet would run; names may begin so, nothing here runs it


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a result table: its line, and column → cell; names of columns are those of the file, in lower case."""

    line: int
    cells: Mapping[str, str]


def read_table(data: bytes, *, where: str, needed: Sequence[str]) -> list[Row]:
    """Return the rows of a CSV, TSV or JSON file; ExperimentError names the file and line.

    `needed`: names of columns by which the header is found under the lines that come before it; one of them suffices.
    """
    text = _decoded(data, where=where)
    if text.lstrip()[:1] in ("{", "["):
        return list(_json_rows(text, where=where))
    return list(_csv_rows(text, where=where, needed=frozenset(needed)))


def _decoded(data: bytes, *, where: str) -> str:
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ExperimentError(f"{where}, line {line}: not UTF-8 or UTF-16. Save it as CSV in UTF-8.") from None
    if "\0" in text:
        raise ExperimentError(f"{where}: not a text file. Export the table as CSV or JSON.")
    return text


def _csv_rows(text: str, *, where: str, needed: frozenset[str]) -> Iterator[Row]:
    best = max("\t;,", key=lambda sign: _most(text, sign))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=best, strict=True)
    header: list[str] | None = None
    before, seen = 0, 0
    try:
        for cells in reader:
            if header is None:
                names = [cell.strip().lower() for cell in cells]
                if needed & set(names):
                    header = _checked_header(names, where=f"{where}, line {reader.line_num}")
                    continue
                before += 1
                if before > _TITLE_LINES:
                    break
                continue
            if not any(cell.strip() for cell in cells):
                continue
            seen += 1
            if seen > _MOST_ROWS:
                raise ExperimentError(f"{where}: over {_MOST_ROWS:,} rows. Export fewer days or columns.")
            if len(cells) > len(header):
                raise ExperimentError(f"{where}, line {reader.line_num}: {len(cells)} cells, the header has "
                                      f"{len(header)}. Put texts with separators into quotes.")  # fmt: skip
            filled = [*cells, *[""] * (len(header) - len(cells))]
            yield Row(reader.line_num, dict(zip(header, (cell.strip() for cell in filled), strict=True)))
    except csv.Error as error:
        raise ExperimentError(f"{where}, line {reader.line_num}: {error}. Export the table again as CSV.") from None
    if header is None:
        raise ExperimentError(f"{where}: no header with any of {', '.join(sorted(needed))} in its first lines. Export "
                              f"the table in English, with these columns.")  # fmt: skip


def _most(text: str, sign: str) -> int:
    """Most columns that a sign makes in the first lines: lines above the header have fewer."""
    return max((line.count(sign) for line in text.splitlines()[: _TITLE_LINES + 2]), default=0)


def _checked_header(names: list[str], *, where: str) -> list[str]:
    if len(names) > _MOST_COLUMNS:
        raise ExperimentError(f"{where}: {len(names)} columns, at most {_MOST_COLUMNS} are read. Export fewer.")
    named = [name for name in names if name]
    if twice := next((name for name in named if named.count(name) > 1), None):
        raise ExperimentError(f"{where}: two columns {twice!r}. Remove one of them.")
    return [name or f"#{number}" for number, name in enumerate(names, start=1)]


def _json_rows(text: str, *, where: str) -> Iterator[Row]:
    """Records of Google's `results` and Meta's `data`, or of a plain list; nested names are joined by dots."""
    try:
        loaded = json.loads(text, parse_constant=lambda name: name)
    except (ValueError, RecursionError) as error:
        raise ExperimentError(f"{where}: not JSON ({error}). Save the whole answer of the platform.") from None
    pages = loaded if isinstance(loaded, list) and loaded and _is_page(loaded[0]) else [loaded]
    number = 0
    for page in pages:
        records = page
        if isinstance(page, dict):
            if isinstance(page.get("paging"), dict) and page["paging"].get("next"):
                raise ExperimentError(f"{where}: one page of several, more follow it. Ask for all of them in one "
                                      f"answer (limit), or join their data.")  # fmt: skip
            if page.get("nextPageToken") or page.get("next_page_token"):
                raise ExperimentError(f"{where}: one page of several. Use searchStream, or join their results.")
            records = page.get("results", page.get("data"))
        if not isinstance(records, list):
            raise ExperimentError(f"{where}: expected a list of records in results or data. Save the whole answer.")
        for record in records:
            number += 1
            if not isinstance(record, dict):
                raise ExperimentError(f"{where}, record {number}: expected an object. Save the whole answer.")
            if number > _MOST_ROWS:
                raise ExperimentError(f"{where}: over {_MOST_ROWS:,} records. Ask for fewer days.")
            yield Row(number, dict(_flat(record, "", 0, where=f"{where}, record {number}")))


def _is_page(value: object) -> bool:
    return isinstance(value, dict) and ("results" in value or "data" in value)


def _flat(value: Mapping[str, Any], prefix: str, depth: int, *, where: str) -> Iterator[tuple[str, str]]:
    if depth > _DEEPEST:
        raise ExperimentError(f"{where}: nested more than {_DEEPEST} deep. Save the platform's answer as it came.")
    for key, one in value.items():
        name = f"{prefix}{_snake(key)}"
        if isinstance(one, dict):
            yield from _flat(one, f"{name}.", depth + 1, where=where)
        elif isinstance(one, bool) or one is None or isinstance(one, list):
            continue
        else:
            yield name, str(one)


def _snake(name: str) -> str:
    """controlClicks → control_clicks, so that the REST form and the client libraries' say the same."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
