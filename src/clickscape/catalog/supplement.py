"""Supplemental feeds: files that give products in Google's, Meta's or Shopify's catalog the addresses of new pictures.

They hold an id and pictures and nothing else, so they can overwrite nothing by accident. An id has to be the one of the
main feed to the letter: it is never escaped, and a row that a spreadsheet would run as a formula is left out instead.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from clickscape.types import Product

GOOGLE = "http://base.google.com/ns/1.0"
"""Namespace of Merchant Center's elements."""

_GOOGLE_MORE, _META_MORE = 10, 20  # additional pictures per product that the platforms take
_ALT_TEXT = 512  # characters that Shopify takes
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # spreadsheets read the wide ones, too
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")  # what no feed's id can be


@dataclass(frozen=True, slots=True)
class Pictures:
    """Addresses of one product's pictures in one channel: the main one, further ones, one in a lifestyle setting."""

    product: Product
    main: str = ""
    more: tuple[str, ...] = ()
    lifestyle: str = ""


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
        told = [("id", row.product.product_id), ("image_link", row.main)]
        told += [("additional_image_link", address) for address in _google_more(row)]
        for name, value in [*told, ("lifestyle_image_link", row.lifestyle)]:
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
        own = grouped.setdefault(_handle(row.product), [])
        own += [(_line(row.product.title), address) for address in (row.main, *row.more) if address]
    found = [
        (title if position == 1 else "", handle, address, str(position), f"Advertising image of {title}"[:_ALT_TEXT])
        for handle, own in grouped.items()
        for position, (title, address) in enumerate(own, start=1)
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
