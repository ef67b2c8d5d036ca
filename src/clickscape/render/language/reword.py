"""Rewording: one slot of a description says something else, and everything else that it says stays.

An edit counts only if the words read back as they should: the slot has its new value, the other slots that were named
keep theirs, and no word is new to the studio. An edit that fails this, such as a wall color in a forest, is not made.
"""

from __future__ import annotations

import re
from functools import cache

from clickscape.render.language import lexicon
from clickscape.render.language.parse import Span, parse, spans

_ARTICLE = re.compile(r"\b(an?)\s+$", re.IGNORECASE)
_JOINED = re.compile(r"\s*(?:,|\b(?:and|with|beside|near|behind|by)\b)\s*$", re.IGNORECASE)
_ADDED = {"palette": "{} wall", "setting": "in the {}", "surface": "on {}"}  # how a slot is named where it was not


def reword(description: str, phrase: str) -> str:
    """The description with what the phrase names in place of its own; as it was where that cannot be said.

    ValueError for a phrase that is none of the lexicon.
    """
    named = meaning(phrase)
    if named is None:
        raise ValueError(f"the studio does not know the phrase {phrase!r}")
    slot, value = named
    old = [span for span in spans(description) if span.slot == slot or (slot, span.slot) == ("palette", "wish")]
    if not old:
        text = f"{description.rstrip(' ,.')}, {_ADDED.get(slot, '{}').format(phrase)}"
    else:
        text = description
        for span in reversed(old):  # from the end, so that the places of the others stay
            stays = slot != "prop" or span is old[0]
            text = _replaced(text, span, phrase) if stays else _without(text, span)
    return text if _reads(description, text, slot=slot, value=value) else description


@cache
def meaning(phrase: str) -> tuple[str, str] | None:
    """The slot and the value that a phrase of the lexicon names, whatever its case; None for any other phrase."""
    plain = " ".join(phrase.lower().split())
    return next(
        (
            (slot, value)
            for slot, values in lexicon.PHRASES.items()
            for value, phrases in values.items()
            if plain in phrases
        ),
        None,
    )


def _replaced(text: str, span: Span, phrase: str) -> str:
    before, after = text[: span.start], text[span.end :]
    if article := _ARTICLE.search(before):
        kept = before[: article.start()]
        right = "an " if phrase[0].lower() in "aeiou" else "a "
        before = kept if span.slot == "prop" else kept + right  # props stand in the plural
    return f"{before}{phrase}{after}"


def _without(text: str, span: Span) -> str:
    """The text without the span, and without the comma or the word that joined it to what comes before."""
    before = _ARTICLE.sub("", text[: span.start])
    return f"{_JOINED.sub('', before)}{text[span.end :]}"


def _reads(old: str, new: str, *, slot: str, value: str) -> bool:
    before, after = parse(old), parse(new)
    kept = before.named - {slot}
    props = (value,) if value != "none" else ()
    right = after.scene.props == props if slot == "prop" else after.scene.slots[slot] == value
    same = all(after.scene.slots[name] == before.scene.slots[name] for name in kept if name != "prop")
    return (
        right
        and same
        and (slot == "prop" or after.scene.props == before.scene.props)
        and (set(after.unknown) <= set(before.unknown))
    )
