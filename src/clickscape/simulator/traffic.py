"""Traffic through a simulated world: who saw which creative at which position, and who clicked.

One draw is a cube of impressions and clicks (creative × position × segment). `Traffic.counts` adds it up,
`Traffic.events` spells it out row by row in the workspace's columns: two views of the same clicks. Columns are NumPy
codes and Arrow buffers throughout; no row is ever a Python object.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from clickscape.files import atomic_file
from clickscape.types import Allocation, Creative

EXAMINATION = (1.0, 0.7, 0.5, 0.38, 0.3)
"""Chance that a position is looked at, relative to the first; a click needs a look."""

POPULARITY = (0.36, 0.24, 0.17, 0.13, 0.10)
"""How impressions are spread over the positions, on average: fewer shoppers scroll to the later ones."""

START = datetime(2026, 1, 5, tzinfo=UTC)
DAYS = 14
POLICY = "simulated-logging"
ALLOCATION: Allocation = "randomized with propensities"
"""Given product and position, chance alone decides which creative a simulated shopper sees."""

PLACEMENTS = ("feed", "search", "banner")
_PLACEMENT_SHARES = (0.6, 0.3, 0.1)
_CONVERSION_RATE = 0.03  # of clicks
_SPREAD = 0.7  # sd of log impressions
_PER_USER = 20  # impressions per user, on average
_DAY = 86_400_000_000  # microseconds
_TIME = pa.timestamp("us", tz="UTC")
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Traffic:
    """Impressions and clicks of many creatives, int64 (creative, position, segment), and who they belong to.

    weights: (creative, position), how often the logging policy meant to show a creative at a position. audiences: what
    the log calls the segments, in a column of its own; empty where it does not say who looks.
    """

    creative_ids: tuple[str, ...]
    product_ids: tuple[str, ...]
    impressions: Ints
    clicks: Ints
    weights: Floats
    audiences: tuple[str, ...] = ()

    def counts(self) -> pa.Table:
        """The workspace's table `counts`: one row per creative, position (from 1) and audience with impressions."""
        impressions, clicks = self.impressions, self.clicks
        if not self.audiences:
            impressions, clicks = (cube.sum(axis=2, keepdims=True) for cube in (impressions, clicks))
        creative, position, segment = cell = np.nonzero(impressions)
        named = {"audience": _coded(segment, self.audiences).dictionary_decode()} if self.audiences else {}
        return pa.table(
            {
                "creative_id": pa.array(self.creative_ids, pa.string()).take(pa.array(creative)),
                "product_id": pa.array(self.product_ids, pa.string()).take(pa.array(creative)),
                "position": pa.array((position + 1).astype(np.int32)),
                **named,
                "impressions": pa.array(impressions[cell]),
                "clicks": pa.array(clicks[cell]),
            }
        )

    def events(
        self, *, rng: np.random.Generator, key: bytes = b"simulated", start: datetime = START, days: int = DAYS
    ) -> Iterator[pa.Table]:
        """Yield one table of events per day, in order of time; strings that repeat are dictionary-encoded.

        Every impression is a decision of its own; its click and conversion name the same decision, without candidates.
        A propensity is that of a creative among its product's, given the position.  `key` keys the hash of users; logs
        of another start never share an id.
        """
        cells, clicked = _impressions(self)
        day_of = rng.integers(days, size=len(cells), dtype=np.uint8 if days < 256 else np.int64)
        by_day = np.argsort(day_of, kind="stable")
        ends = np.cumsum(np.bincount(day_of, minlength=days))
        stamp = stamp_of(start)
        users = max(len(cells) // (_PER_USER * self.impressions.shape[2]), 1)
        columns = Columns(self, rng, key=key, stamp=stamp, users=users * self.impressions.shape[2])
        first = int(start.timestamp() * 1_000_000)
        for day in range(days):
            chosen = by_day[ends[day - 1] if day else 0 : ends[day]]
            chosen = chosen[rng.permutation(len(chosen))]
            if len(chosen):
                yield columns.table(cells[chosen], clicked[chosen], begin=first + day * _DAY)[0]


def simulate(
    creatives: Sequence[Creative],
    log_ctr: Floats,
    *,
    rng: np.random.Generator,
    median_impressions: float = 1_500.0,
    position_evenness: float = 4.0,
    shares: Mapping[str, float] | None = None,
) -> Traffic:
    """Show creatives to shoppers: log-normal impressions, confounded positions, binomial clicks.

    log_ctr: (creative,) or, with `shares` of the segments, (creative, segment): natural logarithm, at examination 1.
    position_evenness: Dirichlet concentration of a creative's shares around POPULARITY; the smaller, the more some
    creatives stand at the top, which is what makes raw CTRs mislead.
    """
    totals = np.rint(median_impressions * np.exp(_SPREAD * rng.normal(size=len(creatives)))).astype(np.int64)
    popularity = np.array(POPULARITY) / sum(POPULARITY)
    at = rng.dirichlet(position_evenness * popularity, size=len(creatives))
    return show(creatives, log_ctr, rng=rng, totals=totals, at=at, shares=shares)


def show(
    creatives: Sequence[Creative],
    log_ctr: Floats,
    *,
    rng: np.random.Generator,
    totals: Ints,
    at: Floats,
    examination: Sequence[float] = EXAMINATION,
    shares: Mapping[str, float] | None = None,
) -> Traffic:
    """Show each creative `totals` times (creative,), at positions by its shares `at` (creative, position), and click.

    log_ctr: as in `simulate`. ValueError for another shape, and for a CTR above 1.
    """
    log_ctr = np.asarray(log_ctr, np.float64)
    share = np.array([1.0] if shares is None else list(shares.values()))
    chances = np.exp(log_ctr[:, None] if log_ctr.ndim == 1 else log_ctr)
    if chances.shape not in ((len(creatives), 1), (len(creatives), len(share))):
        raise ValueError(f"expected log_ctr of {len(creatives)} creatives × {len(share)} segments, got {log_ctr.shape}")
    if np.any(chances > 1):
        raise ValueError(f"a CTR cannot exceed 1, got exp({np.max(log_ctr):.3f}); log_ctr is a natural logarithm")
    cells = (at[:, :, None] * share).reshape(len(creatives), -1)
    impressions = rng.multinomial(totals, cells / cells.sum(axis=1, keepdims=True))
    impressions = impressions.reshape(len(creatives), len(examination), len(share)).astype(np.int64)
    clicks = rng.binomial(impressions, chances[:, None, :] * np.array(examination)[:, None]).astype(np.int64)
    return Traffic(
        creative_ids=tuple(creative.creative_id for creative in creatives),
        product_ids=tuple(creative.product_id for creative in creatives),
        impressions=impressions,
        clicks=clicks,
        weights=totals[:, None] * at,
    )


def write(tables: Iterator[pa.Table], folder: Path) -> Iterator[Path]:
    """Write each table of `Traffic.events` as day-00.parquet, day-01.parquet …, and yield the path once it is whole."""
    for day, table in enumerate(tables):
        path = folder / f"day-{day:02}.parquet"
        with atomic_file(path) as temporary:
            pq.write_table(
                table,
                temporary,
                compression="zstd",
                compression_level=1,
                use_dictionary=["kind", "creative_id", "product_id", "placement", "position", "audience", "policy_id",
                                "allocation", "candidates.list.element", "propensities.list.element"],
                write_statistics=["ts"],
                store_schema=False,  # readers see plain strings, not our dictionaries
            )  # fmt: skip
        yield path


def stamp_of(start: datetime) -> str:
    """Return what the ids of a log of this start begin with; logs of another start never share an id."""
    return hashlib.blake2b(f"{POLICY} {start.isoformat()}".encode(), digest_size=3).hexdigest()


def _impressions(traffic: Traffic) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Every single impression: its cell in the cube and whether it was clicked, cell after cell."""
    impressions, clicks = traffic.impressions.ravel(), traffic.clicks.ravel()
    cells = np.repeat(np.arange(len(impressions), dtype=np.int32), impressions)
    starts = np.cumsum(impressions) - impressions
    clicked = np.zeros(len(cells), np.bool_)
    order = np.arange(clicks.sum()) - np.repeat(np.cumsum(clicks) - clicks, clicks)
    clicked[np.repeat(starts, clicks) + order] = True  # which ones does not matter: their times are drawn at random
    return cells, clicked


class Columns:
    """What all days of a log share: dictionaries, candidate lists and the running number of decisions.

    users: how many there are; where impressions name none, those of a segment are equally likely.
    """

    def __init__(self, traffic: Traffic, rng: np.random.Generator, *, key: bytes, stamp: str, users: int) -> None:
        self.rng = rng
        self.shape = traffic.impressions.shape
        self.creative_ids = pa.array(traffic.creative_ids, pa.string())
        products, product_of = np.unique(np.array(traffic.product_ids, dtype=object), return_inverse=True)
        self.product_ids = pa.array(products.tolist(), pa.string())
        self.product_of = product_of.astype(np.int32)
        self.show(traffic.weights)
        self.users = users // self.shape[2]
        self.audiences = traffic.audiences
        self.user_keys = _keyed_hex(np.arange(users, dtype=np.uint64), key)
        self.stamp = stamp
        self.decisions = 0
        self.rows = 0

    def show(self, weights: Floats, *, live: NDArray[np.bool_] | None = None) -> None:
        """From now on choose by these weights, (creative, position), among the creatives that are live, (creative,)."""
        self.candidates, self.propensities = _choices(weights, self.product_of, self.creative_ids, live=live)

    def table(
        self, cells: NDArray[np.int32], clicked: NDArray[np.bool_], *, begin: int, users: NDArray | None = None
    ) -> tuple[pa.Table, Ints]:
        """Return a day's events, and the impression behind each (event,); cells, clicked: (impression,) in time.

        users: (impression,) number of the user of each; None draws them.
        """
        rng, count = self.rng, len(cells)
        _, positions, segments = self.shape
        gaps = np.cumsum(rng.exponential(size=count + 1))
        shown = begin + (gaps[:-1] / gaps[-1] * _DAY).astype(np.int64)
        decision = self.decisions + np.arange(count)
        self.decisions += count

        of_click = np.flatnonzero(clicked)
        click_time = shown[of_click] + (1e6 * rng.lognormal(1.5, 0.8, len(of_click))).astype(np.int64)
        converts = rng.random(len(of_click)) < _CONVERSION_RATE
        of_conversion = of_click[converts]
        conversion_time = click_time[converts] + (6e7 * rng.lognormal(2.0, 1.0, len(of_conversion))).astype(np.int64)

        source = np.concatenate([np.arange(count), of_click, of_conversion])  # the impression behind each event
        kind = np.repeat(np.array([0, 1, 2], np.int8), [count, len(of_click), len(of_conversion)])
        later = np.concatenate([click_time, conversion_time])
        order = _merge(shown, later)
        source, kind = source[order], kind[order]
        cell = cells[source]
        creative = cell // np.int32(positions * segments)
        position = cell // np.int32(segments) % np.int32(positions)
        product = self.product_of[creative]
        if users is None:
            drawn = rng.integers(self.users, size=count, dtype=np.int32)[source]
            user = drawn * segments + cell % np.int32(segments)
        else:
            user = users[source]
        placement = np.searchsorted(
            np.cumsum(_PLACEMENT_SHARES)[:-1], rng.random(count, dtype=np.float32), side="right"
        ).astype(np.int8)[source]
        choice = pa.array(product * np.int32(positions) + position, mask=kind > 0)
        rows = self.rows + np.arange(len(order))
        self.rows += len(order)
        table = pa.table(
            {
                "event_id": _numbered(f"e{self.stamp}-", rows),
                "ts": pa.array(np.concatenate([shown, later])[order]).cast(_TIME),
                "kind": _coded(kind, ["impression", "click", "conversion"]),
                "decision_id": _numbered(f"d{self.stamp}-", decision[source]),
                "creative_id": _coded(creative, self.creative_ids),
                "product_id": _coded(product, self.product_ids),
                "placement": _coded(placement, PLACEMENTS),
                "position": pa.array(position + np.int32(1)),
                "user_key": _fixed_width(self.user_keys[user]),
                "policy_id": _coded(np.zeros(len(order), np.int8), [POLICY]),
                "allocation": _coded(np.zeros(len(order), np.int8), [ALLOCATION]),
                "candidates": self.candidates.take(choice),
                "propensities": self.propensities.take(choice),
            }
        )
        if self.audiences:
            table = table.append_column("audience", _coded(cell % np.int32(segments), self.audiences))
        return table, source


def _choices(
    weights: Floats, product_of: NDArray[np.int32], creative_ids: pa.Array, *, live: NDArray[np.bool_] | None = None
) -> tuple[Any, Any]:
    """Candidates and propensities of each product × position: list arrays of length products × positions.

    The propensity of a creative is its share of what the policy meant to show of its product at that position.
    """
    weights = np.maximum(weights, np.finfo(np.float64).tiny)  # a product without traffic is an even choice
    positions = weights.shape[1]
    by_product = np.argsort(product_of, kind="stable")
    if live is not None:
        by_product = by_product[live[by_product]]
    sizes = np.bincount(product_of[by_product], minlength=int(product_of.max(initial=-1)) + 1)
    ends = np.cumsum(sizes)
    total = np.zeros((len(sizes), positions))
    np.add.at(total, product_of[by_product], weights[by_product])
    share = weights / np.where(total > 0, total, 1)[product_of]
    members = [by_product[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    order = np.concatenate([np.tile(group, positions) for group in members])
    values = np.concatenate([share[group].T.ravel() for group in members])
    offsets = pa.array(np.concatenate([[0], np.cumsum(np.repeat(sizes, positions))]).astype(np.int32))
    return (
        pa.ListArray.from_arrays(offsets, _coded(order.astype(np.int32), creative_ids)),
        pa.ListArray.from_arrays(offsets, pa.array(values)),
    )


def _merge(first: Ints, later: Ints) -> Ints:
    """Order that sorts `first` (sorted already, long) and `later` (short) together by time."""
    by_time = np.argsort(later, kind="stable")
    return np.insert(np.arange(len(first)), np.searchsorted(first, later[by_time]), len(first) + by_time)


def _coded(codes: NDArray[np.integer], values: Any) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(values, pa.string()))


def _numbered(prefix: str, numbers: Ints) -> pa.Array:
    """The prefix and ten hexadecimal digits of each number, as strings."""
    texts = np.empty((len(numbers), len(prefix) + 10), np.uint8)
    texts[:, : len(prefix)] = np.frombuffer(prefix.encode(), np.uint8)
    for digit in range(10):
        texts[:, -1 - digit] = _HEX[(numbers >> (4 * digit)) & 15]
    return _fixed_width(texts)


def _keyed_hex(numbers: NDArray[np.uint64], key: bytes) -> NDArray[np.uint8]:
    """Sixteen hexadecimal digits per number, (number, 16) ASCII: SplitMix64 (Steele et al. 2014) of number + key.

    Good enough for made-up users; a log of real ones must be hashed with a cryptographic key before it comes here.
    """
    mixed = numbers * np.uint64(0x9E3779B97F4A7C15) + np.uint64(int.from_bytes(key[:8].ljust(8, b"\0"), "big"))
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    octets = mixed.astype(">u8").view(np.uint8).reshape(-1, 8)
    return np.stack([_HEX[octets >> 4], _HEX[octets & 15]], axis=2).reshape(-1, 16)


def _fixed_width(texts: NDArray[np.uint8]) -> pa.Array:
    """A string array of ASCII rows (row, character), without touching a row."""
    count, width = texts.shape
    offsets = pa.py_buffer((np.arange(count + 1, dtype=np.int32) * np.int32(width)).data)
    return pa.StringArray.from_buffers(count, offsets, pa.py_buffer(np.ascontiguousarray(texts).data))
