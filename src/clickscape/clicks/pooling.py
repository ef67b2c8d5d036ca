"""Partial pooling of many small effects on a log rate: a few clicks borrow from all others, and say how sure they are.

Clicks are Poisson with mean examinations × exp(product + Σ element + own), where an element's effect is one number for
the whole log plus one for the group. Both are normal around zero with a variance per slot, and so is what is left of a
creative; all variances are learned from the clicks (empirical Bayes). A product's own rate is free: only creatives of
one product are ever compared, so a popular product lends its scenes no credit. Laplace approximation by penalized
quasi-likelihood (Breslow & Clayton 1993) with MacKay's fixed point for the variances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickscape.clicks.cells import Floats, Integers

_GUESS_SD = 0.1  # of every effect on log CTR, before the clicks have a say
_GUESS_WORTH = 2.0  # effects that the guess is worth; keeps a small log from the verdict "no difference at all"
_STEPS = 200
_TOLERANCE = 1e-5  # of log rates and of log variances


@dataclass(frozen=True, eq=False)
class Shown:
    """What was shown, and what it earned; all (creative,) but `elements` (creative, element), which holds 0 and 1.

    product and group count from 0; a product lies in one group. slot: (element,), the number of the element's slot.
    """

    clicks: Floats
    examinations: Floats
    product: Integers
    group: Integers
    elements: Floats
    slot: Integers


@dataclass(frozen=True, eq=False)
class Pooled:
    """Posterior of the elements' effects on log CTR, and the standard deviations that were learned.

    mean: (group, element). own: (group, element, element), covariance given the effects that all groups share;
    pull: (group, element, element), how they move with those; shared: (element, element), the covariance of those.
    overall_sd, group_sd: (slot,). creative_sd: what no element explains. informative: (creative,), who could say
    something.
    """

    mean: Floats
    own: Floats
    pull: Floats
    shared: Floats
    overall_sd: Floats
    group_sd: Floats
    creative_sd: float
    informative: NDArray[np.bool_]

    def combine(self, weights: Floats) -> tuple[Floats, Floats]:
        """Mean (row,) and covariance (row, row) of sums of effects; weights: (row, group, element)."""
        mean = np.einsum("rge,ge->r", weights, self.mean)
        moved = np.einsum("rge,gef->rf", weights, self.pull)
        covariance = np.einsum("rge,gef,qgf->rq", weights, self.own, weights, optimize=True)
        return mean, covariance + moved @ self.shared @ moved.T


def pool(shown: Shown) -> Pooled:
    """Learn the variances and give every element its posterior, per group.

    Creatives that cannot be compared (alone in their product, never examined, or of a product without a click) are
    left out.
    """
    informative = _informative(shown)
    kept = _Kept.of(shown, informative)
    slots = int(shown.slot.max(initial=-1)) + 1
    sizes = np.bincount(shown.slot, minlength=slots).astype(np.float64)
    overall, group, creative = np.full(slots, _GUESS_SD**2), np.full(slots, _GUESS_SD**2), _GUESS_SD**2
    rate = kept.first_guess()

    def per_slot(values: Floats) -> Floats:
        return np.asarray(np.bincount(shown.slot, values, slots), np.float64)

    for _ in range(_STEPS):
        expected = kept.examinations * np.exp(rate)
        working = rate + (kept.clicks - expected) / expected
        weight = 1 / (1 / expected + creative)
        solved = _solve(kept, working, weight, overall[shown.slot], group[shown.slot])
        left = creative * weight * solved.residual
        step = np.clip(working - solved.residual + left - rate, -1, 1)
        rate = rate + step
        spare = np.sum(weight - weight**2 * solved.leverage)
        before = np.array([*overall, *group, creative])
        overall = _variance(
            per_slot(solved.shared_mean**2), overall, count=sizes, unknown=per_slot(np.diag(solved.shared))
        )
        group = _variance(
            per_slot((solved.group_mean**2).sum(0)),
            group,
            count=sizes * kept.groups,
            unknown=per_slot(solved.group_variance.sum(0)),
        )
        creative = float((left @ left + _GUESS_WORTH * _GUESS_SD**2) / (creative * spare + _GUESS_WORTH))
        moved = np.log(np.array([*overall, *group, creative]) / before)
        if max(np.abs(step).max(initial=0), np.abs(moved).max()) < _TOLERANCE:
            break
    return Pooled(
        mean=solved.shared_mean + solved.group_mean,
        own=solved.own,
        pull=solved.own / group[shown.slot],
        shared=solved.shared,
        overall_sd=np.sqrt(overall),
        group_sd=np.sqrt(group),
        creative_sd=float(np.sqrt(creative)),
        informative=informative,
    )


@dataclass(frozen=True, eq=False)
class _Kept:
    """The informative creatives sorted by group and product; first, begin: where each product and each group starts."""

    clicks: Floats
    examinations: Floats
    elements: Floats
    product: Integers
    first: Integers
    begin: Integers

    @classmethod
    def of(cls, shown: Shown, informative: NDArray[np.bool_]) -> _Kept:
        order = np.flatnonzero(informative)
        order = order[np.lexsort([shown.product[order], shown.group[order]])]
        _, first, product = np.unique(shown.product[order], return_index=True, return_inverse=True)
        place = np.argsort(np.argsort(first))  # products by where they start
        groups = np.arange(int(shown.group.max(initial=-1)) + 2)
        return cls(
            clicks=shown.clicks[order],
            examinations=shown.examinations[order],
            elements=shown.elements[order],
            product=place[product],
            first=np.sort(first),
            begin=np.searchsorted(shown.group[order], groups),
        )

    @property
    def groups(self) -> int:
        return len(self.begin) - 1

    def per_product(self, values: Floats) -> Floats:
        """Sums over each product's creatives, (product, …)."""
        return np.add.reduceat(values, self.first, axis=0) if len(self.first) else values[:0]

    def first_guess(self) -> Floats:
        """Log rate of each creative's product."""
        rate = np.log(self.per_product(self.clicks) / self.per_product(self.examinations))
        return np.asarray(rate[self.product])


@dataclass(frozen=True, eq=False)
class _Solved:
    """One weighted least-squares step; residual, leverage: (creative,); the rest as in `Pooled`."""

    shared_mean: Floats
    shared: Floats
    group_mean: Floats
    group_variance: Floats
    own: Floats
    residual: Floats
    leverage: Floats


def _informative(shown: Shown) -> NDArray[np.bool_]:
    examined = shown.examinations > 0
    products = int(shown.product.max(initial=-1)) + 1
    several = np.bincount(shown.product, examined, products) >= 2
    clicked = np.bincount(shown.product, shown.clicks * examined, products) > 0
    return np.asarray(examined & (several & clicked)[shown.product])


def _solve(kept: _Kept, working: Floats, weight: Floats, overall: Floats, group: Floats) -> _Solved:
    """Posterior under given variances, (element,) each. Groups meet in the shared effects alone, so no matrix is
    larger than the number of elements.
    """
    total = kept.per_product(weight)
    centered = kept.elements - (kept.per_product(weight[:, None] * kept.elements) / total[:, None])[kept.product]
    count = kept.elements.shape[1]
    own, crossing = np.zeros((kept.groups, count, count)), np.zeros((kept.groups, count))
    scatter = np.zeros_like(own)
    precision, right = np.diag(1 / overall), np.zeros(count)
    parts = [slice(kept.begin[number], kept.begin[number + 1]) for number in range(kept.groups)]
    for number, part in enumerate(parts):
        seen = weight[part, None] * centered[part]
        scatter[number] = seen.T @ centered[part]
        crossing[number] = seen.T @ working[part]
        own[number] = np.linalg.inv(scatter[number] + np.diag(1 / group))
        precision += scatter[number] - scatter[number] @ own[number] @ scatter[number]
        right += crossing[number] - scatter[number] @ own[number] @ crossing[number]
    shared = np.linalg.inv(precision)
    shared_mean = shared @ right
    group_mean = np.einsum("gef,gf->ge", own, crossing - scatter @ shared_mean)
    turned = own @ scatter
    group_variance = np.einsum("gee->ge", own) + np.einsum("gef,fh,geh->ge", turned, shared, turned, optimize=True)
    effect, leverage = np.empty_like(working), np.asarray(1 / total[kept.product], np.float64)
    for number, part in enumerate(parts):
        effect[part] = kept.elements[part] @ (shared_mean + group_mean[number])
        pull = own[number] / group
        covariance = own[number] + pull @ shared @ pull.T
        leverage[part] += np.sum((centered[part] @ covariance) * centered[part], axis=1)
    product = kept.per_product(weight * (working - effect)) / total
    residual = working - effect - product[kept.product]
    return _Solved(shared_mean, np.asarray(shared, np.float64), group_mean, group_variance, own, residual, leverage)


def _variance(squares: Floats, old: Floats, *, count: Floats, unknown: Floats) -> Floats:
    """MacKay's fixed point: sum of squares over the number of effects that the clicks determine; all (slot,).

    unknown: the effects' posterior variances, summed.
    """
    return np.asarray((squares + _GUESS_WORTH * _GUESS_SD**2) / (count - unknown / old + _GUESS_WORTH))
