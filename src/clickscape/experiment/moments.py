"""Sufficient statistics of an experiment: sums and sums of products over users, which add up over days and logs.

A user comes back, so what a day adds to the sum of squared clicks depends on the days before: `daily_moments` works
that out once per user, and everything after it (lift, variance clustered by user, CUPED, confidence sequences) reads
small arrays. The influence of a user on a ratio is linear in his counts (the delta method: Deng, Knoblich and Lu 2018),
so that a variance is a quadratic form of the products.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

COUNTS = ("impressions", "clicks", "conversions")
"""What a user does in the experiment, in the order of `sums`."""

BEFORE = ("impressions_before", "clicks_before")
"""What he did before it began, the covariates of CUPED, after COUNTS in `sums`."""

IMPRESSIONS, CLICKS, CONVERSIONS, IMPRESSIONS_BEFORE, CLICKS_BEFORE = range(5)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_ROWS = 1 << 20  # rows whose products are in memory at a time


@dataclass(frozen=True, eq=False)
class UnitMoments:
    """Sums over the units of one variant; a + b pools other units, or the next days of the same ones.

    All arrays may have leading axes, such as days or simulations. units: (…), how many were first seen. sums: (…, 5) of
    COUNTS and BEFORE. products: (…, 5, 5), sums over units of the products of their totals. own: (…, 3, 3), the same
    for COUNTS with every day of a unit taken for a unit of its own.
    """

    units: Floats
    sums: Floats
    products: Floats
    own: Floats

    def __post_init__(self) -> None:
        leading = np.shape(self.units)
        for name, last in (("sums", (5,)), ("products", (5, 5)), ("own", (3, 3))):
            if np.shape(getattr(self, name)) != (*leading, *last):
                raise ValueError(f"expected {name} of shape {(*leading, *last)}, got {np.shape(getattr(self, name))}")

    def __add__(self, other: UnitMoments) -> UnitMoments:
        return UnitMoments(
            self.units + other.units,
            self.sums + other.sums,
            self.products + other.products,
            self.own + other.own,
        )

    def __getitem__(self, index: Any) -> UnitMoments:
        return UnitMoments(self.units[index], self.sums[index], self.products[index], self.own[index])

    def cumulative(self) -> UnitMoments:
        """Return the running totals over the last leading axis: of what each day added, what was known by each day."""
        axis = np.ndim(self.units) - 1
        return UnitMoments(*(np.cumsum(part, axis=axis) for part in (self.units, self.sums, self.products, self.own)))

    @property
    def total(self) -> UnitMoments:
        """Return the sum over the last leading axis."""
        axis = np.ndim(self.units) - 1
        return UnitMoments(*(np.sum(part, axis=axis) for part in (self.units, self.sums, self.products, self.own)))


def daily_moments(
    *, unit: Integers, variant: Integers, day: Integers, counts: NDArray, before: NDArray, variants: int, days: int
) -> UnitMoments:
    """Return what every day added to each variant's moments, leading axes (variant, day).

    One row per unit and day on which it was seen: `unit` (row,), any number per unit; `variant` and `day` (row,) from
    0; `counts` (row, 3) of that day; `before` (row, 2), the same in all rows of a unit. A unit is of one variant.
    """
    step = np.diff(unit)
    if np.any(step < 0) or np.any(np.diff(day)[step == 0] < 0):
        order = np.lexsort((day, unit))
        unit, variant, day, counts, before = (part[order] for part in (unit, variant, day, counts, before))
    starts = np.flatnonzero(np.diff(unit, prepend=unit[:1] - 1))
    shape = (variants, days)
    found = UnitMoments(np.zeros(shape), np.zeros((*shape, 5)), np.zeros((*shape, 5, 5)), np.zeros((*shape, 3, 3)))
    begin = 0
    while begin < len(unit):  # whole units at a time
        after = np.searchsorted(starts, begin + _ROWS)
        end = int(starts[after]) if after < len(starts) else len(unit)
        rows = slice(begin, end)
        first = np.diff(unit[rows], prepend=unit[begin] - 1) != 0
        cell = variant[rows] * days + day[rows]
        found += _moments(first, cell, counts[rows].astype(float), before[rows].astype(float), shape)
        begin = end
    return found


def from_counts(*, impressions: NDArray, clicks: NDArray, conversions: NDArray | None = None) -> UnitMoments:
    """Return moments of counts without units (…), in which every impression stands for a unit of its own."""
    shown, clicked = np.asarray(impressions, float), np.asarray(clicks, float)
    bought = np.zeros_like(shown) if conversions is None else np.asarray(conversions, float)
    sums = np.stack([shown, clicked, bought, np.zeros_like(shown), np.zeros_like(shown)], axis=-1)
    own = np.stack(
        [
            np.stack([shown, clicked, bought], axis=-1),
            np.stack([clicked, clicked, bought], axis=-1),
            np.stack([bought, bought, bought], axis=-1),
        ],
        axis=-2,
    )
    products = np.zeros((*shown.shape, 5, 5))
    products[..., :3, :3] = own
    return UnitMoments(shown, sums, products, own)


def _moments(first: NDArray, cell: Integers, counts: Floats, before: Floats, shape: tuple[int, int]) -> UnitMoments:
    """Moments of rows of whole units, each unit's in the order of days; `first`: whether a row is its unit's first."""
    starts = np.flatnonzero(first)
    lengths = np.diff(np.append(starts, len(first)))
    running = np.cumsum(counts, axis=0)
    running -= np.repeat(running[starts] - counts[starts], lengths, axis=0)
    now = np.concatenate([running, before], axis=1)  # totals of the unit by the end of the row's day
    last = np.concatenate([running - counts, np.where(first[:, None], 0.0, before)], axis=1)
    size = shape[0] * shape[1]

    def added(values: Floats) -> Floats:
        return np.bincount(cell, weights=values, minlength=size).astype(np.float64)

    units = added(first.astype(float))
    sums = np.stack([added(now[:, one] - last[:, one]) for one in range(5)], axis=-1)
    products, own = np.zeros((size, 5, 5)), np.zeros((size, 3, 3))
    for one in range(5):
        for other in range(one, 5):
            sum_of = added(now[:, one] * now[:, other] - last[:, one] * last[:, other])
            products[:, one, other] = products[:, other, one] = sum_of
            if other < 3:
                own[:, one, other] = own[:, other, one] = added(counts[:, one] * counts[:, other])
    return UnitMoments(
        units.reshape(shape), sums.reshape(*shape, 5), products.reshape(*shape, 5, 5), own.reshape(*shape, 3, 3)
    )
