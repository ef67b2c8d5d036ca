"""How often ads that show a thing could be published, by graded pictures, as plain data.

An art director graded 149 ads with a good cut-out (docs/concepts/publishable.md): what a set shows decides as much as
how it suits. Values of one row were graded together; a value that no row names, with all others of its slot.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache

GRADED: tuple[tuple[str, tuple[str, ...], int, int], ...] = (
    ("prop", ("none",), 7, 17),
    ("prop", ("bubbles",), 6, 11),
    ("prop", ("eucalyptus",), 4, 8),
    ("prop", ("berries", "coffee beans", "gift", "baubles", "palm"), 0, 41),
    ("setting", ("bathroom",), 4, 4),
    ("setting", ("studio",), 5, 20),
    ("setting", ("meadow", "desert", "workshop"), 0, 17),
)
"""Slot, values, pictures that could be published, pictures graded."""

PUBLISHED, ALL = 25, 149
_WEIGHT = 6  # pictures that the average counts as

SETTINGS_OF: Mapping[str, Mapping[str, frozenset[str]]] = {
    "light": {
        "neon": frozenset({"city", "night city"}),
        "spotlight": frozenset({"studio", "loft"}),
        "golden hour": frozenset({"terrace", "beach", "desert", "forest", "meadow", "city", "pool"}),
    },
    "surface": {
        "water": frozenset({"studio", "bathroom", "beach", "forest", "meadow", "pool"}),
        "sand": frozenset({"studio", "beach", "desert"}),
        "grass": frozenset({"meadow", "forest", "terrace", "city"}),
    },
}
"""Slot → light with a color of its own, or ground of the outdoors → settings in which a photographer would use it."""


@cache
def log_publishable(slot: str, value: str) -> float:
    """log P(an ad that shows this can be published), nats, shrunk towards the average of all."""
    average = PUBLISHED / ALL
    rows = [row[1:] for row in GRADED if row[0] == slot]
    others = (PUBLISHED - sum(good for _, good, _ in rows), ALL - sum(graded for _, _, graded in rows))
    good, graded = next(((good, graded) for values, good, graded in rows if value in values), others)
    return math.log((good + _WEIGHT * average) / (graded + _WEIGHT))
