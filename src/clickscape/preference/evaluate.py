"""Evaluate a policy before and after optimization on held-out products, every metric with its interval.

Color variants of one object are not independent, so intervals resample whole objects (cluster bootstrap), and what is
compared before and after is resampled together (paired).  True CTRs and matching are given by the caller: nothing
that learns may know a simulated truth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from clickscape.stats.bootstrap import LEVEL, ClusterBootstrap, percentile_interval
from clickscape.types import Estimate


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """Measurements of descriptions, one entry each: its cluster, its product, and its metrics.

    ``parsed``: by the renderer; ``scenes``: what it drew; ``scores``: reward, logits; ``values``: what has a ratio,
    such as a true CTR; ``matching``: whether the scene suits the product.
    """

    objects: tuple[str, ...]
    product_ids: tuple[str, ...]
    parsed: np.ndarray
    scenes: tuple[str, ...]
    scores: np.ndarray
    values: np.ndarray
    matching: np.ndarray

    def __post_init__(self) -> None:
        given = (self.product_ids, self.parsed, self.scenes, self.scores, self.values, self.matching)
        if any(len(column) != len(self.objects) for column in given):
            raise ValueError("outcomes need as many entries in every column as there are descriptions")
        if not self.objects:
            raise ValueError("no description to evaluate")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Metrics over held-out products; uplift is relative to before (0.4 = +40 %).

    ``win_rate``: share of image pairs (after, before) of one product that the reward model gives to after, ties half.
    ``parse_rate``: share of descriptions that the renderer parsed. ``distinct_scenes``: a count.
    """

    uplift: Estimate
    win_rate: Estimate
    matching_share: Estimate
    parse_rate: Estimate
    distinct_scenes: Estimate
    products: int
    objects: int
    descriptions: int


def evaluate(after: Outcomes, *, before: Outcomes, rng: np.random.Generator) -> Evaluation:
    """All metrics of `after`, against `before` where they compare; both must hold descriptions of the same products."""
    if set(after.product_ids) != set(before.product_ids):
        raise ValueError("before and after must describe the same products")
    return Evaluation(
        uplift=uplift(after, before=before, rng=rng),
        win_rate=win_rate(after, before=before, rng=rng),
        matching_share=_mean(after.matching, after, rng=rng),
        parse_rate=_mean(after.parsed, after, rng=rng),
        distinct_scenes=distinct_scenes(after),
        products=len(set(after.product_ids)),
        objects=len(set(after.objects)),
        descriptions=len(after.objects),
    )


def uplift(after: Outcomes, *, before: Outcomes, rng: np.random.Generator) -> Estimate:
    """mean(values after) / mean(values before) − 1, objects resampled for both at once; percentile interval.

    A product counts once, however many descriptions it has: means are over products' means.
    """
    objects, later = _product_means(after.values, after)
    _, earlier = _product_means(before.values, before)
    bootstrap = ClusterBootstrap.draw(objects, rng=rng)
    return percentile_interval(later.sum() / earlier.sum() - 1, bootstrap.sums(later) / bootstrap.sums(earlier) - 1)


def win_rate(after: Outcomes, *, before: Outcomes, rng: np.random.Generator) -> Estimate:
    """Share of (after, before) image pairs of a product that score higher after; ties count half, products equally."""
    earlier: dict[str, list[float]] = {}
    for product_id, score in zip(before.product_ids, before.scores, strict=True):
        earlier.setdefault(product_id, []).append(float(score))
    wins = np.empty(len(after.scores))
    for row, (product_id, score) in enumerate(zip(after.product_ids, after.scores, strict=True)):
        others = np.asarray(earlier[product_id])
        wins[row] = ((score > others) + 0.5 * (score == others)).mean()
    objects, per_product = _product_means(wins, after)
    return ClusterBootstrap.draw(objects, rng=rng).mean(per_product)


def distinct_scenes(some: Outcomes) -> Estimate:
    """How many different scenes were drawn, with a delete-one-object jackknife interval.

    A bootstrap would repeat objects and so can only lose scenes (Efron & Tibshirani 1993, eq. 11.5).
    """
    total = len(set(some.scenes))
    owners: dict[str, set[str]] = {}
    for key, scene in zip(some.objects, some.scenes, strict=True):
        owners.setdefault(scene, set()).add(key)
    alone = dict.fromkeys(some.objects, 0)
    for keys in owners.values():
        if len(keys) == 1:
            alone[next(iter(keys))] += 1
    lost = np.array(list(alone.values()), dtype=np.float64)
    clusters = len(lost)
    spread = math.sqrt((clusters - 1) / clusters * float(np.square(lost - lost.mean()).sum()))
    reach = NormalDist().inv_cdf((1 + LEVEL) / 2) * spread
    return Estimate(float(total), max(1.0, total - reach), total + reach, LEVEL)


def _mean(values: np.ndarray, some: Outcomes, *, rng: np.random.Generator) -> Estimate:
    return ClusterBootstrap.draw(some.objects, rng=rng).mean(values)


def _product_means(values: np.ndarray, some: Outcomes) -> tuple[list[str], np.ndarray]:
    """Mean per product, in the order of the ids so that two sides line up, and the object of each."""
    ids, rows = np.unique(np.asarray(some.product_ids), return_inverse=True)
    totals = np.bincount(rows, weights=np.asarray(values, dtype=np.float64), minlength=len(ids))
    owner = dict(zip(some.product_ids, some.objects, strict=True))
    return [owner[str(product_id)] for product_id in ids], totals / np.bincount(rows, minlength=len(ids))
