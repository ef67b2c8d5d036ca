"""Small worlds of users, as moments: what the tests of reading share."""

from __future__ import annotations

import numpy as np

from clickscape.experiment.moments import UnitMoments, daily_moments


def users_world(
    rng: np.random.Generator,
    *,
    users: int = 4_000,
    days: int = 20,
    ctr: float = 0.05,
    lift: float = 0.0,
    share: float = 0.5,
    visits: float = 3.0,
    variance: float = 0.5,
    past: float = 0.0,
) -> UnitMoments:
    """Return moments (variant, day) of users who enter evenly, come back, and differ in their CTR by a Gamma factor.

    visits: of a user, on average; each is two impressions or more. past: impressions before the start, on average.
    """
    variant = (rng.random(users) < share).astype(np.int64)
    factor = rng.gamma(1 / variance, variance, users)
    often = rng.poisson(visits - 1, users) + 1
    unit = np.repeat(np.arange(users), often)
    entry = np.sort(rng.integers(days, size=users))
    first = np.diff(unit, prepend=-1) != 0
    day = np.where(first, entry[unit], rng.integers(days, size=len(unit)))
    unit, day = unit[day >= entry[unit]], day[day >= entry[unit]]
    key, row = np.unique(unit * days + day, return_inverse=True)
    shown = np.bincount(row, weights=rng.poisson(1, len(unit)) + 1).astype(np.int64)
    unit, day = key // days, key % days
    clicks = rng.binomial(shown, np.minimum(ctr * factor * np.where(variant == 1, 1 + lift, 1), 1)[unit])
    before = rng.poisson(past, users)
    clicked_before = rng.binomial(before, np.minimum(ctr * factor, 1))
    return daily_moments(
        unit=unit,
        variant=variant[unit],
        day=day,
        counts=np.stack([shown, clicks, rng.binomial(clicks, 0.2)], axis=1),
        before=np.stack([before, clicked_before], axis=1)[unit],
        variants=2,
        days=days,
    )
