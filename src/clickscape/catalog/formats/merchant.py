"""The columns that Google Merchant Center and Meta catalogs share → a product's columns.

The choices made here: ``price`` is the regular price and a reduced one is kept beside it as the attribute sale_price,
because whether a sale is on depends on the clock; Google's category path is believed before the shop's own product_type
(both are kept), and a bare category number is no path.  Descriptive attributes come first, because the prompt model
reads only the first few.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from clickscape.catalog.formats.row import Row, words
from clickscape.catalog.formats.text import plain_text

AVAILABILITIES = frozenset({"in_stock", "out_of_stock", "preorder", "backorder", "available_for_order", "discontinued"})
DESCRIPTION_LENGTH = 1_000  # characters of a description that a product carries along

_SPELLINGS = {"pre_order": "preorder", "back_order": "backorder", "instock": "in_stock", "outofstock": "out_of_stock"}
_DESCRIPTIVE = ("color", "size", "material", "pattern", "brand", "gender", "age_group")
_LABELS = tuple(f"custom_label_{number}" for number in range(5))
_FACTS = (
    *("condition", "availability", "availability_date", "gtin", "mpn", "item_group_id", "sale_price"),
    *("sale_price_effective_date", "google_product_category", "fb_product_category", "product_type", "link"),
    *("size_type", "size_system", "multipack", "is_bundle", "adult", *_LABELS),
)
_ATTRIBUTES = (*_DESCRIPTIVE, *_FACTS)
_PATHS = ("google_product_category", "product_type", "fb_product_category", "category")
_IDS, _TITLES, _PRICES = ("product_id", "id"), ("title", "structured_title", "name"), ("price",)
_IMAGES, _MORE = ("image_link", "image"), ("additional_image_link", "more_images")
_TAGS = ("tags", "product_tags", "internal_label")
_DESCRIPTIONS = ("description", "structured_description", "rich_text_description", "summary", "content")


ATTRIBUTES = frozenset({*_ATTRIBUTES, *_DESCRIPTIONS})
"""Columns that Google and Meta have for what a product is like."""


def is_merchant(columns: Iterable[str]) -> bool:
    """Whether some column is one that Google or Meta has and clickscape's own catalogs have not."""
    known = {*_DESCRIPTIVE, *_FACTS, *_DESCRIPTIONS, "additional_image_link", "product_tags", "internal_label"}
    return not known.isdisjoint(columns)


def translate(row: Row) -> Row:
    """The row with a product's columns; unknown columns are left out, and so are empty cells."""
    if row.problem:
        return row
    cells = {column: value for column, value in row.columns.items() if value not in (None, "", [])}
    given = cells.get("attributes")
    columns = {
        "product_id": _first(cells, _IDS),
        "title": _first(cells, _TITLES),
        "category": _category(cells),
        "attributes": {**(given if isinstance(given, Mapping) else {}), **attributes(cells)},
        "tags": _tags(_present(cells, _TAGS)),
        "price": _first(cells, _PRICES),
        "currency": cells.get("currency"),
        "image": _first(cells, _IMAGES),
        "more_images": _present(cells, _MORE),
    }
    return replace(row, columns=columns)


def availability(value: object) -> str:
    """One of `AVAILABILITIES`, from "in stock", "In_Stock" or https://schema.org/InStock; anything else as it came."""
    spelled = re.sub(r"[\s_-]+", "_", words(value).lower().rpartition("/")[2])
    spelled = _SPELLINGS.get(spelled, spelled)
    return spelled if spelled in AVAILABILITIES else words(value)


def _present(cells: Mapping[str, object], names: Iterable[str]) -> object:
    return next((cells[column] for column in names if column in cells), None)


def _first(cells: Mapping[str, object], names: Iterable[str]) -> object:
    value = _present(cells, names)
    return next((part for part in value if part), None) if isinstance(value, list) else value


def _category(cells: Mapping[str, object]) -> object:
    """The first column that holds a path, or its levels, rather than a number of Google's or Meta's taxonomy."""
    values = (cells.get(column) if column == "category" else _first(cells, (column,)) for column in _PATHS)
    return next((value for value in values if value and not str(value).strip().isdigit()), None)


def attributes(cells: Mapping[str, object]) -> dict[str, object]:
    """The attributes that columns of `ATTRIBUTES` hold, without empty ones."""
    found = {column: _first(cells, (column,)) for column in _ATTRIBUTES if column in cells}
    description = _first(cells, _DESCRIPTIONS)
    if isinstance(description, str):
        found["description"] = plain_text(description)[:DESCRIPTION_LENGTH].rstrip()
    return {column: text for column, text in found.items() if text}


def _tags(value: object) -> object:
    """A list as it is; Meta's internal_label writes one as text: ['summer', 'new']."""
    text = words(value)
    return re.findall(r"""['"]([^'"]+)['"]""", text) if text.startswith("[") else value
