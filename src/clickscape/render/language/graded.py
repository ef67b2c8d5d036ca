"""How often ads that show a thing could be published, by graded pictures, as plain data.

Four graders judged the 116 ads with a good cut-out that this studio drew of forty products with alpha and twenty
photographs (docs/concepts/publishable.md): what a set shows decides as much as how it suits. Values of one row were
counted together; a value that no row names counts as the average, and so do surfaces that were painted anew since.
"""

from __future__ import annotations

import math
from functools import cache

GRADED: tuple[tuple[str, tuple[str, ...], int, int], ...] = (
    ("prop", ("none",), 24, 51),
    ("prop", ("eucalyptus",), 10, 12),
    ("prop", ("blossom",), 4, 11),
    ("prop", ("palm",), 4, 14),
    ("prop", ("pebbles",), 4, 11),
    ("prop", ("gold spheres",), 0, 7),
    ("prop", ("lemons", "berries", "candle"), 5, 7),
    ("prop", ("gift", "coffee beans"), 0, 3),
    ("setting", ("living room",), 21, 42),
    ("setting", ("city",), 12, 26),
    ("setting", ("kitchen",), 6, 10),
    ("setting", ("terrace",), 4, 7),
    ("setting", ("studio",), 3, 15),
    ("setting", ("loft",), 4, 15),
    ("light", ("window",), 11, 18),
    ("light", ("soft",), 21, 38),
    ("light", ("golden hour",), 8, 17),
    ("light", ("noon",), 5, 13),
    ("light", ("spotlight",), 4, 11),
    ("light", ("leafy",), 2, 8),
    ("light", ("neon",), 0, 11),
    ("surface", ("slate",), 4, 7),
)
"""Slot, values, pictures that could be published, pictures graded."""

PUBLISHED, ALL = 51, 116
_WEIGHT = 6  # pictures that the average counts as


@cache
def log_publishable(slot: str, value: str) -> float:
    """log P(an ad that shows this can be published), nats, shrunk towards the average of all."""
    average = PUBLISHED / ALL
    good, graded = next((row[2:] for row in GRADED if row[0] == slot and value in row[1]), (0, 0))
    return math.log((good + _WEIGHT * average) / (graded + _WEIGHT))
