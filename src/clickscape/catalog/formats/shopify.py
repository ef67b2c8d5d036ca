"""Shopify's product CSV, both generations: the older with Handle and Variant SKU, the newer with URL handle and SKU.

Rows of one handle stand together and are one product with its variants and photos.  The choice made here: every variant
becomes a product of its own (it has its own price, photo and stock), with the handle as item_group_id, so that variants
of one thing never stand on both sides of a train/test split.  What a variant's row leaves empty is taken from the
product: title, photo, vendor, description, options' names.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from clickscape.catalog.formats.merchant import DESCRIPTION_LENGTH
from clickscape.catalog.formats.price import read_price
from clickscape.catalog.formats.row import Row, shown, words
from clickscape.catalog.formats.text import plain_text

MOST_ROWS = 10_000  # of one handle; Shopify itself allows 2,048 variants and 250 photos

_HANDLE = ("handle", "url_handle")
_PRODUCT = {  # the product's own columns, by what they become: older name, newer name
    "title": ("title",),
    "description": ("body_(html)", "description"),
    "brand": ("vendor",),
    "category": ("product_category", "google_shopping_/_google_product_category"),
    "type": ("type", "custom_product_type"),
    "tags": ("tags",),
    "gender": ("google_shopping_/_gender",),
    "age_group": ("google_shopping_/_age_group",),
    "condition": ("google_shopping_/_condition",),
    "status": ("status",),
    "published": ("published", "published_on_online_store"),
}
_VARIANT = {
    "sku": ("variant_sku", "sku"),
    "price": ("variant_price", "price"),
    "compare_at": ("variant_compare_at_price", "compare_at_price"),
    "gtin": ("variant_barcode", "barcode"),
    "photo": ("variant_image", "variant_image_url"),
    "tracker": ("variant_inventory_tracker", "inventory_tracker"),
    "quantity": ("variant_inventory_qty", "inventory_quantity"),
    "oversell": ("variant_inventory_policy", "continue_selling_when_out_of_stock"),
}
_PHOTO, _PHOTO_PLACE = ("image_src", "product_image_url"), ("image_position",)
_TELLING = (_HANDLE, _PRODUCT["title"], _VARIANT["sku"], _VARIANT["price"], _PHOTO)  # else a row is residue (FALSE)
_OPTIONS = (1, 2, 3)
_OPTION_NAMES = {"colour": "color", "title": ""}  # "Title" with "Default Title" is how Shopify says: no options


def is_shopify(columns: Iterable[str]) -> bool:
    """Whether the header is one of Shopify's product CSVs: a handle beside a column that only Shopify has."""
    names = set(columns)
    telling = {"variant_sku", "variant_price", "image_src", "option1_name", "option1_value", "body_(html)"}
    return bool(names & set(_HANDLE)) and bool(names & (telling | {"product_image_url", "variant_image_url"}))


def products(rows: Iterable[Row]) -> Iterator[Row]:
    """A row for every variant; the rows of one handle must follow each other."""
    bad: list[Row] = []
    cells = ((row, {column: words(value) for column, value in row.columns.items()}) for row in _apart(rows, bad))
    good = (pair for pair in cells if any(_first(pair[1], names) for names in _TELLING))
    for handle, group in itertools.groupby(good, key=lambda pair: _first(pair[1], _HANDLE)):
        members = list(itertools.islice(group, MOST_ROWS))
        problem = ""
        if len(members) == MOST_ROWS:
            members, problem = members[-1:], f"over {MOST_ROWS:,} rows of one handle. Split the product"
        elif not handle:
            problem = "no handle. Fill the column Handle"
        elif not _first_filled(members, _PRODUCT["title"]):
            remedy = "Keep the rows of a handle together, the one with the title first"
            problem = f"no title for {shown(handle)}. {remedy}"
        yield from bad
        bad.clear()
        if problem:
            yield from (replace(row, problem=problem) for row, _ in members)
        else:
            yield from _variants(handle, members)
    yield from bad


def _apart(rows: Iterable[Row], bad: list[Row]) -> Iterator[Row]:
    """The rows that can be read; the other ones, which part no handle's rows, are added to ``bad``."""
    for row in rows:
        if row.problem:
            bad.append(row)
        else:
            yield row


def _variants(handle: str, members: list[tuple[Row, dict[str, str]]]) -> Iterator[Row]:
    product = {column: _first_filled(members, names) for column, names in _PRODUCT.items()}
    option_names = [_first_filled(members, (f"option{number}_name",)) for number in _OPTIONS]
    photos = _photos(members)
    found = [(row, cells) for row, cells in members if _is_variant(cells)] or members[:1]
    claimed = {_first(cells, _VARIANT["photo"]) for _, cells in found}
    first = next((photo for photo in photos if photo not in claimed), photos[0] if photos else "")
    for row, cells in found:
        own = {column: _first(cells, names) for column, names in _VARIANT.items()}
        values = [_first(cells, (f"option{number}_value",)) for number in _OPTIONS]
        options = {
            _OPTION_NAMES.get(option.lower(), option.lower()): value
            for option, value in zip(option_names, values, strict=True)
            if option and value
        }
        options.pop("", None)
        own_photo = own["photo"] or first
        price, sale = _prices(own["price"], own["compare_at"])
        attributes = {
            **options,
            "brand": product["brand"],
            "gender": product["gender"],
            "age_group": product["age_group"],
            "condition": product["condition"],
            "availability": _availability(own, product),
            "gtin": own["gtin"].lstrip("'"),  # spreadsheets are kept from rounding barcodes with an apostrophe
            "item_group_id": handle,
            "sale_price": sale,
            "product_type": product["type"],
            "description": plain_text(product["description"])[:DESCRIPTION_LENGTH].rstrip(),
        }
        yield Row(
            row.unit,
            row.number,
            {
                "product_id": own["sku"] or _made_id(handle, list(options.values())),
                "title": product["title"],
                "category": product["category"] or product["type"],
                "attributes": {column: text for column, text in attributes.items() if text},
                "tags": product["tags"],
                "price": price,
                "image": own_photo,
                "more_images": [photo for photo in photos if photo != own_photo],
            },
        )


def _is_variant(cells: Mapping[str, str]) -> bool:
    """Whether the row describes a variant; a row with nothing but a handle and a photo adds a photo to the product."""
    columns = (*_VARIANT["sku"], *_VARIANT["price"], "option1_value")
    return any(cells.get(column) for column in columns)


def _photos(members: list[tuple[Row, dict[str, str]]]) -> list[str]:
    """The product's photos in their stated order, each once."""
    placed: list[tuple[int, int, str]] = []
    for _, cells in members:
        photo, place = _first(cells, _PHOTO), _first(cells, _PHOTO_PLACE)
        if photo:
            placed.append((int(place) if place.isdecimal() else MOST_ROWS, len(placed), photo))
    return list(dict.fromkeys(photo for _, _, photo in sorted(placed)))


def _prices(price: str, compare_at: str) -> tuple[str, str]:
    """The regular price and the reduced one: Shopify's price is what is paid now, compare-at what it was."""
    now, before = read_price(price), read_price(compare_at)  # what is wrong with one is said when the row is checked
    reduced = bool(now and before and before[0] > now[0])
    return (compare_at, price) if reduced else (price, "")


def _availability(own: Mapping[str, str], product: Mapping[str, str]) -> str:
    """From the stock where Shopify counts it and may not oversell; unknown (empty) where no quantity is given."""
    if product["status"].lower() in ("draft", "archived") or product["published"].lower() == "false":
        return "discontinued"
    if own["oversell"].lower() in ("continue", "true"):
        return "in_stock"
    if re.fullmatch(r"-?\d+", own["quantity"]):
        counted = own["tracker"].lower() not in ("", "none")
        return "out_of_stock" if counted and int(own["quantity"]) <= 0 else "in_stock"
    return ""


def _made_id(handle: str, options: list[str]) -> str:
    """An id for a variant without a SKU: shirt-red-m."""
    return "-".join([handle, *filter(None, (re.sub(r"[^\w.]+", "-", option.lower()).strip("-") for option in options))])


def _first(cells: Mapping[str, str], names: Iterable[str]) -> str:
    return next((cells[column] for column in names if cells.get(column)), "")


def _first_filled(members: list[tuple[Row, dict[str, str]]], names: Iterable[str]) -> str:
    names = tuple(names)
    return next((text for _, cells in members if (text := _first(cells, names))), "")
