"""Effects of scene elements on log CTR, from counts of clicks: one convex fit with a learned prior.

Pairs say of each product only which picture is likelier to be better. Counts say more: given how many clicks a product
got, they are multinomial over its creatives,

    P(next click falls on i) ∝ examinations_i · exp(s_i),      s = effects · design

the conditional Poisson regression with one intercept per product (Hausman, Hall and Griliches 1984), in which products
of different CTR need no correction and a creative with few clicks weighs little.

Most effects are small and a few are large, and which slots hold those few differs from shop to shop, so the prior is a
mixture of two normal distributions, small and large, whose widths and shares are learned from the log itself (empirical
Bayes by expectation-maximization; the mixture is that of George and McCulloch 1993). No number of it has to be chosen
by looking at how well a model does. What pictures do beyond the design makes clicks differ by more than chance; how
much is measured, and all clicks count that much less (quasi-likelihood, Wedderburn 1974).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, inv
from scipy.special import expit

from clickscape.reward.data import RewardData

SMALL, LARGE, LARGE_SHARE = 0.05, 0.2, 0.2
"""Where the prior begins: standard deviations of small and large effects, in log CTR, and the share of large ones."""

PRIOR_COUNT = 2.0
"""How many effects of each size that beginning counts for: a log with few clicks keeps it."""

_CHUNK = 4_096  # rows whose design matrix is in memory at once
_STEPS = 6  # Newton steps of the likelihood, from zero effects
_UPDATES, _TOLERANCE = 6, 2e-3  # of the prior within a step, and when they are enough (log CTR)
_NO_EVIDENCE = 0.02  # columns of which the clicks say less than this share of what the prior says stay at zero

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Element = tuple[str | None, str, str]
"""Department (None: all of them), slot and value."""


@dataclass(frozen=True, eq=False)
class ClickTable:
    """Creatives with their clicks. product, clicks, examinations: (row,); rows of one product stand together.

    design: rows → (row, column) float64, asked for some rows at a time. Rows without a finite count of clicks or
    without examinations must be left out.
    """

    design: Callable[[Integers], Floats]
    product: Integers
    clicks: Floats
    examinations: Floats


@dataclass(frozen=True, eq=False)
class Effects:
    """Effects on log CTR: mode (column,) and covariance (fitted column, fitted column).

    fitted: (column,) bool; effects of which the clicks say nothing are 0 and have no row in the covariance.
    dispersion: variance of clicks around what is expected, over what chance alone would make of it, at least 1.
    """

    mode: Floats
    covariance: Floats
    fitted: NDArray[np.bool_]
    dispersion: float

    def draw(self, count: int, *, rng: np.random.Generator) -> Floats:
        """Return draws from the posterior whose mean is the mode, (draw, column)."""
        around = rng.normal(size=(count, len(self.covariance))) @ cholesky(self.covariance)
        drawn = np.zeros((count, len(self.mode)))
        drawn[:, self.fitted] = self.mode[self.fitted] + around - around.mean(0)
        return drawn


@dataclass(frozen=True, eq=False)
class EffectPrior:
    """Each effect is drawn from one of two normal distributions; those of one block share their widths and shares.

    block: (column,) number of each effect's block. small, large: (block,) standard deviations; share: (block,) of large
    ones. first: what it was before anything was learned.
    """

    block: Integers
    small: Floats
    large: Floats
    share: Floats
    first: EffectPrior | None = None

    @classmethod
    def of(cls, block: Integers, *, scale: Floats | None = None) -> EffectPrior:
        """Return the prior before anything was learned; scale: (block,) multiple of the usual widths, None: 1."""
        unit = np.ones(int(block.max(initial=-1)) + 1) if scale is None else scale
        return cls(block, SMALL * unit, LARGE * unit, np.full(len(unit), LARGE_SHARE))

    def precision(self, square: Floats | None = None) -> Floats:
        """Return the expected precision of every effect, (column,), given expected squares, or that of the mixture."""
        if square is None:
            return 1 / (self.share * self.large**2 + (1 - self.share) * self.small**2)[self.block]
        large = self._is_large(square)
        return large / self.large[self.block] ** 2 + (1 - large) / self.small[self.block] ** 2

    def learned(self, square: Floats) -> EffectPrior:
        """Return the prior by expected squares of the effects, (column,), and by what it began with."""
        first, large, blocks = self.first or self, self._is_large(square), len(self.share)
        many, count = np.bincount(self.block, large, blocks), np.bincount(self.block, minlength=blocks)
        above, below = (np.bincount(self.block, part * square, blocks) for part in (large, 1 - large))
        return replace(
            self,
            small=np.sqrt((below + PRIOR_COUNT * first.small**2) / (count - many + PRIOR_COUNT)),
            large=np.sqrt((above + PRIOR_COUNT * first.large**2) / (many + PRIOR_COUNT)),
            share=(many + PRIOR_COUNT * first.share) / (count + PRIOR_COUNT),
            first=first,
        )

    def _is_large(self, square: Floats) -> Floats:
        """Probability that an effect is a large one, (column,)."""
        small, large, share = (part[self.block] for part in (self.small, self.large, self.share))
        odds = np.log(share / (1 - share)) - np.log(large / small) + square / 2 * (small**-2 - large**-2)
        return np.asarray(expit(odds), np.float64)


def fit_effects(table: ClickTable, prior: EffectPrior) -> Effects:
    """Fit effects on log CTR by penalized conditional Poisson regression; return mode and covariance."""
    fitted = np.ones(len(prior.block), bool)
    known = np.diag(derivatives(table, np.zeros(len(prior.block)), fitted=fitted).curve)
    fitted = known > _NO_EVIDENCE / SMALL**2
    mode = np.zeros(len(prior.block))
    mode[fitted], covariance, dispersion = _solve(table, replace(prior, block=prior.block[fitted]), fitted=fitted)
    return Effects(mode, covariance, fitted, dispersion)


def element_columns(
    scenes: Sequence[Mapping[str, str | None]], departments: Sequence[str], *, by_department: bool = True
) -> dict[Element, int]:
    """Return a column for every value of every slot that the scenes show, and for it in each department.

    scenes, departments: (row,). by_department: with columns of departments. A slot that a scene lacks is no element.
    """
    found: dict[Element, None] = {}
    for scene, department in zip(scenes, departments, strict=True):
        for slot, value in scene.items():
            if value is not None:
                found.update(
                    dict.fromkeys([(None, slot, value), *([(department, slot, value)] if by_department else [])])
                )
    return {element: column for column, element in enumerate(sorted(found, key=str))}


def element_design(
    scenes: Sequence[Mapping[str, str | None]], departments: Sequence[str], columns: Mapping[Element, int]
) -> Callable[[Integers], Floats]:
    """Return the design of the elements' effects, rows → (row, column): 1 where a row shows the element."""
    shown = [
        [
            columns[element]
            for slot, value in scene.items()
            if value is not None
            for element in ((None, slot, value), (department, slot, value))
            if element in columns
        ]
        for scene, department in zip(scenes, departments, strict=True)
    ]
    index = np.full((len(shown), max(map(len, shown), default=0)), len(columns))  # one more column, for no element
    for row, numbers in enumerate(shown):
        index[row, : len(numbers)] = numbers

    def design(rows: Integers) -> Floats:
        found = np.zeros((len(rows), len(columns) + 1))
        np.put_along_axis(found, index[rows], 1.0, axis=1)
        return found[:, :-1]

    return design


def element_blocks(columns: Mapping[Element, int]) -> Integers:
    """Return the prior's block of every column: elements everywhere, and those of each slot in one department."""
    slots = sorted({slot for _, slot, _ in columns})
    blocks = np.zeros(len(columns), np.int64)
    for (department, slot, _), column in columns.items():
        blocks[column] = 0 if department is None else 1 + slots.index(slot)
    return blocks


def element_effects(data: RewardData, *, departments: bool = True) -> dict[Element, float]:
    """Return the effect of every element on log CTR, from the creatives whose scene and clicks are known.

    departments: with effects in each department on top of the general ones. Empty where no product has two such
    creatives and a click.
    """
    if data.slots is None or data.clicks is None or data.examinations is None:
        return {}
    scened = np.array([scene is not None for scene in data.slots])
    usable = np.flatnonzero(scened & np.isfinite(data.clicks) & (data.examinations > 0))
    owners = np.asarray(data.product_of)[usable]
    order = np.argsort(owners, kind="stable")
    rows, product = usable[order], np.unique(owners[order], return_inverse=True)[1]
    several = np.bincount(product) > 1
    clicked = np.bincount(product, data.clicks[rows]) > 0
    if not (several & clicked).any():
        return {}
    scenes = [data.slots[row] or {} for row in rows]
    where = [data.product(row).department for row in rows]
    columns = element_columns(scenes, where, by_department=departments)
    design = element_design(scenes, where, columns)
    table = ClickTable(design, product, data.clicks[rows], data.examinations[rows])
    effects = fit_effects(table, EffectPrior.of(element_blocks(columns))).mode
    return {element: float(effects[column]) for element, column in columns.items()}


@dataclass(frozen=True)
class Derivatives:
    """Gradient and Hessian of minus the log-likelihood, (column,) and (column, column).

    surprise: squared gaps between clicks and what is expected, each over what chance alone would make of it. free: how
    many such gaps could be there: one of each product is none.
    """

    slope: Floats
    curve: Floats
    surprise: float
    free: int


def derivatives(table: ClickTable, effects: Floats, *, fitted: NDArray[np.bool_]) -> Derivatives:
    """Return the derivatives of minus the log-likelihood at `effects`, those of the fitted columns."""
    slope, curve, surprise, free = np.zeros(len(effects)), np.zeros((len(effects), len(effects))), 0.0, 0
    for rows in _whole_products(table.product):
        matrix = table.design(rows)[:, fitted]
        first = np.flatnonzero(np.diff(table.product[rows], prepend=-1))
        size = np.diff([*first, len(rows)])
        score = matrix @ effects
        share = table.examinations[rows] * np.exp(score - score.max())
        share /= np.repeat(np.add.reduceat(share, first), size)
        expected = share * np.repeat(np.add.reduceat(table.clicks[rows], first), size)
        means = np.repeat(np.add.reduceat(share[:, None] * matrix, first), size, axis=0)
        slope += matrix.T @ (expected - table.clicks[rows])
        spread = (matrix - means) * np.sqrt(expected)[:, None]
        curve += spread.T @ spread
        clicked = expected > 0
        surprise += float(np.sum((table.clicks[rows] - expected)[clicked] ** 2 / expected[clicked]))
        free += int(clicked.sum()) - len(set(table.product[rows][clicked].tolist()))
    return Derivatives(slope, curve, surprise, free)


def _whole_products(product: Integers) -> Iterator[Integers]:
    """Rows, some thousand at a time; a product is not divided."""
    ends = [*(np.flatnonzero(np.diff(product)) + 1).tolist(), len(product)]
    start = 0
    for end in ends:
        if end > start and (end - start >= _CHUNK or end == ends[-1]):
            yield np.arange(start, end)
            start = end


def _solve(table: ClickTable, prior: EffectPrior, *, fitted: NDArray[np.bool_]) -> tuple[Floats, Floats, float]:
    """Mode and covariance of the fitted effects, (column,) and (column, column), and the dispersion.

    Newton steps of the likelihood, and in each some of expectation-maximization: effects are known up to the
    covariance, which tells small ones from large ones, which tells how wide both are.
    """
    effects, precision, dispersion = np.zeros(len(prior.block)), prior.precision(), 1.0
    covariance = np.diag(1 / precision)
    for step in range(_STEPS):
        found = derivatives(table, effects, fitted=fitted)
        if step:
            learned = float(np.sum(covariance * found.curve)) / dispersion  # as many as the clicks pin down
            dispersion = max(found.surprise / max(found.free - learned, 1.0), 1.0)
        before, wanted = effects, (found.curve @ effects - found.slope) / dispersion
        for _ in range(_UPDATES):
            covariance = inv(found.curve / dispersion + np.diag(precision), assume_a="pos")
            closer = covariance @ wanted
            square = closer**2 + np.diag(covariance)
            prior = prior.learned(square)
            precision = prior.precision(square)
            moved, effects = np.abs(closer - effects).max(initial=0.0), closer
            if moved < _TOLERANCE:
                break
        effects = before + np.clip(effects - before, -1.0, 1.0)  # farther than e-fold a step, the likelihood misleads
    return effects, covariance, dispersion
