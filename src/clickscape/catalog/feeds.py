"""Product feeds → products: JSONL, CSV and Parquet catalogs, and the JSON lists of the paper's code.

A feed may come from anybody: every row is checked, and so is every image's header, before anything is returned.  An
error names the file, the line and what to do.  An image must lie in the catalog's folder; a link or ".." that leads out
of it is refused.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import NoReturn

from clickscape.catalog.images import check_image
from clickscape.errors import FeedError, ImageError
from clickscape.types import Product

Row = Mapping[str, object]

_ID, _IMAGE = ("product_id", "id"), ("image", "image_link")
_CAPTION = ("title", "new_caption")  # the paper's lists call the title new_caption
_PARENTS = 2  # how far above the paper's JSON list its image paths may start
_PRICE = re.compile(r"(?P<before>[A-Z]{3})?\s*(?P<amount>\d+(?:\.\d+)?)\s*(?P<after>[A-Z]{3})?")


def read(path: str | PathLike[str], *, format: str | None = None) -> list[Product]:  # noqa: A002
    """The products of a catalog, in its order, with absolute image paths.

    ``format`` is jsonl, csv, parquet or json, else it is told from the file name.  Columns: product_id (or id), title,
    category ("A > B > C" or a list), attributes (a map, JSON text, or columns attribute:<name>), tags (comma-separated
    or a list), price ("12.99" or "12.99 USD"), currency, image (or image_link; relative to the catalog's folder).  A
    JSON list holds {"id", "image", "new_caption"}; its images may also be relative to one of the two folders above.
    Raises FeedError with file, line and remedy.
    """
    path = Path(path)
    name = format or _SUFFIXES.get(path.suffix.lower(), "")
    if name not in READERS:
        expected = ", ".join(READERS)
        raise FeedError(f"{path}: unknown catalog format {name or path.suffix!r}. Expected one of {expected}.")
    if not path.is_file():
        raise FeedError(f"{path}: no such catalog file. Correct the path.")
    folder = path.resolve().parent
    roots = [folder]
    if name == "json":
        # the file system's root is never searched: from there, any file of the machine could be named
        roots += [parent for parent in folder.parents[:_PARENTS] if parent != parent.parent]
    products: list[Product] = []
    places: dict[str, str] = {}
    checked: dict[Path, None] = {}
    for place, row in READERS[name](path):
        product = _product(row, f"{path}, {place}", roots, checked)
        if product.product_id in places:
            _fail(
                f"{path}, {place}",
                f"product id {product.product_id!r} was already used in {places[product.product_id]}. "
                "Give each product its own id",
            )
        places[product.product_id] = place
        products.append(product)
    if not products:
        raise FeedError(f"{path}: the catalog is empty. Add at least one product.")
    return products


def _fail(place: str, problem: str, cause: BaseException | None = None) -> NoReturn:
    raise FeedError(f"{place}: {problem}.") from cause


# Readers: a file → (place, row) pairs


def _text(path: Path) -> str:
    """The file as text; a wrong encoding is reported with its line."""
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        _fail(f"{path}, line {line}", f"byte 0x{data[error.start]:02x} is not UTF-8. Save the file as UTF-8", error)


def _parse(text: str, place: str) -> object:
    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        where = place if "\n" not in text.strip() else f"{place}, line {error.lineno}"
        _fail(where, f"broken JSON ({error.msg} at column {error.colno}). Mend or remove it", error)
    except (ValueError, RecursionError) as error:
        _fail(place, f"broken JSON ({str(error)[:80]}). Mend or remove it", error)


def _read_jsonl(path: Path) -> Iterator[tuple[str, Row]]:
    # splitlines would also split at U+2028 and its like, which JSON allows inside strings
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            row = _parse(line, f"{path}, line {number}")
            yield f"line {number}", _as_row(row, f"{path}, line {number}")


def _read_json(path: Path) -> Iterator[tuple[str, Row]]:
    rows = _parse(_text(path), str(path))
    if not isinstance(rows, list):
        _fail(str(path), 'expected a JSON list [{"id", "image", "new_caption"}, …]; for one object a line use .jsonl')
    for number, row in enumerate(rows, 1):
        yield f"item {number}", _as_row(row, f"{path}, item {number}")


def _as_row(row: object, place: str) -> Row:
    if not isinstance(row, dict):
        _fail(place, f"expected an object with product_id, title and image, got {_shown(row)}")
    return row


def _read_csv(path: Path) -> Iterator[tuple[str, Row]]:
    reader = csv.DictReader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        columns = list(reader.fieldnames or ())
        if columns:
            _check_columns(columns, f"{path}, line 1")
        for row in reader:
            line = reader.line_num - sum(str(field).count("\n") for field in row.values())  # where the row begins
            if None in row:
                _fail(f"{path}, line {line}", f"more than {len(columns)} fields. Put quotes around texts with commas")
            yield f"line {line}", row
    except csv.Error as error:
        _fail(f"{path}, line {reader.line_num}", f"broken CSV ({error}). Mend or remove it", error)


def _read_parquet(path: Path) -> Iterator[tuple[str, Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            _check_columns(list(file.schema_arrow.names), str(path))
            number = 0
            for batch in file.iter_batches(batch_size=4096):
                for row in batch.to_pylist():
                    number += 1
                    yield f"row {number}", row
    except (pa.ArrowException, OSError, ValueError) as error:
        _fail(str(path), f"not a readable Parquet file ({str(error).splitlines()[0][:100]}). Write it again", error)


def _check_columns(columns: list[str], place: str) -> None:
    for wanted in (_ID, _CAPTION[:1], _IMAGE):
        if not set(wanted) & set(columns):
            found = ", ".join(columns)[:200]
            _fail(place, f"no column {' or '.join(wanted)}; found {found}. Rename or add the column")
    if len(set(columns)) < len(columns):
        twice = next(name for name in columns if columns.count(name) > 1)
        _fail(place, f"the column {twice!r} occurs twice. Rename or remove one")


READERS: dict[str, Callable[[Path], Iterator[tuple[str, Row]]]] = {
    "jsonl": _read_jsonl,
    "csv": _read_csv,
    "parquet": _read_parquet,
    "json": _read_json,
}
_SUFFIXES = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".parquet": "parquet", ".json": "json"}


# One row → one product


def _product(row: Row, place: str, roots: list[Path], checked: dict[Path, None]) -> Product:
    product_id = _words(_first(row, _ID))
    if not product_id:
        _fail(place, "no product id. Fill the column product_id")
    if len(product_id.encode()) > 120 or product_id[0] == "." or re.search(r'[/\\:*?"<>|]', product_id):
        # the id becomes a file name in the workspace
        _fail(place, f"product id {_shown(product_id)} cannot be a file name. Use letters, digits, '-', '_' or '.'")
    title = _words(_first(row, _CAPTION))
    if not title:
        _fail(place, f"product {product_id!r} has no title. Fill the column title")
    price, currency = _price(row, place, product_id)
    return Product(
        product_id=product_id,
        title=title,
        category=_list(row.get("category"), ">"),
        attributes=_attributes(row, place, product_id),
        tags=_list(row.get("tags"), ","),
        price=price,
        currency=currency,
        image=str(_image(_first(row, _IMAGE), place, product_id, roots, checked)),
    )


def _first(row: Row, columns: tuple[str, ...]) -> object:
    return next((row[column] for column in columns if row.get(column) not in (None, "")), None)


def _words(value: object) -> str:
    """The value as one line of text, without control characters."""
    if value is None or isinstance(value, (dict, list)):
        return ""
    return " ".join("".join(" " if unicodedata.category(c) == "Cc" else c for c in str(value)).split())


def _list(value: object, separator: str) -> tuple[str, ...]:
    parts = value if isinstance(value, list) else [] if value is None else str(value).split(separator)
    return tuple(word for word in map(_words, parts) if word)


def _attributes(row: Row, place: str, product_id: str) -> dict[str, str]:
    value = row.get("attributes")
    if isinstance(value, str) and value.strip():
        value = _parse(value, f"{place}: attributes of product {product_id!r}")
    if isinstance(value, list) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
        value = dict(value)  # how Parquet maps arrive
    if value in (None, ""):
        value = {}
    if not isinstance(value, dict):
        _fail(place, f'attributes of product {product_id!r}: expected a map {{"name": "value"}}, got {_shown(value)}')
    columns = {name.removeprefix("attribute:"): row[name] for name in row if name.startswith("attribute:")}
    named = {_words(name): ", ".join(_list(part, "\0")) for name, part in {**value, **columns}.items()}
    return {name: text for name, text in named.items() if name and text}


def _price(row: Row, place: str, product_id: str) -> tuple[float | None, str | None]:
    """Amount and currency; the currency may stand beside the amount or in its own column, but not two unlike."""
    remedy = 'Write it as "12.99" or "12.99 USD"'
    currency = _words(row.get("currency")).upper() or None
    if currency and not re.fullmatch(r"[A-Z]{3}", currency):
        _fail(
            place, f"currency {_shown(currency)} of product {product_id!r} is not a code of three letters such as USD"
        )
    text = _words(row.get("price"))
    if not text:
        return None, currency
    match = _PRICE.fullmatch(text.upper())
    if isinstance(row.get("price"), float):
        amount, beside = float(text), set()
    elif match:
        amount, beside = float(match["amount"]), {code for code in (match["before"], match["after"]) if code}
    else:
        _fail(place, f"price {_shown(text)} of product {product_id!r} cannot be read. {remedy}")
    if not math.isfinite(amount) or amount < 0:
        _fail(place, f"price {_shown(text)} of product {product_id!r} is not an amount. {remedy}")
    currencies = beside | ({currency} if currency else set())
    if len(currencies) > 1:
        _fail(place, f"product {product_id!r} has two currencies, {' and '.join(sorted(currencies))}. Keep one")
    return amount, currencies.pop() if currencies else None


def _image(value: object, place: str, product_id: str, roots: list[Path], checked: dict[Path, None]) -> Path:
    """The resolved path of the picture, inside one of ``roots`` and with a header that can be read."""
    name = str(value).strip() if value is not None else ""
    if not name:
        _fail(
            place, f"no image for product {product_id!r}. Add an image (or image_link) column with the picture's path"
        )
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:|//", name):
        _fail(
            place,
            f"the image of product {product_id!r} is a URL ({_shown(name)}); remote images need --allow-remote, which "
            "this version does not offer. Download the pictures into the catalog's folder",
        )
    inside = None
    for root in roots:
        try:
            candidate = (root / name).resolve()
            exists = candidate.exists()
        except (OSError, ValueError, RuntimeError) as error:  # NUL bytes, names that are too long, loops of links
            _fail(place, f"the image path {_shown(name)} of product {product_id!r} cannot be used. Correct it", error)
        if candidate.is_relative_to(root):
            inside = inside or candidate
            if exists:
                inside = candidate
                break
    if inside is None:
        _fail(
            place,
            f"the image {_shown(name)} of product {product_id!r} leaves the catalog's folder {roots[0]}. "
            "Copy the picture into that folder and give its relative path",
        )
    if inside not in checked:
        try:
            check_image(inside)
        except ImageError as error:
            raise FeedError(f"{place}: image of product {product_id!r}: {error}") from error
        checked[inside] = None
    return inside


def _shown(value: object) -> str:
    """The value as in the feed, shortened, without control characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
