"""Split the XML of a feed into its items, so that a broken one is refused by its line and stops no other.

The choice made here: where items begin and end is found in the bytes, each one is parsed by itself, and what stands
outside of them all is parsed as a document without items.  An error inside of an item is then that item's alone, and an
error outside (a file that was cut off) is the file's.  Nothing is kept but the item at hand.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.entities import html5
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clickscape.catalog.formats.row import fail

if TYPE_CHECKING:
    from lxml import etree

LARGEST_ITEM = 4_000_000  # bytes; the longest that Google allows is about a hundredth of it
BLOCK = 1 << 16
_LONGEST_WRAPPER = 10_000  # bytes of a feed's namespaces
SAFE = {"resolve_entities": False, "no_network": True, "load_dtd": False, "huge_tree": False}

_NAME = rb"(?:[\w.-]{1,40}:)?(?:item|entry)"
_LONGEST_MARK = 64  # bytes that a mark may have
_MARK = re.compile(rb"<!--|<!\[CDATA\[|<\?|<(?P<closes>/?)" + _NAME + rb"(?=[\s/>])")
_END = rb"</" + _NAME + rb"\s{0,9}>"
_SECTIONS = {  # what ends them; inside of an item one that holds the item's end was not closed
    opened: (re.compile(closing), re.compile(closing + b"|(?P<end>" + _END + b")"))
    for opened, closing in ((b"<!--", b"-->"), (b"<![CDATA[", rb"\]\]>"), (b"<?", rb"\?>"))
}
_TAIL = re.compile(rb"</(?:channel|rss|feed|rdf:RDF)\s*>")
_ENTITY = re.compile(rb"<!\[CDATA\[.*?(?:\]\]>|\Z)|<!--.*?(?:-->|\Z)|&([A-Za-z][A-Za-z0-9]{1,31};)", re.DOTALL)
_OWN = frozenset({"lt;", "gt;", "amp;", "quot;", "apos;"})
_DECLARED = re.compile(rb"\s*(?:\xef\xbb\xbf)?<\?xml[^>]*?\sencoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})")
_WIDE = {  # first bytes → encoding; the longer ones first
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    b"\0<\0?": "utf-16-be",
    b"<\0?\0": "utf-16-le",
}


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a feed from `line` on: an item, or what stands between items; `problem`: why an item is none."""

    data: bytes
    line: int
    is_item: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """An item as an element, or the problem with it; `line`: where it begins, or where the problem is."""

    line: int
    element: Any = None
    problem: str = ""


def items(path: Path, *, namespaces: dict[str | None, str]) -> Iterator[Item]:
    """Every <item> or <entry> in constant memory; FeedError with the line of what is broken outside of them.

    namespaces: prefix → address, of prefixes that the feed does not declare itself.
    """
    from lxml import etree

    with path.open("rb") as stream:
        head = stream.read(BLOCK)
        blocks: Iterator[bytes] = chain([head], iter(lambda: stream.read(BLOCK), b""))
        encoding = next((wide for start, wide in _WIDE.items() if head.startswith(start)), "")
        if encoding:
            blocks, encoding = _as_utf_8(blocks, encoding), "utf-8"
        elif declared := _DECLARED.match(head):
            encoding = declared[1].decode()
        if not encoding or encoding.lower().startswith(("utf-16", "utf-32", "ucs-", "iso-10646")):
            encoding = "utf-8"  # bytes that are no wide characters, whatever they say
        try:
            parser = etree.XMLParser(encoding=encoding, **SAFE)
            outside = etree.XMLParser(encoding=encoding, target=_Nothing(), **SAFE)
        except LookupError as error:
            fail(f"{path}, line 1", f"the encoding {encoding!r} is unknown. Save the feed as UTF-8", error)
        before, lines = b"", 0
        for piece in split(blocks, path):
            if piece.is_item or not piece.data.strip():
                lines += piece.data.count(b"\n")
            else:
                _feed(outside, b"\n" * lines + with_characters(piece.data), path)  # keeps the count of lines
                before, lines = before or _wrapper(piece.data, encoding, namespaces, path), 0
            if piece.is_item:
                yield _item(piece, parser, before)
    _feed(outside, b"\n" * lines, path)
    try:
        outside.close()
    except etree.XMLSyntaxError as error:
        line, what = _first_error(list(outside.feed_error_log), error)
        fail(f"{path}, line {line}", broken(what), error)


def split(blocks: Iterator[bytes], path: Path) -> Iterator[Piece]:
    """Yield what stands before, in and between items, in order; an item ends where it is closed or another begins."""
    data, line = b"", 1
    start = at = seen = 0  # where the piece begins, where to look on, and up to where a section was looked through
    inside = False

    def piece(end: int, problem: str = "") -> Piece:
        nonlocal start, line, at, inside
        made = Piece(data[start:end], line, inside or bool(problem), problem)
        line += data.count(b"\n", start, end)
        start = at = end
        inside = False
        return made

    for block in chain(blocks, [b""]):
        data, at, seen, start = data[start:] + block, at - start, max(seen - start, 0), 0
        while mark := _MARK.search(data, at):
            if section := _SECTIONS.get(mark[0]):
                found = section[inside].search(data, max(mark.end(), seen))
                if not found:
                    at, seen = mark.start(), len(data) - _LONGEST_MARK
                    break
                at, seen = found.end(), 0
                if inside and found["end"]:
                    yield piece(at)
                continue
            end = data.find(b">", mark.end()) + 1
            if not end:
                at = mark.start()
                break
            if mark["closes"]:
                if inside:
                    yield piece(end)
                else:
                    yield piece(mark.start())
                    yield piece(end, "an item ends that does not begin")
                continue
            if inside or mark.start() > start:
                yield piece(mark.start(), "the item is not closed" if inside else "")
            at, inside = end, True
            if data[end - 2 : end] == b"/>":
                yield piece(end)
        else:
            at = max(at, len(data) - _LONGEST_MARK)
        if len(data) - start > LARGEST_ITEM:
            remedy = "Fix the feed, or split it"
            fail(str(path), f"no <item> or <entry> ends within {LARGEST_ITEM:,} bytes. {remedy}")
    if inside:
        tail = _TAIL.search(data, max(start, len(data) - 200))
        yield piece(tail.start() if tail else len(data), "the item is not closed")
    yield piece(len(data))


def with_characters(data: bytes) -> bytes:
    """The XML with HTML's named characters (&nbsp;) by their numbers, which XML knows, outside of CDATA."""

    def numbered(found: re.Match[bytes]) -> bytes:
        name = (found[1] or b"").decode()
        if name in _OWN or name not in html5:
            return found[0]
        return "".join(f"&#{ord(letter)};" for letter in html5[name]).encode()

    return _ENTITY.sub(numbered, data) if b"&" in data else data


def broken(what: str) -> str:
    """The problem of XML that a parser refused for this reason."""
    return f"broken XML ({' '.join(what.split())[:120]}). Fix it, or export the feed again"


class _Nothing:
    """Builds nothing from what is parsed: without methods for them, lxml keeps the elements."""

    def start(self, tag: str, attributes: object) -> None:
        """An element is not kept."""

    def end(self, tag: str) -> None:
        """An element is not kept."""

    def data(self, text: str) -> None:
        """A text is not kept."""

    def close(self) -> None:
        """Nothing is returned."""


def _item(piece: Piece, parser: etree.XMLParser, before: bytes) -> Item:
    """The element of an item, HTML's named characters read where a parser knows none of them."""
    from lxml import etree

    if piece.problem:
        return Item(piece.line, problem=broken(piece.problem))
    for read in (bytes, with_characters):
        try:
            return Item(piece.line, etree.fromstring(before + read(piece.data) + b"</items>", parser)[0])
        except etree.XMLSyntaxError as error:
            line, what = _first_error(list(parser.error_log), error)
            last = Item(piece.line + line - 1, problem=broken(what))
    return last


def _wrapper(head: bytes, encoding: str, namespaces: dict[str | None, str], path: Path) -> bytes:
    """The start tag around an item, with the namespaces that the feed declares before its first one."""
    from lxml import etree

    root = etree.fromstring(head, etree.XMLParser(encoding=encoding, recover=True, **SAFE)) if head.strip() else None
    known = dict(namespaces)
    for element in root.iter() if root is not None else ():
        known |= element.nsmap
    made = etree.tostring(etree.Element("items", nsmap=known)).removesuffix(b"/>") + b">"
    if len(made) > _LONGEST_WRAPPER:  # it is read again with every item
        fail(str(path), f"its namespaces take over {_LONGEST_WRAPPER:,} bytes. Declare those that it uses")
    return made


def _as_utf_8(blocks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """The blocks in UTF-8; halves of characters stay what no parser takes."""
    decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
    for block in blocks:
        if text := decoder.decode(block):
            yield text.encode("utf-8", "surrogatepass")


def _feed(parser: etree.XMLParser, block: bytes, path: Path) -> None:
    from lxml import etree

    error = None
    try:
        parser.feed(block)
    except etree.XMLSyntaxError as caught:
        error = caught
    if error or parser.feed_error_log:  # an unknown entity is only logged, and the parser begins again behind it
        line, what = _first_error(list(parser.feed_error_log), error)
        fail(f"{path}, line {line}", broken(what), error)


def _first_error(entries: list[Any], error: etree.XMLSyntaxError | None) -> tuple[int, str]:
    """The line and the words of the first error."""
    if entries:
        return entries[0].line, entries[0].message or "not well-formed"
    return (error.lineno or 1, error.msg or "not well-formed") if error is not None else (1, "unknown problem")
