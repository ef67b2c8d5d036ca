"""Intermediate tables of the cleaning on DuckDB with a third of the work, by sorting 64-bit hashes in NumPy.

Grouping twenty million texts costs more than all the rest of the reading. A 64-bit hash of each is sorted instead (or a
short one tallied), which finds all that the grouping would find and by chance a few rows more; the exact rule is then
applied to those.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ibis
import numpy as np
import pyarrow as pa

from clickscape.clicks.cleaning import Engine, no_rows
from clickscape.clicks.values import Values

_BUCKETS = 1 << 22


def engine(connection: Any) -> Engine:
    """Return how the DuckDB at `connection` computes the intermediate tables."""

    def repeated(events: ibis.Table, columns: list[str]) -> ibis.Table:
        key = ibis.literal(0, "uint64")
        for name in columns:
            key = _hash_with(events[name].cast("string"), key)
        hashes = np.sort(events.select(key=key).to_pyarrow()["key"].drop_null().to_numpy())
        return _those_in(events, key, np.unique(hashes[1:][hashes[1:] == hashes[:-1]]))

    def suspects(events: ibis.Table, limits: Sequence[tuple[int, int]]) -> list[ibis.Table]:
        spans = [_hash_of_two(events.user_key, events["at"] // seconds) % _BUCKETS for seconds, _ in limits]
        buckets = [span.cast("uint64") for span in spans]
        chosen = events.select(*(bucket.cast("uint32").name(str(n)) for n, bucket in enumerate(buckets))).to_pyarrow()
        return [
            _crowded(events, bucket, column, limit)
            for (_, limit), bucket, column in zip(limits, buckets, chosen.columns, strict=True)
        ]

    def _crowded(events: ibis.Table, bucket: Any, column: pa.ChunkedArray, limit: int) -> ibis.Table:
        tally = np.zeros(_BUCKETS, np.int64)
        for chunk in column.chunks:
            tally += np.bincount(chunk.drop_null().to_numpy(), minlength=_BUCKETS)
        return _those_in(events, bucket, np.flatnonzero(tally > limit).astype(np.uint64))

    def _those_in(events: ibis.Table, key: Any, wanted: np.ndarray) -> ibis.Table:
        if not wanted.size:
            return events.limit(0)
        keys = connection.create_table(ibis.util.gen_name("keys"), pa.table({"key": wanted}), temp=True)
        return events.mutate(key=key).semi_join(keys, "key").drop("key")

    return Engine(repeated, suspects, keep=lambda table: table.cache(), empty=no_rows)


def _seconds(time: Any) -> Any:
    """A timestamp, or a text that may be one, as whole seconds since 1970."""
    if time.type().is_string():
        time = time.try_cast("timestamp('UTC')")
    return (_epoch_us(time) // 1_000_000).cast("int64")


@ibis.udf.scalar.builtin(name="epoch_us", signature=(("timestamp('UTC')",), "int64"))  # type: ignore[untyped-decorator]
def _epoch_us(time: Any) -> int:  # type: ignore[empty-body]
    """DuckDB's own microseconds since 1970; Ibis' way casts the time zone away first, a third of the whole reading."""


@ibis.udf.scalar.builtin(name="nfc_normalize", signature=(("string",), "string"))  # type: ignore[untyped-decorator]
def composed(text: str) -> str:  # type: ignore[empty-body]
    """A text in Unicode's composed form (NFC), in which é is one character."""


@ibis.udf.scalar.builtin(name="hash", signature=(("string", "uint64"), "uint64"))  # type: ignore[untyped-decorator]
def _hash_with(text: str, other: int) -> int:  # type: ignore[empty-body]
    """DuckDB's own hash of a text and a hash; Ibis' portable `hash()` wraps it in two slow casts."""


@ibis.udf.scalar.builtin(name="hash", signature=(("string", "int64"), "uint64"))  # type: ignore[untyped-decorator]
def _hash_of_two(text: str, number: int) -> int:  # type: ignore[empty-body]
    """The same hash of a text and a number together."""


VALUES = Values(_seconds, normalize=composed)
"""How files are converted: a text that is no time is null, and an accent encoded in two ways is the same."""
