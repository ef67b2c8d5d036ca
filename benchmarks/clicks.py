"""How much does it cost to turn N events into CTR estimates and pairs?  python benchmarks/clicks.py --events 5000000

Writes synthetic events as Parquet, reads them in a process of its own (so that its peak memory is its own), prints a
table and appends one JSON row to benchmarks/results/clicks.jsonl. Goal: 20 M events under 15 s, 2 GiB, two cores.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from clickscape.types import Creative
from clickscape.workspace import Workspace

RESULTS = Path(__file__).parent / "results" / "clicks.jsonl"
_EXAMINATION = np.array([1.0, 0.7, 0.5, 0.38, 0.3])
_PER_FILE = 1_000_000


def _name(prefix: str, numbers: np.ndarray) -> pa.Array:
    return pc.binary_join_element_wise(prefix, pa.array(numbers).cast(pa.string()), "-")


def _write_events(workspace: Workspace, *, events: int, creatives: int, repeated: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    workspace.write_creatives(
        [Creative(f"creative-{n}", f"product-{n // 4}", "x.webp", "", {}, "none", "none", 0) for n in range(creatives)]
    )
    ctr = 0.03 * np.exp(rng.normal(0, 0.25, creatives))
    for part, first in enumerate(range(0, events, _PER_FILE)):
        shown = int(min(_PER_FILE, events - first) / 1.0175)  # about 1.75 clicks per 100 impressions follow
        decision = np.arange(first, first + shown)
        creative = rng.integers(0, creatives, shown)
        position = rng.integers(1, 6, shown)
        clicked = np.flatnonzero(rng.random(shown) < ctr[creative] * _EXAMINATION[position - 1])
        twice = rng.integers(0, shown, int(repeated * shown))
        rows = np.concatenate([np.arange(shown), twice, clicked])
        kind = np.repeat(["impression", "click"], [shown + len(twice), len(clicked)])
        size = len(rows)
        blank = pa.nulls(size, pa.string())
        table = pa.table(
            {
                "event_id": pc.binary_join_element_wise(
                    pa.array(kind), pa.array(decision[rows]).cast(pa.string()), "-"
                ),
                "ts": pa.array(np.full(size, np.datetime64("2026-01-01", "us"))).cast(pa.timestamp("us", tz="UTC")),
                "kind": pa.array(kind),
                "decision_id": _name("decision", decision[rows]),
                "creative_id": _name("creative", creative[rows]),
                "product_id": _name("product", creative[rows] // 4),
                "placement": blank,
                "position": pa.array(position[rows], pa.int32()),
                "user_key": blank,
                "policy_id": blank,
                "candidates": pa.nulls(size, pa.list_(pa.string())),
                "propensities": pa.nulls(size, pa.list_(pa.float64())),
            }
        )
        workspace.append_events(table, part=f"{part:05d}")


def _measure(path: str) -> dict[str, float]:
    from clickscape import clicks

    workspace = Workspace.open(path)
    wall, cpu = time.perf_counter(), time.process_time()
    report = clicks.estimate(workspace)
    return {
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "wall_seconds": round(time.perf_counter() - wall, 2),
        "peak_mib": _peak_mib(),
        "impressions": report.total.impressions,
        "clicks": report.total.clicks,
        "pairs": len(report.pair_table),
    }


def _peak_mib() -> int:
    """Peak of resident memory since this process's own start (ru_maxrss would count its parent's)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) / 1024)


def main() -> None:
    """Measure, print, and keep the row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=5_000_000)
    parser.add_argument("--creatives", type=int, default=4_000)
    parser.add_argument("--repeated", type=float, default=0.001, help="share of impressions that are logged twice")
    parser.add_argument("--seed", type=int, default=0)
    settings = vars(parser.parse_args())
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.create(Path(folder) / "shop")
        _write_events(workspace, **settings)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            measured = pool.apply(_measure, (str(workspace.path),))
    row = {"at": datetime.now(UTC).isoformat(timespec="seconds"), **settings, **measured}
    for name, value in row.items():
        print(f"{name:>14}  {value:,}" if isinstance(value, int | float) else f"{name:>14}  {value}")
    RESULTS.parent.mkdir(exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
