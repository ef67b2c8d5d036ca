"""The report of a feed: products read, warnings counted by kind with the first places, and rows left out."""

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
    "color variant without item_group_id",
    "photo left out",
    "column not read",
]
SHOWN = 5  # places that the report's lines name for each kind
KEPT = 500  # places that a report keeps for each kind
MOST_SKIPPED = 10_000  # rows left out that a report names; a feed may have any number


@dataclass(frozen=True, slots=True)
class FeedWarning:
    """A fault of a row that is no error: the product is made all the same."""

    kind: Kind
    place: str
    product_id: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row or product that was left out, and why."""

    place: str
    reason: str


@dataclass(frozen=True, slots=True)
class FeedReport:
    """Number of products read, their warnings (of every kind: how many, and the first few), and the rows left out.

    unlisted: rows left out beyond the first `MOST_SKIPPED`.
    """

    products: int = 0
    counts: dict[Kind, int] = field(default_factory=dict)
    first: dict[Kind, tuple[FeedWarning, ...]] = field(default_factory=dict)
    skipped: tuple[Skipped, ...] = ()
    unlisted: int = 0

    @property
    def left_out(self) -> tuple[Skipped, ...]:
        """What was left out, for people to read: the last entry may stand for all further ones."""
        rest = Skipped(f"{self.unlisted:,} further rows", f"after {MOST_SKIPPED:,} that are listed")
        return (*self.skipped, rest) if self.unlisted else self.skipped

    def lines(self) -> Iterator[str]:
        """Yield the report as text, a line for each kind and for each row that was left out."""
        rows = self.products + len(self.skipped) + self.unlisted
        for kind, count in sorted(self.counts.items(), key=lambda pair: -pair[1]):
            first = self.first[kind][:SHOWN]
            places = ", ".join(f"{one.place} ({one.detail})" if one.detail else one.place for one in first)
            more = ", …" if count > len(first) else ""
            yield f"{kind}: {count} of {rows} rows, {places}{more}"
        for one in self.left_out:
            yield f"left out, {one.place}: {one.reason}"


class FeedReportBuilder:
    """Count products, warnings and rows left out while a feed is read; `build` returns the report."""

    def __init__(self) -> None:
        self._products = 0
        self._counts: dict[Kind, int] = {}
        self._first: dict[Kind, list[FeedWarning]] = {}
        self._skipped: list[Skipped] = []
        self._unlisted = 0

    def add_product(self, *warnings: FeedWarning) -> None:
        """Count one product and its warnings."""
        self._products += 1
        self.add_warnings(*warnings)

    def add_warnings(self, *warnings: FeedWarning) -> None:
        """Add warnings about a product that is counted elsewhere."""
        for one in warnings:
            self._counts[one.kind] = self._counts.get(one.kind, 0) + 1
            first = self._first.setdefault(one.kind, [])
            if len(first) < KEPT:
                first.append(one)

    def add_skipped(self, place: str, reason: str) -> None:
        """Add a row that was left out."""
        if len(self._skipped) < MOST_SKIPPED:
            self._skipped.append(Skipped(place, reason))
        else:
            self._unlisted += 1

    def build(self) -> FeedReport:
        """Return the report of everything added so far."""
        first = {kind: tuple(found) for kind, found in self._first.items()}
        return FeedReport(self._products, dict(self._counts), first, tuple(self._skipped), self._unlisted)
