"""What makes a reward model rank?  Every loss, label and branch switched off in turn, over seeds and both worlds.

Prepares one simulated workspace per world and seed below --out (a killed run goes on where it stopped), trains every
variant on the same clicks and judges all on the same held-out products and pairs. Differences to the standard model are
paired; 95 % intervals come from a bootstrap over seeds × objects. Writes one JSON row per world to results/reward.jsonl
and the tables to --page.

    python benchmarks/reward.py --out reward-runs --seeds 5 --page docs/experiments/reward.md
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from _results import append_row
from _reward_tables import HEADER, pool_runs, table
from clickscape import clicks as click_room
from clickscape.clicks.pairs import to_pairs
from clickscape.config import ClicksConfig, RewardConfig
from clickscape.demo import SCALES, prepare
from clickscape.render.scene import SLOTS
from clickscape.reward import evaluate as evaluation
from clickscape.reward import training
from clickscape.reward.data import RewardData
from clickscape.stages import split, truth
from clickscape.stages.progress import run
from clickscape.stages.reward import reward_data, writer_source
from clickscape.stats.accuracy import pair_agreement
from clickscape.types import CreativePair, Product
from clickscape.workspace import Workspace, atomic_file

FEW = 2_500
"""Pairs for the comparison with two branches, which pass the backbone once per pair and order."""

Change = Callable[[RewardData], RewardData]


@dataclass(frozen=True)
class Variant:
    """One model to train: what of the standard one is different, and whom it is compared with (the standard one)."""

    name: str
    reward: Mapping[str, Any] = field(default_factory=dict)
    clicks: Mapping[str, Any] | None = None
    training: Change = lambda data: data
    text: bool = True
    from_pairs: bool = False
    against: str = ""


def _hard(data: RewardData) -> RewardData:
    """The same pairs and weights, with certainty in place of probabilities."""
    return replace(data, pairs=[replace(pair, preference=float(pair.preference > 0.5)) for pair in data.pairs])


def _few(data: RewardData) -> RewardData:
    kept = np.random.default_rng(0).permutation(len(data.pairs))[:FEW]
    return replace(data, pairs=[data.pairs[int(place)] for place in sorted(kept)])


STANDARD = "standard: effects from clicks"
PAIRS = "effects from pairs alone, soft labels"
SINGLE, TWO = f"effects, {FEW:,} pairs", f"two branches, {FEW:,} pairs"
VARIANTS = (
    Variant(STANDARD),
    Variant("given scenes", {"scene": "given"}),
    Variant("without the product's text", text=False),
    Variant(PAIRS, from_pairs=True),
    Variant("given scenes, effects from pairs", {"scene": "given"}, from_pairs=True, against=PAIRS),
    Variant("hard labels on the same pairs", from_pairs=True, training=_hard, against=PAIRS),
    Variant("the paper's filter (hard, 5–20 %, > 1,000)", from_pairs=True, clicks={"labels": "paper"}, against=PAIRS),
    Variant("without correction of positions", from_pairs=True, clicks={"position_correction": False}, against=PAIRS),
    Variant("Beta prior in place of the learned one", from_pairs=True, clicks={"shrinkage": "beta"}, against=PAIRS),
    Variant(SINGLE, from_pairs=True, training=_few, against=PAIRS),
    Variant(TWO, {"form": "two_branch"}, training=_few, against=SINGLE),
    Variant(f"{TWO}, LoRA", {"form": "two_branch", "trainable": "lora", "epochs": 3}, training=_few, against=SINGLE),
)


def main() -> None:
    """Prepare, train, judge, pool, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("reward-runs"), help="folder of the workspaces")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0, help="others than those that choices were made on")
    parser.add_argument("--worlds", nargs="+", default=["harmony", "siren"], choices=["harmony", "siren"])
    parser.add_argument("--scale", default="full", choices=sorted(SCALES))
    parser.add_argument("--workers", type=int, default=2, help="runs (world and seed) at once")
    parser.add_argument("--page", type=Path, help="also write the tables to this Markdown file")
    asked = parser.parse_args()
    seeds = range(asked.first_seed, asked.first_seed + asked.seeds)
    jobs = [(world, seed) for seed in seeds for world in asked.worlds]
    with ProcessPoolExecutor(asked.workers) as pool:
        waiting = [pool.submit(measure, asked.out, world, seed, asked.scale) for world, seed in jobs]
        runs = {job: one.result() for job, one in zip(jobs, waiting, strict=True)}
    parts = []
    for world in asked.worlds:
        row = pool_runs(
            [runs[world, seed] for seed in seeds],
            others={variant.name: variant.against or STANDARD for variant in VARIANTS},
            standard=STANDARD,
            rng=np.random.default_rng(0),
        )
        row |= {"world": world, "seeds": asked.seeds, "scale": asked.scale}
        append_row(row, by="reward")
        parts.append(table(world, row, standard=STANDARD))
        print(parts[-1])
    if asked.page:
        mark = "<!-- written by "  # what other benchmarks wrote stays
        _, found, others = asked.page.read_text(encoding="utf-8").partition(mark) if asked.page.exists() else ("",) * 3
        asked.page.write_text(HEADER + "\n".join(parts) + (f"\n{found}{others}" if found else ""), encoding="utf-8")


def measure(out: Path, world: Any, seed: int, scale: str) -> dict[str, Any]:
    """All variants of one world and seed; what is done already is read."""
    folder = out / f"{world}-{seed}"
    workspace = run(prepare(folder, world=world, seed=seed, scale=SCALES[scale], workers=1), on_progress=lambda _: None)
    held = split.read(workspace, workspace.products())
    everything = reward_data(workspace, held)
    everything = replace(everything, images=[everything.image(at) for at in range(len(everything.creative_ids))])
    found: dict[str, Any] = {}
    for variant in VARIANTS:
        path = folder / "variants" / f"{VARIANTS.index(variant)}.json"
        if not path.exists():
            started = time.process_time()
            config = SCALES[scale].reward.model_copy(update={"seed": seed, **variant.reward})
            result = _measure(workspace, variant, everything, config=config)
            result["cpu_seconds"] = time.process_time() - started
            path.parent.mkdir(exist_ok=True)
            with atomic_file(path) as temporary:
                temporary.write_text(json.dumps(result), encoding="utf-8")
            print(f"{world} {seed}: {variant.name}, {result['cpu_seconds']:.0f} CPU-s", flush=True)
        found[variant.name] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _measure(workspace: Workspace, variant: Variant, everything: RewardData, *, config: RewardConfig) -> dict[str, Any]:
    products = workspace.products()
    held = split.read(workspace, products)
    testing = everything.only({product.product_id for product in products if held.is_held_out(product.product_id)})
    learning = everything.only({product.product_id for product in held.training(products)})
    if variant.clicks is not None:
        learning = replace(learning, pairs=_pairs(workspace, variant.clicks, set(learning.products) - {
            product.product_id for product in products if held.is_held_out(product.product_id)}))  # fmt: skip
    learning = variant.training(learning)
    if variant.from_pairs:
        learning = replace(learning, clicks=None)
    if not variant.text:
        learning, testing = _speechless(learning), _speechless(testing)
    steps = training.train(learning, config=config, source=writer_source(workspace), slots=SLOTS)
    model = training.run(steps)
    known = truth.read(workspace)
    assert known is not None
    log_ctr = np.array([known[name] for name in testing.creative_ids])
    rng = np.random.default_rng(config.seed + 1)
    judged = evaluation.evaluate(model, testing, rng=rng, true_log_ctr=log_ctr, training=learning)
    odds, left_share, _ = evaluation.predict(model, testing, rng=rng)
    return {
        "pairs": len(learning.informative),
        "cells": _cells(odds.log_odds, testing, log_ctr),
        "left_share": left_share,
        "report": json.loads(json.dumps(asdict(judged))),
    }


def _pairs(workspace: Workspace, change: Mapping[str, Any], products: set[str]) -> list[CreativePair]:
    """The pairs of some products under other settings of the clicks; the workspace's own stay as they are."""
    from clickscape.stages.clicks import departments, read_log

    config = ClicksConfig(**change)
    counts = read_log(workspace, config=config).counts
    report = click_room.estimate(counts, config=config, categories=departments(workspace))
    return [pair for pair in to_pairs(report.pair_table) if pair.product_id in products]


def _speechless(data: RewardData) -> RewardData:
    """The same pictures of products that nobody describes."""
    plain = {name: Product(name, "product", image=product.image) for name, product in data.products.items()}
    return replace(data, products=plain)


CELLS = ("pairs", "right", "oracle right", "right on the true order")


def _cells(odds: np.ndarray, data: RewardData, log_ctr: np.ndarray) -> dict[str, list[float]]:
    """Sums per object, in the order of CELLS."""
    observed = np.array([pair.preference for pair in data.informative]) - 0.5
    true_gaps = log_ctr[data.pair_indices[:, 0]] - log_ctr[data.pair_indices[:, 1]]
    rows = np.stack([
        np.ones(len(odds)), pair_agreement(odds, observed),
        pair_agreement(true_gaps, observed), pair_agreement(odds, true_gaps),
    ], axis=1)  # fmt: skip
    cells: dict[str, np.ndarray] = {}
    for pair, row in zip(data.informative, rows, strict=True):
        group = data.group(pair.product_id)
        cells[group] = cells.get(group, np.zeros(len(CELLS))) + row
    return {group: cells[group].tolist() for group in sorted(cells)}


if __name__ == "__main__":
    main()
