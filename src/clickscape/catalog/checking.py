"""Validate one feed row: a product, or the reason why it is none.

A feed may come from anybody: every row is checked, and so is every image's header.  An image must lie in the catalog's
folder; a link or ".." that leads out of it is refused.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from clickscape.catalog.formats.merchant import availability
from clickscape.catalog.formats.price import CURRENCY, read_price, sign
from clickscape.catalog.formats.row import Row, fail, is_visible, parse_json, plain_words, shown, words
from clickscape.catalog.formats.text import has_code
from clickscape.catalog.images import check_image
from clickscape.catalog.seen_ids import SeenIds
from clickscape.errors import FeedError, ImageError
from clickscape.regular_files import real_path
from clickscape.types import Product

MOST_PHOTOS = 20  # further ones of a product; no platform takes more, and each is cut out
_LINK = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
_WEB = re.compile(r"https?://", re.IGNORECASE)
_UNLIKE = frozenset({"Cc", "Cs", "Zl", "Zp"})  # what no id holds: control characters, halves, ends of lines
_LONGEST_ID = 200  # characters; Google takes 50, Meta 100


@dataclass(frozen=True, slots=True)
class Pictures:
    """Where a feed's images may lie, and whether they may lie on the web; remembers which files were checked.

    ``folder``: what messages call the first of the roots.
    """

    roots: Sequence[Path]
    allow_remote: bool = False
    folder: str = "the catalog's folder"
    checked: SeenIds = field(default_factory=SeenIds)


def product(row: Row, place: str, *, pictures: Pictures) -> tuple[Product, tuple[str, ...]]:
    """The product of a row, and the reasons why some of its further photos were left out; FeedError when it has none.

    Image paths are absolute; links are left as they are.
    """
    columns = row.columns
    product_id = identifier(columns.get("product_id"), place, of="product")
    written = words(columns.get("title"))  # what is nothing but markup, or code, stays as it is, and is escaped
    title = written if has_code(written) else plain_words(written) or written
    if not is_visible(title):
        fail(place, f"product {product_id!r} has no title. Fill the column title")
    price, currency = _price(row, place, product_id)
    image = image_of(columns.get("image"), place, product_id, pictures)
    more, left_out = _more_images(columns.get("more_images"), place, product_id, pictures)
    made = Product(
        product_id=product_id,
        title=title,
        category=_list(columns.get("category"), ">"),
        attributes=_attributes(row, place, product_id),
        tags=_list(columns.get("tags"), ","),
        price=price,
        currency=currency,
        image=image,
        more_images=tuple(photo for photo in dict.fromkeys(more) if photo != image),
    )
    return made, tuple(left_out)


def identifier(value: object, place: str, *, of: str) -> str:
    """The id of a product or creative (``of``) as text; FeedError for none, a fraction, and what no log could name."""
    found = "" if not words(value) else str(value).strip()
    if not is_visible(found):
        fail(place, f"no {of} id. Fill the column {of}_id")
    if isinstance(value, float | bool | Decimal):  # a log that says 7 and a feed that says 7.0 would never meet
        fail(place, f"{of} id {found} is no text and no whole number. Write it as text")
    if len(found) > _LONGEST_ID or any(unicodedata.category(letter) in _UNLIKE for letter in found):
        remedy = f"Use at most {_LONGEST_ID} letters, digits and signs on one line"
        fail(place, f"{of} id {shown(found)} is too long or holds control characters. {remedy}")
    return found


def is_remote(image: str) -> bool:
    """Whether an image of a product is a link that has to be fetched."""
    return _WEB.match(image) is not None


def _list(value: object, separator: str) -> tuple[str, ...]:
    """The parts of a cell, or of a list, each one plain text."""
    parts = map(plain_words, value) if isinstance(value, list) else plain_words(value).split(separator)
    return tuple(word for word in map(str.strip, parts) if word)


def _attributes(row: Row, place: str, product_id: str) -> dict[str, str]:
    value = row.columns.get("attributes")
    if isinstance(value, str) and value.strip():
        try:
            value = parse_json(value)
        except ValueError as error:
            fail(f"{place}: attributes of product {product_id!r}", str(error), error)
    if isinstance(value, list) and all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
        value = dict(value)  # how Parquet maps arrive
    if value in (None, ""):
        value = {}
    if not isinstance(value, dict):
        fail(place, f'attributes of product {product_id!r}: expected a map {{"name": "value"}}, got {shown(value)}')
    columns = row.columns.get("attribute_columns")
    own = columns if isinstance(columns, dict) else {}
    named = {
        words(name): ", ".join(_list(part, "")) if isinstance(part, list) else plain_words(part)
        for name, part in {**value, **own}.items()
    }
    kept = {name: text for name, text in named.items() if name and text}
    if "availability" in kept:
        kept["availability"] = availability(kept["availability"])
    return kept


def _price(row: Row, place: str, product_id: str) -> tuple[float | None, str | None]:
    """Amount and currency; the currency may stand beside the amount or in its own column, but not two unlike."""
    remedy = 'Write it as "12.99" or "12.99 USD"'
    currency = sign(words(row.columns.get("currency")).upper()) or None
    if currency and not CURRENCY.fullmatch(currency):
        fail(place, f"currency {shown(currency)} of product {product_id!r} is not a code of three letters such as USD")
    value = row.columns.get("price")
    if value and isinstance(value, (dict, list)):
        fail(place, f"price {shown(value)} of product {product_id!r} is no text and no number. {remedy}")
    text = words(value)
    if not text:
        return None, currency
    found = read_price(value)
    if not found:
        fail(place, f"price {shown(text)} of product {product_id!r} cannot be read. {remedy}")
    amount, beside = found
    if not math.isfinite(amount) or amount < 0:
        fail(place, f"price {shown(text)} of product {product_id!r} is not an amount. {remedy}")
    currencies = beside | ({currency} if currency else set())
    if len(currencies) > 1:
        fail(place, f"product {product_id!r} has two currencies, {' and '.join(sorted(currencies))}. Keep one")
    return amount, next(iter(currencies), None)


def _more_images(value: object, place: str, product_id: str, pictures: Pictures) -> tuple[list[str], list[str]]:
    """Further photos, and why some were left out: unlike the first one, a product can do without them."""
    if isinstance(value, list):
        names = [part for entry in value for part in _split(str(entry or ""))]
    else:
        names = _split(str(value or ""))
    names = list(dict.fromkeys(names))
    kept, left_out = [], [f"only the first {MOST_PHOTOS} further photos are looked at"] if names[MOST_PHOTOS:] else []
    for photo in names[:MOST_PHOTOS]:
        try:
            kept.append(image_of(photo, place, product_id, pictures))
        except FeedError as error:
            left_out.append(str(error).removeprefix(f"{place}: ").rstrip("."))
    return kept, left_out


def _split(names: str) -> list[str]:
    """The photos of one cell, parted by commas; a comma inside a link parts nothing."""
    parts = re.split(r"(?i),(?=\s*(?:https?:)?//)" if "//" in names else ",", names)
    return [part.strip() for part in parts if part.strip()]


def image_of(value: object, place: str, product_id: str, pictures: Pictures) -> str:
    """A link as it is, where links are allowed; else the path of a picture in one of the folders, header checked."""
    name = str(value).strip().replace("&amp;", "&") if value is not None else ""
    if not name:
        fail(place, f"no image for product {product_id!r}. Add an image (or image_link) column with the picture's path")
    if name.startswith("//"):  # as pages link: by the way that they came themselves
        name = f"https:{name}"
    if _LINK.match(name):
        if pictures.allow_remote and is_remote(name):
            return name
        if pictures.allow_remote:
            fail(place, f"the image of product {product_id!r} is no http(s) link ({shown(name)}). Correct it")
        fail(
            place,
            f"the image of product {product_id!r} is a URL ({shown(name)}); remote images need --allow-remote. "
            f"Pass it, or download the pictures into {pictures.folder}",
        )
    return str(_file(name.replace("\\", "/"), place, product_id, pictures))


def _file(name: str, place: str, product_id: str, pictures: Pictures) -> Path:
    """The resolved path of the picture, inside one of the roots and with a header that can be read."""
    inside = None
    for root in pictures.roots:
        candidate = real_path(root / name)
        try:
            exists = candidate is not None and candidate.exists()
        except (OSError, ValueError):
            candidate = None
        if candidate is None:
            fail(place, f"the image path {shown(name)} of product {product_id!r} cannot be used. Correct it")
        if candidate.is_relative_to(root):
            inside = inside or candidate
            if exists:
                inside = candidate
                break
    if inside is None:
        fail(
            place,
            f"the image {shown(name)} of product {product_id!r} leaves {pictures.folder} {pictures.roots[0]}. "
            "Copy the picture into that folder and give its relative path",
        )
    if pictures.checked.find(str(inside)) is None:
        try:
            check_image(inside)
        except ImageError as error:
            raise FeedError(f"{place}: image of product {product_id!r}: {error}") from error
        pictures.checked.add(str(inside), 0)
    return inside
