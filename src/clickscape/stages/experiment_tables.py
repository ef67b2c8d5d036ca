"""Tables that people bring to an experiment (variants, units), and the stage that writes each unit's variant."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from clickscape.catalog.formats.plain import read_table
from clickscape.errors import ExperimentError, FeedError
from clickscape.experiment.assign import assign_many
from clickscape.experiment.definition import ExperimentDefinition
from clickscape.files import atomic_file
from clickscape.stages.progress import Progress, Stage

_FORMATS = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_CHUNK = 1 << 16  # units in memory


def rows(path: Path, *, needed: Sequence[str], optional: Sequence[str] = ()) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV, TSV, JSON Lines or Parquet file as texts, "" for an optional one that is not there.

    ExperimentError names the row that cannot be read or lacks a needed value.
    """
    kind = _FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ExperimentError(f"{path}: expected a file that ends in {', '.join(_FORMATS)}. Save the table as one.")
    try:
        for row in read_table(path, format=kind, needed=[[name] for name in needed], read=[*needed, *optional]):
            if row.problem:
                raise ExperimentError(f"{path}, {row.place}: {row.problem}.")
            found = {name: _text(row.columns.get(name)) for name in (*needed, *optional)}
            if empty := next((name for name in needed if not found[name]), None):
                raise ExperimentError(f"{path}, {row.place}: no {empty}. Fill it in, or remove the row.")
            yield found
    except FeedError as error:
        said = str(error)
        raise ExperimentError(said if said.startswith(str(path)) else f"{path}, {said}") from None


def assign_file(path: Path, out: Path, *, definition: ExperimentDefinition, key: bytes) -> Stage[dict[str, int]]:
    """Write user_key and variant of every row of a table with user_key as CSV; returns how many go where.

    Users outside of the experiment have an empty variant, counted under "". Rows stream.
    """
    counts = dict.fromkeys((*definition.shares, "holdback", ""), 0)
    units = (row[definition.unit] for row in rows(path, needed=[definition.unit]))
    done = 0
    with atomic_file(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([definition.unit, "variant"])
        while some := list(islice(units, _CHUNK)):
            variants = [name or "" for name in assign_many(some, definition=definition, key=key).to_pylist()]
            writer.writerows(zip(some, variants, strict=True))
            for name in variants:
                counts[name] += 1
            done += len(some)
            yield Progress("assign", done, done)
        if not done:
            raise ExperimentError(f"{path}: no user is in it. Give a table with a column {definition.unit}.")
    return counts


def _text(value: object) -> str:
    return "" if value is None else str(value)
