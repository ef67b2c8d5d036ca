"""A heat map in words: what the nine thirds of a picture earn or cost, for people who do not see it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clickscape.reward.explain.occlusion import HeatMap

PLACES = ("top left", "top", "top right", "left", "middle", "right", "bottom left", "bottom", "bottom right")
"""The thirds of a picture, row by row."""


@dataclass(frozen=True, slots=True)
class Region:
    """By how much the log-odds fall on average when parts of a third are hidden: positive where it helps.

    low, high: of its interval, as if the windows over it erred together; None for a model that cannot say.
    """

    place: str
    value: float
    low: float | None
    high: float | None


def regions(heat: HeatMap) -> tuple[Region, ...]:
    """Return the thirds of a heat map, in the order of `PLACES`."""
    rows, columns = (np.array_split(np.arange(side), 3) for side in heat.value.shape)
    parts = [np.ix_(down, across) for down in rows for across in columns]
    known = bool(np.isfinite(heat.low).all())
    return tuple(
        Region(
            place,
            float(heat.value[part].mean()),
            float(heat.low[part].mean()) if known else None,
            float(heat.high[part].mean()) if known else None,
        )
        for place, part in zip(PLACES, parts, strict=True)
    )
