"""Does a reward model that knows the audience choose better ads for it?  Drawn worlds whose segments differ in taste.

Worlds of the family (docs/concepts/worlds.md) with two segments or more and tastes of their own, the first two of
opposite ones; the log says which segment looked. One model is fitted, and asked with and without the audience about
held-out objects: how often it has the true order of two ads in a segment, and what the ads that it chooses for each
product and segment earn there. Every world counts once; intervals are over worlds (bootstrap).

    python benchmarks/audiences.py --worlds 1000 40 --page docs/experiments/audiences.md

With --writers two writers are optimized in each world by the same settings, one for everybody and one for audiences
(`optimize.audiences`), and sampled three times for every held-out product and segment.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from _results import measure_each, write_part
from clickscape import reward as reward_room
from clickscape import vlm
from clickscape.config import ClicksConfig, OptimizeConfig, RewardConfig, SimulateConfig
from clickscape.generation.audience import product_for
from clickscape.render.scene import Scene
from clickscape.simulator.evaluation import score_ads
from clickscape.simulator.family import draw_structure, draw_world
from clickscape.stages import split, truth
from clickscape.stages.clicks import clicks
from clickscape.stages.optimize import optimize
from clickscape.stages.progress import run
from clickscape.stages.reward import reward, reward_data
from clickscape.stages.simulate import simulate
from clickscape.stats.bootstrap import ClusterBootstrap
from clickscape.types import Product
from clickscape.workspace import Workspace
from family import write_catalog

FIGURES = {
    "accuracy on the true order in a segment, %": ("accuracy", 100),
    "true CTR of the ads chosen, % above the average ad": ("uplift", 100),
    "the same of who knows every true CTR, %": ("oracle", 100),
}


def main() -> None:
    """Measure each world, print, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs=2, type=int, default=(1_000, 40), metavar=("FIRST", "COUNT"))
    parser.add_argument("--products", type=int, default=240, help="products of a world, at most")
    parser.add_argument("--impressions", type=int, default=3_000_000, help="impressions of a log, at most")
    parser.add_argument("--workers", type=int, default=1, help="worlds at once")
    parser.add_argument("--page", type=Path, help="Markdown page with the markers")
    parser.add_argument("--writers", action="store_true", help="optimize and compare two writers instead")
    parser.add_argument("--least", type=float, default=0.0, help="sd of tastes from which a world counts, more than")
    asked = parser.parse_args()
    numbers = range(asked.worlds[0], asked.worlds[0] + asked.worlds[1])
    jobs = [(number, asked.products, asked.impressions) for number in numbers if has_tastes(number, asked.least)]
    job, show = (measure_writers, table_of_writers) if asked.writers else (measure, table)
    rows = measure_each(job, jobs, workers=asked.workers, by="audiences")
    part = show(rows)
    print(part)
    if asked.page:
        write_part(asked.page, part, by="audiences")


def has_tastes(number: int, least: float) -> bool:
    """Whether a world has segments that differ by more than `least` in what they like, sd of log CTR per value."""
    drawn = draw_structure(number)
    return drawn.opposed > least and len(drawn.segments) > 1


def measure(number: int, most_products: int, most_impressions: int) -> dict[str, Any]:
    """Train the default reward model in one world, and ask it about held-out objects with and without the audience."""
    torch.set_num_threads(1)
    drawn, started = draw_structure(number), time.process_time()
    with tempfile.TemporaryDirectory(prefix=f"drawn-{number}-") as folder:
        workspace, row = _learned(Path(folder), number, most_products, most_impressions)
        found = judge(workspace, drawn.segments)
        return {**row, **found, "cpu_seconds": round(time.process_time() - started, 1)}


def measure_writers(number: int, most_products: int, most_impressions: int) -> dict[str, Any]:
    """Optimize a writer for everybody and one for audiences in one world; true CTRs of what they write for segments."""
    torch.set_num_threads(1)
    world, started = draw_world(number), time.process_time()
    with tempfile.TemporaryDirectory(prefix=f"drawn-{number}-") as folder:
        workspace, row = _learned(Path(folder), number, most_products, most_impressions)
        products = workspace.products()
        held_out = split.read(workspace, products).testing(products)
        sides = {"pre-trained": vlm.load("tiny")}
        for side, told in (("everybody", False), ("audiences", True)):
            config = OptimizeConfig(rounds=3, pairs_per_product=1, unparsed_share=1.0, seed=number, audiences=told)
            run(optimize(workspace, config, name=side, target=workspace.models / side), on_progress=lambda _: None)
            sides[side] = vlm.load(workspace.models / side)
        ctr: dict[str, float] = {}
        for side, writer in sides.items():
            ctr[side] = 0.0
            for place, (name, share) in enumerate(world.segments.items()):
                told_of = [product_for(one, name) if side == "audiences" else one for one in held_out]
                texts = writer.describe_all(told_of, n=3, seed=number, temperature=1.0)
                ads = score_ads(
                    held_out, texts, truth=partial(segment_ctr, number, place), reward=workspace.models / "reward",
                    size=128, seed=number, workers=1,
                )  # fmt: skip
                ctr[side] += share * float(np.mean([ad.relative_ctr for each in ads for ad in each]))
        return {**row, "ctr": ctr, "cpu_seconds": round(time.process_time() - started, 1)}


def segment_ctr(number: int, place: int, product: Product, scene: Scene, image: np.ndarray, mask: np.ndarray) -> float:
    """True CTR of an ad in a segment, as a multiple of the product's base."""
    world = draw_world(number)
    found = world.segment_log_ctrs(product, scene, world.measure(image, mask))[place]
    return float(np.exp(found - world.base(product)))


def _learned(folder: Path, number: int, most_products: int, most_impressions: int) -> tuple[Workspace, dict[str, Any]]:
    """A workspace of the world with its reward model, and what tells the world apart."""
    drawn = draw_structure(number)
    workspace = Workspace.create(folder / "shop")
    count = write_catalog(workspace, number, min(drawn.products, most_products))
    median = min(drawn.median_impressions, most_impressions // (count * drawn.creatives))
    shown = SimulateConfig(
        world=f"drawn-{number}", creatives_per_product=drawn.creatives, median_impressions=median, size=96,
        seed=number, hold_out_scenes=False, record_segments=True, log="counts",
    )  # fmt: skip
    run(simulate(workspace, shown), on_progress=lambda _: None)
    run(clicks(workspace, ClicksConfig()), on_progress=lambda _: None)
    made = run(reward(workspace, RewardConfig(scene="given", seed=number)), on_progress=lambda _: None)
    return workspace, {
        "world": number, "opposed": drawn.opposed, "spread": drawn.spread, "segments": len(drawn.segments),
        "products": count, "median_impressions": median, "gain": made.result.get("audience_gain"),
    }  # fmt: skip


def judge(workspace: Workspace, shares: Any) -> dict[str, dict[str, float]]:
    """Accuracy and uplift on held-out products, over segments by their shares, told the audience and not."""
    model = reward_room.load(workspace.models / "reward").with_given_scenes()
    held = split.read(workspace, workspace.products())
    data = reward_data(workspace, held)
    assert data.slots is not None
    rows = [row for row, name in enumerate(data.product_of) if held.is_held_out(name)]
    simulated = truth.simulation(workspace)
    assert simulated is not None
    known = pq.read_table(simulated[0] / truth.FILE)
    place = {name: number for number, name in enumerate(known["creative_id"].to_pylist())}
    at = [place[data.creative_ids[row]] for row in rows]
    true = {name: known[f"log_ctr of {name}"].to_numpy()[at] for name in shares}
    images, products = [data.image(row) for row in rows], [data.product(row) for row in rows]
    scores = model.log_ctrs_by_audience(products, images, [data.slots[row] for row in rows])
    product = np.unique([data.product_of[row] for row in rows], return_inverse=True)[1]
    found: dict[str, dict[str, float]] = {}
    for side in ("told", "not told", "perfect"):
        sums = np.zeros(3)
        for name, share in shares.items():
            said = true[name] if side == "perfect" else scores.get(name if side == "told" else "", scores[""])
            sums += share * np.array(_quality(said, true[name], product))
        found[side] = {"accuracy": sums[0], "uplift": sums[1] / sums[2] - 1}
    return found


def _quality(said: np.ndarray, true: np.ndarray, product: np.ndarray) -> tuple[float, float, float]:
    """Share of pairs of a product in the right order; mean true CTR of its best by `said`, and of all its ads."""
    right = pairs = 0.0
    best, average = [], []
    for one in range(product.max() + 1):
        rows = np.flatnonzero(product == one)
        a, b = np.triu_indices(len(rows), 1)
        gap, truly = said[rows][a] - said[rows][b], true[rows][a] - true[rows][b]
        right += float(np.where(gap == 0, 0.5, (gap > 0) == (truly > 0)).sum())
        pairs += len(a)
        best.append(np.exp(true[rows[np.argmax(said[rows])]]))
        average.append(np.exp(true[rows]).mean())
    return right / pairs, float(np.mean(best)), float(np.mean(average))


def _heading(rows: list[dict[str, Any]]) -> list[str]:
    seconds = np.median([row["cpu_seconds"] for row in rows])
    worlds = f"{len(rows)} worlds of {rows[0]['world']} to {rows[-1]['world']}"
    return [f"{worlds}; {seconds:.0f} CPU-seconds a world (median).", ""]


def table_of_writers(rows: list[dict[str, Any]]) -> str:
    """Mean true CTR over worlds, as uplift over the pre-trained writer, with intervals, as Markdown."""
    draws = ClusterBootstrap.draw([str(row["world"]) for row in rows], rng=np.random.default_rng(0))
    lines = [
        *_heading(rows),
        "| writer | true CTR in the segments, % above the pre-trained writer |",
        "| --- | --- |",
    ]
    uplift = {side: np.array([100 * (row["ctr"][side] / row["ctr"]["pre-trained"] - 1) for row in rows])
              for side in ("everybody", "audiences")}  # fmt: skip
    for name, values in (
        ("optimized for everybody", uplift["everybody"]),
        ("optimized for audiences, told which", uplift["audiences"]),
        ("difference", uplift["audiences"] - uplift["everybody"]),
    ):
        found = draws.mean(values)
        lines.append(f"| {name} | {found.value:+.1f} [{found.low:+.1f}, {found.high:+.1f}] |")
    return "\n".join(lines) + "\n"


def table(rows: list[dict[str, Any]]) -> str:
    """Means over worlds with intervals, told the audience, not told, and the difference, as Markdown."""
    draws = ClusterBootstrap.draw([str(row["world"]) for row in rows], rng=np.random.default_rng(0))

    def shown(values: list[float], scale: float) -> str:
        found = draws.mean(np.array(values) * scale)
        return f"{found.value:+.1f} [{found.low:+.1f}, {found.high:+.1f}]"

    lines = [
        *_heading(rows),
        "| mean over worlds | told the audience | not told | difference |",
        "| --- | --- | --- | --- |",
    ]
    for name, (key, scale) in FIGURES.items():
        if key == "oracle":
            lines.append(f"| {name} | {shown([row['perfect']['uplift'] for row in rows], scale)} | | |")
            continue
        told, blind = ([row[side][key] for row in rows] for side in ("told", "not told"))
        gaps = [one - other for one, other in zip(told, blind, strict=True)]
        lines.append(f"| {name} | {shown(told, scale)} | {shown(blind, scale)} | {shown(gaps, scale)} |")
    gains = [1_000 * row["gain"]["value"] for row in rows if row["gain"]]
    more = sum(row["told"]["uplift"] > row["not told"]["uplift"] for row in rows)
    lines.append("")
    lines.append(
        f"The ads chosen earn more when it is told in {more} of {len(rows)} worlds. Clicks on held-out products are "
        f"likelier by {np.mean(gains):.1f} nats per 1,000, in the mean."
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
