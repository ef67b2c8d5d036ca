"""From a description to a scene, with the lexicon and nothing else: no learning, no randomness.

A description is a list of phrases. The longest phrase of the lexicon wins, each word is used once, the first
value found for a slot stays, and every word that is neither known nor a filler is reported.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache, lru_cache
from typing import cast

from clickscape.render.language import lexicon
from clickscape.render.scene import MAX_PROPS, NO_PROP, WALLED, Scene, Wish

_WORD = re.compile(r"[^\W_]+(?:[-'’][^\W_]+)*", re.UNICODE)
MAX_CHARACTERS = 2_000
MIN_SLOTS = 3
_WISH = "wish"  # what the table calls the phrases of lexicon.WISHES
_ALIKE = 0.72  # least similarity (0 to 1, of difflib) at which a known word is offered for an unknown one


@dataclass(frozen=True, slots=True)
class ParsedDescription:
    """The scene of a description, the slots that it names itself, and its words that the lexicon does not know.

    `wish`: the wall's color shall follow the product's; the scene's palette holds until a product is known.
    """

    scene: Scene
    named: frozenset[str]
    unknown: tuple[str, ...]
    wish: Wish | None = None

    @property
    def is_valid(self) -> bool:
        """Whether the description names at least MIN_SLOTS (3) slots and has no unknown word."""
        return len(self.named) >= MIN_SLOTS and not self.unknown


@dataclass(frozen=True, slots=True)
class Span:
    """Where a description says something: a slot ("wish" for a color by the product's own), a value, characters."""

    slot: str
    value: str
    start: int
    end: int


@lru_cache(maxsize=65_536)
def parse(description: str) -> ParsedDescription:
    """Read a description (its first 2,000 characters); never fails: what is not named takes the setting's default."""
    words = [word.lower() for word in _WORD.findall(description[:MAX_CHARACTERS])]
    found: dict[str, list[str]] = {}
    unknown: list[str] = []
    position = 0
    pending_color: str | None = None
    while position < len(words):
        match = _longest(words, position)
        if match is None:
            if words[position] not in lexicon.FILLERS:
                unknown.append(words[position])
            position += 1
            continue
        slot, value, length = match
        following = words[position + length] if position + length < len(words) else ""
        if slot == "palette":
            if following in lexicon.WALL_WORDS:
                found.setdefault(slot, []).append(value)
            elif pending_color is None:
                pending_color = value
        else:
            found.setdefault(slot, []).append(value)
        position += length
    if pending_color is not None and "palette" not in found:
        found["palette"] = [pending_color]

    setting = found.get("setting", ["studio"])[0]
    defaults = lexicon.DEFAULTS[setting]
    props = tuple(dict.fromkeys(prop for prop in found.get("prop", []) if prop != NO_PROP))[:MAX_PROPS]
    scene = Scene(
        setting=setting,
        surface=found.get("surface", [defaults["surface"]])[0],
        light=found.get("light", ["soft"])[0],
        stand=found.get("stand", [defaults["stand"]])[0],
        palette=found.get("palette", ["cream"])[0] if setting in WALLED else None,
        props=props,
    )
    asked = found.get(_WISH) if setting in WALLED and "palette" not in found else None
    wish = cast("Wish", asked[0]) if asked else None
    named = frozenset(found) - {_WISH} | ({"palette"} if wish else set())
    return ParsedDescription(scene=scene, named=named, unknown=tuple(dict.fromkeys(unknown)), wish=wish)


def spans(description: str) -> list[Span]:
    """The phrases of the lexicon in a description, as `parse` takes them, in their order."""
    found = list(_WORD.finditer(description[:MAX_CHARACTERS]))
    words = [match.group().lower() for match in found]
    found_spans: list[Span] = []
    position = 0
    while position < len(words):
        match = _longest(words, position)
        if match is not None:
            slot, value, length = match
            found_spans.append(Span(slot, value, found[position].start(), found[position + length - 1].end()))
        position += match[2] if match is not None else 1
    return found_spans


def nearest(word: str) -> str | None:
    """The known word that looks most like an unknown one, or None when none does."""
    return next(iter(get_close_matches(word.lower(), _vocabulary(), n=1, cutoff=_ALIKE)), None)


def explain(unknown: Sequence[str]) -> tuple[str, ...]:
    """Unknown words for people, each with the nearest known one: `mahogony (mahogany?)`."""
    return tuple(f"{word} ({known}?)" if (known := nearest(word)) else word for word in unknown)


@cache
def _vocabulary() -> tuple[str, ...]:
    """Every word of the lexicon, in alphabetical order."""
    return tuple(sorted({word for rows in _table().values() for phrase, _, _ in rows for word in phrase}))


@cache
def _table() -> dict[str, list[tuple[tuple[str, ...], str, str]]]:
    """First word → phrases that begin with it, longest first."""
    table: dict[str, list[tuple[tuple[str, ...], str, str]]] = {}
    for slot, values in lexicon.PHRASES.items():
        for value, phrases in values.items():
            for phrase in phrases:
                _enter(table, phrase, slot, value)
    for wish, phrases in lexicon.WISHES.items():
        for phrase in phrases:
            _enter(table, phrase, _WISH, wish)
    for rows in table.values():
        rows.sort(key=lambda row: -len(row[0]))
    return table


def _enter(table: dict[str, list[tuple[tuple[str, ...], str, str]]], phrase: str, slot: str, value: str) -> None:
    words = tuple(word.lower() for word in _WORD.findall(phrase))
    table.setdefault(words[0], []).append((words, slot, value))


def _longest(words: list[str], position: int) -> tuple[str, str, int] | None:
    """The longest phrase that begins at `position`: its slot, its value, its number of words."""
    for phrase, slot, value in _table().get(words[position], ()):
        if tuple(words[position : position + len(phrase)]) == phrase:
            return slot, value, len(phrase)
    return None
