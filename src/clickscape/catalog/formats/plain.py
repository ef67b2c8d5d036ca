"""The plain catalogs: CSV and Parquet with clickscape's own columns, JSON Lines, and the paper's JSON lists.

JSON Lines are taken with any names: clickscape's own, Google's and Meta's, or Shopify's, recognized by the first line.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from clickscape.catalog.formats import delimited, merchant, shopify
from clickscape.catalog.formats.lines import Lines, open_text, text_problem
from clickscape.catalog.formats.row import Row, Unit, Unreadable, fail, parse_json, shown, spelled

if TYPE_CHECKING:
    import pyarrow as pa

ID, IMAGE = ("product_id", "id"), ("image", "image_link")
MORE_IMAGES = ("more_images", "additional_image_link")
CAPTION = ("title", "new_caption")  # the paper's lists call the title new_caption
_NEEDED = (ID, CAPTION[:1], IMAGE)
_AS_THEY_ARE = ("category", "attributes", "tags", "price", "currency")
_USED = frozenset({*ID, *IMAGE, *MORE_IMAGES, *CAPTION, *_AS_THEY_ARE, *merchant.ATTRIBUTES})
"""Columns that are read; attributes with Google's names need no "attribute:" before them."""
LONGEST_LINE = 4_000_000  # characters of one JSON line
LARGEST_ROWS, LARGEST_TABLE = 64_000_000, 16_000_000_000  # bytes, unpacked, of _ROWS rows of Parquet and of all
_EMPTY: tuple[object, ...] = (None, "", [])
_ROWS = 64  # of Parquet in memory at a time
LARGEST_LIST = 256_000_000  # bytes of a JSON list, which takes about ten times as much memory


def read_csv(path: Path) -> Iterator[Row]:
    """Rows of a CSV with clickscape's own columns."""
    table = delimited.header(path)
    if table.columns:
        _check_columns(table.columns, f"{path}, line {table.line}", _NEEDED)
    yield from map(_canonical, delimited.rows(path, table))


def read_parquet(path: Path) -> Iterator[Row]:
    """Rows of a Parquet table with clickscape's own columns, batch by batch."""
    for row in _parquet_rows(path, needed=_NEEDED, is_read=_is_read):
        yield replace(_canonical(row), unread=row.unread)


def read_table(path: Path, *, format: str, needed: Sequence[Sequence[str]], read: Collection[str]) -> Iterator[Row]:  # noqa: A002
    """Rows of a csv, parquet or jsonl file (``format``) that is no catalog, their columns as they are spelled here.

    ``needed``: for each column that must be there the names that it may have; in JSON Lines a row may lack it.
    ``read``: the columns that are looked at; each row lists its others as ``unread``.
    """
    if format == "parquet":
        yield from _parquet_rows(path, needed=needed, is_read=read.__contains__)
        return
    if format == "jsonl":
        rows = _json_lines(path)
    else:
        table = delimited.header(path)
        if table.columns:
            _check_columns(table.columns, f"{path}, line {table.line}", needed)
        rows = delimited.rows(path, table)
    for row in rows:
        yield replace(
            row, unread=tuple(name for name, value in row.columns.items() if value not in _EMPTY and name not in read)
        )


def _parquet_rows(path: Path, *, needed: Sequence[Sequence[str]], is_read: Callable[[str], bool]) -> Iterator[Row]:
    """Rows of a Parquet table in small batches; each lists the table's columns that are not read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            _check_columns([spelled(name) for name in names], str(path), needed)
            used = [name for name in names if is_read(spelled(name))]
            unread = tuple(name for name in names if not is_read(spelled(name)))
            if len(set(used)) < len(used):
                twice = next(name for name in used if used.count(name) > 1)
                fail(str(path), f"the column {shown(twice)} occurs twice. Rename or remove one")
            numbers = itertools.count(1)
            unpacked = 0
            for batch in file.iter_batches(
                _ROWS, columns=used
            ):  # a few kilobytes of Parquet may hold any number of rows
                size = sum(map(_bytes, batch.columns))
                unpacked += size
                if size > LARGEST_ROWS or unpacked > LARGEST_TABLE:
                    at = f"{path}, row {next(numbers)}"
                    fail(
                        at, f"over {LARGEST_ROWS:,} bytes in {_ROWS} rows, or {LARGEST_TABLE:,} in all. Split the table"
                    )
                for row in _values(batch):
                    yield replace(_row("row", next(numbers), row), unread=unread)
    except (pa.ArrowException, OSError, ValueError) as error:
        fail(str(path), f"not a readable Parquet file ({str(error).splitlines()[0][:100]}). Write it again", error)


def _values(batch: pa.RecordBatch) -> list[dict[str, object] | Unreadable]:
    """The rows as Python's values, texts that are stored as bytes decoded; why, of a row that cannot be had."""
    try:
        rows = batch.to_pylist()
        if any("binary" in str(column.type) for column in batch.columns):
            rows = [{name: _decoded(value) for name, value in row.items()} for row in rows]
        return rows
    except (ValueError, OverflowError) as error:  # such as a time after the year 9999
        if batch.num_rows > 1:
            return [row for number in range(batch.num_rows) for row in _values(batch.slice(number, 1))]
        return [Unreadable(f"a value cannot be read ({str(error).splitlines()[0][:100]}). Correct it")]


def _decoded(value: object) -> object:
    """The value with bytes as the text that they are: not every writer of Parquet says which columns are texts."""
    if isinstance(value, list | tuple):
        return type(value)(map(_decoded, value))
    return value.decode() if isinstance(value, bytes) else value


def _bytes(column: pa.Array) -> int:
    """Bytes of a column as values, at most; one that names its values by number may be far smaller than they are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_dictionary(column.type):
        return LARGEST_ROWS + 1 if "dictionary" in str(column.type) else column.nbytes
    values = column.dictionary
    is_text = pa.types.is_string(values.type) or pa.types.is_large_string(values.type)
    longest = (pc.max(pc.binary_length(values)).as_py() or 0) if is_text else values.nbytes
    return column.indices.nbytes + len(column) * longest


def read_json(path: Path) -> Iterator[Row]:
    """Items of the paper's JSON list; the whole list is held in memory."""
    if path.stat().st_size > LARGEST_LIST:
        fail(str(path), f"a JSON list of over {LARGEST_LIST / 1e6:g} MB. Write it as JSON Lines, one object a line")
    with open_text(path) as stream:
        text = stream.read()
    try:
        items = parse_json(text)
    except ValueError as error:
        line = getattr(error.__cause__, "lineno", None)
        fail(f"{path}, line {line}" if line and "\n" in text.strip() else str(path), str(error), error)
    if not isinstance(items, list):
        fail(str(path), 'expected a JSON list [{"id", "image", "new_caption"}, …]; for one object a line use .jsonl')
    for number, item in enumerate(items, 1):
        yield _canonical(_row("item", number, item))


def read_jsonl(path: Path) -> Iterator[Row]:
    """One JSON object a line, with any of the names that the other formats use."""
    rows = _json_lines(path)
    first = list(itertools.islice(rows, 1))
    names = first[0].columns if first else {}
    everything = itertools.chain(first, rows)
    if shopify.is_shopify(names):
        yield from shopify.products(everything)
    else:
        yield from map(_any_names, everything)


def _json_lines(path: Path) -> Iterator[Row]:
    with open_text(path) as stream:
        lines = Lines(stream, path, longest=LONGEST_LINE)
        for line in lines:
            if problem := text_problem(line):
                yield Row("line", lines.number, problem=problem)
            elif line.strip():
                try:
                    yield _row("line", lines.number, parse_json(line))
                except ValueError as error:
                    yield Row("line", lines.number, problem=str(error))


def _row(unit: Unit, number: int, item: object) -> Row:
    """The row of one object, its names spelled as everywhere."""
    if isinstance(item, Unreadable):
        return Row(unit, number, problem=item.problem)
    if not isinstance(item, dict):
        problem = f"expected an object with product_id, title and image, got {shown(item)}"
        return Row(unit, number, problem=problem)
    columns = {spelled(name): value for name, value in item.items()}
    if len(columns) < len(item):
        return Row(unit, number, problem="two keys that differ only in capitals or spaces. Remove one")
    return Row(unit, number, columns)


def _any_names(row: Row) -> Row:
    """The row under clickscape's own names, where it does not use them already."""
    return merchant.translate(row) if merchant.is_merchant(row.columns) else _canonical(row)


def _canonical(row: Row) -> Row:
    """The row as it is, with its id, title and image under the names that are checked later."""
    columns = row.columns
    if row.problem:
        return row
    named = {name.removeprefix("attribute:"): columns[name] for name in columns if name.startswith("attribute:")}
    attributes = {
        **merchant.attributes({name: value for name, value in columns.items() if value not in _EMPTY}),
        **named,
    }
    own = {
        "product_id": first(columns, ID),
        "title": first(columns, CAPTION),
        "image": first(columns, IMAGE),
        "attribute_columns": attributes,
        "more_images": first(columns, MORE_IMAGES),
        **{name: columns.get(name) for name in _AS_THEY_ARE},
    }
    unread = tuple(name for name, value in columns.items() if value not in _EMPTY and not _is_read(name))
    return replace(row, columns=own, unread=unread)


def _is_read(name: str) -> bool:
    return name in _USED or name.startswith("attribute:")


def first(columns: Mapping[str, object], names: Sequence[str]) -> object:
    """The first of the columns that says something."""
    return next((columns[name] for name in names if columns.get(name) not in (None, "")), None)


def _check_columns(columns: Sequence[str], place: str, needed: Sequence[Sequence[str]]) -> None:
    for wanted in needed:
        if not set(wanted) & set(columns):
            found = ", ".join(columns)[:200]
            fail(place, f"no column {' or '.join(wanted)}; found {found}. Rename or add the column")
