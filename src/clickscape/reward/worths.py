"""What every element of a scene is worth, solved from the counts of clicks in one convex step.

Descent on pairs sees of each product only which picture is likelier to be better. The counts say more: given how many
clicks a product got, they are multinomial over its creatives,

    P(next click falls on i) ∝ examinations_i · exp(s_i),      s = worths · (scene × department, facts, looks)

the conditional Poisson regression with one intercept per product (Hausman, Hall and Griliches 1984), in which products
of different CTR need no correction and a creative with few clicks weighs little. Worths are effects on log CTR, so
their priors are numbers that mean something and hold for a large log and a small one alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import solve

from clickscape.reward.features import concatenate
from clickscape.reward.heads import CLASSIFICATION, Features, FusionHeads, HeadShape, Perceived

MAIN_SD = 0.14
"""Prior standard deviation of what an element is worth everywhere, in log CTR."""

INTERACTION_SCALE, INTERACTION_SD = 0.05, 0.3
"""Prior of what it is worth in one department on top, Laplace scale and normal sd: most are nothing, a few large."""

FACT_SD = 0.03
"""Prior standard deviation of what one standard deviation of a price changes about that."""

LOOK_SD = 0.3
"""Prior standard deviation of what one standard deviation of a figure of the picture is worth."""

NEARLY_NOTHING = 0.02
"""Below this size a worth counts as nothing to the Laplace prior, which is rounded there."""

_CHUNK = 4_096  # rows whose design matrix is in memory at once
_STEPS, _HEAD_STEPS = 3, 1  # Newton steps of the likelihood: for all heads from nothing, and for each from there
_BOUNDS, _TOLERANCE = 12, 5e-3  # how often the prior's bound is drawn within a step, and when that is enough (log CTR)
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

    emphasis: (head, product) how much each head lets a product count; one row serves all heads. What the heads see
    stays as it is, and the temperature is set to 1. Newton's method on the log-posterior.
    """
    usable = torch.from_numpy(np.flatnonzero(np.isfinite(counts.clicks) & (counts.examinations > 0)))
    rows = usable.numpy()
    clicks = _Clicks(
        heads.perceive(counts.features.take(usable)), counts.product[rows], counts.clicks[rows],
        counts.examinations[rows],
    )  # fmt: skip
    prior = _Prior.of(heads.shape)
    everything = np.ones(emphasis.shape[1])
    known = clicks.evidence(emphasis=everything, columns=np.ones(prior.size, bool))
    prior = prior.only(known > _NO_EVIDENCE * prior.bound(np.zeros(prior.size)))
    pooled = _solve(clicks, prior, emphasis=everything, start=np.zeros(prior.size), steps=_STEPS)
    found = np.zeros((len(emphasis), len(prior.columns)))
    for head, own in enumerate(emphasis):
        found[head, prior.columns] = _solve(clicks, prior, emphasis=own, start=pooled, steps=_HEAD_STEPS)
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
    """columns: (column,) which ones of the design it is about; precision: of the normal part of each; sparse: whether
    the Laplace part counts as well.
    """

    columns: NDArray[np.bool_]
    precision: Floats
    sparse: NDArray[np.bool_]

    @property
    def size(self) -> int:
        return len(self.precision)

    @classmethod
    def of(cls, shape: HeadShape) -> _Prior:
        widths = (shape.factors, shape.factors * shape.topics, shape.factors * shape.fact_width, shape.look_width)
        spreads = (MAIN_SD, INTERACTION_SD, FACT_SD, LOOK_SD)
        precision = np.repeat([spread**-2 for spread in spreads], widths)
        return cls(np.ones(len(precision), bool), precision, np.repeat([False, True, False, False], widths))

    def only(self, kept: NDArray[np.bool_]) -> _Prior:
        return _Prior(kept, self.precision[kept], self.sparse[kept])

    def bound(self, worths: Floats) -> Floats:
        """Precisions of the normal prior that touches this one at some worths."""
        laplace = 1 / (INTERACTION_SCALE * np.sqrt(worths**2 + NEARLY_NOTHING**2))
        return self.precision + self.sparse * laplace


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


def _solve(clicks: _Clicks, prior: _Prior, *, emphasis: Floats, start: Floats, steps: int) -> Floats:
    """The likeliest worths: Newton steps of the likelihood, and in each some of the prior's bound."""
    worths = start
    for _ in range(steps):
        slope, curve = clicks.slope_and_curve(worths, emphasis=emphasis, columns=prior.columns)
        before, wanted = worths, curve @ worths - slope
        for _ in range(_BOUNDS):
            closer = solve(curve + np.diag(prior.bound(worths)), wanted, assume_a="pos")
            moved, worths = np.abs(closer - worths).max(initial=0.0), np.asarray(closer, np.float64)
            if moved < _TOLERANCE:
                break
        worths = before + np.clip(worths - before, -1.0, 1.0)  # farther than e-fold a step, the likelihood is no guide
    return worths
