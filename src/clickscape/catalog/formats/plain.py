"""The plain catalogs: CSV and Parquet with clickscape's own columns, JSON Lines, and the paper's JSON lists.

JSON Lines are taken with any names: clickscape's own, Google's and Meta's, or Shopify's, told from the first line.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from clickscape.catalog.formats import merchant, shopify
from clickscape.catalog.formats.delimited import Table
from clickscape.catalog.formats.delimited import rows as delimited_rows
from clickscape.catalog.formats.row import Row, fail, parse_json, shown, wrong_encoding

ID, IMAGE = ("product_id", "id"), ("image", "image_link")
CAPTION = ("title", "new_caption")  # the paper's lists call the title new_caption
LONGEST_LINE = 4_000_000  # bytes of one JSON line

_REMEDY = "Save the file as UTF-8"


def read_csv(path: Path, table: Table) -> Iterator[Row]:
    """Rows of a CSV with clickscape's own columns."""
    if table.columns:
        _check_columns(table.columns, f"{path}, line {table.line}")
    yield from map(_canonical, delimited_rows(path, table))


def read_parquet(path: Path) -> Iterator[Row]:
    """Rows of a Parquet table with clickscape's own columns, batch by batch."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            _check_columns(list(file.schema_arrow.names), str(path))
            number = 0
            for batch in file.iter_batches(batch_size=4096):
                for row in batch.to_pylist():
                    number += 1
                    yield _canonical(Row("row", number, row))
    except (pa.ArrowException, OSError, ValueError) as error:
        fail(str(path), f"not a readable Parquet file ({str(error).splitlines()[0][:100]}). Write it again", error)


def read_json(path: Path) -> Iterator[Row]:
    """Items of the paper's JSON list; the whole list is held in memory."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wrong_encoding(path, error)
    try:
        items = parse_json(text)
    except ValueError as error:
        line = getattr(error.__cause__, "lineno", None)
        fail(f"{path}, line {line}" if line and "\n" in text.strip() else str(path), str(error), error)
    if not isinstance(items, list):
        fail(str(path), 'expected a JSON list [{"id", "image", "new_caption"}, …]; for one object a line use .jsonl')
    for number, item in enumerate(items, 1):
        if isinstance(item, dict):
            yield _canonical(Row("item", number, item))
        else:
            yield Row("item", number, problem=_no_object(item))


def read_jsonl(path: Path) -> Iterator[Row]:
    """One JSON object a line, with any of the names that the other formats use."""
    rows = _json_lines(path)
    first = list(itertools.islice(rows, 1))
    names = first[0].columns if first else {}
    everything = itertools.chain(first, rows)
    if shopify.is_shopify(list(names)):
        yield from shopify.products(everything)
    else:
        yield from map(_any_names, everything)


def _json_lines(path: Path) -> Iterator[Row]:
    with path.open("rb") as stream:
        number = 0
        while line := stream.readline(LONGEST_LINE):
            number += 1
            if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
                fail(f"{path}, line {number}", f"over {LONGEST_LINE:,} bytes in one line. Write one object a line")
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                byte = f"byte 0x{line[error.start]:02x} is not UTF-8"
                fail(f"{path}, line {number}", f"{byte}. {_REMEDY}", error)
            if not text.strip():
                continue
            try:
                value = parse_json(text)
            except ValueError as error:
                yield Row("line", number, problem=str(error))
                continue
            yield (
                Row("line", number, value)
                if isinstance(value, dict)
                else Row("line", number, problem=_no_object(value))
            )


def _no_object(value: object) -> str:
    return f"expected an object with product_id, title and image, got {shown(value)}"


def _any_names(row: Row) -> Row:
    """The row under clickscape's own names, where it does not use them already."""
    return merchant.translate(row) if merchant.is_merchant(row.columns) else _canonical(row)


def _canonical(row: Row) -> Row:
    """The row as it is, with its id, title and image under the names that are checked later."""
    columns = row.columns
    if row.problem:
        return row
    attributes = {name.removeprefix("attribute:"): columns[name] for name in columns if name.startswith("attribute:")}
    return Row(
        row.unit,
        row.number,
        {
            "product_id": first(columns, ID),
            "title": first(columns, CAPTION),
            "image": first(columns, IMAGE),
            "attribute_columns": attributes,
            "more_images": first(columns, ("more_images", "additional_image_link")),
            **{name: columns.get(name) for name in ("category", "attributes", "tags", "price", "currency")},
        },
    )


def first(columns: Mapping[str, object], names: Sequence[str]) -> object:
    """The first of the columns that says something."""
    return next((columns[name] for name in names if columns.get(name) not in (None, "")), None)


def _check_columns(columns: Sequence[str], place: str) -> None:
    for wanted in (ID, CAPTION[:1], IMAGE):
        if not set(wanted) & set(columns):
            found = ", ".join(columns)[:200]
            fail(place, f"no column {' or '.join(wanted)}; found {found}. Rename or add the column")
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if list(columns).count(name) > 1)
        fail(place, f"the column {twice!r} occurs twice. Rename or remove one")
