"""What a benchmark leaves: a row in results/<name>.jsonl, and its part of a page."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Row = dict[str, Any]
RESULTS = Path(__file__).parent / "results"
_END = "<!-- end -->"


def append_row(row: Mapping[str, object], *, by: str) -> None:
    """Append one row with its time and machine to results/<by>.jsonl."""
    made = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()} {platform.system()}",
    }
    with (RESULTS / f"{by}.jsonl").open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({**made, **row}, ensure_ascii=False) + "\n")


def measure_each(measure: Callable[..., Row], jobs: Iterable[Sequence[object]], *, workers: int, by: str) -> list[Row]:
    """Return `measure(*job)` of every job, so many at once; each row is appended as `append_row` does, and printed."""
    rows: list[Row] = []
    with ProcessPoolExecutor(workers) as pool:
        for one in [pool.submit(measure, *job) for job in jobs]:
            rows.append(one.result())
            append_row(rows[-1], by=by)
            print(json.dumps(rows[-1]), flush=True)
    return rows


def write_part(page: Path, text: str, *, by: str) -> None:
    """Replace what benchmarks/<by>.py wrote into the page before; at its end where it has written nothing yet.

    SystemExit for a page on which the closing comment is missing: nobody's words are to be lost.
    """
    begin = f"<!-- written by benchmarks/{by}.py -->"
    before, found, rest = page.read_text(encoding="utf-8").partition(begin)
    if found and _END not in rest:
        raise SystemExit(f"{page}: no {_END!r} after {begin!r}. Put it back where the tables end.")
    after = rest.partition(_END)[2] or "\n"
    page.write_text(f"{before}{begin}\n\n{text.rstrip()}\n\n{_END}{after}", encoding="utf-8")
