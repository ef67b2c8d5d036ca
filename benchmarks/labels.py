"""What are the labels worth? Learned prior against fixed Beta prior, on logs whose truth is known.

Three questions, each with both sides in one run: how often the 95 % intervals cover, what a stated P(CTR_a > CTR_b) is
worth on the true order (both simulated worlds, several seeds; scenes of the copywriter, average pictures), and what
days with better clicks do to it. Prints Markdown, appends one JSON row to results/labels.jsonl, and writes the tables
into a page between its markers.

    python benchmarks/labels.py --seeds 5 --page docs/experiments/clicks.md
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from scipy.special import digamma, ndtr, polygamma

from _results import append_row, write_part
from clickscape.catalog import sample
from clickscape.clicks import ctr, logs, shrinkage
from clickscape.clicks.pairs import kept_pairs, probability_above, to_pairs
from clickscape.config import ClicksConfig
from clickscape.simulator import traffic, world, writer
from clickscape.types import Creative

PER_PRODUCT = 5
DAYS = [f"2026-01-{day:02}" for day in range(5, 19)]
BETTER = np.where(np.arange(14) % 7 >= 5, 2.0, 1.0)  # weekends with doubled CTR
SIDES = {"fixed Beta prior": ClicksConfig(shrinkage="beta"), "learned prior": ClicksConfig()}


def main() -> None:
    """Measure, print, keep the row, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--page", type=Path, help="Markdown page with the markers")
    asked = parser.parse_args()
    labels = [row for name in ("harmony", "siren") for row in _labels(name, seeds=asked.seeds)]
    days = list(_days(seeds=asked.seeds))
    seconds = _seconds()
    text = _tables(labels, days, seconds=seconds, seeds=asked.seeds)
    print(text)
    row = {"seeds": asked.seeds, "labels": labels, "days": days, "fit": seconds}
    append_row(row, by="labels")
    if asked.page:
        write_part(asked.page, text, by="labels")


def _labels(name: str, *, seeds: int) -> Iterator[dict[str, object]]:
    """Coverage, log loss and accuracy on the true order in one world, a row per median traffic and side."""
    for median in (300, 1_500):
        found: dict[str, list[list[float]]] = {side: [] for side in SIDES}
        for seed in range(seeds):
            counts, truth, categories = _world_log(name, median=median, seed=seed)
            for side, config in SIDES.items():
                found[side].append(_judge(counts, truth, config, categories=categories))
        for side, rows in found.items():
            yield {"world": name, "median": median, "side": side, "figures": np.array(rows).tolist()}


def _world_log(name: str, *, median: int, seed: int) -> tuple[pa.Table, np.ndarray, dict[str, str]]:
    """Counts of the copywriter's creatives for the sample catalog, true log CTRs, and departments."""
    shoppers, rng = world.load(name), np.random.default_rng(seed)
    products = sample.products()
    shown = [
        (product, f"{product.product_id}-c{number}-{seed}") for product in products for number in range(PER_PRODUCT)
    ]
    creatives = [Creative(key, product.product_id, "", "", {}, "studio", "writer", 0) for product, key in shown]
    log_ctr = np.array(
        [shoppers.segment_log_ctrs(product, writer.write(product, rng)[1], image_key=key) for product, key in shown]
    )
    drawn = traffic.simulate(creatives, log_ctr, rng=rng, median_impressions=median, shares=world.SEGMENTS)
    order = np.argsort([creative.creative_id for creative in creatives])
    truth = np.log(np.exp(log_ctr) @ np.array(list(world.SEGMENTS.values())))[order]
    return drawn.counts(), truth, {product.product_id: product.department for product in products}


def _judge(
    counts: pa.Table, truth: np.ndarray, config: ClicksConfig, *, categories: dict[str, str] | None = None
) -> list[float]:
    """Coverage of the 95 % intervals, log loss and accuracy on the true order, largest calibration gap of ten bins.

    truth: (creative,) in the order of ids.
    """
    connection = logs.connect(threads=1)
    estimates, _ = ctr.estimate_ctr(connection.create_table("counts", counts), config=config, categories=categories)
    rows = to_pairs(kept_pairs(connection.create_table("estimates", estimates), config=config))
    known = dict(zip(estimates["creative_id"].to_pylist(), truth, strict=True))
    low, high = np.log(estimates["ctr_low"].to_numpy()), np.log(estimates["ctr_high"].to_numpy())
    preference = np.array([row.preference for row in rows])
    right = np.array([known[row.first] > known[row.second] for row in rows])
    stated = np.clip(np.where(right, preference, 1 - preference), 1e-9, None)
    place = np.minimum((10 * preference).astype(int), 9)
    gaps = [abs(float(preference[place == one].mean() - right[place == one].mean())) for one in np.unique(place)]
    covered = np.mean((low <= truth) & (truth <= high))
    return [float(covered), float(-np.log(stated).mean()), float(np.mean(stated > 0.5)), max(gaps)]


def _days(*, seeds: int) -> Iterator[dict[str, object]]:
    """A log in which each product's first creative is shown mostly on weekends, the second mostly on the other days."""
    sides = {"days ignored": ClicksConfig(within_strata=False), "compared within days": ClicksConfig()}
    found: dict[str, list[list[float]]] = {side: [] for side in sides}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        truth = np.log(0.03) + np.repeat(rng.normal(0, 0.4, 4_000), 2) + rng.normal(0, 0.2, 8_000)
        share = np.where(np.arange(8_000)[:, None] % 2 == 0, np.where(BETTER > 1, 4, 1), np.where(BETTER > 1, 1, 4))
        shown = rng.poisson(1_500 * share / share.sum(axis=1, keepdims=True))
        clicked = np.minimum(rng.poisson(shown * np.exp(truth)[:, None] * BETTER), shown)
        creative, day = np.nonzero(shown)
        counts = pa.table(
            {
                "creative_id": [f"c{number:05d}" for number in creative],
                "product_id": [f"p{number // 2}" for number in creative],
                "position": pa.array(np.ones(len(creative), np.int32)),
                "day": pa.array(DAYS).take(pa.array(day)),
                "impressions": shown[creative, day],
                "clicks": clicked[creative, day],
            }
        )
        level = np.log(np.average(BETTER, weights=shown.sum(axis=0)))
        for side, config in sides.items():
            found[side].append(_judge(counts, truth + level, config))
    for side, rows in found.items():
        yield {"side": side, "figures": np.array(rows).tolist()}


def _seconds() -> float:
    """CPU-seconds to learn the prior of 20,000 creatives of 1,000 products."""
    rng = np.random.default_rng(0)
    product = np.repeat(np.arange(1_000), 20)
    rate = 0.02 * rng.gamma(4, 1 / 4, 1_000)[product] * rng.gamma(16, 1 / 16, len(product))
    shown = np.exp(rng.normal(np.log(1_500), 0.7, len(product)))
    clicks = rng.poisson(rate * shown).astype(float)
    begin = time.process_time()
    shrinkage.shrink(clicks, shown, product)
    return round(time.process_time() - begin, 2)


def _approximations() -> list[tuple[float, float]]:
    """Shape of the weaker of two Gammas (the other has four times as much), and the largest error of Φ(z)."""
    errors = []
    for shape in (1.0, 4.0, 16.0, 64.0):
        one, other, rate = np.full(400, shape), np.full(400, 4 * shape), np.geomspace(1e-3, 1e3, 400)
        exact = probability_above(one, np.full(400, 0.25), other, rate, np.zeros(400))
        gap = digamma(one) - np.log(0.25) - digamma(other) + np.log(rate)
        errors.append(
            (shape, float(np.abs(ndtr(gap / np.sqrt(polygamma(1, one) + polygamma(1, other))) - exact).max()))
        )
    return errors


def _tables(labels: list, days: list, *, seconds: float, seeds: int) -> str:
    head = "intervals that cover | log loss | accuracy | largest calibration gap"
    lines = [f"| world | median impressions | | {head} |", "| --- " * 7 + "|"]
    lines += [f"| {row['world']} | {row['median']:,} | {row['side']} | {_cells(row['figures'])} |" for row in labels]
    lines += ["", f"| | {head} |", "| --- " * 5 + "|"]
    lines += [f"| {row['side']} | {_cells(row['figures'])} |" for row in days]
    lines += [
        "",
        f"Means over {seeds} seeds, in brackets the least and the most. The prior of 20,000 creatives of 1,000",
        f"products takes {seconds:.2f} CPU-seconds. Φ(z) in place of the exact probability is off by at most",
        ", ".join(f"{100 * error:.1f} points at shape {shape:.0f}" for shape, error in _approximations()),
        "(shape of the weaker of the two Gammas: its clicks + κ).",
        "",
    ]
    return "\n".join(lines)


def _cells(figures: list[list[float]]) -> str:
    values = np.array(figures)
    shown = zip(values.mean(axis=0), values.min(axis=0), values.max(axis=0), ("%", "", "%", "%"), strict=True)
    return " | ".join(
        f"{100 * mean:.1f} % [{100 * least:.1f}, {100 * most:.1f}]" if unit else f"{mean:.3f} [{least:.3f}, {most:.3f}]"
        for mean, least, most, unit in shown
    )


if __name__ == "__main__":
    main()
