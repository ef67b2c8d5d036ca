"""Files of a log as tables of the DuckDB that reads them, one table for all files of the same columns and types.

The columns and types are those of the files' own headers, never guessed from a sample: CSV and JSON are texts, whatever
they look like, and Parquet files whose types differ are not forced into a common one. Rows stream; only what cannot be
read is gone through line by line, to say which line it is.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import ibis
import pyarrow as pa
import pyarrow.parquet as pq

from clickscape.clicks.locations import LogLocation
from clickscape.errors import LogError

FILE = "clickscape_file"
"""The column of a part that says which file a row is in; a log may have a column `filename` of its own."""

_BLOCK = 1 << 20
_LONGEST = 100  # characters of a name in a message
_HEADER = 1 << 20  # characters of a header line, at most
_DELIMITERS = ",;\t|"
_PACKED = (b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zX", b"\x28\xb5\x2f\xfd")  # gzip, ZIP, bzip2, xz, Zstandard


@dataclass(frozen=True)
class Part:
    """Files of one layout as a table with a column FILE; `where`: the first of them, for messages."""

    table: ibis.Table
    where: str


@dataclass(frozen=True)
class _Layout:
    """What files of one table share: columns with their types, columns that folders give, how a CSV is split."""

    columns: tuple[tuple[str, str], ...]
    given: tuple[tuple[str, str | None], ...] = ()
    delimiter: str = ""
    strict: bool = True
    skip: int = 0  # lines before the header


def read(location: LogLocation, *, connection: Any, wanted: frozenset[str], ids: frozenset[str]) -> list[Part]:
    """Return the files as tables of a DuckDB; `wanted`: columns of a log as it calls them; `ids`: those with ids.

    LogError for a file that cannot be read, a column that is there twice, and ids in JSON such as 7.0.
    """
    for file in location.files:
        if file.suffix.lower() != ".parquet":
            _check_encoding(file)
    if location.files[0].suffix.lower() in (".jsonl", ".ndjson"):
        keys = _json_keys(location.files, connection=connection, ids=ids)
    layouts: dict[_Layout, list[Path]] = {}
    for file in location.files:
        match file.suffix.lower():
            case ".parquet":
                layout = _Layout(tuple(sorted(_parquet(file, wanted))))
            case ".csv" | ".tsv":
                layout = _csv_layout(file, wanted)
            case _:
                layout = _Layout(tuple((name, "") for name in sorted(keys[str(file)]) if _known(name, wanted)))
        names = [name.strip().casefold() for name, _ in layout.columns if _known(name, wanted)]
        if twice := [one for one, other in pairwise(sorted(names)) if one == other]:
            raise LogError(f"{file}: column {twice[0]!r} is there twice. Delete or rename one of them.")
        folders = location.folder_columns(file).items()
        given = tuple((name, value) for name, value in folders if _known(name, wanted) and name.casefold() not in names)
        layout = replace(layout, given=given)
        layouts.setdefault(layout, []).append(file)
    return [Part(_table(layout, files, connection), str(files[0])) for layout, files in layouts.items()]


def explain(files: Iterable[Path], *, wanted: frozenset[str], ids: frozenset[str]) -> None:
    """Raise the LogError of the first row that cannot be read, with its line; return if every row can be."""
    for file in files:
        match file.suffix.lower():
            case ".csv" | ".tsv":
                _check_csv(file, _csv_layout(file, wanted))
            case ".jsonl" | ".ndjson":
                _check_json(file, ids)


def _known(name: str, wanted: frozenset[str]) -> bool:
    return name.strip().casefold() in {one.casefold() for one in wanted}


def _table(layout: _Layout, files: list[Path], connection: Any) -> ibis.Table:
    options: dict[str, Any] = {"filename": FILE, "hive_partitioning": False}
    paths = [literal(file) for file in files]
    texts = {name: "VARCHAR" for name, _ in layout.columns}
    if layout.delimiter:
        options |= {"auto_detect": False, "header": True, "delim": layout.delimiter, "quote": '"', "escape": '"'}
        table = connection.read_csv(paths, columns=texts, strict_mode=layout.strict, skip=layout.skip, **options)
    elif files[0].suffix.lower() == ".parquet":
        table = connection.read_parquet(paths, union_by_name=True, **options)
    elif texts:
        table = connection.read_json(paths, columns=texts, format="newline_delimited", **options)
    else:
        table = ibis.memtable({FILE: [str(file) for file in files]})
    return table.mutate(**{name: ibis.literal(value, "string") for name, value in layout.given})


def literal(file: Path) -> str:
    """Return the path for DuckDB, which takes every path for a glob: a[1].csv would be a1.csv."""
    return re.sub(r"([*?\[])", r"[\1]", str(file))


def _parquet(file: Path, wanted: frozenset[str]) -> list[tuple[str, str]]:
    try:
        schema = pq.read_schema(file)
    except (pa.ArrowException, OSError) as error:
        raise LogError(f"{file}: not a Parquet file ({error}). Export it again.") from None
    for field in schema:
        if pa.types.is_decimal256(field.type) and field.type.precision > 38 and _known(field.name, wanted):
            raise LogError(f"{file}: column {field.name!r} is {field.type}, of which 38 digits are read. Write fewer.")
    return [(field.name, str(field.type)) for field in schema if _known(field.name, wanted)]


def _csv_layout(file: Path, wanted: frozenset[str]) -> _Layout:
    """The header's columns under the delimiter that finds most of the wanted ones in it."""
    with file.open("rb") as stream:
        start = stream.readline(_HEADER) + stream.readline(_HEADER)
    try:
        lines = [line.decode("utf-8-sig") for line in start.splitlines()]
    except UnicodeDecodeError:
        raise LogError(f"{file}, line 1: not UTF-8 text. Save it as CSV in UTF-8.") from None
    skip = int(bool(lines) and re.fullmatch(r"\s*\"?sep=.\"?\s*", lines[0], re.IGNORECASE) is not None)  # Excel's
    line = lines[skip] if len(lines) > skip else ""
    if not line.strip():
        raise LogError(f"{file}: its first line is empty, expected the names of the columns. Export it again.")
    delimiters = _DELIMITERS if file.suffix.lower() == ".csv" else "\t" + _DELIMITERS
    try:
        rows = [(next(csv.reader([line], delimiter=delimiter)), delimiter) for delimiter in delimiters]
    except csv.Error as error:
        raise LogError(f"{file}, line 1: not the names of columns ({error}). Export it again.") from None
    names, delimiter = max(rows, key=lambda row: (sum(_known(name, wanted) for name in row[0]), len(row[0])))
    columns = tuple((name if _known(name, wanted) else f"\x1f{number}", "") for number, name in enumerate(names))
    layout = _Layout(columns, delimiter=delimiter, strict=not _has_mixed_ends(file), skip=skip)
    if not layout.strict:  # DuckDB reads mixed line ends only in a mode in which it drops surplus fields in silence
        _check_csv(file, layout)
    return layout


def _has_mixed_ends(file: Path) -> bool:
    """Whether lines end in more than one of CR, LF and CR LF."""
    both = feeds = returns = 0
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            if block.endswith(b"\r"):
                block += stream.read(1)
            both, feeds, returns = both + block.count(b"\r\n"), feeds + block.count(b"\n"), returns + block.count(b"\r")
    return (both > 0) + (feeds > both) + (returns > both) > 1


def _check_encoding(file: Path) -> None:
    """LogError for packed files, UTF-16, and a mark before JSON: DuckDB reads none of them, or only half."""
    with file.open("rb") as stream:
        start = stream.read(4)
    if start.startswith(_PACKED):
        raise LogError(f"{file}: a packed file, expected text. Unpack it first.")
    if start[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in start:
        raise LogError(f"{file}: UTF-16 text, such as Excel's \"Unicode text\". Save it in UTF-8: "
                       f"iconv -f UTF-16 -t UTF-8")  # fmt: skip
    if start.startswith(b"\xef\xbb\xbf") and file.suffix.lower() in (".jsonl", ".ndjson"):
        raise LogError(f"{file}: begins with a byte order mark, which JSON may not. Save it in UTF-8 without one: "
                       f"tail -c +4")  # fmt: skip


def _check_csv(file: Path, layout: _Layout) -> None:
    delimiter = layout.delimiter
    with file.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.reader(stream, delimiter=delimiter, strict=True)
        width, start = 0, 1
        try:
            for _ in range(layout.skip):
                next(rows)
                start = rows.line_num + 1
            for row in rows:
                width = width or len(row)
                if row and len(row) != width:
                    raise LogError(
                        f"{file}, line {start}: {len(row)} fields, but {width} columns. Quote fields that hold "
                        f"{delimiter!r}; a last line that is cut off means that the export was: repeat it."
                    )
                start = rows.line_num + 1
        except csv.Error as error:
            raise LogError(
                f"{file}, line {start}: a quote is not closed, or a field is too long ({error}). Export it again."
            ) from None
        except UnicodeDecodeError:
            raise LogError(f"{file}, line {_undecodable(file)}: not UTF-8 text. Save it as CSV in UTF-8.") from None


def _undecodable(file: Path) -> int:
    """The first line that is not UTF-8."""
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1


def _json_keys(files: tuple[Path, ...], *, connection: Any, ids: frozenset[str]) -> Mapping[str, set[str]]:
    """The keys of each file's objects: a key that first comes in a late row is a column as well."""
    query = r"""
        SELECT filename, array_to_string(json_keys(json), chr(10)) AS keys, CASE
            WHEN regexp_matches(json::VARCHAR, ':\s*-?[0-9]+[.eE]') THEN list_contains(json_type(json, $ids), 'DOUBLE')
            ELSE false END AS fractional
        FROM read_ndjson_objects($files, filename = true, hive_partitioning = false) GROUP BY ALL
    """
    paths = [f"$.{json.dumps(name)}" for name in sorted(ids)]
    found: dict[str, set[str]] = {str(file): set() for file in files}
    given = {"files": [literal(file) for file in files], "ids": paths}
    for name, joined, fractional in connection.con.execute(query, given).fetchall():
        keys = (joined or "").split("\n")
        if fractional or len(set(keys)) < len(keys) or not joined:
            _check_json(Path(name), ids)
        found[name] |= set(keys)
    return found


def _check_json(file: Path, ids: frozenset[str]) -> None:
    with file.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            where = f"{file}, line {number}"
            try:
                pairs = json.loads(line, object_pairs_hook=tuple)
            except (ValueError, RecursionError) as error:
                raise LogError(f"{where}: not a JSON object ({error}). Correct it, or export the file again.") from None
            if not isinstance(pairs, tuple):
                raise LogError(f"{where}: not a JSON object. Write one event, {{…}}, a line.")
            try:
                json.dumps(pairs, ensure_ascii=False).encode()
            except UnicodeEncodeError:
                raise LogError(f"{where}: half of a character. Write it whole, in UTF-8.") from None
            names = [name for name, _ in pairs]
            if twice := [name for name in names if names.count(name) > 1]:
                raise LogError(f"{where}: the key {twice[0][:_LONGEST]!r} is there twice. Delete one of them.")
            for name, value in pairs:
                if name in ids and isinstance(value, float):
                    raise LogError(
                        f"{where}: {name!r} is {json.dumps(value)}, expected text or a whole number, for 7.0 is "
                        f"another id than 7. Write it as text."
                    )
