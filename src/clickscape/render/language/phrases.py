"""The phrases of a description, each with the slots that it names: what `parse` reads at once, piece by piece.

A description falls apart at its commas, and at words such as "with" or "in" where both sides name something and the cut
loses no meaning: "city at night" stays whole, "a marble podium in a kitchen" becomes two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from clickscape.render.language.parse import MAX_CHARACTERS, parse

_CLAUSES = re.compile(r"[,;.\n]+")
_JOINTS = re.compile(r"\b(?:and|with|in|on|under|beside|near|before|behind|by|at|against)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Phrase:
    """A piece of a description, the slots that it names, and the description without it."""

    text: str
    slots: frozenset[str]
    without: str


def phrases(description: str) -> list[Phrase]:
    """The phrases in their order; of a description with only one, `without` is empty."""
    clauses = [clause.strip() for clause in _CLAUSES.split(description[:MAX_CHARACTERS])]
    pieces = [list(_pieces(clause)) for clause in clauses if clause]
    found = []
    for row, clause in enumerate(pieces):
        for place, piece in enumerate(clause):
            rest = [*clause[:place], *clause[place + 1 :]]
            others = [" ".join(kept) for kept in [*pieces[:row], rest, *pieces[row + 1 :]] if kept]
            text = _JOINTS.sub("", piece, count=1).strip() if _JOINTS.match(piece) else piece
            found.append(Phrase(text or piece, parse(piece).named, ", ".join(others)))
    return found


def _pieces(clause: str) -> Iterator[str]:
    """The clause, cut at every joint where the cut loses nothing."""
    whole = parse(clause)
    for joint in _JOINTS.finditer(clause):
        first, second = parse(clause[: joint.start()]), parse(clause[joint.start() :])
        apart = (first.named | second.named, {*first.unknown, *second.unknown})
        if first.named and second.named and apart == (whole.named, {*whole.unknown}):
            yield clause[: joint.start()].strip()
            yield from _pieces(clause[joint.start() :])
            return
    yield clause
