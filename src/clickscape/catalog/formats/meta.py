"""Meta's catalog CSV or TSV: Google's columns, and several values flattened into columns such as image[1].url."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from clickscape.catalog.formats import merchant
from clickscape.catalog.formats.row import Row, words

_FLAT = re.compile(r"(?P<name>image|additional_image|product_tags)\[(?P<place>\d+)\](?:\.url)?")
_OWN = ("fb_product_category", "quantity_to_sell_on_facebook", "image[0].url", "product_tags[0]", "internal_label")


def is_meta(columns: Iterable[str]) -> bool:
    """Whether the header has a column that only Meta's catalogs have."""
    return not set(_OWN).isdisjoint(columns)


def translate(row: Row) -> Row:
    """The row of a Meta catalog with a product's columns."""
    return merchant.translate(replace(row, columns=_unflattened(row.columns)))


def _unflattened(cells: Mapping[str, object]) -> dict[str, object]:
    """image[0].url is the photo, the other ones are more photos; an ``image`` cell may also hold the list as JSON."""
    plain: dict[str, object] = {}
    lists: dict[str, list[tuple[int, str]]] = {}
    for column, value in cells.items():
        match = _FLAT.fullmatch(column)
        if match and words(value):
            lists.setdefault(match["name"], []).append((int(match["place"]), words(value)))
        elif not match:
            plain[column] = value
    photos = _ordered(lists.get("image", [])) or _from_json(plain.pop("image", None))
    more = [*photos[1:], *_ordered(lists.get("additional_image", []))]
    if photos:
        plain.setdefault("image_link", "")
        plain["image_link"] = plain["image_link"] or photos[0]
    if more and not plain.get("additional_image_link"):
        plain["additional_image_link"] = more
    if "product_tags" in lists:
        plain["product_tags"] = ",".join(_ordered(lists["product_tags"]))
    return plain


def _ordered(values: list[tuple[int, str]]) -> list[str]:
    return [value for _, value in sorted(values)]


def _from_json(cell: object) -> list[str]:
    """The addresses in [{"url": …}, …]; none where the cell is something else."""
    try:
        photos = json.loads(words(cell) or "[]")
    except (ValueError, RecursionError):
        return []
    entries = photos if isinstance(photos, list) else []
    return [entry["url"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("url"), str)]
