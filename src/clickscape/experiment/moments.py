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

    One row per unit and day on which it was seen, in any order: `unit` (row,), its number, from 0 with few gaps;
    `variant` and `day` (row,) from 0; `counts` (row, 3) of that day; `before` (row, 2), the same in all rows of a unit.
    A unit is of one variant. What comes after the last of `days` adds to it.
    """
    seen_days = max(int(day.max(initial=0)) + 1, days)
    size = seen_days * variants
    cell = day * variants + variant
    order = np.argsort(cell.astype(np.min_scalar_type(size)), kind="stable")  # a radix sort, where numbers are short
    ends = np.cumsum(np.bincount(cell, minlength=size))
    so_far = np.zeros((int(unit.max(initial=-1)) + 1, 6))  # by the day before; the last is 1 for who was seen
    products, own = np.zeros((size, 6, 6)), np.zeros((size, 3, 3))
    for one, end in enumerate(ends):
        for begin in range(ends[one - 1] if one else 0, end, _ROWS):
            rows = order[begin : min(begin + _ROWS, end)]
            who, today = unit[rows], counts[rows].astype(float)
            last = so_far[who]
            now = np.concatenate([last[:, :3] + today, before[rows], np.ones((len(rows), 1))], axis=1)
            products[one] += now.T @ now - last.T @ last
            own[one] += today.T @ today
            so_far[who] = now
    products = _of_days(products.reshape(seen_days, variants, 6, 6), days)
    own = _of_days(own.reshape(seen_days, variants, 3, 3), days)
    return UnitMoments(products[..., 5, 5], products[..., :5, 5], products[..., :5, :5], own)


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


def _of_days(found: Floats, days: int) -> Floats:
    """(day, variant, …) → (variant, day, …) of the first days, the last of them with all that came after."""
    kept = found[:days].copy()
    kept[-1] += found[days:].sum(axis=0)
    return kept.swapaxes(0, 1)
