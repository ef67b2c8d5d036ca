"""Prompts for the diffusion model: a description without the product's name, split between phrases where it is long.

A text encoder reads 77 tokens at a time. A longer prompt becomes several texts that each fit, cut between phrases; a
phrase that is too long by itself is cut between words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from PIL import ImageColor

from clickscape.types import Product

_SHORTEST = 3  # letters of a word that can be a product's name
_ARTICLES = r"(?:\b(?:a|an|the|this|that|some|one|two|three|several)\s+)?"
_LINKS = frozenset("and for from off of on the with in by set pack new size".split())
_END_OF_PHRASE = re.compile(r"(?<=[,;])\s*|(?<=[.!?])\s+")


def prompt(description: str, product: Product, *, style: str, omit_product: bool) -> str:
    """Return the prompt: the description, without the product's name if `omit_product`, and the words of style."""
    text = without_name(description, product) if omit_product else description.strip()
    return ", ".join(part for part in (text.strip(" ,;"), style.strip()) if part)


def without_name(description: str, product: Product) -> str:
    """The description without words of the product's title and finest category, singular or plural, and their articles.

    Colors and the values of its attributes may be said of a background, too, and stay. A description that is nothing
    but the product's name is left as it is.
    """
    names = _names(product)
    if not names:
        return description.strip()
    word = "|".join(sorted((re.escape(name) for name in names), key=len, reverse=True))
    pattern = re.compile(rf"{_ARTICLES}\b(?:{word})(?:es|s)?\b", re.IGNORECASE)
    left = (" ".join(pattern.sub(" ", phrase).split()) for phrase in _END_OF_PHRASE.split(description))
    phrases = [re.sub(r"\s+(?=[,;.!?])", "", phrase) for phrase in left]
    kept = [phrase for phrase in phrases if phrase.strip(" ,;.!?")]
    return " ".join(kept) or description.strip()


def chunks(text: str, *, fits: Callable[[str], bool]) -> list[str]:
    """Return the text in pieces that fit the tokenizer, one if it fits whole; `fits` checks a piece."""
    if fits(text):
        return [text]
    found: list[str] = []
    current = ""
    for piece in _pieces(text, fits):
        longer = f"{current} {piece}" if current else piece
        if fits(longer):
            current = longer
        else:
            found.append(current)
            current = piece
    return [part.strip(" ,;") for part in [*found, current] if part.strip(" ,;")] or [""]


def _pieces(text: str, fits: Callable[[str], bool]) -> Iterator[str]:
    """Phrases that fit; of a longer one its words, of a longer word its halves."""
    for phrase in filter(None, _END_OF_PHRASE.split(text)):
        if fits(phrase):
            yield phrase
            continue
        for word in phrase.split():
            yield from _halves(word, fits)


def _halves(word: str, fits: Callable[[str], bool]) -> Iterator[str]:
    if fits(word) or len(word) < 2:
        yield word
    else:
        middle = len(word) // 2
        yield from _halves(word[:middle], fits)
        yield from _halves(word[middle:], fits)


def _names(product: Product) -> frozenset[str]:
    """Lower-case words, singular, that name the product itself."""
    finest = product.category[-1] if product.category else ""
    said = {word for value in product.attributes.values() for word in _words(value)}
    words = {*_words(product.title), *_words(finest)} - said - _LINKS - frozenset(ImageColor.colormap)
    return frozenset(_singular(word) for word in words if len(word) >= _SHORTEST and not word.isdigit())


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", text.lower())


def _singular(word: str) -> str:
    """Near enough: "mugs" → "mug"; "glass" stays."""
    return word[:-1] if word.endswith("s") and not word.endswith("ss") and len(word) > _SHORTEST else word
