"""The nouns of clickscape: frozen records, checked when they are made, with no behavior that a test would want to mock.

Tables (Parquet) hold many of them at once; these are what the Python interface takes and returns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Allocation = Literal["randomized with propensities", "randomized with shares", "unknown"]
"""How traffic came to a creative; where it is unknown, a difference of CTRs is an association, never a lift."""

CreativeStatus = Literal["draft", "approved", "rejected", "live", "retired"]

COPYWRITER = "simulated-copywriter-v1"
"""`model_id` of what the simulator draws; the simulator alone writes it."""

OWN = "own"
"""`renderer` and `model_id` of a shop's own ads, which `ingest --creatives` brings: nothing here draws them anew."""


@dataclass(frozen=True, slots=True)
class Product:
    """One thing to advertise: its text and the path of its cut-out image.

    ``category`` runs from coarse to fine; ``price`` is in ``currency`` units, None when unknown; ``image`` is a path,
    ``more_images`` are the paths of further photos in the feed's order.
    """

    product_id: str
    title: str
    category: tuple[str, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    price: float | None = None
    currency: str | None = None
    image: str = ""
    more_images: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.product_id:
            raise ValueError("a product needs a product_id")
        if not self.title.strip():
            raise ValueError(f"product {self.product_id!r} has no title")
        if self.price is not None and not (math.isfinite(self.price) and self.price >= 0):
            raise ValueError(f"product {self.product_id!r}: the price must be a number ≥ 0, got {self.price}")
        object.__setattr__(self, "attributes", MappingProxyType(dict(self.attributes)))

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled for worker processes only (a mapping proxy cannot be); never written to a file."""
        values = (self.product_id, self.title, self.category, dict(self.attributes), self.tags)
        return (Product, (*values, self.price, self.currency, self.image, self.more_images))

    def __hash__(self) -> int:
        return hash(self.product_id)

    @property
    def department(self) -> str:
        """The coarsest category, or "" when the catalog has none."""
        return self.category[0] if self.category else ""


@dataclass(frozen=True, slots=True)
class Creative:
    """One advertising image of one product, and everything that is needed to draw it again.

    `product_digest` says which words and picture of the product it was made from, "" when nobody noted it.
    """

    creative_id: str
    product_id: str
    image: str
    description: str
    scene: Mapping[str, object]
    renderer: str
    model_id: str
    seed: int
    parent_id: str | None = None
    status: CreativeStatus = "draft"
    product_digest: str = ""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"a seed is not negative, got {self.seed}")

    @property
    def is_simulated(self) -> bool:
        """Whether `clickscape simulate` drew it for trying things out; such a creative is never published."""
        return self.model_id == COPYWRITER


@dataclass(frozen=True, slots=True)
class ClickCounts:
    """Impressions and clicks of one creative; ``a + b`` pools them."""

    impressions: int
    clicks: int

    def __post_init__(self) -> None:
        if not 0 <= self.clicks <= self.impressions:
            raise ValueError(f"clicks must lie between 0 and the impressions, got {self.clicks} of {self.impressions}")

    def __add__(self, other: ClickCounts) -> ClickCounts:
        return ClickCounts(self.impressions + other.impressions, self.clicks + other.clicks)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its interval; ``level`` is the probability that the interval is meant to cover."""

    value: float
    low: float
    high: float
    level: float = 0.95

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"the interval is upside down: {self.low} > {self.high}")
        if not 0 < self.level < 1:
            raise ValueError(f"the level must lie between 0 and 1, got {self.level}")


@dataclass(frozen=True, slots=True)
class CreativePair:
    """Two creatives of one product and what the clicks say: ``preference`` = P(CTR of first > CTR of second)."""

    product_id: str
    first: str
    second: str
    preference: float
    gap: float
    weight: float

    def __post_init__(self) -> None:
        if self.first == self.second:
            raise ValueError(f"a pair needs two creatives, got {self.first!r} twice")
        if not 0 <= self.preference <= 1:
            raise ValueError(f"a preference is a probability, got {self.preference}")


@dataclass(frozen=True, slots=True)
class Ranked:
    """Place of one image in a ranking: its index in what was asked, and its score.

    ``ahead``: whether it surely gets clicked more than the next one; None for the last, and where nobody can say.
    """

    index: int
    score: Estimate
    ahead: bool | None = None
