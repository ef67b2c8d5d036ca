"""Regression of clicks on exposures and days on air, with slopes per creative that are partially pooled.

    log mean clicks = log examinations + base of the creative + slope × log(1 + earlier exposures)
                      + slope × weeks on air + drift of the product × calendar weeks
                      + weekday + day + activity of the user

Poisson with a normal prior on every effect; the prior's widths are learned from the log (empirical Bayes, as in
lme4's generalized linear mixed models; Laplace's approximation, Breslow and Clayton 1993), and what noise is left over
is paid for by a dispersion (McCullagh and Nelder 1989, 9.2).  Given what all share, products are independent, and
given their product creatives are: the information matrix is an arrow of arrows, and every step is linear in the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse as sp

from clickscape.clicks.cells import Factor, Floats, Integers

LOCAL = ("base", "exposures", "weeks")
"""Effects that every creative has for itself: log CTR at launch, and its two slopes."""

SHARED = ("level", "drift")
"""Effects that the creatives of a product share: log CTR, and its slope per calendar week."""

_GUESSES = {"base": 0.3, "exposures": 0.1, "weeks": 0.03, "level": 0.7, "drift": 0.05, "weekday": 0.1, "day": 0.05}
"""Standard deviations of log CTR before the log has spoken; a guess weighs as much as `_GUESS_WEIGHT` effects."""

_GUESS_WEIGHT = 1.0
_GIVEN = {"intercept": 10.0, "mean exposures": 0.3, "mean weeks": 0.15, "activity": 1.0}  # are not learned
_ROUNDS = 60
_SETTLED = 0.01  # relative change of a standard deviation
_STEPS = 25
_LONGEST_STEP = 2.0
_SMALLEST_STEP = 1e-6


@dataclass(frozen=True, eq=False)
class Rows:
    """Counts, one row per creative × day × band of exposures × activity; all (row,) unless it says otherwise.

    creative, product: numbers from 0 (product: (creative,)). examinations: impressions, scaled by what is known of
    their positions. exposures: mean log(1 + earlier exposures), None where the log has no users. weeks: on air.
    calendar: weeks since the middle of the log. factors: weekday, day and activity, those that there are.
    """

    creative: Integers
    product: Integers
    examinations: Floats
    clicks: Floats
    exposures: Floats | None
    weeks: Floats
    calendar: Floats
    factors: tuple[Factor, ...]

    @property
    def creatives(self) -> int:
        """How many creatives there are."""
        return len(self.product)

    @property
    def products(self) -> int:
        """How many products there are."""
        return int(self.product.max()) + 1


@dataclass(frozen=True, eq=False)
class Decay:
    """Posterior of all effects: modes, and what the covariance of any combination of them takes.

    local: (creative, 3) as LOCAL, deviations from the means in `common`. shared: (product, 2) as SHARED. common: mode
    of every name in `names`, (effect,). sd: learned standard deviation of each kind. dispersion: ≥ 1, by how much
    clicks vary more than Poisson's.
    """

    product: Integers
    local: Floats
    shared: Floats
    common: Floats
    names: tuple[str, ...]
    sd: Mapping[str, float]
    dispersion: float
    _arrow: _Arrow = field(repr=False)

    def place(self, name: str) -> int:
        """Return where an effect is in `common`."""
        return self.names.index(name)

    def combine(self, creative: Integers, local: Floats, shared: Floats, common: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of weighted sums of effects, (sum,).

        creative: (sum,), whose effects; local: (sum, 3), shared: (sum, 2), common: (sum, effect), their weights.
        """
        product = self.product[creative]
        mean = np.sum(local * self.local[creative], 1) + np.sum(shared * self.shared[product], 1) + common @ self.common
        return mean, np.sqrt(self._arrow.variance(creative, product, local, shared, common))


def fit_decay(rows: Rows) -> Decay:
    """Fit the regression; the widths of the priors and the dispersion are learned."""
    design = _Design.of(rows)
    sd = dict(_GUESSES)
    effects = _Effects.start(design)
    dispersion = 1.0
    for settled in (False, True):
        for _ in range(_ROUNDS):
            effects, arrow = _mode(design, effects, sd=sd, dispersion=dispersion)
            learned = _widths(design, effects, arrow, sd)
            change = max(abs(learned[kind] / sd[kind] - 1) for kind in learned)
            sd = {**sd, **learned}
            if change < _SETTLED:
                break
        if not settled:
            dispersion = _dispersion(design, effects, arrow, sd)
    return Decay(rows.product, effects.local, effects.shared, effects.common, design.names, sd, dispersion, arrow)


@dataclass(frozen=True, eq=False)
class _Design:
    """Rows with the weights of their effects: local (row, 3), shared (row, 2), common (row, effect) sparse.

    kinds: of every common effect, (effect,). of_creative, of_product: sparse (creative | product, row) that add up.
    """

    rows: Rows
    product: Integers
    local: Floats
    shared: Floats
    common: sp.csr_matrix
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    of_creative: sp.csr_matrix
    of_product: sp.csr_matrix

    @classmethod
    def of(cls, rows: Rows) -> _Design:
        count, ones = len(rows.creative), np.ones(len(rows.creative))
        seen = np.zeros(count) if rows.exposures is None else rows.exposures
        columns = [sp.csr_matrix(np.column_stack([ones, seen, rows.weeks]))]
        names = ["intercept", "mean exposures", "mean weeks"]
        kinds = list(names)
        for factor in rows.factors:
            columns.append(sp.csr_matrix((ones, (np.arange(count), factor.code)), shape=(count, len(factor.values))))
            names += [f"{factor.name} {value}" for value in factor.values]
            kinds += [factor.name] * len(factor.values)
        product = rows.product[rows.creative]
        return cls(
            rows=rows,
            product=product,
            local=np.column_stack([ones, seen, rows.weeks]),
            shared=np.column_stack([ones, rows.calendar]),
            common=sp.hstack(columns, format="csr"),
            names=tuple(names),
            kinds=tuple(kinds),
            of_creative=_sums(rows.creative, rows.creatives),
            of_product=_sums(product, rows.products),
        )

    def log_mean(self, effects: _Effects) -> Floats:
        """Log of the expected clicks per examination, (row,)."""
        local = np.einsum("rj,rj->r", self.local, effects.local[self.rows.creative])
        shared = np.einsum("rj,rj->r", self.shared, effects.shared[self.product])
        return np.asarray(local + shared + self.common @ effects.common)

    def precision(self, sd: Mapping[str, float]) -> tuple[Floats, Floats, Floats]:
        """Of the priors of local (3,), shared (2,) and common effects (effect,)."""
        widths = {**_GIVEN, **sd}
        kinds = (LOCAL, SHARED, self.kinds)
        local, shared, common = (np.array([widths[kind] for kind in some]) ** -2.0 for some in kinds)
        return local, shared, common


@dataclass(frozen=True, eq=False)
class _Effects:
    """Values of all effects."""

    local: Floats
    shared: Floats
    common: Floats

    @classmethod
    def start(cls, design: _Design) -> _Effects:
        common = np.zeros(len(design.names))
        rows = design.rows
        common[0] = np.log((rows.clicks.sum() + 0.5) / (rows.examinations.sum() + 1))
        return cls(np.zeros((rows.creatives, len(LOCAL))), np.zeros((rows.products, len(SHARED))), common)

    def moved(self, step: _Effects, share: float) -> _Effects:
        return _Effects(
            self.local + share * step.local, self.shared + share * step.shared, self.common + share * step.common
        )

    def largest(self) -> float:
        return float(max(np.abs(self.local).max(), np.abs(self.shared).max(), np.abs(self.common).max()))


@dataclass(frozen=True, eq=False)
class _Arrow:
    """Inverse of the information matrix, factor by factor: creatives given products, products given what all share.

    inner: (creative, 3, 3) and outer: (product, 2, 2), inverses; core: (effect, effect), the inverse of what remains.
    to_shared: (creative, 3, 2), to_common: (creative, 3, effect), across: (product, 2, effect).
    """

    inner: Floats
    outer: Floats
    core: Floats
    to_shared: Floats
    to_common: Floats
    across: Floats

    def solve(self, gradient: _Effects, product: Integers) -> _Effects:
        """Return inverse × gradient."""
        local = np.einsum("cij,cj->ci", self.inner, gradient.local)
        shared = gradient.shared - _per(product, np.einsum("cik,ci->ck", self.to_shared, local), len(self.outer))
        common = gradient.common - np.einsum("cig,ci->g", self.to_common, local)
        halfway = np.einsum("pij,pj->pi", self.outer, shared)
        found = self.core @ (common - np.einsum("pkg,pk->g", self.across, halfway))
        shared = halfway - np.einsum("pij,pj->pi", self.outer, self.across @ found)
        rest = np.einsum("cik,ck->ci", self.to_shared, shared[product]) + self.to_common @ found
        return _Effects(local - np.einsum("cij,cj->ci", self.inner, rest), shared, found)

    def variance(self, creative: Integers, product: Integers, local: Floats, shared: Floats, common: Floats) -> Floats:
        """Return the variances of weighted sums of effects; weights as in `Decay.combine`."""
        within = np.einsum("sij,sj->si", self.inner[creative], local)
        shared = shared - np.einsum("sik,si->sk", self.to_shared[creative], within)
        common = common - np.einsum("sig,si->sg", self.to_common[creative], within)
        between = np.einsum("sij,sj->si", self.outer[product], shared)
        common = common - np.einsum("skg,sk->sg", self.across[product], between)
        total = np.sum(local * within, 1) + np.sum(shared * between, 1)
        return np.asarray(total + np.einsum("sg,sg->s", common @ self.core, common))


def _mode(design: _Design, effects: _Effects, *, sd: Mapping[str, float], dispersion: float) -> tuple[_Effects, _Arrow]:
    """Newton's method to the likeliest effects; steps are halved until the posterior rises."""
    rows, product = design.rows, design.rows.product
    local, shared, common = design.precision(sd)

    def height(at: _Effects) -> float:
        log_mean = design.log_mean(at)
        likelihood = rows.clicks @ log_mean - rows.examinations @ np.exp(log_mean)
        prior = (at.local**2 @ local).sum() + (at.shared**2 @ shared).sum() + at.common**2 @ common
        return float(likelihood / dispersion - prior / 2)

    now = height(effects)
    for _ in range(_STEPS):
        mean = rows.examinations * np.exp(design.log_mean(effects))
        arrow = _information(design, mean / dispersion, local, shared, common)
        left = (rows.clicks - mean) / dispersion
        gradient = _Effects(
            design.of_creative @ (left[:, None] * design.local) - local * effects.local,
            design.of_product @ (left[:, None] * design.shared) - shared * effects.shared,
            design.common.T @ left - common * effects.common,
        )
        step = arrow.solve(gradient, product)
        share = min(1.0, _LONGEST_STEP / max(step.largest(), 1e-12))
        while share * step.largest() > _SMALLEST_STEP and height(effects.moved(step, share)) < now:
            share /= 2
        effects = effects.moved(step, share)
        now = height(effects)
        if share * step.largest() <= 1e-4:
            break
    return effects, arrow


def _information(design: _Design, weight: Floats, local: Floats, shared: Floats, common: Floats) -> _Arrow:
    """The information matrix with weights (row,) and the priors' precisions, inverted factor by factor."""
    rows, product = design.rows, design.rows.product
    to_u, to_v, everything = design.local * weight[:, None], design.shared * weight[:, None], design.common
    blocks = design.of_creative @ _outer(to_u, design.local)
    inner = np.linalg.inv(blocks.reshape(-1, 3, 3) + np.diag(local))
    to_shared = (design.of_creative @ _outer(to_u, design.shared)).reshape(-1, 3, 2)
    to_common = np.stack(
        [(design.of_creative @ everything.multiply(column[:, None])).toarray() for column in to_u.T], axis=1
    )
    mine = (design.of_product @ _outer(to_v, design.shared)).reshape(-1, 2, 2) + np.diag(shared)
    across = np.stack(
        [(design.of_product @ everything.multiply(column[:, None])).toarray() for column in to_v.T], axis=1
    )
    core = (everything.T @ everything.multiply(weight[:, None])).toarray() + np.diag(common)
    scaled = np.einsum("cij,cjk->cik", inner, to_shared)
    spread = np.einsum("cij,cjg->cig", inner, to_common)
    count = rows.products
    mine = mine - _per(product, np.einsum("cik,cil->ckl", to_shared, scaled), count)
    across = across - _per(product, np.einsum("cik,cig->ckg", to_shared, spread), count)
    core = core - np.tensordot(to_common, spread, axes=([0, 1], [0, 1]))
    outer = np.linalg.inv(mine)
    core = core - np.tensordot(across, np.einsum("pij,pjg->pig", outer, across), axes=([0, 1], [0, 1]))
    return _Arrow(inner, outer, np.linalg.inv((core + core.T) / 2), to_shared, to_common, across)


def _widths(design: _Design, effects: _Effects, arrow: _Arrow, sd: Mapping[str, float]) -> dict[str, float]:
    """One step to the widths under which the clicks are likeliest: squares of effects over how many the log decides.

    MacKay's update (1992), whose fixed points are those of EM and which gets there in a few steps; the guess counts as
    `_GUESS_WEIGHT` effects of its size.
    """
    found: dict[str, tuple[Floats, Floats]] = {}
    creative = np.arange(design.rows.creatives)
    for place, kind in enumerate(LOCAL):
        if kind != "exposures" or design.rows.exposures is not None:
            found[kind] = effects.local[:, place], _own_variance(design, arrow, creative, local=place)
    _, some = np.unique(design.rows.product, return_index=True)  # one creative of every product
    for place, kind in enumerate(SHARED):
        found[kind] = effects.shared[:, place], _own_variance(design, arrow, some, shared=place)
    for kind in ("weekday", "day"):
        of_kind = np.array([one == kind for one in design.kinds])
        if of_kind.any():
            found[kind] = effects.common[of_kind], arrow.core.diagonal()[of_kind]
    learned = {}
    for kind, (values, variance) in found.items():
        decided = max(len(values) - float(variance.sum()) / sd[kind] ** 2, 0.0)
        squares = float(values @ values) + _GUESS_WEIGHT * _GUESSES[kind] ** 2
        learned[kind] = float(np.sqrt(squares / (decided + _GUESS_WEIGHT)))
    return learned


def _own_variance(
    design: _Design, arrow: _Arrow, creative: Integers, *, local: int | None = None, shared: int | None = None
) -> Floats:
    """Posterior variance of one local or shared effect of every creative."""
    weights = [np.zeros((len(creative), width)) for width in (len(LOCAL), len(SHARED), len(design.names))]
    for part, place in zip(weights, (local, shared), strict=False):
        if place is not None:
            part[:, place] = 1.0
    return arrow.variance(creative, design.rows.product[creative], *weights)


def _dispersion(design: _Design, effects: _Effects, arrow: _Arrow, sd: Mapping[str, float]) -> float:
    """How much more creative-days, and days of a product, vary than Poisson counts do; at least 1.

    Pearson's statistic over its degrees of freedom: what the priors left free is used up by creatives, at most three
    numbers of a product by its days.
    """
    rows = design.rows
    mean = rows.examinations * np.exp(design.log_mean(effects))
    local, _, common = design.precision(sd)
    creative = np.arange(rows.creatives)
    shared = float(np.sum(1 - common * arrow.core.diagonal()))
    free = sum(
        float(np.sum(1 - precision * _own_variance(design, arrow, creative, local=place)))
        for place, precision in enumerate(local)
    )
    found = [1.0]
    day = np.rint(14 * rows.calendar).astype(np.int64)
    for unit, used in ((rows.creative, shared + free), (design.product, shared + min(free, 3.0 * rows.products))):
        _, group = np.unique(np.column_stack([unit, day]), axis=0, return_inverse=True)
        group = group.ravel()
        expected = np.bincount(group, weights=mean)
        gap = np.bincount(group, weights=rows.clicks - mean)
        enough = expected > 0.5
        if enough.sum() > 2 * used:
            found.append(float(np.sum(gap[enough] ** 2 / expected[enough]) / (enough.sum() - used)))
    return max(found)


def _sums(code: Integers, count: int) -> sp.csr_matrix:
    """Sparse matrix that adds up the rows of each code, (count, row)."""
    return sp.csr_matrix((np.ones(len(code)), (code, np.arange(len(code)))), shape=(count, len(code)))


def _outer(left: Floats, right: Floats) -> Floats:
    """Products of every pair of columns, (row, left × right)."""
    return np.asarray((left[:, :, None] * right[:, None, :]).reshape(len(left), -1))


def _per(code: Integers, values: Floats, count: int) -> Floats:
    """Sums of `values` (entry, …) per code, (count, …)."""
    flat = values.reshape(len(values), -1)
    return np.asarray(_sums(code, count) @ flat).reshape(count, *values.shape[1:])
