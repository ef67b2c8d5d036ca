"""Supplemental feeds: files that give products in Google's, Meta's or Shopify's catalog the addresses of new pictures.

They hold an id and pictures and nothing else, so they can overwrite nothing by accident. An id has to be the one of the
main feed to the letter: it is never escaped, and a row that a spreadsheet would run as a formula is left out instead.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, urlsplit

from clickscape.errors import ConfigError, FeedError
from clickscape.types import Product

GOOGLE = "http://base.google.com/ns/1.0"
"""Namespace of Merchant Center's elements."""

_GOOGLE_MORE, _META_MORE = 10, 20  # additional pictures per product that the platforms take
_LONGEST = 2000  # characters of a link that every platform takes
_ALT_TEXT = 512  # characters that Shopify takes
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # spreadsheets read the wide ones, too
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")  # what no feed's id can be


class PictureFile(Protocol):
    """A picture for a placement; `file` is its path relative to the folder that lies on the web."""

    @property
    def product_id(self) -> str: ...
    @property
    def placement(self) -> str: ...
    @property
    def file(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Pictures:
    """Addresses of one product's pictures in one channel: the main one, further ones, one in a lifestyle setting."""

    product: Product
    main: str = ""
    more: tuple[str, ...] = ()
    lifestyle: str = ""


def feed_texts(
    files: Sequence[PictureFile], products: Mapping[str, Product], *, base: str, columns: Mapping[str, tuple[str, str]]
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the text of each feed that has pictures, by file name, and the products that a feed cannot hold, and why.

    base: see `base_address`. columns: placement → its channel and the column of that channel's feed, "" for none.
    """
    texts: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for name, (channel, text_of) in FEEDS.items():
        of_channel = [file for file in files if columns.get(file.placement, ("", ""))[0] == channel]
        rows = _pictures(of_channel, products, base=base, columns=columns)
        reasons = {row.product.product_id: unfit(row.product, file=name) for row in rows}
        left_out |= {product_id: f"{name}: {reason}" for product_id, reason in reasons.items() if reason}
        if fit := [row for row in rows if not reasons[row.product.product_id]]:
            texts[name] = text_of(fit)
    return texts, left_out


def base_address(base_url: str) -> str:
    """Return the base address, percent-encoded (RFC 3986) and without a slash at its end; ConfigError for another."""
    try:
        parts = urlsplit(base_url)
        right = parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment)
        right = right and not any(letter == "@" or letter.isspace() for letter in parts.netloc)
        host = parts.netloc.encode("idna").decode() if right else ""
    except ValueError:
        right, host = False, ""
    if not right or not base_url.isprintable():
        raise ConfigError(f"--base-url {base_url!r} is no address of a folder. Try https://cdn.example.com/ads")
    return f"{parts.scheme}://{host}{quote(parts.path.rstrip('/'), safe='/%~-._')}"


def google_tsv(rows: Sequence[Pictures]) -> str:
    """Merchant Center supplemental feed, tab-separated: several additional pictures are separated by commas."""
    found = [(row.product.product_id, row.main, ",".join(_google_more(row)), row.lifestyle) for row in rows]
    return _table(("id", "image_link", "additional_image_link", "lifestyle_image_link"), found, delimiter="\t")


def google_xml(rows: Sequence[Pictures]) -> str:
    """Merchant Center supplemental feed as RSS 2.0: one element per additional picture."""
    from lxml import etree

    root = etree.Element("rss", version="2.0", nsmap={"g": GOOGLE})
    channel = etree.SubElement(root, "channel")
    etree.SubElement(channel, "title").text = "Pictures made by clickscape"
    etree.SubElement(channel, "description").text = "Supplemental feed: ids and pictures"
    for row in rows:
        item = etree.SubElement(channel, "item")
        cells = [("id", row.product.product_id), ("image_link", row.main)]
        cells += [("additional_image_link", address) for address in _google_more(row)]
        for name, value in [*cells, ("lifestyle_image_link", row.lifestyle)]:
            if value:
                etree.SubElement(item, f"{{{GOOGLE}}}{name}").text = value
    etree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + etree.tostring(root, encoding="unicode") + "\n"


def meta_csv(rows: Sequence[Pictures]) -> str:
    """Meta catalog supplementary feed: `image_link` and, separated by commas, `additional_image_link`."""
    found = [(row.product.product_id, row.main, ",".join(row.more[:_META_MORE])) for row in rows]
    return _table(("id", "image_link", "additional_image_link"), found)


def shopify_csv(rows: Sequence[Pictures]) -> str:
    """Shopify product import: a row per picture, those of one handle together, the title on the first of them.

    The handle is the attribute `handle`, else `item_group_id` (the variants of one product share it), else the id.
    """
    grouped: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        shown = grouped.setdefault(_handle(row.product), [])
        shown += [(_line(row.product.title), address) for address in (row.main, *row.more) if address]
    found = [
        (title if position == 1 else "", handle, address, str(position), f"Advertising image of {title}"[:_ALT_TEXT])
        for handle, shown in grouped.items()
        for position, (title, address) in enumerate(shown, start=1)
    ]
    return _table(("Title", "URL handle", "Product image URL", "Image position", "Image alt text"), found)


FEEDS: Mapping[str, tuple[str, Callable[[Sequence[Pictures]], str]]] = {
    "google-supplemental.tsv": ("google", google_tsv),
    "google-supplemental.xml": ("google", google_xml),
    "meta-supplemental.csv": ("meta", meta_csv),
    "shopify-products.csv": ("shopify", shopify_csv),
}
"""File name → channel and the function that writes it."""


def unfit(product: Product, *, file: str) -> str | None:
    """Why a product cannot stand in that feed file, None when it can."""
    cells = (_handle(product), _line(product.title)) if file.startswith("shopify") else (product.product_id,)
    if any(_CONTROL.search(cell) for cell in cells):
        return "its id holds control characters"
    if not file.endswith(".xml") and any(cell.lstrip().startswith(_FORMULA) for cell in cells):
        return "its id or title begins with = + - or @, which a spreadsheet runs as a formula"
    return None


def _pictures(
    files: Iterable[PictureFile], products: Mapping[str, Product], *, base: str, columns: Mapping[str, tuple[str, str]]
) -> list[Pictures]:
    """Each product's pictures: a column that takes one gets the first, what is left over becomes additional."""
    main: dict[str, str] = {}
    lifestyle: dict[str, str] = {}
    more: dict[str, list[str]] = {}
    for one in files:
        column, product_id = columns[one.placement][1], one.product_id
        if not column:
            continue
        address = _address(base, one.file)
        addresses = more.setdefault(product_id, [])
        if column == "lifestyle_image_link":
            lifestyle.setdefault(product_id, address)
        elif column == "additional_image_link" or product_id in main:
            addresses.append(address)
        else:
            main[product_id] = address
    return [
        Pictures(products[name], main.get(name, ""), tuple(addresses), lifestyle.get(name, ""))
        for name, addresses in more.items()
    ]


def _address(base: str, file: str) -> str:
    """The file's link; a file name's own percent signs are encoded, so that a server finds it under its name."""
    address = f"{base}/{quote(file)}"
    if len(address) > _LONGEST:
        raise FeedError(f"{file}: its link has {len(address)} characters, {_LONGEST} are allowed. Shorten --base-url.")
    return address


def _google_more(row: Pictures) -> tuple[str, ...]:
    return row.more[:_GOOGLE_MORE]


def _handle(product: Product) -> str:
    return product.attributes.get("handle") or product.attributes.get("item_group_id") or product.product_id


def _line(text: str) -> str:
    """The text on one line: tabs, line breaks and runs of spaces become one space."""
    return _CONTROL.sub("", re.sub(r"\s+", " ", text)).strip()


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, delimiter: str = ",") -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return stream.getvalue()
