"""How much does it cost to read an experiment of N events?  python benchmarks/experiment.py --events 20000000

Writes events of users who come back, with a week before the start, as Parquet; clickscape and pandas clean them by the
same rules, count per user and day, and work out the lift with CUPED on every day (clickscape: with its confidence
sequence and the interval of one look, sample ratio and guardrail too). Each runs in a process of its own, so that its
peak memory is its own. Prints a table and appends one JSON row to benchmarks/results/experiment.jsonl. Goal, on two
cores: 20 M events in 20 s and 2 GiB.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from _results import append_row
from clickscape.experiment.definition import ExperimentDefinition, Variant
from clickscape.workspace import Workspace

START = datetime(2026, 3, 9, tzinfo=UTC)
_DAYS, _BEFORE = 14, 7
_PER_FILE = 1_000_000
_PRODUCTS = 500
_LIFT = 0.05
_SHOWING = ["decision_id", "creative_id"]
_COLUMNS = ("event_id", "ts", "kind", "decision_id", "creative_id", "position", "user_key", "variant")


def definition() -> ExperimentDefinition:
    """Return the experiment: two variants with creatives of their own."""
    arms = tuple(
        Variant(name, 0.5, {f"product-{n}": f"{name}-{n}" for n in range(_PRODUCTS)}) for name in ("control", "new")
    )
    return ExperimentDefinition("speed", arms, "control", START, "0" * 16, "speed")


def _write_events(workspace: Workspace, *, events: int, per_visit: int, visits: int, seed: int) -> None:
    """Write one file per million events; a user has some visits of some impressions each, most on different days."""
    rng = np.random.default_rng(seed)
    users = max(events // (per_visit * visits), 1)
    taste = rng.gamma(2.0, 0.5, users)
    second = int((START - timedelta(days=_BEFORE)).timestamp())
    for part, first in enumerate(range(0, events, _PER_FILE)):
        shown = int(min(_PER_FILE, events - first) / 1.031)  # about 3 clicks and 0.1 conversions per 100 follow
        decision = np.arange(first, first + shown)
        visit = decision // per_visit
        user = visit * 2_654_435_761 % users
        variant = user * 40_503 % 7_919 % 2
        at = visit * per_visit * (_DAYS + _BEFORE) * 86_400 // events + decision % per_visit * 5
        live = at >= _BEFORE * 86_400
        product = rng.integers(0, _PRODUCTS, shown)
        clicked = np.flatnonzero(rng.random(shown) < 0.03 * taste[user] * np.where(live & (variant == 1), 1 + _LIFT, 1))
        bought = clicked[rng.random(len(clicked)) < 0.03]
        rows = np.concatenate([np.arange(shown), clicked, bought])
        kind = np.repeat(["impression", "click", "conversion"], [shown, len(clicked), len(bought)])
        after = np.repeat([0, 4, 600], [shown, len(clicked), len(bought)])
        times = (second + at[rows] + after).astype("datetime64[s]").astype("datetime64[us]")
        names = pa.array(["control", "new"])
        arm = names.take(pa.array(np.where(live, variant, 0)[rows]))
        number = pa.array(product[rows]).cast(pa.string())
        table = pa.table(
            {
                "event_id": pc.binary_join_element_wise(
                    pa.array(kind), pa.array(decision[rows]).cast(pa.string()), "-"
                ),
                "ts": pa.array(times).cast(pa.timestamp("us", tz="UTC")),
                "kind": pa.array(kind),
                "decision_id": pc.binary_join_element_wise("d", pa.array(decision[rows]).cast(pa.string()), "-"),
                "creative_id": pc.binary_join_element_wise(arm, number, "-"),
                "product_id": pc.binary_join_element_wise("product", number, "-"),
                "position": pa.array(np.ones(len(rows), np.int32)),
                "user_key": pc.binary_join_element_wise("user", pa.array(user[rows]).cast(pa.string()), "-"),
                "variant": names.take(pa.array(variant[rows])),
                "allocation": pa.array(np.repeat(["randomized with shares"], len(rows))),
            }
        )
        workspace.write_table(workspace.events_folder / f"{part:05d}.parquet", table)


def _ours(path: str) -> tuple[float, float]:
    from clickscape.clicks import locations, logs
    from clickscape.experiment.exposures import read_exposures
    from clickscape.experiment.read import read

    workspace = Workspace(path)
    config = workspace.settings.clicks
    location = locations.locate(workspace.clicks, config)
    log = logs.read_cleaned(location, config=config, connection=logs.connect(), now=START + timedelta(days=60))
    seen = read_exposures(log, definition=definition())
    reading = read(seen.moments, definition=definition(), allocation=seen.allocation)
    latest = reading.variant("new").latest
    assert reading.adjusted
    assert len(reading.variant("new").days) == _DAYS
    assert latest.fixed is not None
    return latest.fixed.value, latest.fixed.high - latest.fixed.low


def _pandas(path: str) -> tuple[float, float]:
    import pandas as pd

    events = pd.read_parquet(f"{path}/clicks/events", columns=list(_COLUMNS))
    minutes = events.groupby(["user_key", events["ts"].dt.floor("min")], observed=True).size()
    busy = minutes[minutes > 60].index.get_level_values(0).unique()
    events = events[~events["user_key"].isin(busy)].drop_duplicates("event_id")
    shown, clicked = events[events["kind"] == "impression"], events[events["kind"] == "click"]
    clicked = clicked.merge(shown[[*_SHOWING, "ts"]], on=_SHOWING, suffixes=("", "_shown"))
    waited = (clicked["ts"] - clicked["ts_shown"]).dt.total_seconds()
    clicked = clicked[(waited >= -60) & (waited <= 86_400)].drop_duplicates([*_SHOWING, "position"])
    keys = ["user_key", "variant", "day"]
    shown = shown.assign(day=(shown["ts"] - START) // pd.Timedelta(days=1))
    clicked = clicked.assign(day=(clicked["ts_shown"] - START) // pd.Timedelta(days=1))
    counts = [shown.groupby(keys).size().rename("n"), clicked.groupby(keys).size().rename("c")]
    rows = pd.concat(counts, axis=1).fillna(0).reset_index()
    before = rows[rows["day"] < 0].groupby("user_key")[["n", "c"]].sum().rename(columns={"n": "m", "c": "x"})
    for day in range(_DAYS):
        known = rows[(rows["day"] >= 0) & (rows["day"] <= day)].groupby(["user_key", "variant"])[["n", "c"]].sum()
        users = known.reset_index().join(before, on="user_key").fillna({"m": 0, "x": 0})
        found = _delta_method(users)
    return found


def _delta_method(users) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    """The relative lift and the width of its interval, adjusted by the ratio before; users: n, c, m, x, variant."""
    total = users[["n", "c", "m", "x"]].mean()
    ratio, past = total["c"] / total["n"], total["x"] / total["m"]
    residual = (users["c"] - ratio * users["n"]) / total["n"]
    covariate = (users["x"] - past * users["m"]) / total["m"]
    slope = float((residual * covariate).sum() / (covariate**2).sum())
    sides = []
    for name in ("control", "new"):
        one = users[users["variant"] == name]
        mean = one[["n", "c", "m", "x"]].mean()
        own, own_past = mean["c"] / mean["n"], mean["x"] / mean["m"]
        influence = (one["c"] - own * one["n"]) / mean["n"] - slope * (one["x"] - own_past * one["m"]) / mean["m"]
        sides.append((own - slope * (own_past - past), float((influence**2).mean()) / len(one)))
    value = math.log(sides[1][0] / sides[0][0])
    half = 1.959964 * math.sqrt(sum(variance / level**2 for level, variance in sides))
    return math.expm1(value), math.expm1(value + half) - math.expm1(value - half)


SIDES: dict[str, Callable[[str], tuple[float, float]]] = {"clickscape": _ours, "pandas": _pandas}


def _measure(side: str, path: str) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    lift, width = SIDES[side](path)
    return {
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "wall_seconds": round(time.perf_counter() - wall, 2),
        "peak_mib": _peak_mib(),
        "lift": round(lift, 5),
        "width": round(width, 5),
    }


def _peak_mib() -> int:
    """Peak of resident memory since this process's own start (ru_maxrss would count its parent's)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) / 1024)


def main() -> None:
    """Measure, print, and keep the row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--per-visit", type=int, default=4, help="impressions of a visit")
    parser.add_argument("--visits", type=int, default=5, help="visits of a user, before and after the start")
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), default=list(SIDES))
    parser.add_argument("--seed", type=int, default=0)
    settings = vars(parser.parse_args())
    wanted = settings.pop("sides")
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.create(Path(folder) / "shop")
        _write_events(workspace, **settings)
        sides = {}
        for side in wanted:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                sides[side] = pool.apply(_measure, (side, str(workspace.path)))
    for side, measured in sides.items():
        print(f"{side:>11}  " + "  ".join(f"{name} {value:,}" for name, value in measured.items()))
    load = round(os.getloadavg()[0], 1)  # on a busy machine the clock on the wall says nothing
    append_row({**settings, "load": load, "sides": sides}, by="experiment")


if __name__ == "__main__":
    main()
