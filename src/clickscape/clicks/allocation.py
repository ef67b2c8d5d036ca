"""How the traffic of a log came to its creatives: by chance, with known probabilities or shares, or nobody says how.

A log says it in a column `allocation`, row by row; for one without the column, [clicks] allocation says it. Where it is
unknown, creatives with other CTRs may just have been shown to other people, so a difference is an association and no
sentence here says that an ad caused it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import ibis

from clickscape.types import Allocation

ALLOCATIONS: tuple[Allocation, ...] = get_args(Allocation)
"""Every way that a log may name, the one that allows most first."""

FAULT = f"{{allocation!r}}, expected one of {', '.join(ALLOCATIONS)}. Rename it, or leave it empty where nobody knows."
"""What is wrong with another value, for the message about its row."""


@dataclass(frozen=True, slots=True)
class AllocatedTraffic:
    """Impressions of a log by how they were allocated; a + b pools logs."""

    with_propensities: int
    with_shares: int
    unknown: int

    def __post_init__(self) -> None:
        if min(self.with_propensities, self.with_shares, self.unknown) < 0:
            raise ValueError(f"impressions are not negative, got {self}")

    def __add__(self, other: AllocatedTraffic) -> AllocatedTraffic:
        return AllocatedTraffic(
            self.with_propensities + other.with_propensities,
            self.with_shares + other.with_shares,
            self.unknown + other.unknown,
        )

    @property
    def allocation(self) -> Allocation:
        """Return what holds for all of the log: that of its impressions which allows least."""
        if self.unknown or not (self.with_shares or self.with_propensities):
            return "unknown"
        return "randomized with shares" if self.with_shares else "randomized with propensities"

    @property
    def is_randomized(self) -> bool:
        """Return whether chance allocated every impression."""
        return self.allocation != "unknown"

    def lines(self) -> list[str]:
        """Return what may be said of differences between creatives, for people."""
        if self.is_randomized:
            return [f"allocation: {self.allocation}; chance decided who saw which creative"]
        known = self.with_propensities + self.with_shares
        part = f" for {self.unknown:,} of {self.unknown + known:,} impressions" if known else ""
        return [f"allocation unknown{part}: chance may not have decided who saw what; differences are associations"]


def count_of(impressions: Mapping[str, int]) -> AllocatedTraffic:
    """Return impressions by allocation as a record; a value that is none of ALLOCATIONS counts as unknown."""
    shares, propensities = (impressions.get(name, 0) for name in ("randomized with shares", ALLOCATIONS[0]))
    return AllocatedTraffic(propensities, shares, sum(impressions.values()) - shares - propensities)


def fact_names() -> dict[Allocation, str]:
    """Return allocation → name of the aggregate that counts its impressions, for one pass over a log."""
    return {name: f"allocated_{number}" for number, name in enumerate(ALLOCATIONS)}


def facts_of(events: ibis.Table) -> dict[str, Any]:
    """Return the aggregates of `fact_names` for events with a column `allocation`."""
    stated = events.allocation.fill_null("unknown")
    shown = events.kind == "impression"
    return {called: events.count(where=shown & (stated == name)) for name, called in fact_names().items()}
