"""Is creative fatigue found, forecast and flagged in time, and how often for nothing?

Logs of the simulator in which CTRs fall by exposures and days on air (or do not), read again every few days as a shop
would. Figures are pooled over creatives and seeds; intervals resample seeds. Prints Markdown, appends one JSON row to
results/fatigue.jsonl, and writes the table into a page between its markers. Settings were chosen on seeds below 1000.

    python benchmarks/fatigue.py --first 1000 --seeds 16 --workers 2 --page docs/experiments/fatigue.md
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from _results import append_row, write_part
from clickscape.config import SimulateConfig
from clickscape.experiment.fatigue import forecast_fatigue
from clickscape.experiment.fatigue_report import FatigueReport
from clickscape.simulator import changing_traffic
from clickscape.simulator.changing_traffic import ChangingTraffic
from clickscape.stats.bootstrap import ClusterBootstrap
from clickscape.types import Creative, Estimate

PRODUCTS, CREATIVES, DAYS = 15, 4, 56
READINGS = range(9, 43, 3)
"""Last days of what is read; one horizon after the last of them is still in the log."""

HORIZON, KEEP = 14, 0.8
CERTAINTIES = (0.5, 0.65, 0.8, 0.95)
FORECAST_AT, FORECAST_DAYS = 30, (7, 14)
_BANDS = np.array([1, 2, 3, 5, 9, 17, 33, 65])

_TIRES = {"days": DAYS, "launch_days": 28, "fatigue": 0.15, "wear_out": 0.05, "drift": 0.05, "rhythm": 0.1,
          "median_impressions": 8_000, "frequency": 5.0}  # fmt: skip
_HEAVY = {"loyal": {"share": 0.3, "ctr": 0.6, "frequency": 3.0}, "others": {"share": 0.7}}
CELLS: Mapping[str, Mapping[str, Any]] = {
    "tires and wears out": _TIRES,
    "nothing but drift and rhythm": {**_TIRES, "fatigue": 0.0, "wear_out": 0.0},
    "nothing, and heavy users click less": {**_TIRES, "fatigue": 0.0, "wear_out": 0.0, "audiences": _HEAVY},
    "tires, and heavy users click less": {**_TIRES, "audiences": _HEAVY},
    "tires, all launched on one day": {**_TIRES, "launch_days": 0},
    "tires, a fifth of the traffic": {**_TIRES, "median_impressions": 1_600},
}


def main() -> None:
    """Measure, print, keep the row, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=1_000, help="first seed")
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--cells", nargs="*", default=list(CELLS), help="names of cells")
    parser.add_argument("--page", type=Path, help="Markdown page with the markers")
    asked = parser.parse_args()
    jobs = [(cell, seed) for cell in asked.cells for seed in range(asked.first, asked.first + asked.seeds)]
    with ProcessPoolExecutor(asked.workers) as pool:
        measured = [one.result() for one in [pool.submit(measure, *job) for job in jobs]]
    by_cell = {cell: [row for job, row in zip(jobs, measured, strict=True) if job[0] == cell] for cell in asked.cells}
    figures = {cell: _figures(rows) for cell, rows in by_cell.items()}
    text = _table(figures, asked.seeds)
    print(text)
    append_row({"first": asked.first, "seeds": asked.seeds, "cells": figures}, by="fatigue")
    if asked.page:
        write_part(asked.page, text, by="fatigue")


def measure(cell: str, seed: int) -> dict[str, Any]:
    """Read one log again and again, and compare with its truth."""
    rng = np.random.default_rng([seed, list(CELLS).index(cell)])
    config = SimulateConfig.model_validate(CELLS[cell])
    ads = [
        Creative(f"c{n:03}", f"p{n // CREATIVES:02}", "", "", {}, "studio", "writer", n)
        for n in range(PRODUCTS * CREATIVES)
    ]
    base = np.log(0.03) + np.repeat(0.5 * rng.normal(size=PRODUCTS), CREATIVES) + 0.25 * rng.normal(size=len(ads))
    log = changing_traffic.draw(ads, base[:, None], rng=rng, config=config, shares={"all": 1.0}, examination=(1.0,))
    remaining, ctr = truth(log)
    began = time.process_time()
    readings = {day: read(log, last=day) for day in READINGS}
    seconds = (time.process_time() - began) / len(READINGS)
    slopes = readings[READINGS[-1]]
    row: dict[str, Any] = {
        "per_exposure": _covered([one.per_exposure for one in slopes.creatives], -log.truth["fatigue"]),
        "per_week": _covered([one.per_week for one in slopes.creatives], -log.truth["wear_out"]),
        "drift": _covered(list(slopes.drifts.values()), log.truth["drift"][::CREATIVES]),
        "seconds": seconds,
    }
    ahead = readings[FORECAST_AT]
    known = [int(one.creative_id[1:]) for one in ahead.creatives]
    for days in FORECAST_DAYS:
        told = [one.forecast[days - 1] for one in ahead.creatives]
        row[f"ctr in {days} days"] = _covered([one.ctr for one in told], ctr[known, FORECAST_AT + days])
        row[f"left in {days} days"] = _covered([one.remaining for one in told], remaining[known, FORECAST_AT + days])
    flags = {str(one): _flags(readings, remaining, log.launch, certainty=one) for one in CERTAINTIES}
    return {**row, "flags": flags}


def read(log: ChangingTraffic, *, last: int) -> FatigueReport:
    """The report that a shop reads on the evening of a day."""
    return forecast_fatigue(counts(log, last=last), horizon_days=HORIZON, keep=KEEP)


def counts(log: ChangingTraffic, *, last: int) -> pa.Table:
    """What `count_exposures` says of the events up to a day, from the arrays behind them."""
    until = int(np.searchsorted(log.day, last + 1))
    creative, day, user = log.creative()[:until], log.day[:until].astype(np.int64), log.user[:until]
    activity = np.searchsorted(_BANDS, np.bincount(user)[user], side="right")
    band = np.searchsorted(_BANDS, log.exposures[:until], side="right")
    shape = (len(log.launch), DAYS, len(_BANDS) + 1, len(_BANDS) + 1)
    cell = np.ravel_multi_index((creative, day, band, activity), shape)
    impressions, clicks, seen = (
        np.bincount(cell, weights=values, minlength=int(np.prod(shape)))
        for values in (None, log.clicked[:until], np.log1p(log.exposures[:until]))
    )
    shown = np.flatnonzero(impressions)
    ids, days, bands, active = np.unravel_index(shown, shape)
    return pa.table(
        {
            "creative_id": pa.array(log.total.creative_ids).take(pa.array(ids)),
            "product_id": pa.array(log.total.product_ids).take(pa.array(ids)),
            "day": days + 20_000,
            "band": bands,
            "activity": active,
            "impressions": impressions[shown].astype(np.int64),
            "clicks": clicks[shown].astype(np.int64),
            "exposures": seen[shown] / impressions[shown],
        }
    )


def truth(log: ChangingTraffic) -> tuple[np.ndarray, np.ndarray]:
    """Share of its starting CTR that wear leaves, and CTR, of every creative and day; NaN before its first."""
    creative, day = log.creative(), log.day
    wear = log.truth["wear_out"][creative] * (day - log.launch[creative]) / 7
    left = np.exp(-log.truth["fatigue"][creative] * np.log1p(log.exposures) - wear)
    shape = (len(log.launch), DAYS)
    cell = np.ravel_multi_index((creative, day), shape)
    with np.errstate(invalid="ignore"):
        return tuple(  # type: ignore[return-value]
            (
                np.bincount(cell, weights=values, minlength=shape[0] * DAYS)
                / np.bincount(cell, minlength=shape[0] * DAYS)
            ).reshape(shape)
            for values in (left, log.chance)
        )


def _flags(
    readings: Mapping[int, FatigueReport], remaining: np.ndarray, launch: np.ndarray, *, certainty: float
) -> dict[str, Any]:
    """When each creative on air was first flagged as worn out, and what then became of it."""
    first: dict[int, int] = {}
    for day, report in readings.items():
        for one in report.creatives:
            if one.forecast and one.worn >= certainty:
                first.setdefault(int(one.creative_id[1:]), day)
    below = remaining < KEEP
    drops = np.where(below.any(axis=1), below.argmax(axis=1), DAYS)
    watched = [number for number in range(len(launch)) if launch[number] < READINGS[-1] - 7]
    false = [number for number, day in first.items() if not below[number, day : day + HORIZON + 1].any()]
    dropped = [n for n in watched if READINGS[0] < drops[n] <= READINGS[-1]]
    in_time = [n for n in dropped if first.get(n, DAYS) < drops[n]]
    warned = [n for n in dropped if first.get(n, DAYS) <= READINGS[-1]]
    return {
        "creatives": len(watched),
        "flags": len(first),
        "false": len(false),
        "dropped": len(dropped),
        "in_time": len(in_time),
        "found": len(warned),
        "lead": [int(drops[n] - first[n]) for n in warned],
    }


def _covered(estimates: Sequence[Estimate | None], true: np.ndarray) -> list[int]:
    """How many intervals cover, of how many."""
    pairs = [
        (one, value) for one, value in zip(estimates, true, strict=True) if one is not None and not np.isnan(value)
    ]
    return [sum(one.low <= value <= one.high for one, value in pairs), len(pairs)]


def _figures(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Shares with intervals over seeds, and quartiles of the lead in days."""
    bootstrap = ClusterBootstrap.draw([str(n) for n in range(len(rows))], rng=np.random.default_rng(0))

    def share(part: Sequence[float], whole: Sequence[float]) -> list[float] | None:
        if not sum(whole):
            return None
        drawn = bootstrap.sums(np.array(part, float)) / np.maximum(bootstrap.sums(np.array(whole, float)), 1)
        low, high = np.quantile(drawn, [0.025, 0.975])
        return [float(sum(part) / sum(whole)), float(low), float(high)]

    covers = [name for name, value in rows[0].items() if isinstance(value, list)]
    figures: dict[str, Any] = {
        name: share([row[name][0] for row in rows], [row[name][1] for row in rows]) for name in covers
    }
    for certainty in map(str, CERTAINTIES):
        flags = [row["flags"][certainty] for row in rows]
        leads = [days for one in flags for days in one["lead"]]
        figures[certainty] = {
            "dropped": sum(one["dropped"] for one in flags),
            "in time": share([one["in_time"] for one in flags], [one["dropped"] for one in flags]),
            "found": share([one["found"] for one in flags], [one["dropped"] for one in flags]),
            "lead": np.quantile(leads, [0.25, 0.5, 0.75]).tolist() if leads else None,
            "flags": sum(one["flags"] for one in flags),
            "false of flags": share([one["false"] for one in flags], [one["flags"] for one in flags]),
            "false of creatives": share([one["false"] for one in flags], [one["creatives"] for one in flags]),
        }
    return {**figures, "seconds": float(np.mean([row["seconds"] for row in rows]))}


def _table(figures: Mapping[str, Mapping[str, Any]], seeds: int) -> str:
    covers = ("per_exposure", "per_week", "drift", *(f"{what} in {days} days" for what in ("ctr", "left")
                                                      for days in FORECAST_DAYS))  # fmt: skip
    warned = ("log", "certainty", "drops", "warned before", "warned at all", "days before the drop", "warnings",
              "false, of warnings", "false, of creatives")  # fmt: skip
    heads = ("per exposure", "per week", "drift of products", *covers[3:])
    lines = [
        f"{seeds} seeds a row, {PRODUCTS} products × {CREATIVES} creatives, {DAYS} days: how often a 95 % interval",
        "holds the truth, in brackets the 95 % interval of that share over seeds. `left`: share of the starting CTR.",
        "",
        "| log | " + " | ".join(heads) + " |",
        "| --- " * (len(heads) + 1) + "|",
    ]
    for cell, found in figures.items():
        lines.append(f"| {cell} | " + " | ".join(_percent(found[name]) for name in covers) + " |")
    lines += [
        "",
        f"Read every third day from day {READINGS[0]} to {READINGS[-1]}. A warning is false where {KEEP:.0%} or more",
        f"is left for {HORIZON} days after it. Days before the drop: quartiles over all drops with a warning, late",
        "ones negative.",
        "",
        "| " + " | ".join(warned) + " |",
        "| --- " * len(warned) + "|",
    ]
    for cell, every in figures.items():
        for certainty in map(str, CERTAINTIES):
            found = every[certainty]
            lead = "–" if found["lead"] is None else " / ".join(f"{days:.0f}" for days in found["lead"])
            shares = [_percent(found[name]) for name in ("in time", "found", "false of flags", "false of creatives")]
            lines.append(
                f"| {cell} | {float(certainty):.0%} | {found['dropped']} | {shares[0]} | {shares[1]} | {lead} | "
                f"{found['flags']} | {shares[2]} | {shares[3]} |"
            )
    seconds = max(found["seconds"] for found in figures.values())
    lines += ["", f"One reading takes {seconds:.1f} CPU-seconds at most, on average over the readings of a log."]
    return "\n".join(lines)


def _percent(share: Sequence[float] | None) -> str:
    if share is None:
        return "–"
    value, low, high = (100 * number for number in share)
    return f"{value:.0f} % [{low:.0f}, {high:.0f}]"


if __name__ == "__main__":
    main()
