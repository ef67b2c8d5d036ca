"""Google Merchant Center: RSS 2.0 and Atom XML as a stream of items, and tab-separated text.

The choice made here: lxml's pull parser with entities, DTDs and the network off.  An item is freed as soon as it was
read, a document type declaration is refused before anything else, and the bytes between two items are counted, so that
neither a giant item nor endless rubbish between items can fill the memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from clickscape.catalog.formats import merchant
from clickscape.catalog.formats.row import Row, fail, spelled

if TYPE_CHECKING:
    from lxml import etree

NAMESPACE = "http://base.google.com/ns/1.0"
LARGEST_ITEM = 4_000_000  # bytes; the longest that Google allows is about a hundredth of it

_BLOCK = 1 << 16
_ROOTS = ("rss", "feed", "RDF", "channel")
_SAFE = {"resolve_entities": False, "no_network": True, "load_dtd": False, "huge_tree": False}
_OWN = ("google_product_category", "product_type", "availability", "condition", "gtin", "additional_image_link", "mpn")


def is_google(columns: Iterable[str]) -> bool:
    """Whether the header has the id, the title and the image link of a merchant's feed, and a column that says so."""
    names = set(columns)
    return {"id", "title", "image_link"} <= names and bool(names & set(_OWN))


def read_xml(path: Path) -> Iterator[Row]:
    """Items of an RSS 2.0 or Atom feed; constant memory."""
    for item in _items(path):
        yield merchant.translate(Row("line", item.sourceline, _cells(item)))


def _items(path: Path) -> Iterator[Any]:
    """Every <item> or <entry>, freed when the next one is asked for; FeedError with the line of what is broken."""
    from lxml import etree

    _check_root(path)
    parser = etree.XMLPullParser(events=("end",), tag=("{*}item", "{*}entry"), **_SAFE)
    waiting = 0
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            _feed(parser, block, path)
            waiting += len(block)
            for _, item in parser.read_events():
                waiting = 0
                yield item
                item.clear()
                parent = item.getparent()
                while parent is not None and item.getprevious() is not None:
                    del parent[0]
            if waiting > LARGEST_ITEM:
                fail(str(path), f"no <item> or <entry> ends within {LARGEST_ITEM:,} bytes. Fix the feed, or split it")
    try:
        parser.close()
    except etree.XMLSyntaxError as error:
        _broken(path, parser, error)


def _check_root(path: Path) -> None:
    """Refuse a document type declaration, which feeds do not need and attacks do, and a root that is no feed's."""
    from lxml import etree

    head = _Head()
    parser = etree.XMLParser(target=head, **_SAFE)
    data = b""
    with path.open("rb") as stream:
        while head.root is None and not head.doctyped:
            block = stream.read(_BLOCK)
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


def _feed(parser: etree.XMLPullParser, block: bytes, path: Path) -> None:
    from lxml import etree

    try:
        parser.feed(block)
    except etree.XMLSyntaxError as error:
        _broken(path, parser, error)
    if parser.feed_error_log:  # an unknown entity is only logged, and the parser begins again behind it
        _broken(path, parser, None)


def _broken(path: Path, parser: etree.XMLPullParser, error: etree.XMLSyntaxError | None) -> NoReturn:
    entries = list(parser.feed_error_log)
    if entries:
        line, message = entries[0].line, entries[0].message
    else:
        line, message = (error.lineno or 1, error.msg) if error is not None else (1, "unknown problem")
    what = " ".join((message or "not well-formed").split())[:120]
    fail(f"{path}, line {line}", f"broken XML ({what}). Fix it, or export the feed again", error)


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
