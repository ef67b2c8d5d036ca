"""Text out of HTML: what a reader of the page would see, and nothing that a browser would run."""

from __future__ import annotations

import re
from html import unescape
from html.parser import HTMLParser

LONGEST = 20_000  # characters of HTML that are looked at; merchants allow 5,000 in a description
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")  # a link's &copy=1 is none
_PASSES = 3  # descriptions are often escaped twice; what is still a tag after this many passes is dropped by force
_SILENT = frozenset({"script", "style", "template", "noscript", "iframe", "object", "svg", "head", "title"})
_BREAKS = frozenset({"p", "br", "div", "li", "ul", "ol", "tr", "td", "th", "table", "h1", "h2", "h3", "h4", "h5", "h6"})
_TAG = re.compile(r"</?([A-Za-z][A-Za-z0-9]*)[^<>]*>")
_ODD = re.compile(rf"<[!?]|<(?:{'|'.join(sorted(_SILENT))})\b", re.IGNORECASE)


def plain_text(html: str) -> str:
    """The words of an HTML text: tags, comments, scripts and styles dropped, entities decoded (also doubly written)."""
    text = html[:LONGEST]
    for _ in range(_PASSES):
        if "<" not in text and "&" not in text:
            break
        before, text = text, _once(text)
        if text == before:
            break
    return " ".join(text.split())


def _once(html: str) -> str:
    if "<" not in html:
        return _unescaped(html)
    if not has_code(html):  # a real parser costs half of a feed's time, and plain tags need none
        return _unescaped(_TAG.sub(lambda tag: " " if tag[1].lower() in _BREAKS else "", html))
    reader = _Reader(convert_charrefs=True)
    reader.feed(html)
    reader.close()
    return "".join(reader.parts)


def has_code(html: str) -> bool:
    """Whether an HTML text holds scripts, styles, comments or other things that a reader of the page does not see."""
    return _ODD.search(html) is not None


def _unescaped(text: str) -> str:
    return _ENTITY.sub(lambda entity: unescape(entity[0]), text)


class _Reader(HTMLParser):
    """Collects the text outside of elements that a browser does not show."""

    def __init__(self, *, convert_charrefs: bool) -> None:
        super().__init__(convert_charrefs=convert_charrefs)
        self.parts: list[str] = []
        self._silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag in _SILENT:
            self._silent.append(tag)
        elif tag in _BREAKS:
            self.parts.append(" ")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag in _BREAKS:
            self.parts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._silent:
            del self._silent[self._silent.index(tag) :]
        elif tag in _BREAKS:
            self.parts.append(" ")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.parts.append(data)
