"""Google Merchant Center: RSS 2.0 and Atom XML as a stream of items, and tab-separated text.

The choice made here: a document type declaration is refused before anything else, and lxml's entities, DTDs and network
are off.  Items are read one by one (`xml_items`), so that neither a giant item nor endless rubbish fills the memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from clickscape.catalog.formats import merchant
from clickscape.catalog.formats.row import Row, fail, spelled
from clickscape.catalog.formats.xml_items import BLOCK, LARGEST_ITEM, SAFE, items

NAMESPACE = "http://base.google.com/ns/1.0"
_ROOTS = ("rss", "feed", "RDF", "channel")
_OWN = ("google_product_category", "product_type", "availability", "condition", "gtin", "additional_image_link", "mpn")


def is_google(columns: Iterable[str]) -> bool:
    """Whether the header has the id, the title and the image link of a merchant's feed, and a column that says so."""
    names = set(columns)
    return {"id", "title", "image_link"} <= names and bool(names & set(_OWN))


def read_xml(path: Path) -> Iterator[Row]:
    """Items of an RSS 2.0 or Atom feed; constant memory."""
    _check_root(path)
    for item in items(path, namespaces={"g": NAMESPACE}):
        cells = {} if item.element is None else _cells(item.element)
        yield merchant.translate(Row("line", item.line, cells, problem=item.problem))


def _check_root(path: Path) -> None:
    """Refuse a document type declaration, which feeds do not need and attacks do, and a root that is no feed's."""
    from lxml import etree

    head = _Head()
    parser = etree.XMLParser(target=head, **SAFE)
    data = b""
    with path.open("rb") as stream:
        while head.root is None and not head.doctyped:
            block = stream.read(BLOCK)
            if not block:
                return  # whoever reads on says what is wrong
            data += block
            if len(data) > LARGEST_ITEM:
                fail(str(path), f"no element begins within {LARGEST_ITEM:,} bytes. Export the feed as RSS 2.0 or Atom")
            with suppress(etree.XMLSyntaxError):  # an attack may fail before its declaration was looked at
                parser.feed(block)
            if parser.feed_error_log:
                break
    if head.doctyped:
        fail(
            f"{path}, line {_line(data, '<!DOCTYPE')}",
            "a document type declaration (<!DOCTYPE …>). Remove it: feeds need none, and its entities are not read",
        )
    local = (head.root or "rss").rpartition("}")[2]
    if local not in _ROOTS:
        fail(
            f"{path}, line {_line(data, f'<{local}')}",
            f"the root element is <{local[:40]}>, expected <rss> or <feed>. Export the feed as RSS 2.0 or Atom",
        )


class _Head:
    """What stands at the beginning of an XML file."""

    def __init__(self) -> None:
        self.root: str | None = None
        self.doctyped = False

    def doctype(self, name: str, public: str | None, system: str | None) -> None:  # noqa: ARG002
        self.doctyped = True

    def start(self, tag: str, attributes: object) -> None:  # noqa: ARG002
        self.root = self.root or tag

    def close(self) -> None:
        """Nothing is built."""


def _line(data: bytes, start: str) -> int:
    """The line on which ``start`` stands first, in any encoding that writes ASCII as ASCII with or without NULs."""
    return data.replace(b"\0", b"").partition(start.encode())[0].count(b"\n") + 1


def _cells(item: Any) -> dict[str, object]:
    """The item's elements by name; repeated ones become a list, and Google's own come before RSS's or Atom's."""
    cells: dict[str, object] = {}
    own: set[str] = set()
    for element in item:
        if not isinstance(element.tag, str):
            continue  # a comment or a processing instruction
        namespace, _, local = element.tag.rpartition("}")
        theirs = namespace == f"{{{NAMESPACE}" or local.startswith("g:")
        column = spelled(local)
        text = element.text if not len(element) else "".join(element.itertext(with_tail=True))
        if column == "link" and not text:
            text = element.get("href")  # Atom
        text = (text or "").strip()
        if not text or (column in own and not theirs):
            continue
        if theirs and column not in own:
            own.add(column)
            cells[column] = text
        elif isinstance(before := cells.get(column), list):
            before.append(text)
        else:
            cells[column] = [before, text] if before else text
    return cells
