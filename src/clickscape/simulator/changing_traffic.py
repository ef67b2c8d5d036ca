"""A click log that changes: shoppers tire of what they see, creatives wear out, markets drift, weeks have a rhythm.

    log CTR = the world's + audience + weekday + drift of the product − wear-out × weeks on air
              − fatigue × log(1 + earlier exposures of this user to this creative)

Every impression belongs to a user, drawn before its click: a product has users of its own, some of whom see far more of
it than others. `truth` keeps what a method that reads the log should find.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from clickscape.config import SimulateConfig
from clickscape.simulator import traffic
from clickscape.simulator.course import Course, weekly_rhythm
from clickscape.simulator.traffic import EXAMINATION, POPULARITY, START, Columns, Floats, Ints, Traffic
from clickscape.types import Creative

_EVENNESS = 4.0  # Dirichlet concentration of a creative's shares of the positions
_SPREAD = 0.7  # sd of log impressions
_ACTIVITY = 1.5  # Gamma shape of how much users see: a twentieth of them sees three times the average
_UNLIKE = 0.4  # creatives tire by (1 + so much × a normal draw) times the average


@dataclass(frozen=True, eq=False)
class ChangingTraffic:
    """A whole log: `total` adds it up; impressions in the order of time, (impression,), belong to a day and a user.

    exposures: earlier ones of the same user to the same creative. chance: true probability of the click. launch: first
    day of every creative. truth: `launch`, `fatigue`, `wear_out` and `drift`, each (creative,). audience: names, and
    the code of each user; None where nobody asked for audiences.
    """

    total: Traffic
    course: Course
    cell: NDArray[np.int32]
    day: NDArray[np.int16]
    user: NDArray[np.int32]
    exposures: NDArray[np.int32]
    chance: NDArray[np.float32]
    clicked: NDArray[np.bool_]
    launch: Ints
    truth: Mapping[str, NDArray]
    audience: tuple[tuple[str, ...], NDArray[np.int8]] | None

    def counts(self) -> pa.Table:
        """The workspace's table `counts`: one row per creative and position that was shown."""
        return self.total.counts()

    def creative(self) -> NDArray[np.int32]:
        """The creative of every impression, (impression,)."""
        _, positions, segments = self.total.impressions.shape
        return self.cell // np.int32(positions * segments)

    def events(
        self, *, rng: np.random.Generator, key: bytes = b"simulated", start: datetime = START
    ) -> Iterator[pa.Table]:
        """Yield one table of events per day with traffic, in order of time; columns as of `Traffic.events`.

        A creative is a candidate from its first day on. With audiences there is a column `audience`.
        """
        users = int(self.user.max(initial=0)) + 1
        segments = self.total.impressions.shape[2]
        columns = Columns(self.total, rng, key=key, stamp=traffic.stamp_of(start), users=max(users, segments))
        ends = np.searchsorted(self.day, np.arange(self.course.days + 1))
        per_day = self.total.weights / (self.course.days - self.launch)[:, None]
        for day in range(self.course.days):
            today = slice(ends[day], ends[day + 1])
            if today.start == today.stop:
                continue
            columns.show(per_day, live=self.launch <= day)
            begin = int((start + timedelta(days=day)).timestamp() * 1_000_000)
            table, source = columns.table(self.cell[today], self.clicked[today], begin=begin, users=self.user[today])
            if self.audience is not None:
                names, code = self.audience
                coded = pa.DictionaryArray.from_arrays(pa.array(code[self.user[today][source]]), pa.array(names))
                table = table.append_column("audience", coded)
            yield table


def draw(
    creatives: Sequence[Creative],
    log_ctr: Floats,
    *,
    rng: np.random.Generator,
    config: SimulateConfig,
    shares: Mapping[str, float],
    examination: Sequence[float] = EXAMINATION,
) -> ChangingTraffic:
    """Draw a log; log_ctr: (creative, segment), natural logarithm, of a first exposure on an average weekday at launch.

    Impressions are log-normal; they are spread evenly over a creative's days on air.
    """
    count = len(creatives)
    products, product_of = np.unique([one.product_id for one in creatives], return_inverse=True)
    course = Course(config.days, weekly_rhythm(("course", str(rng.integers(2**32))), config.rhythm))
    totals = np.rint(config.median_impressions * np.exp(_SPREAD * rng.normal(size=count))).astype(np.int64)
    popularity = np.array(POPULARITY) if len(examination) == len(POPULARITY) else 1 / (1 + np.arange(len(examination)))
    at = rng.dirichlet(_EVENNESS * popularity / popularity.sum(), size=count)
    launch = rng.integers(config.launch_days + 1, size=count)
    fatigue = config.fatigue * (1 + _UNLIKE * rng.normal(size=count))
    wear_out = config.wear_out * (1 + _UNLIKE * rng.normal(size=count))
    drift = (config.drift * rng.normal(size=len(products)))[product_of]

    days = np.arange(config.days)
    live = (days >= launch[:, None]) / (config.days - launch)[:, None]
    creative, day = _spelled_out(rng.multinomial(totals, live))
    order = np.lexsort((rng.random(len(day)), day))
    creative, day = creative[order], day[order]
    position = (rng.random(len(day))[:, None] > np.cumsum(at, axis=1)[creative, :-1]).sum(axis=1)
    audiences = _Audiences.draw(rng, totals, product_of, config=config, segments=shares)
    user = audiences.users(rng, product_of[creative])
    segment = audiences.segment[user]
    exposures = _earlier(user.astype(np.int64) * count + creative)

    level = log_ctr[creative, segment] + audiences.level[user] + course.change(day, drift[creative])
    level -= wear_out[creative] * (day - launch[creative]) / 7 + fatigue[creative] * np.log1p(exposures)
    chance = np.exp(np.minimum(level, 0)) * np.array(examination)[position]
    clicked = rng.random(len(day)) < chance

    shape = (count, len(examination), len(shares))
    cell = np.ravel_multi_index((creative, position, segment), shape)
    shown, clicks = (
        np.bincount(cells, minlength=int(np.prod(shape))).reshape(shape).astype(np.int64)
        for cells in (cell, cell[clicked])
    )
    return ChangingTraffic(
        total=Traffic(
            creative_ids=tuple(one.creative_id for one in creatives),
            product_ids=tuple(one.product_id for one in creatives),
            impressions=shown,
            clicks=clicks,
            weights=totals[:, None] * at,
        ),
        course=course,
        cell=cell.astype(np.int32),
        day=day.astype(np.int16),
        user=user.astype(np.int32),
        exposures=exposures.astype(np.int32),
        chance=chance.astype(np.float32),
        clicked=clicked,
        launch=launch,
        truth={"launch": launch, "fatigue": fatigue, "wear_out": wear_out, "drift": drift},
        audience=(tuple(config.audiences), audiences.code) if config.audiences else None,
    )


@dataclass(frozen=True, eq=False)
class _Audiences:
    """Users, product after product: cumulated activity, segment, audience and its log CTR, all (user,).

    first: (product + 1,) where each product's users start.
    """

    first: Ints
    activity: Floats
    segment: Ints
    code: NDArray[np.int8]
    level: Floats

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        totals: Ints,
        product_of: Ints,
        *,
        config: SimulateConfig,
        segments: Mapping[str, float],
    ) -> _Audiences:
        """As many users per product as make a creative's `frequency`, the average exposures of who can see it."""
        creatives = np.bincount(product_of)
        users = np.maximum(np.rint(np.bincount(product_of, weights=totals) / creatives / config.frequency), 1)
        first = np.concatenate([[0], np.cumsum(users)]).astype(np.int64)
        chosen = list(config.audiences.values())
        share = np.array([one.share for one in chosen] or [1.0])
        code = rng.choice(len(share), size=first[-1], p=share / share.sum()).astype(np.int8)
        activity = rng.gamma(_ACTIVITY, size=first[-1]) * np.array([one.frequency for one in chosen] or [1.0])[code]
        return cls(
            first=first,
            activity=np.concatenate([[0.0], np.cumsum(activity)]),
            segment=rng.choice(len(segments), size=first[-1], p=np.array(list(segments.values()))),
            code=code,
            level=np.log([one.ctr for one in chosen] or [1.0])[code],
        )

    def users(self, rng: np.random.Generator, product: Ints) -> Ints:
        """Draw a user of each product, (impression,), by activity."""
        low, high = self.activity[self.first[:-1]][product], self.activity[self.first[1:]][product]
        drawn = np.searchsorted(self.activity, low + (high - low) * rng.random(len(product)), side="right") - 1
        return np.clip(drawn, self.first[product], self.first[product + 1] - 1)


def _spelled_out(counts: Ints) -> tuple[Ints, Ints]:
    """Row and column of every single one of `counts` (row, column)."""
    row, column = np.nonzero(counts)
    times = counts[row, column]
    return np.repeat(row, times), np.repeat(column, times)


def _earlier(key: Ints) -> Ints:
    """How often each key came before, (entry,)."""
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    sizes = np.diff(np.concatenate([starts, [len(key)]]))
    earlier = np.empty(len(key), np.int64)
    earlier[order] = np.arange(len(key)) - np.repeat(starts, sizes)
    return earlier
