"""The head noun of a title or category: "Bicycle Bell, Red" is a bell, "Bar Stools for Kitchens" are bar stools."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache


def word_set(text: str) -> frozenset[str]:
    """Words or pairs of words, separated by commas."""
    return frozenset(word.strip() for word in text.split(","))


_QUALIFIERS = word_set(
    "red, crimson, scarlet, coral, rose, pink, blush, fuchsia, magenta, plum, violet, purple, lilac, lavender, blue, "
    "navy, cobalt, sky, azure, teal, turquoise, mint, green, emerald, forest, olive, lime, lemon, yellow, golden, "
    "gold, amber, mustard, orange, terracotta, copper, brown, chocolate, sand, cream, ivory, white, silver, gray, "
    "grey, graphite, charcoal, black, beige, small, medium, large, mini, xl, xxl, l, m, s, xs, "
    "cm, mm, inch, inches, ft, kg, g, ml, oz, w, v, pro, max, plus, new, zip, zip-up, full, "
    "full-zip, half-zip, quarter-zip, crewneck, v-neck"
)
_END = re.compile(r"[,;:|(\[/]|\s[-–—]\s|\s(?:with|for|in|of|by|from)\s", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*")
_LONGEST = 300  # characters of a title or category that are read


@dataclass(frozen=True, slots=True)
class Head:
    """`words` up to the head noun, lower case; `forms`: what a lexicon may call it, pairs of words first."""

    words: tuple[str, ...]
    forms: tuple[str, ...]


@lru_cache(maxsize=65_536)
def head_of(text: str) -> Head:
    """Find the last word before any comma, "with", "for" …, colors and sizes left out, as it is and in the singular."""
    first = next((part for part in _END.split(text[:_LONGEST]) if part.strip()), "")
    words = [word.lower() for word in _WORD.findall(first)]
    while len(words) > 1 and (words[-1] in _QUALIFIERS or words[-1].isdigit()):
        words.pop()
    heads = [" ".join(words[-length:]) for length in (2, 1)]
    return Head(tuple(words), tuple(form for head in heads for form in (head, *_singulars(head))))


def _singulars(noun: str) -> tuple[str, ...]:
    """What an English plural may be the plural of."""
    if noun.endswith("ies"):
        return (noun[:-3] + "y",)
    if noun.endswith("ves"):
        return (noun[:-3] + "f", noun[:-3] + "fe")
    return (noun[:-1], noun[:-2]) if noun.endswith("es") else (noun[:-1],) if noun.endswith("s") else ()
