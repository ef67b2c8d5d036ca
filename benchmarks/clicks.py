"""How much does it cost to turn N events into CTR estimates and pairs?  python benchmarks/clicks.py --events 5000000

Writes synthetic events as Parquet; clickscape, pandas and Polars (where installed) apply the same rules to them: bots
and repeated events out, clicks matched, CTRs, pairs. Each runs in a process of its own, so that its peak memory is its
own. Prints a table and appends one JSON row to benchmarks/results/clicks.jsonl. Goal, on two cores: 20 M events under
15 s and 2 GiB.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from _results import append_row
from clickscape.types import Creative
from clickscape.workspace import Workspace

_EXAMINATION = np.array([1.0, 0.7, 0.5, 0.38, 0.3])
_PER_FILE = 1_000_000
_COLUMNS = ("event_id", "ts", "kind", "decision_id", "creative_id", "product_id", "position", "user_key")
_SHOWING = ["decision_id", "creative_id"]
_KEYS = ["creative_id", "product_id", "position"]


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
        user = decision[rows] * 2_654_435_761 % (events // 20 + 1)  # twenty impressions a user, all over the fortnight
        seconds = decision[rows] * 1_209_600 // events + np.where(kind == "click", 5, 0)
        time_of = np.datetime64("2026-01-01", "s") + seconds.astype("timedelta64[s]")
        blank = pa.nulls(size, pa.string())
        table = pa.table(
            {
                "event_id": pc.binary_join_element_wise(
                    pa.array(kind), pa.array(decision[rows]).cast(pa.string()), "-"
                ),
                "ts": pa.array(time_of.astype("datetime64[us]")).cast(pa.timestamp("us", tz="UTC")),
                "kind": pa.array(kind),
                "decision_id": _name("decision", decision[rows]),
                "creative_id": _name("creative", creative[rows]),
                "product_id": _name("product", creative[rows] // 4),
                "placement": blank,
                "position": pa.array(position[rows], pa.int32()),
                "user_key": _name("user", user),
                "policy_id": blank,
                "candidates": pa.nulls(size, pa.list_(pa.string())),
                "propensities": pa.nulls(size, pa.list_(pa.float64())),
            }
        )
        workspace.append_events(table, part=f"{part:05d}")


def _ours(path: str) -> tuple[int, int, int]:
    from clickscape import clicks
    from clickscape.stages.clicks import read_log

    report = clicks.estimate(read_log(Workspace.open(path)).counts)
    return report.total.impressions, report.total.clicks, len(report.pair_table)


def _pandas(path: str) -> tuple[int, int, int]:
    import pandas as pd

    events = pd.read_parquet(f"{path}/clicks/events", columns=list(_COLUMNS))
    minutes = (
        events.drop_duplicates("event_id").groupby(["user_key", events["ts"].dt.floor("min")], observed=True).size()
    )
    busy = minutes[minutes > 60].index.get_level_values(0).unique()
    events = events[~events["user_key"].isin(busy)].sort_values("ts").drop_duplicates("event_id")
    shown, clicked = events[events["kind"] == "impression"], events[events["kind"] == "click"]
    clicked = clicked.merge(shown[[*_SHOWING, "ts"]], on=_SHOWING, suffixes=("", "_shown"))
    waited = (clicked["ts"] - clicked["ts_shown"]).dt.total_seconds()
    clicked = clicked[(waited >= -60) & (waited <= 86_400)].drop_duplicates([*_SHOWING, "position"])
    counts = pd.concat([shown.groupby(_KEYS).size().rename("n"), clicked.groupby(_KEYS).size().rename("c")], axis=1)
    table = counts.fillna(0).groupby(["creative_id", "product_id"]).sum().reset_index()
    table["ctr"] = (table["c"] + 200 * table["c"].sum() / table["n"].sum()) / (table["n"] + 200)
    pairs = table.merge(table, on="product_id")
    return int(table["n"].sum()), int(table["c"].sum()), int((pairs["creative_id_x"] < pairs["creative_id_y"]).sum())


def _polars(path: str) -> tuple[int, int, int]:
    import polars as pl

    events = pl.scan_parquet(f"{path}/clicks/events/*.parquet").select(_COLUMNS)
    per_minute = events.group_by("user_key", pl.col("ts").dt.truncate("1m").alias("minute"))
    busy = per_minute.agg(pl.col("event_id").n_unique()).filter(pl.col("event_id") > 60).select("user_key").unique()
    events = events.join(busy, on="user_key", how="anti").unique("event_id", keep="any")
    shown, clicked = events.filter(pl.col("kind") == "impression"), events.filter(pl.col("kind") == "click")
    clicked = clicked.join(shown.select(*_SHOWING, shown="ts"), on=_SHOWING)
    waited = (pl.col("ts") - pl.col("shown")).dt.total_seconds()
    clicked = clicked.filter((waited >= -60) & (waited <= 86_400)).unique([*_SHOWING, "position"])
    shows, hits = shown.group_by(_KEYS).len("n"), clicked.group_by(_KEYS).len("c")
    counts = shows.join(hits, on=_KEYS, how="left").with_columns(pl.col("c").fill_null(0))
    table = counts.group_by("creative_id", "product_id").agg(pl.col("n").sum(), pl.col("c").sum())
    table = table.with_columns(ctr=(pl.col("c") + 6) / (pl.col("n") + 200)).collect(engine="streaming")
    pairs = table.join(table, on="product_id").filter(pl.col("creative_id") < pl.col("creative_id_right"))
    return int(table["n"].sum()), int(table["c"].sum()), len(pairs)


SIDES: dict[str, Callable[[str], tuple[int, int, int]]] = {"clickscape": _ours, "pandas": _pandas, "polars": _polars}


def _measure(side: str, path: str) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    impressions, clicks, pairs = SIDES[side](path)
    return {
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "wall_seconds": round(time.perf_counter() - wall, 2),
        "peak_mib": peak_mib(),
        "impressions": impressions,
        "clicks": clicks,
        "pairs": pairs,
    }


def peak_mib() -> int:
    """Return the peak of resident memory since this process's own start (ru_maxrss would count its parent's)."""
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
        sides = {}
        for side in SIDES:
            if side == "clickscape" or importlib.util.find_spec(side):
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    sides[side] = pool.apply(_measure, (side, str(workspace.path)))
    row = {**settings, "sides": sides}
    for side, measured in sides.items():
        print(f"{side:>11}  " + "  ".join(f"{name} {value:,}" for name, value in measured.items()))
    append_row(row, by="clicks")


if __name__ == "__main__":
    main()
