"""The outcome of an optimization: start and end write for held-out products, and each figure is compared in pairs.

A policy that surely got worse in one of them is refused. Held-out products are those that no round and no reward model
learned from; both policies get the same random numbers, and whole groups of variants are resampled (`stats`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clickscape.generation.pipeline import AdPipeline
from clickscape.generation.sample import Candidate, sample_candidates
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
    """What came of an optimization on held-out products; ``before`` and ``after``: candidates in the same order."""

    products: tuple[Product, ...]
    groups: int
    changes: tuple[Change, ...]
    before: tuple[Candidate, ...]
    after: tuple[Candidate, ...]

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
    groups: Mapping[str, str],
    temperature: float,
    max_new_tokens: int,
    size: int,
    seed: int,
) -> Outcome:
    """Let both policies write for at most `PRODUCTS` products, draw at `size` pixels, and compare.

    The pipeline's relevance gate says how many descriptions suit their product; without one that figure is left out.
    groups: product id → group of variants. ValueError for no product.
    """
    if not products:
        raise ValueError("no held-out product to compare policies on")
    rows = sorted(np.random.default_rng([seed, 0]).permutation(len(products))[:PRODUCTS])
    chosen = tuple(products[int(row)] for row in rows)
    old, new = (
        tuple(
            candidate
            for some in sample_candidates(
                writer,
                chosen,
                pipeline=pipeline,
                candidates=DESCRIPTIONS,
                temperature=temperature,
                max_new_tokens=max_new_tokens,
                render_size=size,
                rng=np.random.default_rng([seed, 2]),
            )
            for each in some
            for candidate in each
        )
        for writer in (before, after)
    )
    draws = ClusterBootstrap.draw([groups[one.product_id] for one in old], rng=np.random.default_rng([seed, 1]))

    def change(name: str, value: Callable[[Candidate], float], style: str, allowed: float) -> Change:
        first, last = (np.array([value(one) for one in side], float) for side in (old, new))
        return Change(name, float(first.mean()), float(last.mean()), draws.mean(last - first), style, allowed)

    changes = [
        change("parsed", lambda one: one.parsed, ".0%", 0.02),
        change("mean reward", lambda one: one.score, ".2f", 0.0),
    ]
    if pipeline.relevance is not None:
        changes.append(change("relevant", lambda one: one.relevant, ".0%", 0.05))
    return Outcome(chosen, len(draws.names), (*changes, _variety(old, new)), old, new)


def _variety(old: Sequence[Candidate], new: Sequence[Candidate]) -> Change:
    """Different scenes over all descriptions; a count has no pairs, so its interval is the point."""
    before, after = (len({one.scene for one in side}) / len(side) for side in (old, new))
    change = after - before
    return Change(
        "different scenes", before, after, Estimate(change, change, change), ".0%", (1 - LEAST_VARIETY) * before
    )
