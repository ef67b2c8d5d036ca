"""What every format reads into: one row of a feed, with the columns of a product and the place where it stands.

Columns: product_id, title, category ("A > B" or a list), attributes (a map), tags, price, currency, image, more_images
(a list).  A row that cannot be read carries its problem instead, so that it may be left out without losing the rest.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, NoReturn

from clickscape.catalog.formats.text import plain_text
from clickscape.errors import FeedError

Unit = Literal["line", "row", "item"]

_TERMINAL = re.compile(r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?")  # colors, titles, links
_UNSEEN = re.compile(
    "[\xad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]+"
)  # directions, spaces of no width
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Mc", "Me", "Mn", "Zl", "Zp", "Zs"})
_HALF = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands in the feed; ``number`` counts its ``unit`` from 1, ``problem``: why it is unreadable.

    ``unread``: names of its columns that say something and have no place in a product.
    """

    unit: Unit
    number: int
    columns: Mapping[str, object] = field(default_factory=dict)
    problem: str = ""
    unread: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where the row stands, for people: "line 14"."""
        return f"{self.unit} {self.number}"


@lru_cache(maxsize=4096)
def spelled(column: str) -> str:
    """The column's name as this project spells it: "g:Image Link" → image_link; an attribute's own name stays."""
    column = " ".join(_UNSEEN.sub("", column).split())
    kind, _, own = column.partition(":")
    if kind.lower() == "attribute" and own:
        return f"attribute:{own.strip()}"
    return re.sub(r"[\s-]+", "_", column.lower().removeprefix("g:"))


def words(value: object) -> str:
    """The value as one line of composed text (NFC) without control characters, marks of direction, terminal colors."""
    if value is None or isinstance(value, (dict, list)):
        return ""
    text = unicodedata.normalize("NFC", str(value))
    if text.isprintable() and "  " not in text:  # nearly every cell; looking at each character costs most of a feed
        return text.strip()
    text = _UNSEEN.sub("", _TERMINAL.sub("", text))
    return " ".join("".join(" " if unicodedata.category(c) in ("Cc", "Cs") else c for c in text).split())


def plain_words(value: object) -> str:
    """As `words`, of a text that may be HTML: tags dropped, entities decoded."""
    text = words(value)
    return words(plain_text(text)) if "<" in text or "&" in text else text


def is_visible(text: str) -> bool:
    """Whether anything of a text can be seen; spaces, marks and joiners alone cannot."""
    return any(letter.isalnum() or unicodedata.category(letter) not in _INVISIBLE for letter in text)


def shown(value: object) -> str:
    """The value as in the feed, shortened, without control characters."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def fail(place: str, problem: str, cause: BaseException | None = None) -> NoReturn:
    """FeedError about one place of a feed."""
    raise FeedError(f"{place}: {problem}.") from cause


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands where a JSON object would that must not be used, and says why."""

    problem: str


def parse_json(text: str) -> object:
    """The value of a JSON text, an `Unreadable` for each bad object of a list; ValueError with problem and remedy.

    An object is bad with NaN, half of a character (a lone surrogate), or a key that occurs with two values.
    """

    def refuse(constant: str) -> Unreadable:
        return Unreadable(f"broken JSON ({constant} is not JSON). Fix or remove it")

    try:
        value = json.loads(text, object_pairs_hook=_object, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise ValueError(f"broken JSON ({error.msg} at column {error.colno}). Fix or remove it") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"broken JSON ({str(error)[:80]}). Fix or remove it") from error
    if isinstance(value, Unreadable):
        raise ValueError(value.problem)
    return value


def _object(pairs: list[tuple[str, object]]) -> dict[str, object] | Unreadable:
    found: dict[str, object] = {}
    for key, value in pairs:
        for part in (key, *(value if isinstance(value, list) else (value,))):
            if isinstance(part, Unreadable):
                return part
            if isinstance(part, str) and not part.isascii() and _HALF.search(part):
                return Unreadable(
                    f"half of a character, or a byte that is not UTF-8, in {shown(key)}. Write it whole, in UTF-8"
                )
        if found.setdefault(key, value) != value:
            return Unreadable(f"the key {shown(key)} occurs twice with two values. Remove one")
    return found
