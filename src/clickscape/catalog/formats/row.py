"""What every format reads into: one row of a feed, with the columns of a product and the place where it stands.

Columns: product_id, title, category ("A > B" or a list), attributes (a map), tags, price, currency, image, more_images
(a list).  A row that cannot be read carries its problem instead, so that it may be left out without losing the rest.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn

from clickscape.errors import FeedError

Unit = Literal["line", "row", "item"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands in the feed; ``number`` counts its ``unit`` from 1, ``problem``: why it is unreadable."""

    unit: Unit
    number: int
    columns: Mapping[str, object] = field(default_factory=dict)
    problem: str = ""

    @property
    def place(self) -> str:
        """Where the row stands, for people: "line 14"."""
        return f"{self.unit} {self.number}"


def words(value: object) -> str:
    """The value as one line of text, without control characters."""
    if value is None or isinstance(value, (dict, list)):
        return ""
    text = str(value)
    if text.isprintable() and "  " not in text:  # nearly every cell; looking at each character costs most of a feed
        return text.strip()
    return " ".join("".join(" " if unicodedata.category(c) == "Cc" else c for c in text).split())


def shown(value: object) -> str:
    """The value as in the feed, shortened, without control characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def fail(place: str, problem: str, cause: BaseException | None = None) -> NoReturn:
    """FeedError about one place of a feed."""
    raise FeedError(f"{place}: {problem}.") from cause


def parse_json(text: str) -> object:
    """The value of a JSON text; ValueError with the problem and its remedy when it is broken (NaN is no JSON)."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise ValueError(f"broken JSON ({error.msg} at column {error.colno}). Fix or remove it") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"broken JSON ({str(error)[:80]}). Fix or remove it") from error


def wrong_encoding(path: Path, error: UnicodeDecodeError) -> NoReturn:
    """FeedError with the first line that is not UTF-8, found by reading the file once more."""
    with path.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as found:
                byte = line[found.start]
                fail(f"{path}, line {number}", f"byte 0x{byte:02x} is not UTF-8. Save the file as UTF-8", error)
    fail(str(path), "not UTF-8. Save the file as UTF-8", error)
