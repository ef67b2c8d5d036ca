"""Lines of a text file that nobody vouches for, in UTF-8 or UTF-16, in constant memory."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from clickscape.catalog.formats.row import fail

REMEDY = "Save the file as UTF-8 (in Excel: CSV UTF-8)"

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NOT_DECODED = re.compile("[\udc80-\udcff]")


def open_text(path: Path) -> TextIO:
    """The file as text without its byte order mark; bytes that are no UTF-8 become what `text_problem` finds."""
    with path.open("rb") as stream:
        wide = stream.read(2) in _UTF_16
    if wide:
        return path.open(encoding="utf-16", errors="replace", newline="")
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")


def text_problem(text: str) -> str:
    """Why a text that `open_text` gave is none, or ""."""
    if "\0" in text:
        return f"a NUL byte, so this is no text in UTF-8. {REMEDY}"
    if not text.isascii() and (found := _NOT_DECODED.search(text)):
        return f"byte 0x{ord(found[0]) - 0xDC00:02x} is not UTF-8. {REMEDY}"
    return ""


class Lines:
    """The lines of a file, with their ends; ``number`` is the last one's, and lines that were read can be put back."""

    def __init__(self, stream: TextIO, path: Path, *, longest: int) -> None:
        self.number = 0
        self._stream, self._path, self._longest = stream, path, longest
        self._returned: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return iter(self.take, "")

    def take(self) -> str:
        """The next line, "" at the end; FeedError for one that would fill the memory."""
        line = self._returned.pop() if self._returned else self._stream.readline(self._longest)
        self.number += bool(line)
        if len(line) == self._longest and line[-1] not in "\r\n":
            place = f"{self._path}, line {self.number}"
            fail(place, f"over {self._longest:,} characters in one line. Save it with line ends")
        return line

    def put_back(self, lines: list[str]) -> None:
        """Give lines, the last ones that were taken, to be taken again."""
        self.number -= len(lines)
        self._returned.extend(reversed(lines))
