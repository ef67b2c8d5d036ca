"""Effects on log CTR from counts of clicks: one likelihood, blocks of columns, a learned width for each block.

Pairs say of a product only which picture is likelier to be better. Counts say more: given how many clicks a product
got, they are multinomial over its creatives,

    P(next click falls on i) ∝ examinations_i · exp(s_i + u_i),      s = design · effects

the conditional Poisson regression with one intercept per product (Hausman, Hall and Griliches 1984). u is what a
picture does beyond its design, normal with a variance that is learned (Paule and Mandel 1982), so that a creative with
a million impressions is still one creative. The effects of a block are normal with a width that is learned, too
(empirical Bayes, MacKay 1992): the log says which blocks matter. Solved by penalized quasi-likelihood (Breslow and
Clayton 1993), with the normal equations, or by rows where there are more columns than rows.

Where only pairs are known, each is a product of two creatives that share its clicks, P(first better) to one and the
rest to the other: the same likelihood is then the logistic loss (`pair_table`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, inv, solve_triangular
from scipy.optimize import brentq

FIRST_WIDTH = 0.1
"""Width of every block before anything is learned: standard deviation of its effects, in log CTR."""

PRIOR_COUNT = 0.1
"""How many effects of a block that beginning counts for: only a log with hardly any click keeps it."""

RANK = 512
"""Directions in which the clicks' knowledge of the effects is kept; beyond them the prior's variance stands."""

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_CHUNK = 4_096  # rows whose design matrix is in memory at once
_STEPS, _UPDATES, _TOLERANCE = 12, 4, 3e-3  # of the likelihood; of the widths within one; when they are enough
_FARTHEST = 2.0  # that a score moves in one step, log CTR: farther away the likelihood is of another shape
_LEAST, _MOST = 1e-6, 4.0  # variance of a block's effects
_WIDE = 3_000  # columns from which rows are solved for instead, where they are fewer


@dataclass(frozen=True, eq=False)
class ClickTable:
    """Creatives with their clicks. product, clicks, examinations: (row,); rows of one product stand together.

    design: (row, column), or rows → (row, column), asked for some rows at a time. Rows without a finite count of clicks
    or without examinations must be left out.
    """

    design: Floats | Callable[[Integers], Floats]
    product: Integers
    clicks: Floats
    examinations: Floats

    def only(self, rows: Integers) -> ClickTable:
        """Return the table of some rows, of whole products."""
        return ClickTable(
            lambda some: self.columns(rows[some]), self.product[rows], self.clicks[rows], self.examinations[rows]
        )

    def columns(self, rows: Integers) -> Floats:
        """Return the design of some rows, (row, column)."""
        return self.design(rows) if callable(self.design) else self.design[rows]

    @property
    def informative(self) -> Integers:
        """Rows of products that have two creatives and a click: of others the likelihood says nothing."""
        number = np.unique(self.product, return_inverse=True)[1]
        useful = (np.bincount(number) > 1) & (np.bincount(number, self.clicks) > 0)
        return np.flatnonzero(useful[number])


@dataclass(frozen=True, eq=False)
class Effects:
    """Effects on log CTR and how well they are known: covariance = diag(prior) − factor · factorᵀ.

    mode, prior: (column,) mean, and variance before the clicks. factor: (column, rank). image_sd: standard deviation of
    what a picture does beyond its design.
    """

    mode: Floats
    prior: Floats
    factor: Floats
    image_sd: float

    @property
    def covariance(self) -> Floats:
        """(column, column)."""
        return np.asarray(np.diag(self.prior) - self.factor @ self.factor.T)

    def variance(self, design: Floats) -> Floats:
        """Return the variance of design · effects, (row,)."""
        return np.asarray(np.maximum(design**2 @ self.prior - ((design @ self.factor) ** 2).sum(1), 0.0))

    def draw(self, count: int, *, rng: np.random.Generator) -> Floats:
        """Return draws from the posterior of the effects, (draw, column)."""
        root = cholesky(self.covariance + 1e-9 * np.eye(len(self.mode)))
        return np.asarray(self.mode + rng.normal(size=(count, len(self.mode))) @ root)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Scores of every row, log CTR, by effects that never met its cluster, and the variance of these; both (row,).

    Only differences within a product mean something; the variance is that of the score against its product's mean.
    """

    scores: Floats
    variance: Floats


def fit_effects(table: ClickTable, block: Integers, *, image_sd: float | None = None) -> Effects:
    """Fit effects by penalized conditional Poisson regression; return their mode, what is known of it and the widths.

    block: (column,) number of each column's block. image_sd: None to learn it.
    """
    table = table.only(table.informative)
    count = int(block.max(initial=-1)) + 1
    many = np.bincount(block, minlength=count)
    effects, widths = np.zeros(len(block)), np.full(count, FIRST_WIDTH**2)
    state = _State.first(table, 0.1 if image_sd is None else image_sd)
    if not len(table.product):
        return Effects(effects, widths[block], np.zeros((len(block), 0)), state.image_sd)
    for _ in range(_STEPS):
        equations, before = _equations(table, state, columns=len(block)), effects
        for _ in range(_UPDATES):
            posterior = equations.solve(1 / widths[block])
            known = np.clip(many - np.bincount(block, posterior.variances, count) / widths, 0, None)
            square = np.bincount(block, posterior.mode**2, count)
            widths = (square + PRIOR_COUNT * FIRST_WIDTH**2) / (known + PRIOR_COUNT)
            widths = np.clip(widths, _LEAST, _MOST)
            moved, effects = np.abs(posterior.mode - effects).max(initial=0.0), posterior.mode
            if moved < _TOLERANCE:
                break
        scores, moved = _scores(table, before), _scores(table, effects - before)
        share = min(1.0, _FARTHEST / max(np.abs(moved).max(initial=0.0), 1e-9))
        effects = before + share * (effects - before)
        state = state.at(table, scores + share * moved, learned=float(known.sum()), fixed=image_sd is not None)
        if np.abs(effects - before).max(initial=0.0) < _TOLERANCE:
            break
    posterior = _equations(table, state, columns=len(block)).solve(1 / widths[block])
    return Effects(effects, widths[block], _factor(posterior, widths[block]), state.image_sd)


def cross_fit(
    table: ClickTable, effects: Effects, cluster: Integers, *, asked: Floats | None = None, folds: int = 5
) -> HeldOut:
    """Return scores by effects that did not meet the row's cluster: the fit's widths and weights, others' clicks.

    cluster: (row,) number of what is held out together; a product has one. asked: the design in which the held-out rows
    are asked about, where it is not that of the table.
    """
    rows = table.informative
    state = _State.first(table.only(rows), effects.image_sd)
    for _ in range(_STEPS):
        state = state.at(table.only(rows), _scores(table.only(rows), effects.mode), fixed=True)
    number = np.unique(cluster, return_inverse=True)[1]
    fold = (np.random.default_rng(0).permutation(number.max(initial=0) + 1) % folds)[number]
    scores, variance = np.zeros(len(fold)), np.zeros(len(fold))
    for part in range(folds):
        others = np.flatnonzero(fold[rows] != part)
        equations = _equations(table.only(rows[others]), state.only(others), columns=len(effects.mode))
        posterior = equations.solve(1 / effects.prior)
        mine = np.flatnonzero(fold == part)
        for some in _whole_products(table.product[mine]):
            design = table.columns(mine[some]) if asked is None else asked[mine[some]]
            design = design - _product_means(design, table.product[mine[some]])
            scores[mine[some]], variance[mine[some]] = design @ posterior.mode, posterior.variance(design)
    return HeldOut(scores, variance)


def without_folds(table: ClickTable, effects: Effects, fold: Integers, *, folds: int) -> Floats:
    """Return the effects without the rows of each fold in turn, (fold, column): the fit's widths and weights.

    fold: (row,) 0 to folds − 1; a product has one.
    """
    rows = table.informative
    informative = table.only(rows)
    state = _State.first(informative, effects.image_sd)
    for _ in range(_STEPS):
        state = state.at(informative, _scores(informative, effects.mode), fixed=True)
    modes = []
    for part in range(folds):
        others = np.flatnonzero(fold[rows] != part)
        equations = _equations(informative.only(others), state.only(others), columns=len(effects.mode))
        modes.append(equations.solve(1 / effects.prior).mode)
    return np.array(modes)


def pair_table(design: Floats, pairs: Integers, preference: Floats, weight: Floats) -> ClickTable:
    """Return pairs of creatives as counts: a table of two rows a pair whose likelihood is the pairs' logistic loss.

    pairs: (pair, 2) rows of the design. preference: P(first better), (pair,). weight: clicks that a pair counts for.
    """
    rows = pairs.ravel()
    clicks = np.stack([weight * preference, weight * (1 - preference)], axis=1).ravel()
    return ClickTable(lambda some: design[rows[some]], np.repeat(np.arange(len(pairs)), 2), clicks, np.ones(len(rows)))


@dataclass(frozen=True, eq=False)
class _State:
    """Where the likelihood is made quadratic: weights and responses of the rows, (row,), and the pictures' effects."""

    weight: Floats
    response: Floats
    image: Floats
    image_sd: float

    @classmethod
    def first(cls, table: ClickTable, image_sd: float) -> _State:
        nothing = np.zeros(len(table.product))
        return cls(nothing, nothing, nothing, image_sd).at(table, nothing, fixed=True)

    def at(self, table: ClickTable, scores: Floats, *, learned: float = 0.0, fixed: bool) -> _State:
        """Return the state at some scores, (row,). learned: effects that the clicks pin down."""
        number = np.unique(table.product, return_inverse=True)[1]
        image_sd, image = self.image_sd, self.image
        share = table.examinations * np.exp(scores + image - (scores + image).max(initial=0.0))
        expected = share * (np.bincount(number, table.clicks) / np.bincount(number, share))[number]
        expected = np.maximum(expected, 1e-6)
        left = image + (table.clicks - expected) / expected  # beside the scores

        def centered(weight: Floats) -> Floats:
            return np.asarray(left - (np.bincount(number, weight * left) / np.bincount(number, weight))[number])

        def surplus(variance: float) -> float:
            weight = 1 / (1 / expected + variance)
            return float(weight @ centered(weight) ** 2) - max(len(number) - number.max() - 1 - learned, 1.0)

        if not fixed:
            image_sd = np.sqrt(brentq(surplus, 0.0, _MOST)) if surplus(0.0) > 0 > surplus(_MOST) else 1e-3
        weight = 1 / (1 / expected + image_sd**2)
        return _State(weight, scores + left, image_sd**2 * weight * centered(weight), float(image_sd))

    def only(self, rows: Integers) -> _State:
        return _State(self.weight[rows], self.response[rows], self.image[rows], self.image_sd)


class _Posterior(Protocol):
    """Effects given the quadratic likelihood and a prior; `mode`, `variances`: (column,)."""

    @property
    def mode(self) -> Floats:
        """(column,)."""
        ...

    @property
    def variances(self) -> Floats:
        """(column,)."""
        ...

    def variance(self, design: Floats) -> Floats:
        """Return the variance of design · effects, (row,)."""
        ...

    def information(self, some: Floats) -> Floats:
        """Return what the clicks say, in units of the prior, times some columns: (column, k) → (column, k)."""
        ...


@dataclass(frozen=True, eq=False)
class _ByColumns:
    """Solved by the normal equations: curve (column, column) and pull (column,)."""

    curve: Floats
    precision: Floats
    mode: Floats
    variances: Floats
    covariance: Floats

    @classmethod
    def of(cls, curve: Floats, pull: Floats, precision: Floats) -> _ByColumns:
        covariance = inv(curve + np.diag(precision), assume_a="pos")
        return cls(curve, precision, covariance @ pull, np.diag(covariance).copy(), covariance)

    def variance(self, design: Floats) -> Floats:
        return np.asarray(np.einsum("rc,rc->r", design @ self.covariance, design))

    def information(self, some: Floats) -> Floats:
        scale = np.sqrt(self.precision)[:, None]
        return np.asarray(self.curve @ (some / scale) / scale)


@dataclass(frozen=True, eq=False)
class _ByRows:
    """Solved by rows, where they are fewer: scaled (row, column) in units of the prior, triangle of its Gram matrix."""

    scaled: Floats
    triangle: Floats
    precision: Floats
    mode: Floats
    variances: Floats

    @classmethod
    def of(cls, matrix: Floats, response: Floats, precision: Floats) -> _ByRows:
        scale = np.sqrt(precision)
        scaled = matrix / scale
        triangle = cholesky(scaled @ scaled.T + np.eye(len(scaled)), lower=True)
        mode = scaled.T @ cho_solve((triangle, True), response) / scale
        seen = solve_triangular(triangle, scaled, lower=True)
        return cls(scaled, triangle, precision, mode, (1 - (seen**2).sum(0)) / precision)

    def variance(self, design: Floats) -> Floats:
        own = design / np.sqrt(self.precision)
        return np.asarray(
            (own**2).sum(1) - (solve_triangular(self.triangle, self.scaled @ own.T, lower=True) ** 2).sum(0)
        )

    def information(self, some: Floats) -> Floats:
        return np.asarray(self.scaled.T @ (self.scaled @ some))


@dataclass(frozen=True, eq=False)
class _Equations:
    """The quadratic likelihood: curve and pull of the columns, or weighted rows and responses where they are fewer."""

    left: Floats
    right: Floats
    by_rows: bool

    def solve(self, precision: Floats) -> _Posterior:
        if self.by_rows:
            return _ByRows.of(self.left, self.right, precision)
        return _ByColumns.of(self.left, self.right, precision)


def _equations(table: ClickTable, state: _State, *, columns: int) -> _Equations:
    """Weighted least squares of the responses within products."""
    curve, pull, parts = np.zeros((columns, columns)), np.zeros(columns), []
    by_rows = _prefers_rows(columns, len(table.product))
    for rows in _whole_products(table.product):
        weight, root = state.weight[rows], np.sqrt(state.weight[rows])[:, None]
        both = np.column_stack([table.columns(rows), state.response[rows]])
        both -= _product_means(both, table.product[rows], weight)
        both *= root
        if by_rows:
            parts.append(both)
        else:
            curve += both[:, :-1].T @ both[:, :-1]
            pull += both[:, :-1].T @ both[:, -1]
    if not by_rows:
        return _Equations(curve, pull, by_rows)
    whole = np.concatenate(parts)
    return _Equations(whole[:, :-1], whole[:, -1], by_rows)


def _prefers_rows(columns: int, rows: int) -> bool:
    return columns > max(rows, _WIDE)


def _factor(posterior: _Posterior, prior: Floats) -> Floats:
    """Return (column, rank): prior − factor · factorᵀ is the covariance, in the directions that are known best.

    By subspace iteration (Halko, Martinsson and Tropp 2011); in the others the prior's variance stands, which is more.
    """
    rank = min(len(prior), RANK)
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(len(prior), rank)))[0]
    if rank < len(prior):
        for _ in range(3):
            basis = np.linalg.qr(posterior.information(basis))[0]
    values, vectors = np.linalg.eigh(basis.T @ posterior.information(basis))
    values = np.maximum(values, 0.0)
    return np.asarray(np.sqrt(prior)[:, None] * (basis @ vectors) * np.sqrt(values / (1 + values)))


def _scores(table: ClickTable, effects: Floats) -> Floats:
    """Design times effects, (row,)."""
    parts = [table.columns(rows) @ effects for rows in _whole_products(table.product)]
    return np.concatenate(parts) if parts else np.zeros(0)


def _product_means(values: Floats, product: Integers, weight: Floats | None = None) -> Floats:
    """Mean of every column over the row's product, (row, column); rows of a product stand together."""
    first = np.flatnonzero(np.diff(product, prepend=product[0] - 1))
    weight = np.ones(len(product)) if weight is None else weight
    total = np.add.reduceat(weight[:, None] * values, first) / np.add.reduceat(weight, first)[:, None]
    return np.repeat(total, np.diff([*first, len(product)]), axis=0)


def _whole_products(product: Integers) -> Iterator[Integers]:
    """Rows, some thousand at a time; a product is not divided."""
    ends = [*(np.flatnonzero(np.diff(product)) + 1).tolist(), len(product)]
    start = 0
    for end in ends:
        if end > start and (end - start >= _CHUNK or end == ends[-1]):
            yield np.arange(start, end)
            start = end
