"""What the rows of a feed lacked: counted by kind, with the first places, so that nothing is lost silently."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal[
    "no category",
    "no price",
    "no currency",
    "no description",
    "no brand",
    "no availability",
    "unknown availability",
    "duplicate title",
    "photo left out",
]
SHOWN = 5  # places that a report names for each kind


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that a row should have and has not; the product is made all the same."""

    kind: Kind
    place: str
    product_id: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that was left out, and why."""

    place: str
    reason: str


@dataclass(frozen=True, slots=True)
class FeedReport:
    """How a feed went: products read, what they lacked (every kind: how often, and the first few), rows left out."""

    products: int = 0
    counts: dict[Kind, int] = field(default_factory=dict)
    first: dict[Kind, tuple[Missing, ...]] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()

    def lines(self) -> Iterator[str]:
        """The report for people, a line for each kind and for each row that was left out."""
        for kind, count in sorted(self.counts.items(), key=lambda pair: -pair[1]):
            first = self.first[kind]
            places = ", ".join(f"{one.place} ({one.detail})" if one.detail else one.place for one in first)
            more = ", …" if count > len(first) else ""
            yield f"{kind}: {count} of {self.products} products, {places}{more}"
        for one in self.skipped:
            yield f"left out, {one.place}: {one.reason}"


class Tally:
    """Adds up what the rows of one feed lacked."""

    def __init__(self) -> None:
        self._products = 0
        self._counts: dict[Kind, int] = {}
        self._first: dict[Kind, list[Missing]] = {}
        self._skipped: list[Skipped] = []

    def product(self, *missing: Missing) -> None:
        """One product more, and what it lacks."""
        self._products += 1
        self.lack(*missing)

    def lack(self, *missing: Missing) -> None:
        """Something more that a product, counted before, lacks."""
        for one in missing:
            self._counts[one.kind] = self._counts.get(one.kind, 0) + 1
            first = self._first.setdefault(one.kind, [])
            if len(first) < SHOWN:
                first.append(one)

    def skip(self, place: str, reason: str) -> None:
        """One row that was left out."""
        self._skipped.append(Skipped(place, reason))

    def report(self) -> FeedReport:
        """What was added up so far."""
        first = {kind: tuple(found) for kind, found in self._first.items()}
        return FeedReport(self._products, dict(self._counts), first, tuple(self._skipped))
