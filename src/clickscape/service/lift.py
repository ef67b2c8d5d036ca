"""The lift of chosen creatives over an even choice: the bandit's users against those that it leaves alone.

Users were assigned by a keyed hash, so the difference is an effect of the choice. A user's impressions are alike, so
users are what varies here. People look at the page whenever they like, so the interval is an asymptotic confidence
sequence (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas 2024, Time-uniform central limit theory): it holds at every
look at once.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa
from scipy.stats import binomtest
from sqlalchemy.engine import Connection, Engine

from clickscape.service import schema
from clickscape.service.event_writer import insert_new

ALPHA = 0.05
_BEST_AT = 2_000  # held-back users at which the sequence is narrowest
_LEAST_CLICKS, _LEAST_USERS = 10, 50  # of each group; the normal approximation needs some
_SURE = 1e-3  # probability below which so uneven a split of users is taken for a fault, not for chance


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over a group's users: users, impressions n, clicks c, and the sums of n², c² and nc."""

    users: int
    n: int
    c: int
    nn: int
    cc: int
    nc: int

    @property
    def ctr(self) -> float:
        """Clicks per impression."""
        return self.c / self.n

    @property
    def log_variance(self) -> float:
        """Variance of log CTR by the delta method, users being independent."""
        residual = self.cc - 2 * self.ctr * self.nc + self.ctr**2 * self.nn
        return residual * self.users / (self.users - 1) / self.c**2


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of a product's lift; `value`, `low` and `high` are None where `reason` says why.

    `uneven`: probability of a split of users at least this uneven by chance, None where nobody is held back.
    """

    bandit: Moments
    holdback: Moments
    value: float | None
    low: float | None
    high: float | None
    reason: str
    uneven: float | None

    def as_json(self) -> dict[str, Any]:
        """Return the reading as the store keeps it."""
        return asdict(self) | {"is_uneven": self.uneven is not None and self.uneven < _SURE}


def read(connection: Connection, product_id: str, *, holdback: float) -> Reading:
    """Read a product's attributed events; `holdback`: share of users that are held back."""
    groups = {name: _moments(connection, product_id, name) for name in ("bandit", "holdback")}
    return compare(groups["bandit"], groups["holdback"], holdback=holdback)


def keep(engine: Engine, product_id: str, reading: Reading, *, now: int) -> None:
    """Store a reading in the place of the one before."""
    table = schema.readings
    values = {"reading": reading.as_json(), "made_at": now}
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        if not insert_new(connection, table, [{"product_id": product_id, **values}], returning=("product_id",)):
            connection.execute(sa.update(table).where(table.c.product_id == product_id).values(values))


def compare(bandit: Moments, held: Moments, *, holdback: float) -> Reading:
    """Return the relative lift of the bandit's CTR over the held-back users', with its 95 % confidence sequence."""
    users = bandit.users + held.users
    uneven = float(binomtest(held.users, users, holdback).pvalue) if users and 0 < holdback < 1 else None
    few = min(bandit.users, held.users) < _LEAST_USERS or min(bandit.c, held.c) < _LEAST_CLICKS
    if few:
        reason = (
            f"not enough evidence: {held.users:,} held-back users clicked {held.c:,} times; "
            f"{_LEAST_USERS} users and {_LEAST_CLICKS} clicks in each group are the least"
        )
        return Reading(bandit, held, None, None, None, reason, uneven)
    log_ratio = math.log(bandit.ctr / held.ctr)
    half = _factor(min(bandit.users, held.users)) * math.sqrt(bandit.log_variance + held.log_variance)
    value, low, high = (math.exp(one) - 1 for one in (log_ratio, log_ratio - half, log_ratio + half))
    return Reading(bandit, held, value, low, high, "", uneven)


def _factor(users: int) -> float:
    """How many standard errors the sequence is wide, after so many users (their eq. 14, tuned for `_BEST_AT`)."""
    rho_squared = (-2 * math.log(ALPHA) + math.log(-2 * math.log(ALPHA) + 1)) / _BEST_AT
    seen = users * rho_squared
    return math.sqrt((seen + 1) / seen * (math.log(seen + 1) - 2 * math.log(ALPHA)))


def _moments(connection: Connection, product_id: str, variant: str) -> Moments:
    events = schema.events
    clicked = sa.case((events.c.kind == "click", events.c.decision_id))
    per_user = (
        sa.select(
            sa.func.count(sa.distinct(events.c.decision_id)).label("n"), sa.func.count(sa.distinct(clicked)).label("c")
        )
        .where(
            events.c.product_id == product_id, events.c.variant == variant, events.c.attribution == "attributed",
            events.c.user_key.is_not(None), events.c.kind.in_(("impression", "click")),
        )
        .group_by(events.c.user_key)
        .subquery()
    )  # fmt: skip
    n, c = per_user.c.n, per_user.c.c
    sums = (sa.func.coalesce(sa.func.sum(one), 0) for one in (n, c, n * n, c * c, n * c))
    row = connection.execute(sa.select(sa.func.count(), *sums)).one()
    return Moments(*(int(one) for one in row))
