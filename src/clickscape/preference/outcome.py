"""The outcome of an optimization: start and end write for held-out products, and each figure is compared in pairs.

A policy that surely got worse in one of them is refused. Held-out products are those that no round and no reward model
learned from; both policies get the same random numbers, and whole groups of variants are resampled (`stats`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickscape.gates.relevance import Relevance
from clickscape.generation.pipeline import AdPipeline
from clickscape.generation.score import ScoredAd, image_seeds, render_and_score
from clickscape.stats.bootstrap import ClusterBootstrap
from clickscape.types import Estimate, Product
from clickscape.vlm.generate import Writer

PRODUCTS = 64
"""Held-out products that both policies write for, at most: parse rates are known to three points."""

DESCRIPTIONS = 2
"""Descriptions of each."""

LEAST_GROUPS = 8
"""Groups of variants below which a bootstrap interval says nothing, and nothing is refused (at one it has no width)."""

LEAST_VARIETY = 0.3
"""Share of the start's different scenes that must be left."""


@dataclass(frozen=True, slots=True)
class Change:
    """A figure at the start and at the end, and the paired difference with its interval.

    ``style``: how it is written, as a format; ``allowed``: a fall that is no reason to refuse the policy.
    """

    name: str
    before: float
    after: float
    difference: Estimate
    style: str
    allowed: float = 0.0

    @property
    def is_worse(self) -> bool:
        """Whether the whole interval lies below what is allowed."""
        return self.difference.high < -self.allowed

    def __str__(self) -> str:
        """As in "parsed 90% → 95% (+2% to +8%)"."""
        low, high = (f"{value:+{self.style}}" for value in (self.difference.low, self.difference.high))
        return f"{self.name} {self.before:{self.style}} → {self.after:{self.style}} ({low} to {high})"


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What came of an optimization on held-out products: changes, and pairs of ads (before, after) to look at."""

    products: int
    groups: int
    changes: tuple[Change, ...]
    ads: tuple[tuple[ScoredAd, ScoredAd], ...]

    @property
    def worse(self) -> tuple[Change, ...]:
        """What surely fell; nothing is sure of fewer than `LEAST_GROUPS` groups."""
        return tuple(change for change in self.changes if change.is_worse and self.groups >= LEAST_GROUPS)


def outcome(
    before: Writer,
    after: Writer,
    products: Sequence[Product],
    *,
    pipeline: AdPipeline,
    relevance: Relevance | None,
    groups: Mapping[str, str],
    temperature: float,
    max_new_tokens: int,
    size: int,
    seed: int,
) -> Outcome:
    """Let both policies write for at most `PRODUCTS` products, draw at `size` pixels, and compare.

    relevance: the gate that says how many descriptions suit their product; None leaves that figure out. groups:
    product id → group of variants. ValueError for no product.
    """
    if not products:
        raise ValueError("no held-out product to compare policies on")
    chosen = np.random.default_rng([seed, 0]).permutation(len(products))[:PRODUCTS]
    shown = [products[int(row)] for row in sorted(chosen)]
    sides = [
        _written(writer, shown, pipeline, temperature=temperature, tokens=max_new_tokens, size=size, seed=seed)
        for writer in (before, after)
    ]
    draws = ClusterBootstrap.draw(
        [groups[ad.product.product_id] for ad in sides[0]], rng=np.random.default_rng([seed, 1])
    )
    figures: list[tuple[str, list[NDArray[np.float64]], str, float]] = [
        ("parsed", [np.array([ad.parsed for ad in side], float) for side in sides], ".0%", 0.02),
        ("mean reward", [np.array([ad.score for ad in side]) for side in sides], ".2f", 0.0),
    ]
    if relevance is not None:
        figures.append(("relevant", [_relevant(side, relevance) for side in sides], ".0%", 0.05))
    changes = [
        Change(name, float(old.mean()), float(new.mean()), draws.mean(new - old), style, allowed)
        for name, (old, new), style, allowed in figures
    ]
    return Outcome(len(shown), len(draws.names), (*changes, _variety(sides)), tuple(zip(*sides, strict=True)))


def _written(
    writer: Writer,
    products: Sequence[Product],
    pipeline: AdPipeline,
    *,
    temperature: float,
    tokens: int,
    size: int,
    seed: int,
) -> list[ScoredAd]:
    texts = writer.describe_all(
        products,
        n=DESCRIPTIONS,
        seed=seed,
        temperature=temperature,
        max_new_tokens=tokens,
        pictures=pipeline.images_of(size=writer.vlm.image_size),
    )
    flat = [(product, text) for product, each in zip(products, texts, strict=True) for text in each]
    seeds = image_seeds(len(flat), rng=np.random.default_rng([seed, 2]))
    shown, written = [product for product, _ in flat], [text for _, text in flat]
    return render_and_score(shown, written, pipeline=pipeline, size=size, seeds=seeds)


def _relevant(side: Sequence[ScoredAd], relevance: Relevance) -> NDArray[np.float64]:
    checked = relevance.check([ad.product for ad in side], [ad.description for ad in side])
    return np.array([result.passed for result in checked], float)


def _variety(sides: Sequence[Sequence[ScoredAd]]) -> Change:
    """Different scenes over all descriptions; a count has no pairs, so its interval is the point."""
    before, after = (len({ad.rendering.content or ad.description for ad in side}) / len(side) for side in sides)
    change = after - before
    return Change(
        "different scenes", before, after, Estimate(change, change, change), ".0%", (1 - LEAST_VARIETY) * before
    )
