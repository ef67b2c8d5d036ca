"""Find phrases in a text as whole words in order, ignoring case, accents, hyphens and invisible letters."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_WORD = re.compile(r"[^\W_]+")
_INVISIBLE = ("Mn", "Cf")  # Unicode's accents of letters taken apart, and its zero-width and direction marks


def find_phrase(text: str, phrases: Iterable[str]) -> str | None:
    """Return the first of the phrases that the text contains, None when it contains none."""
    words = _words(text)
    return next((phrase for phrase in phrases if _words(phrase) in words), None)


def normalized_words(text: str) -> tuple[str, ...]:
    """Return the words of a text without case, accents and invisible letters."""
    return tuple(_words(text).split())


def _words(text: str) -> str:
    """The words with one space before, between and after them, so that a part of a word is never found."""
    letters = unicodedata.normalize("NFKD", text)
    seen = "".join(letter for letter in letters if unicodedata.category(letter) not in _INVISIBLE)
    return f" {' '.join(_WORD.findall(seen.casefold()))} "
