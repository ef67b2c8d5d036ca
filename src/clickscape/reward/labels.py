"""Labels: what people said of creatives, and how often a reward model prefers the ad that they prefer.

A reward model says which ad is clicked more, so it never learns from these: what a reviewer likes is no click
(decision 0062). They are what it is compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np

from clickscape.reward.protocol import Image, RewardModel, Slots, joined
from clickscape.stats.accuracy import pair_agreement
from clickscape.stats.bootstrap import ClusterBootstrap
from clickscape.types import Estimate, Product

LEAST_PRODUCTS = 5
"""Products whose labels are needed before an interval over products means anything."""

_CHUNK = 64  # pairs whose pictures are open at a time
_NEVER = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Label:
    """What one person said of a creative: it may be shown, it may not, or it is better than another one.

    preferred_to: id of the creative that it is better than, None unless `decision` is "prefer". reviewer: id of an API
    key or of an annotator, "" where nobody noted it.
    """

    creative_id: str
    product_id: str
    decision: Literal["approve", "reject", "prefer"]
    preferred_to: str | None = None
    reason: str = ""
    reviewer: str = ""
    source: Literal["review", "label studio"] = "review"
    created_at: datetime | None = None

    def __post_init__(self) -> None:
        if (self.decision == "prefer") != (self.preferred_to is not None) or self.preferred_to == self.creative_id:
            raise ValueError("a preference names another creative, and a decision names none")

    @property
    def key(self) -> tuple[str, ...]:
        """What a later label of the same source takes the place of."""
        if self.preferred_to is None:
            return (self.source, self.creative_id)
        return (self.source, self.reviewer, *sorted((self.creative_id, self.preferred_to)))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two creatives of a product, and the one that more people prefer."""

    product_id: str
    better: str
    worse: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """Share of pairs in which a model prefers the ad that people prefer; None where too few products have labels."""

    share: Estimate | None
    pairs: int
    products: int

    def line(self) -> str:
        """Return it in a line for people."""
        of = f"{self.pairs} pairs of {self.products} products, none of which it learned from"
        if self.share is None:
            return f"{'people’s labels':34s} not enough evidence: {of}; {LEAST_PRODUCTS} products are needed"
        return f"{'people’s labels':34s} {self.share.value:.3f} [{self.share.low:.3f}, {self.share.high:.3f}] of {of}"


def merge(old: Iterable[Label], new: Iterable[Label]) -> list[Label]:
    """Return the labels of both; of two about the same, the later one, and of the same time the new one."""
    kept: dict[tuple[str, ...], Label] = {}
    for label in (*old, *new):
        held = kept.get(label.key)
        if held is None or (label.created_at or _NEVER) >= (held.created_at or _NEVER):
            kept[label.key] = label
    return sorted(kept.values(), key=lambda one: (one.product_id, one.key))


def comparisons(labels: Iterable[Label]) -> list[Comparison]:
    """Return the pairs that people are not evenly split over: what they compared, and approved beside rejected ads."""
    votes: dict[tuple[str, str, str], int] = {}

    def vote(product_id: str, better: str, worse: str) -> None:
        first, second = sorted((better, worse))
        votes[product_id, first, second] = votes.get((product_id, first, second), 0) + (1 if better == first else -1)

    decided: dict[str, dict[str, list[str]]] = {}
    for label in labels:
        if label.preferred_to is not None:
            vote(label.product_id, label.creative_id, label.preferred_to)
        else:
            decided.setdefault(label.product_id, {}).setdefault(label.decision, []).append(label.creative_id)
    for product_id, found in decided.items():
        for better in found.get("approve", ()):
            for worse in found.get("reject", ()):
                vote(product_id, better, worse)
    return [
        Comparison(product_id, *((first, second) if number > 0 else (second, first)))
        for (product_id, first, second), number in sorted(votes.items())
        if number
    ]


def agreement(
    model: RewardModel,
    pairs: Sequence[Comparison],
    *,
    products: Mapping[str, Product],
    images: Callable[[str], Image],
    scenes: Callable[[str], Slots | None],
    rng: np.random.Generator,
) -> Agreement:
    """Return how often a model prefers what people prefer, with an interval over products; a tie counts half.

    images, scenes: of a creative, by its id.
    """
    count = len({pair.product_id for pair in pairs})
    if count < LEAST_PRODUCTS:
        return Agreement(None, len(pairs), count)
    odds = joined([
        model.odds([products[one.product_id] for one in part], [images(one.better) for one in part],
                   [images(one.worse) for one in part], [(scenes(one.better), scenes(one.worse)) for one in part])
        for part in (pairs[start : start + _CHUNK] for start in range(0, len(pairs), _CHUNK))
    ])  # fmt: skip
    bootstrap = ClusterBootstrap.draw([pair.product_id for pair in pairs], rng=rng)
    return Agreement(bootstrap.mean(pair_agreement(odds.log_odds, np.ones(len(pairs)))), len(pairs), count)
