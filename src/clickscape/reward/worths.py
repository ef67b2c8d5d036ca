"""What every element of a scene is worth, solved from the counts of clicks in one convex step.

Descent on pairs sees of each product only which picture is likelier to be better. The counts say more: given how many
clicks a product got, they are multinomial over its creatives,

    P(next click falls on i) ∝ examinations_i · exp(s_i),      s = worths · (scene × department, facts, looks)

the conditional Poisson regression with one intercept per product (Hausman, Hall and Griliches 1984), in which products
of different CTR need no correction and a creative with few clicks weighs little.

Worths are effects on log CTR. Most elements are worth little and a few are worth much, and which slots hold those few
differs from shop to shop, so the prior is a mixture of two normal distributions, small and large, whose widths and
shares are learned from the log itself (empirical Bayes by expectation-maximization; the mixture is that of George and
McCulloch 1993). No number of it has to be chosen by looking at how well a model does. What pictures do beyond their
scenes makes clicks differ by more than chance; how much is measured, and all clicks count that much less
(quasi-likelihood, Wedderburn 1974). The heads are draws from the posterior, so they differ where the clicks leave room.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import cholesky, inv
from scipy.special import expit

from clickscape.reward.features import concatenate
from clickscape.reward.heads import CLASSIFICATION, Features, FusionHeads, HeadShape, SlotPrediction

SMALL, LARGE, LARGE_SHARE = 0.05, 0.2, 0.2
"""Where the prior begins: standard deviations of small and large worths, in log CTR, and how many are large."""

PRICED = 0.2
"""What one standard deviation of a price changes about a worth begins so much smaller."""

BELIEF = 2.0
"""How many worths of each size that beginning counts for: a log with few clicks keeps it."""

_CHUNK = 4_096  # rows whose design matrix is in memory at once
_STEPS = 6  # Newton steps of the likelihood, from nothing
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
def settle(heads: FusionHeads, counts: Counts, *, rng: np.random.Generator) -> None:
    """Replace the worths of every head, in place, by those that are likeliest given the clicks; scores are log CTRs.

    The heads' mean is the posterior's mode; around it they are draws from the posterior. What the heads see stays as it
    is, and the temperature is set to 1.
    """
    usable = torch.from_numpy(np.flatnonzero(np.isfinite(counts.clicks) & (counts.examinations > 0)))
    rows = usable.numpy()
    clicks = _Clicks(
        heads.predict_slots(counts.features.take(usable)), counts.product[rows], counts.clicks[rows],
        counts.examinations[rows],
    )  # fmt: skip
    prior = _Prior.of(heads.shape)
    nothing = np.zeros(len(prior.columns))
    known = np.diag(clicks.fit(nothing, columns=prior.columns).curve)
    prior = prior.only(known > _NO_EVIDENCE / SMALL**2)
    likeliest, covariance = _solve(clicks, prior)
    around = rng.normal(size=(heads.shape.ensemble, len(likeliest))) @ cholesky(covariance)
    found = np.zeros((heads.shape.ensemble, len(prior.columns)))
    found[:, prior.columns] = likeliest + around - around.mean(0)
    heads.temperature.fill_(1.0)
    _write(heads, torch.from_numpy(found).float().to(heads.value.device))


def design(seen: SlotPrediction) -> torch.Tensor:
    """What a head's worths are multiplied with, (row, column): elements, elements × topics, × facts, and looks."""
    scene, looks = seen.scene[:, 0], seen.looks[:, 0]
    crossed = [(scene[:, :, None] * other[:, None, :]).flatten(1) for other in (seen.about, seen.facts)]
    return torch.cat([scene, *crossed, looks], dim=1)


def _write(heads: FusionHeads, worths: torch.Tensor) -> None:
    """Worths (head, column), columns as of `design`, into the classification channel."""
    parts = [heads.value, heads.interaction, heads.fact_interaction, heads.look]
    widths = [part[0, CLASSIFICATION].numel() for part in parts]
    for part, own in zip(parts, worths.split(widths, dim=1), strict=True):
        part[:, CLASSIFICATION] = own.reshape(len(own), *part.shape[2:])


@dataclass(frozen=True)
class _Prior:
    """Each worth is drawn from one of two normal distributions; those of one block share their widths and shares.

    columns: (column of the design,) which ones it is about; block: (column,) number of each of those. small, large:
    (block,) standard deviations; share: (block,) of large ones. first: what it was before anything was learned.
    """

    columns: NDArray[np.bool_]
    block: NDArray[np.int64]
    small: Floats
    large: Floats
    share: Floats
    first: _Prior | None = None

    @classmethod
    def of(cls, shape: HeadShape) -> _Prior:
        """Blocks: elements everywhere, those of each slot in one department, all at a price, and looks."""
        slots, prices = np.repeat(np.arange(1, 1 + len(shape.groups)), shape.groups), 1 + len(shape.groups)
        blocks = [
            np.zeros(shape.factors, np.int64), np.repeat(slots, shape.topics),
            np.full(shape.factors * shape.fact_width, prices), np.full(shape.look_width, prices + 1),
        ]  # fmt: skip
        block = np.concatenate(blocks)
        unit = np.where(np.arange(prices + 2) == prices, PRICED, 1.0)
        return cls(np.ones(len(block), bool), block, SMALL * unit, LARGE * unit, np.full(len(unit), LARGE_SHARE))

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
        first, large, blocks = self.first or self, self._is_large(square), len(self.share)
        many, count = np.bincount(self.block, large, blocks), np.bincount(self.block, minlength=blocks)
        above, below = (np.bincount(self.block, part * square, blocks) for part in (large, 1 - large))
        return replace(
            self,
            small=np.sqrt((below + BELIEF * first.small**2) / (count - many + BELIEF)),
            large=np.sqrt((above + BELIEF * first.large**2) / (many + BELIEF)),
            share=(many + BELIEF * first.share) / (count + BELIEF),
            first=first,
        )

    def _is_large(self, square: Floats) -> Floats:
        """Probability that a worth is a large one, (column,)."""
        small, large, share = (part[self.block] for part in (self.small, self.large, self.share))
        odds = np.log(share / (1 - share)) - np.log(large / small) + square / 2 * (small**-2 - large**-2)
        return np.asarray(expit(odds), np.float64)


@dataclass(frozen=True)
class _Fit:
    """How some worths fit the clicks: gradient and Hessian of minus the log-likelihood, (column,) and (column, column).

    surprise: squared gaps between clicks and what is expected, each over what chance alone would make of it. free: how
    many such gaps could be there: one of each product is none.
    """

    slope: Floats
    curve: Floats
    surprise: float
    free: int


@dataclass(frozen=True)
class _Clicks:
    """What was seen, and how often it was clicked; rows of one product together."""

    seen: SlotPrediction
    product: NDArray[np.int64]
    clicks: Floats
    examinations: Floats

    def fit(self, worths: Floats, *, columns: NDArray[np.bool_]) -> _Fit:
        """Worths (column,), of the columns of the design that are True."""
        slope, curve, surprise, free = np.zeros(len(worths)), np.zeros((len(worths), len(worths))), 0.0, 0
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
            slope += matrix.T @ (expected - self.clicks[rows])
            spread = (matrix - means) * np.sqrt(expected)[:, None]
            curve += spread.T @ spread
            clicked = expected > 0
            surprise += float(np.sum((self.clicks[rows] - expected)[clicked] ** 2 / expected[clicked]))
            free += int(clicked.sum()) - len(set(self.product[rows][clicked].tolist()))
        return _Fit(slope, curve, surprise, free)

    def _whole_products(self) -> Iterator[NDArray[np.int64]]:
        ends = [*(np.flatnonzero(np.diff(self.product)) + 1).tolist(), len(self.product)]
        start = 0
        for end in ends:
            if end > start and (end - start >= _CHUNK or end == ends[-1]):
                yield np.arange(start, end)
                start = end


def _solve(clicks: _Clicks, prior: _Prior) -> tuple[Floats, Floats]:
    """The likeliest worths and their covariance, (column,) and (column, column).

    Newton steps of the likelihood, and in each some of expectation-maximization: worths are known up to the covariance,
    which tells small ones from large ones, which tells how wide both are.
    """
    worths, precision, dispersion = np.zeros(len(prior.block)), prior.precision(), 1.0
    covariance = np.diag(1 / precision)
    for step in range(_STEPS):
        fit = clicks.fit(worths, columns=prior.columns)
        if step:
            learned = float(np.sum(covariance * fit.curve)) / dispersion  # as many worths as the clicks pin down
            dispersion = max(fit.surprise / max(fit.free - learned, 1.0), 1.0)
        before, wanted = worths, (fit.curve @ worths - fit.slope) / dispersion
        for _ in range(_UPDATES):
            covariance = inv(fit.curve / dispersion + np.diag(precision), assume_a="pos")
            closer = covariance @ wanted
            square = closer**2 + np.diag(covariance)
            prior = prior.learned(square)
            precision = prior.precision(square)
            moved, worths = np.abs(closer - worths).max(initial=0.0), closer
            if moved < _TOLERANCE:
                break
        worths = before + np.clip(worths - before, -1.0, 1.0)  # farther than e-fold a step, the likelihood is no guide
    return worths, covariance
