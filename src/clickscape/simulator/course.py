"""How CTRs move over the days of a log, whoever draws it: a weekly rhythm, and slopes per week."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clickscape.simulator.hashed import normal
from clickscape.simulator.traffic import Floats


@dataclass(frozen=True, slots=True)
class Course:
    """A log of `days` days; `rhythm`: log CTR by weekday, the first day's first, (7,)."""

    days: int
    rhythm: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.rhythm) != 7:
            raise ValueError(f"a week has 7 days, got a rhythm of {len(self.rhythm)}")

    def change(self, day: np.ndarray | int, slopes: Floats) -> Floats:
        """Return log CTR on a day (from 0) less that of an average day; slopes: per week, broadcast with `day`."""
        return np.asarray(np.asarray(self.rhythm)[day % 7] + slopes * (day - (self.days - 1) / 2) / 7)


def weekly_rhythm(key: Sequence[str], strength: float) -> tuple[float, ...]:
    """Draw log CTR by weekday, mean 0 and standard deviation `strength`; the same key gives the same week."""
    days = np.array([normal(*key, "weekday", str(day)) for day in range(7)])
    return tuple(round(float(value), 4) for value in strength * (days - days.mean()) / days.std())
