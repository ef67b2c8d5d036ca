"""Ids and keys that several parts of a log have: what must be looked at together, wherever it lies.

Every part keeps its numbers sorted, so a range of all of them is sorted at once, and a number that comes twice is of
two parts. New parts are compared with the known ones by a table of the first bits of their numbers, which is read in
order and costs a few nanoseconds for every event of the history.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from clickscape.clicks.part_events import TAG
from clickscape.clicks.part_summary import Numbers, distinct, member, range_ends
from clickscape.files import atomic_file

_AT_ONCE = 1 << 23  # numbers that are sorted at once
_TAG = np.uint64(TAG)  # bits of the user behind a key


def none() -> Numbers:
    """Return no numbers."""
    return np.zeros(0, np.uint64)


@dataclass(frozen=True, eq=False)
class Crossing:
    """Ascending numbers of one part that others have, too; `seen`: those of its impressions with such a key."""

    ids: Numbers = field(default_factory=none)
    keys: Numbers = field(default_factory=none)
    seen: Numbers = field(default_factory=none)

    def __or__(self, other: Crossing) -> Crossing:
        return Crossing(*(np.union1d(getattr(self, name), getattr(other, name)) for name in ("ids", "keys", "seen")))


def find_crossing(new: Sequence[Path], known: Sequence[Path]) -> list[Crossing]:
    """Return what crosses parts, for each folder of `new` and then of `known`.

    Of two known parts, only what a new one has as well: what they have in common is known.
    """
    folders = [*new, *known]
    ids = _shared([folder / "ids.parquet" for folder in new], [folder / "ids.parquet" for folder in known], keys=False)
    keys = _shared(
        [folder / "seen.parquet" for folder in new], [folder / "seen.parquet" for folder in known], keys=True
    )
    return [
        Crossing(own, crossing, _seen(folder / "seen.parquet", crossing))
        for folder, own, crossing in zip(folders, ids, keys, strict=True)
    ]


def _shared(new: Sequence[Path], known: Sequence[Path], *, keys: bool) -> list[Numbers]:
    """Numbers of each file, new ones first, that another file has as well."""
    rows = sum(pq.read_metadata(path).num_rows for path in new)
    ranges = -(-rows // _AT_ONCE) or 1
    ends = range_ends(ranges)
    found: list[list[Numbers]] = [[] for _ in (*new, *known)]
    for low, high in pairwise(ends):
        own = [_between(path, low, high, keys=keys) for path in new]
        every = np.sort(np.concatenate(own)) if own else none()
        twice = [distinct(every[1:][every[1:] == every[:-1]])]
        every = distinct(every)
        flags, shift = _first_bits(every) if known else (np.zeros(0, bool), np.uint64(0))
        for place, path in enumerate(known, start=len(new)):
            theirs = _between(path, low, high, keys=keys)
            theirs = theirs[flags[theirs >> shift]]
            theirs = theirs[member(theirs, every)]
            found[place].append(theirs)
            twice.append(theirs)
        common = np.unique(np.concatenate(twice))
        for place, numbers in enumerate(own):
            found[place].append(numbers[member(numbers, common)])
    return [np.concatenate(parts) if parts else none() for parts in found]


def _first_bits(ordered: Numbers) -> tuple[np.ndarray, np.uint64]:
    """Which beginnings the numbers have, and by how many bits a number is longer than its beginning."""
    bits = min(30, max(8, len(ordered).bit_length() + 4))
    shift = np.uint64(64 - bits)
    flags = np.zeros(1 << bits, bool)
    flags[ordered >> shift] = True
    return flags, shift


def _between(path: Path, low: int, high: int, *, keys: bool) -> Numbers:
    """The numbers of a file from `low` to below `high`, ascending, each once; of keys without their users' bits."""
    chunks = list(_read(path, low, high))
    numbers = np.concatenate(chunks) if chunks else none()
    if keys:
        clicks = pq.read_table(path.with_name("clicks.parquet"), columns=["seen"])["seen"].to_numpy()
        clicks = clicks[(clicks >= low) & (clicks <= np.uint64(high - 1))]
        numbers = np.sort(np.concatenate([numbers, clicks])) if len(clicks) else numbers
        numbers = distinct(numbers >> _TAG << _TAG)
    return numbers


def _read(path: Path, low: int, high: int) -> Iterator[Numbers]:
    with pq.ParquetFile(path) as file:
        name = file.schema_arrow.names[0]
        for group in range(file.num_row_groups):
            within = file.metadata.row_group(group).column(0).statistics
            if within is None or not within.has_min_max or (within.min < high and within.max >= low):
                numbers = file.read_row_group(group, columns=[name])[name].to_numpy()
                start = 0 if low == 0 else int(np.searchsorted(numbers, np.uint64(low)))
                yield numbers[start : np.searchsorted(numbers, np.uint64(high - 1), side="right")]


def _seen(path: Path, keys: Numbers) -> Numbers:
    """The numbers of a part's impressions that have these keys."""
    if not len(keys):
        return none()
    found = [numbers[member(numbers >> _TAG << _TAG, keys)] for numbers in _read(path, 0, 1 << 64)]
    return np.concatenate(found) if found else none()


def save(path: Path, known: Sequence[str], crossing: Sequence[Crossing]) -> None:
    """Write what crosses the parts of these names, and which parts were compared."""
    schema = pa.schema({"part": pa.string(), "what": pa.string(), "number": pa.uint64()})
    tables = [
        pa.table({"part": [part] * len(numbers), "what": [what] * len(numbers), "number": numbers}, schema=schema)
        for part, one in zip(known, crossing, strict=True)
        for what, numbers in (("ids", one.ids), ("keys", one.keys), ("seen", one.seen))
    ]
    table = pa.concat_tables([schema.empty_table(), *tables])
    with atomic_file(path) as temporary:
        pq.write_table(table.replace_schema_metadata({"parts": "\n".join(known)}), temporary)


def load(path: Path) -> dict[str, Crossing]:
    """Return part → what crosses it, of the parts that were compared; empty where none were."""
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException):
        return {}
    parts = [part for part in (table.schema.metadata or {}).get(b"parts", b"").decode().split("\n") if part]
    found: dict[str, dict[str, Numbers]] = {part: {} for part in parts}
    names, whats = (np.array(table[name].to_pylist(), dtype=object) for name in ("part", "what"))
    numbers = table["number"].to_numpy()
    for part in parts:
        for what in ("ids", "keys", "seen"):
            found[part][what] = numbers[(names == part) & (whats == what)]
    return {part: Crossing(**numbers) for part, numbers in found.items()}
