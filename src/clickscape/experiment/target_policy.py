"""Target policies: with which probability each creative would be shown in every choice set of a log.

Made from scores (the best, a softmax of them), evenly, or from shares that somebody names; among the log's candidates
or with creatives that nobody has seen yet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from clickscape.errors import ExperimentError
from clickscape.experiment.decisions import Decisions, Floats, Integers

_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class TargetPolicy:
    """Probabilities of a policy; `creatives`: the log's in their order, then those that the log does not know.

    sets, creative, probability: (choice,) which set, which creative, how likely; in each set they sum to 1.
    ExperimentError where they do not.
    """

    name: str
    creatives: tuple[str, ...]
    sets: Integers
    creative: Integers
    probability: Floats

    def __post_init__(self) -> None:
        sums = np.bincount(self.sets, self.probability)
        odd = ~np.isfinite(self.probability) | (self.probability < 0)
        if odd.any() or not len(sums) or np.any(np.abs(sums - 1) > _TOLERANCE):
            worst = float("nan") if odd.any() or not len(sums) else float(sums[np.argmax(np.abs(sums - 1))])
            raise ExperimentError(
                f"policy {self.name!r}: its probabilities sum to {worst:.6g} in a decision, expected numbers from 0 to "
                f"1 that sum to 1. Correct them."
            )

    def on_entries(self, decisions: Decisions) -> Floats:
        """Return the probability of every candidate of the log, (entry,)."""
        entry = decisions.entries(self.sets, self.creative)
        known = entry >= 0
        return np.asarray(np.bincount(entry[known], self.probability[known], len(decisions.creative)))

    def without_overlap(self, decisions: Decisions) -> float:
        """Return the share of this policy's traffic that goes to creatives which the log could not show there."""
        entry = decisions.entries(self.sets, self.creative)
        possible = np.where(entry >= 0, decisions.propensity[np.maximum(entry, 0)], 0.0) > 0
        traffic = self.probability * decisions.size[self.sets]
        return float(traffic[~possible].sum() / traffic.sum())


def uniform(decisions: Decisions) -> TargetPolicy:
    """Return the policy that shows every candidate equally often."""
    return _among_candidates(decisions, np.ones(len(decisions.creative)), name="uniform")


def best_by_score(decisions: Decisions, scores: Mapping[str, float], *, name: str = "best by score") -> TargetPolicy:
    """Return the policy that always shows the candidate with the highest score; ties share.

    ExperimentError where a candidate has no score.
    """
    score = _scores(decisions, scores)
    best = np.maximum.reduceat(score, decisions.start[:-1])[decisions.set_of_entry]
    return _among_candidates(decisions, (score == best).astype(np.float64), name=name)


def softmax_of_scores(
    decisions: Decisions, scores: Mapping[str, float], *, temperature: float, name: str = "softmax of scores"
) -> TargetPolicy:
    """Return the policy with probabilities ∝ exp(score / temperature) among the candidates."""
    if not temperature > 0:
        raise ExperimentError(f"the temperature must be above 0, got {temperature}.")
    score = _scores(decisions, scores) / temperature
    best = np.maximum.reduceat(score, decisions.start[:-1])[decisions.set_of_entry]
    return _among_candidates(decisions, np.exp(score - best), name=name)


def by_shares(
    decisions: Decisions, shares: Mapping[str, Mapping[str, float]], *, name: str
) -> tuple[TargetPolicy, Decisions]:
    """Return the policy that shows creatives of a product by fixed shares, and the decisions that it speaks of.

    shares: product → creative → share; creatives may be new. Products without shares are left out of the decisions.
    ExperimentError where no product of the log has shares, or where they do not sum to 1.
    """
    for product, of_product in shares.items():
        total = math.fsum(of_product.values())
        if not abs(total - 1) <= _TOLERANCE or min(of_product.values()) < 0:
            raise ExperimentError(
                f"policy {name!r}: the shares of product {product!r} sum to {total:.6g}, expected shares from 0 to 1 "
                f"that sum to 1. Correct them."
            )
    kept = np.array([product in shares for product in decisions.products])[decisions.product]
    if not kept.any():
        raise ExperimentError(f"policy {name!r}: no product of the log has a creative in it. Name some of the log's.")
    about = decisions.only(kept)
    known = {creative: number for number, creative in enumerate(about.creatives)}
    named = [creative for of_product in shares.values() for creative in of_product]
    creatives = (*about.creatives, *dict.fromkeys(one for one in named if one not in known))
    number = {creative: place for place, creative in enumerate(creatives)}
    rows = [
        (number[creative], share)
        for product in about.products
        for creative, share in shares.get(product, {}).items()
        if share > 0
    ]
    count = np.array([sum(s > 0 for s in shares.get(product, {}).values()) for product in about.products])
    first = np.concatenate([[0], np.cumsum(count)])
    sizes = count[about.product]
    ends = np.cumsum(sizes)
    row = np.arange(ends[-1]) - np.repeat(ends - sizes - first[about.product], sizes)
    creative, share = (np.array(column) for column in zip(*rows, strict=True))
    sets = np.repeat(np.arange(len(about.product)), sizes)
    return TargetPolicy(name, creatives, sets, creative[row].astype(np.int64), share[row].astype(np.float64)), about


def _among_candidates(decisions: Decisions, weight: Floats, *, name: str) -> TargetPolicy:
    """The policy that chooses among the candidates in proportion to their weights, (entry,)."""
    sets = decisions.set_of_entry
    total = np.bincount(sets, weight, len(decisions.product))
    return TargetPolicy(name, decisions.creatives, sets, decisions.creative, weight / total[sets])


def _scores(decisions: Decisions, scores: Mapping[str, float]) -> Floats:
    given = np.array([scores.get(creative, math.nan) for creative in decisions.creatives])
    used = given[decisions.creative]
    if not np.isfinite(used).all():
        missing = decisions.creatives[int(decisions.creative[np.argmax(~np.isfinite(used))])]
        raise ExperimentError(f"candidate {missing!r} of the log has no score. Score it, or name shares instead.")
    return used
