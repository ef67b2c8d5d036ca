"""What every element of a scene is worth, solved from the counts of clicks in one convex step.

Descent on pairs sees of each product only which picture is likelier to be better. The counts say more: given how many
clicks a product got, they are multinomial over its creatives,

    P(next click falls on i) ∝ examinations_i · exp(s_i),      s = worths · (scene × department, facts, looks)

the conditional Poisson regression with one intercept per product (Hausman, Hall and Griliches 1984), in which products
of different CTR need no correction and a creative with few clicks weighs little.

Worths are effects on log CTR. Most elements are worth little and a few are worth much, and which slots hold those few
differs from shop to shop, so the prior is a mixture of two normal distributions, small and large, whose widths and
shares are learned from the log itself (empirical Bayes by expectation-maximization; the mixture is that of George and
McCulloch 1993). No number of it has to be chosen by looking at how well a model does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import inv, solve
from scipy.special import expit

from clickscape.reward.features import concatenate
from clickscape.reward.heads import CLASSIFICATION, Features, FusionHeads, HeadShape, Perceived

SMALL, LARGE, LARGE_SHARE = 0.05, 0.2, 0.2
"""Where the prior begins: standard deviations of small and large worths, in log CTR, and how many are large."""

BELIEF = 2.0
"""How many worths of each size that beginning counts for: a log with few clicks keeps it."""

_CHUNK = 4_096  # rows whose design matrix is in memory at once
_STEPS = 4  # Newton steps of the likelihood, from nothing
_UPDATES, _TOLERANCE = 6, 2e-3  # of the prior within a step, and when they are enough (log CTR)
_NO_EVIDENCE = 0.02  # columns of which the clicks say less than this share of what the prior says stay at nothing

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Counts:
    """Rows of features with their clicks; product: (row,) number of each, rows of one product together.

    A row without a finite count of clicks and positive examinations says nothing.
    """

    features: Features
    product: NDArray[np.int64]
    clicks: Floats
    examinations: Floats

    def with_more(self, others: Counts) -> Counts:
        """These and the rows of other products, whose numbers go on after these."""
        return Counts(
            concatenate([self.features, others.features]),
            np.concatenate([self.product, others.product + self.product.max(initial=-1) + 1]),
            np.concatenate([self.clicks, others.clicks]),
            np.concatenate([self.examinations, others.examinations]),
        )


def can_settle(heads: FusionHeads) -> bool:
    """Whether scores are linear in worths of named elements: the single form, with slots and without a last token."""
    return heads.shape.sides == 1 and bool(heads.shape.slots) and not heads.shape.hidden_width


@torch.no_grad()
def settle(heads: FusionHeads, counts: Counts, *, emphasis: Floats) -> None:
    """Replace the worths of every head, in place, by those that are likeliest given the clicks; scores are log CTRs.

    emphasis: (head, product) how much each head lets a product count; one row serves all heads. The heads' mean is what
    all clicks say; how they differ is what would change with other products. What the heads see stays as it is, and the
    temperature is set to 1.
    """
    usable = torch.from_numpy(np.flatnonzero(np.isfinite(counts.clicks) & (counts.examinations > 0)))
    rows = usable.numpy()
    clicks = _Clicks(
        heads.perceive(counts.features.take(usable)), counts.product[rows], counts.clicks[rows],
        counts.examinations[rows],
    )  # fmt: skip
    prior = _Prior.of(heads.shape)
    everything = np.ones(emphasis.shape[1])
    known = clicks.evidence(emphasis=everything, columns=prior.columns)
    prior = prior.only(known > _NO_EVIDENCE / SMALL**2)
    pooled, precision = _solve(clicks, prior, emphasis=everything)
    own = np.stack([_nearby(clicks, prior, pooled, precision, emphasis=one) for one in emphasis])
    found = np.zeros((len(emphasis), len(prior.columns)))
    found[:, prior.columns] = pooled + own - own.mean(0)
    heads.temperature.fill_(1.0)
    _write(heads, torch.from_numpy(found).float().to(heads.value.device))


def design(seen: Perceived) -> torch.Tensor:
    """What a head's worths are multiplied with, (row, column): elements, elements × topics, × facts, and looks."""
    scene, looks = seen.scene[:, 0], seen.looks[:, 0]
    crossed = [(scene[:, :, None] * other[:, None, :]).flatten(1) for other in (seen.about, seen.facts)]
    return torch.cat([scene, *crossed, looks], dim=1)


def _write(heads: FusionHeads, worths: torch.Tensor) -> None:
    """Worths (head or 1, column), columns as of `design`, into the classification channel."""
    parts = [heads.value, heads.interaction, heads.fact_interaction, heads.look]
    widths = [part[0, CLASSIFICATION].numel() for part in parts]
    for part, own in zip(parts, worths.split(widths, dim=1), strict=True):
        part[:, CLASSIFICATION] = own.reshape(len(own), *part.shape[2:])


@dataclass(frozen=True)
class _Prior:
    """Each worth is drawn from one of two normal distributions; those of one block share their widths and shares.

    columns: (column of the design,) which ones it is about; block: (column,) number of each of those. small, large:
    (block,) standard deviations; share: (block,) of large ones.
    """

    columns: NDArray[np.bool_]
    block: NDArray[np.int64]
    small: Floats
    large: Floats
    share: Floats

    @classmethod
    def of(cls, shape: HeadShape) -> _Prior:
        """Blocks: elements everywhere, those of each slot in one department, all at a price, and looks."""
        slots = np.repeat(np.arange(1, 1 + len(shape.groups)), shape.groups)
        after = 1 + len(shape.groups)
        blocks = [
            np.zeros(shape.factors, np.int64), np.repeat(slots, shape.topics),
            np.full(shape.factors * shape.fact_width, after), np.full(shape.look_width, after + 1),
        ]  # fmt: skip
        block = np.concatenate(blocks)
        start = (np.full(after + 2, value) for value in (SMALL, LARGE, LARGE_SHARE))
        return cls(np.ones(len(block), bool), block, *start)

    def only(self, kept: NDArray[np.bool_]) -> _Prior:
        return replace(self, columns=kept, block=self.block[kept])

    def precision(self, square: Floats | None = None) -> Floats:
        """Expected precision of every worth, (column,), given expected squares; without them, that of the mixture."""
        if square is None:
            return 1 / (self.share * self.large**2 + (1 - self.share) * self.small**2)[self.block]
        large = self._is_large(square)
        return large / self.large[self.block] ** 2 + (1 - large) / self.small[self.block] ** 2

    def learned(self, square: Floats) -> _Prior:
        """Its widths and shares by expected squares of the worths, (column,), and by what it began with."""
        large, blocks = self._is_large(square), len(self.share)
        many, count = np.bincount(self.block, large, blocks), np.bincount(self.block, minlength=blocks)
        above, below = (np.bincount(self.block, part * square, blocks) for part in (large, 1 - large))
        return replace(
            self,
            small=np.sqrt((below + BELIEF * SMALL**2) / (count - many + BELIEF)),
            large=np.sqrt((above + BELIEF * LARGE**2) / (many + BELIEF)),
            share=(many + BELIEF * LARGE_SHARE) / (count + BELIEF),
        )

    def _is_large(self, square: Floats) -> Floats:
        """Probability that a worth is a large one, (column,)."""
        small, large, share = (part[self.block] for part in (self.small, self.large, self.share))
        odds = np.log(share / (1 - share)) - np.log(large / small) + square / 2 * (small**-2 - large**-2)
        return np.asarray(expit(odds), np.float64)


@dataclass(frozen=True)
class _Clicks:
    """What was seen, and how often it was clicked; rows of one product together."""

    seen: Perceived
    product: NDArray[np.int64]
    clicks: Floats
    examinations: Floats

    def evidence(self, *, emphasis: Floats, columns: NDArray[np.bool_]) -> Floats:
        """Diagonal of the Hessian where all worths are nothing: what the clicks say of each column, (column,)."""
        found = np.zeros(len(columns))
        for _, matrix, means, expected, weight in self._chunks(found, emphasis=emphasis, columns=columns):
            found = found + (weight * expected) @ (matrix - means) ** 2
        return found

    def slope_and_curve(self, worths: Floats, *, emphasis: Floats, columns: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Gradient and Hessian of minus the log-likelihood, (column,) and (column, column)."""
        slope, curve = np.zeros(len(worths)), np.zeros((len(worths), len(worths)))
        for rows, matrix, means, expected, weight in self._chunks(worths, emphasis=emphasis, columns=columns):
            slope += matrix.T @ (weight * (expected - self.clicks[rows]))
            spread = (matrix - means) * np.sqrt(weight * expected)[:, None]
            curve += spread.T @ spread
        return slope, curve

    def _chunks(
        self, worths: Floats, *, emphasis: Floats, columns: NDArray[np.bool_]
    ) -> Iterator[tuple[NDArray[np.int64], Floats, Floats, Floats, Floats]]:
        """Rows of whole products: their places, design, its mean within the product, expected clicks, and weight."""
        kept = torch.from_numpy(columns)
        for rows in self._whole_products():
            matrix = design(self.seen.take(torch.from_numpy(rows)))[:, kept].double().cpu().numpy()
            first = np.flatnonzero(np.diff(self.product[rows], prepend=-1))
            size = np.diff([*first, len(rows)])
            score = matrix @ worths
            share = self.examinations[rows] * np.exp(score - score.max())
            share /= np.repeat(np.add.reduceat(share, first), size)
            expected = share * np.repeat(np.add.reduceat(self.clicks[rows], first), size)
            means = np.repeat(np.add.reduceat(share[:, None] * matrix, first), size, axis=0)
            yield rows, matrix, means, expected, emphasis[self.product[rows]]

    def _whole_products(self) -> Iterator[NDArray[np.int64]]:
        ends = [*(np.flatnonzero(np.diff(self.product)) + 1).tolist(), len(self.product)]
        start = 0
        for end in ends:
            if end > start and (end - start >= _CHUNK or end == ends[-1]):
                yield np.arange(start, end)
                start = end


def _solve(clicks: _Clicks, prior: _Prior, *, emphasis: Floats) -> tuple[Floats, Floats]:
    """The likeliest worths, and the precision of the prior that they taught: (column,) both.

    Newton steps of the likelihood, and in each some of expectation-maximization: worths are known up to a covariance,
    which tells small ones from large ones, which tells how wide both are.
    """
    worths, precision = np.zeros(len(prior.block)), prior.precision()
    for _ in range(_STEPS):
        slope, curve = clicks.slope_and_curve(worths, emphasis=emphasis, columns=prior.columns)
        before, wanted = worths, curve @ worths - slope
        for _ in range(_UPDATES):
            covariance = inv(curve + np.diag(precision), assume_a="pos")
            closer = covariance @ wanted
            square = closer**2 + np.diag(covariance)
            prior = prior.learned(square)
            precision = prior.precision(square)
            moved, worths = np.abs(closer - worths).max(initial=0.0), closer
            if moved < _TOLERANCE:
                break
        worths = _bounded(worths, before)
    return worths, precision


def _nearby(clicks: _Clicks, prior: _Prior, worths: Floats, precision: Floats, *, emphasis: Floats) -> Floats:
    """What the worths would be if the products counted differently: one Newton step under the same prior."""
    slope, curve = clicks.slope_and_curve(worths, emphasis=emphasis, columns=prior.columns)
    return _bounded(solve(curve + np.diag(precision), curve @ worths - slope, assume_a="pos"), worths)


def _bounded(worths: Floats, before: Floats) -> Floats:
    """No worth moves farther than e-fold a step: there the likelihood is no guide."""
    return np.asarray(before + np.clip(worths - before, -1.0, 1.0), np.float64)
