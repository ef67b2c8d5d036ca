"""What does a new day cost a log that is read every day?  python benchmarks/clicks_daily.py --days 30

Writes a log of a file a day, reads it from nothing, adds one day and reads it again, each in a process of its own,
whose CPU-seconds and peak of resident memory are taken. Clicks after midnight and a few stragglers come in the next
day's file, one event of a thousand is logged twice. Prints a table and appends a row to results/clicks_daily.jsonl.
Goals: the time from nothing is linear in the events, the memory is not; a new day costs a day.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from _results import append_row
from clicks import peak_mib
from clickscape.types import Creative
from clickscape.workspace import Workspace

_START = np.datetime64("2026-01-01", "s")
_EXAMINATION = np.array([1.0, 0.7, 0.5, 0.38, 0.3])


def write_day(workspace: Workspace, day: int, *, events: int, creatives: int, seed: int) -> int:
    """Write the file of a day; return its events. A user comes back on other days, with twenty impressions in all."""
    rng = np.random.default_rng([seed, day])
    ctr = 0.03 * np.exp(np.random.default_rng(seed).normal(0, 0.25, creatives))
    first, shown = day * events, int(events / 1.0185)
    number = first + np.arange(shown)
    creative, position = rng.integers(0, creatives, shown), rng.integers(1, 6, shown)
    second = np.sort(rng.integers(0, 86_400, shown))
    clicked = np.flatnonzero(rng.random(shown) < ctr[creative] * _EXAMINATION[position - 1])
    again = rng.integers(0, shown, shown // 1_000)
    rows = np.concatenate([np.arange(shown), again, clicked])
    kind = np.repeat(["impression", "click"], [shown + len(again), len(clicked)])
    user = number * 2_654_435_761 % (30 * events // 20)
    at = _START + (day * 86_400 + second[rows] + np.where(kind == "click", 30, 0)).astype("timedelta64[s]")

    def name(prefix: str, numbers: np.ndarray) -> pa.Array:
        return pc.binary_join_element_wise(prefix, pa.array(numbers).cast(pa.string()), "-")

    table = pa.table(
        {
            "event_id": pc.binary_join_element_wise(pa.array(kind), pa.array(number[rows]).cast(pa.string()), "-"),
            "ts": pa.array(at.astype("datetime64[us]")).cast(pa.timestamp("us", tz="UTC")),
            "kind": pa.array(kind),
            "decision_id": name("decision", number[rows]),
            "creative_id": name("creative", creative[rows]),
            "product_id": name("product", creative[rows] // 4),
            "position": pa.array(position[rows], pa.int32()),
            "user_key": name("user", user[rows]),
        }
    )
    # what is exported a day later: what came after midnight, and a few stragglers
    late = (at >= _START + np.timedelta64(86_400 * (day + 1), "s")) | (rng.random(len(rows)) < 0.0002)
    waiting = workspace.path / "waiting.parquet"
    path = workspace.events_folder / f"day={day:04}" / "events.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    left = pq.read_table(waiting) if waiting.exists() else table.slice(0, 0)
    written = pa.concat_tables([left, table.filter(pa.array(~late))])
    pq.write_table(written, path, compression="zstd")
    pq.write_table(table.filter(pa.array(late)), waiting)
    return written.num_rows


def _read(path: str, memory: str) -> dict[str, object]:
    cpu, wall = time.process_time(), time.perf_counter()
    from clickscape.stages.clicks import read_log

    workspace = Workspace.open(path)
    log = read_log(workspace, config=workspace.settings.clicks.changed(memory_limit=memory))
    total = log.counts.aggregate(impressions=log.counts.impressions.sum(), clicks=log.counts.clicks.sum())
    return {
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "wall_seconds": round(time.perf_counter() - wall, 1),
        "peak_mib": peak_mib(),
        "read": log.read,
        "known": log.known,
        **total.to_pyarrow().to_pylist()[0],
    }


def main() -> None:
    """Measure, print, and keep the row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--events-per-day", type=int, default=1_000_000)
    parser.add_argument("--creatives", type=int, default=2_000)
    parser.add_argument("--memory", default="1GB", help="memory_limit of [clicks]")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="read the log with its new day from nothing, too")
    given = parser.parse_args()
    options = {"events": given.events_per_day, "creatives": given.creatives, "seed": given.seed}
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.create(Path(folder) / "shop")
        names = [f"creative-{n}" for n in range(given.creatives)]
        workspace.write_creatives(
            [Creative(name, f"product-{n // 4}", "x.webp", "", {}, "none", "none", 0) for n, name in enumerate(names)]
        )
        events = sum(write_day(workspace, day, **options) for day in range(given.days))

        def read() -> dict[str, object]:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                return pool.apply(_read, (str(workspace.path), given.memory))

        sides = {"from nothing": read(), "nothing new": read()}
        events += write_day(workspace, given.days, **options)
        sides["a new day"] = read()
        summaries = workspace.clicks / ".summaries"
        sizes = [
            sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
            for root in (workspace.events_folder, summaries)
        ]
        if given.again:
            summaries.rename(workspace.path / "elsewhere")
            sides["with it from nothing"] = read()
            same = [{name: side[name] for name in ("impressions", "clicks")} for side in list(sides.values())[-2:]]
            if same[0] != same[1]:
                raise SystemExit(f"a new day counts {same[0]}, from nothing {same[1]}")
    row = {**vars(given), "log_events": events, "log_bytes": sizes[0], "summary_bytes": sizes[1], "sides": sides}
    print(f"{events:,} events; log {sizes[0] / 2**20:,.0f} MiB, summaries {sizes[1] / 2**20:,.0f} MiB")
    for side, measured in sides.items():
        print(f"{side:>22}  " + "  ".join(f"{name} {value}" for name, value in measured.items()))
    append_row(row, by="clicks_daily")


if __name__ == "__main__":
    main()
