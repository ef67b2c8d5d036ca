"""Traffic of a simulated experiment: users who come back over days, differ in taste, and click with a known lift.

Users enter evenly over the days and stay; each sees impressions on every later day at a rate of their own, so that the
impressions of a user are clustered in the way that intervals by impressions get wrong. The true lift of every variant
is an argument, so a reading can be checked against it. Assignment is the experiment's own, by `experiment.assign`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clickscape.errors import ExperimentError
from clickscape.experiment.assign import assign_many
from clickscape.experiment.definition import HOLDBACK, ExperimentDefinition

_DAY = 86_400_000_000  # microseconds
_TIME = pa.timestamp("us", tz="UTC")
_CLICK_DELAY = (1.5, 0.8)  # of log seconds: mean, sd
_CONVERSION_DELAY = (7.0, 1.0)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Audience:
    """Simulated users: how many enter, how often they look, how they differ, and how they like each variant.

    lifts: variant → true relative lift of its CTR over the control's, 0 where it is not named. rate_cv and ctr_cv: sd /
    mean over users of the impressions per day and of the personal CTR. novelty: relative lift that every variant but
    the control has besides on a user's first day, halved every `novelty_half_life` days.
    """

    users: int = 20_000
    days: int = 14
    impressions_per_user_day: float = 0.5
    ctr: float = 0.02
    lifts: Mapping[str, float] = field(default_factory=dict)
    rate_cv: float = 1.0
    ctr_cv: float = 0.7
    product_sd: float = 0.2
    conversion_rate: float = 0.05
    novelty: float = 0.0
    novelty_half_life: float = 3.0

    def __post_init__(self) -> None:
        if self.users < 1 or self.days < 1 or self.impressions_per_user_day <= 0:
            raise ExperimentError(f"simulated traffic needs users, days and impressions, got {self.users}, {self.days} "
                                  f"and {self.impressions_per_user_day}. Give larger numbers.")  # fmt: skip
        if not (0 < self.ctr < 1 and 0 <= self.conversion_rate <= 1):
            raise ExperimentError(f"a CTR and the rate of conversions lie between 0 and 1, got {self.ctr} and "
                                  f"{self.conversion_rate}. Correct them.")  # fmt: skip
        if min(self.rate_cv, self.ctr_cv, self.product_sd) < 0 or self.novelty_half_life <= 0:
            raise ExperimentError("the spreads of simulated users are not negative, and novelty wears off in more than "
                                  "0 days. Correct the settings.")  # fmt: skip
        low = next((name for name, lift in self.lifts.items() if not -1 < lift < 100), None)
        if low is not None:
            raise ExperimentError(f"variant {low!r} has the lift {self.lifts[low]}, expected a relative one above -1, "
                                  f"such as 0.1 for +10 %.")  # fmt: skip


def events(
    definition: ExperimentDefinition, audience: Audience, *, key: bytes, rng: np.random.Generator
) -> Iterator[pa.Table]:
    """Return one table of events per day from the start on, in order of time, with the columns of the table `events`.

    Also `allocation` ("randomized with shares", null outside of the experiment) and `variant` (null there). Units held
    back or outside see the control's creatives. Every impression is a decision of its own; its click and conversion
    name the same one. ExperimentError for a lift of no variant.
    """
    unknown = next((name for name in audience.lifts if name not in definition.shares), None)
    if unknown is not None:
        raise ExperimentError(f"experiment {definition.name!r} has no variant {unknown!r}, which has a lift. It has "
                              f"{', '.join(definition.shares)}.")  # fmt: skip
    return map(_Shown(definition, audience, key=key, rng=rng).day, range(audience.days))


def user_keys(users: int, *, seed: int = 0) -> pa.Array:
    """Return the keys of simulated users, 16 hexadecimal digits each; those of another seed are other users."""
    label = f"simulated user {seed} ".encode()
    return pa.array([hashlib.blake2b(label + b"%d" % user, digest_size=8).hexdigest() for user in range(users)])


class _Shown:
    """The users, drawn once, and the days that they live."""

    def __init__(
        self, definition: ExperimentDefinition, audience: Audience, *, key: bytes, rng: np.random.Generator
    ) -> None:
        self.definition, self.audience, self.rng = definition, audience, rng
        self.keys = user_keys(audience.users, seed=int(rng.integers(2**32)))
        names = list(definition.shares)
        codes = assign_many(self.keys, definition=definition, key=key)
        self.variant: NDArray[np.int64] = codes.indices.fill_null(-1).to_numpy().astype(np.int64)  # held back: the last
        control = names.index(definition.control)
        self.serves = np.where((self.variant < 0) | (self.variant == len(names)), control, self.variant)
        self.control, self.names = control, names
        self.lift = np.array([1 + audience.lifts.get(name, 0.0) for name in names])
        self.entry = rng.random(audience.users) * audience.days  # in days from the start
        self.rate = audience.impressions_per_user_day * _gamma(rng, audience.rate_cv, audience.users)
        self.taste = audience.ctr * _gamma(rng, audience.ctr_cv, audience.users)
        products = definition.products
        liked = rng.normal(size=len(products)) * audience.product_sd
        self.liked = np.exp(liked) / np.exp(liked).mean()
        creatives = [definition.creative(name, product) for name in names for product in products]
        self.creatives = pa.array(creatives, pa.string())  # of variant v and product p: v * products + p
        self.products = pa.array(products, pa.string())
        self.decisions = self.rows = 0
        self.stamp = hashlib.blake2b(definition.name.encode(), digest_size=4).hexdigest()

    def day(self, day: int) -> pa.Table:
        """Events whose impressions are of one day."""
        rng, audience = self.rng, self.audience
        begins = np.clip(self.entry - day, 0, 1)  # part of the day before the user enters
        first = (self.entry >= day) & (self.entry < day + 1)
        seen = rng.poisson(self.rate * (1 - begins)) + first  # who enters does so by an impression
        user = np.repeat(np.arange(audience.users), seen)
        at = begins[user] + (1 - begins[user]) * rng.random(len(user))
        at[np.cumsum(seen)[first] - 1] = begins[first]
        order = np.argsort(at, kind="stable")
        user, at = user[order], at[order]
        product = rng.integers(len(self.products), size=len(user))
        serves = self.serves[user]
        age = np.maximum(day + at - self.entry[user], 0)
        fresh = np.where(serves == self.control, 0.0, audience.novelty * 0.5 ** (age / audience.novelty_half_life))
        chance = self.taste[user] * self.liked[product] * self.lift[serves] * (1 + fresh)
        clicked = np.flatnonzero(rng.random(len(user)) < chance)
        return self._table(day, user=user, at=at, product=product, serves=serves, clicked=clicked)

    def _table(self, day: int, *, user: Any, at: Floats, product: Any, serves: Any, clicked: Any) -> pa.Table:
        rng, count = self.rng, len(user)
        start = self.definition.start + timedelta(days=day)
        shown = int(start.timestamp() * 1e6) + (at * _DAY).astype(np.int64)
        click_time = shown[clicked] + (1e6 * rng.lognormal(*_CLICK_DELAY, len(clicked))).astype(np.int64)
        converts = rng.random(len(clicked)) < self.audience.conversion_rate
        converted = clicked[converts]
        wait = (1e6 * rng.lognormal(*_CONVERSION_DELAY, len(converted))).astype(np.int64)
        conversion_time = click_time[converts] + wait
        source = np.concatenate([np.arange(count), clicked, converted])
        kind = np.repeat(np.array([0, 1, 2], np.int8), [count, len(clicked), len(converted)])
        times = np.concatenate([shown, click_time, conversion_time])
        order = np.argsort(times, kind="stable")
        source, kind, times = source[order], kind[order], times[order]
        decision = self.decisions + source
        rows = self.rows + np.arange(len(source))
        self.decisions, self.rows = self.decisions + count, self.rows + len(source)
        variant = self.variant[user][source]
        outside = (variant < 0) | (variant == len(self.names))
        inside = pa.array(np.zeros(len(source), np.int8), mask=outside)
        labels = pa.array([*self.names, HOLDBACK], pa.string())
        return pa.table(
            {
                "event_id": _numbered(f"e{self.stamp}-", rows),
                "ts": pa.array(times).cast(_TIME),
                "kind": _coded(kind, ["impression", "click", "conversion"]),
                "decision_id": _numbered(f"d{self.stamp}-", decision),
                "creative_id": self.creatives.take(pa.array((serves * len(self.products) + product)[source])),
                "product_id": self.products.take(pa.array(product[source])),
                "placement": _coded(np.zeros(len(source), np.int8), ["feed"]),
                "position": pa.array(np.ones(len(source), np.int32)),
                "user_key": self.keys.take(pa.array(user[source])),
                "policy_id": _coded(inside, [self.definition.name]),
                "allocation": _coded(inside, [self.definition.allocation]),
                "variant": _coded(pa.array(variant, mask=variant < 0), labels),
                "candidates": pa.nulls(len(source), pa.list_(pa.string())),
                "propensities": pa.nulls(len(source), pa.list_(pa.float64())),
            }
        )


def _gamma(rng: np.random.Generator, cv: float, count: int) -> Floats:
    """Factors of mean 1 whose sd is `cv`."""
    return rng.gamma(1 / cv**2, cv**2, count) if cv > 0 else np.ones(count)


def _coded(codes: Any, values: Any) -> pa.Array:
    taken = codes if isinstance(codes, pa.Array) else pa.array(codes)
    return pa.array(values, pa.string()).take(taken)


def _numbered(prefix: str, numbers: NDArray[np.int64]) -> pa.Array:
    return pa.array([f"{prefix}{number:010x}" for number in numbers.tolist()], pa.string())
