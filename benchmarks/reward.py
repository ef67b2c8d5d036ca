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
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from _results import append_row
from _reward_tables import HEADER, pool_runs, table
from clickscape import clicks as click_room
from clickscape import vlm
from clickscape.clicks.pairs import to_pairs
from clickscape.config import ClicksConfig, RewardConfig
from clickscape.demo import SCALES, prepare
from clickscape.render.scene import SLOTS
from clickscape.reward import evaluate as evaluation
from clickscape.reward import model as reward_model
from clickscape.reward.data import RewardData
from clickscape.reward.features import concatenate, extract
from clickscape.reward.heads import Features
from clickscape.reward.train import train
from clickscape.stages import split, truth
from clickscape.stages.progress import run
from clickscape.stages.reward import named_slots, reward_data, writer_source
from clickscape.stats.accuracy import pair_agreement
from clickscape.types import CreativePair, Product
from clickscape.workspace import Workspace, atomic_file

FEW = 2_500
"""Pairs for the comparison with the pair form, which passes the backbone once per pair and order."""

Change = Callable[[RewardData], RewardData]


@dataclass(frozen=True)
class Variant:
    """One model to train: what of the standard one is different, and whom it is compared with (the standard one)."""

    name: str
    reward: Mapping[str, Any] = field(default_factory=dict)
    clicks: Mapping[str, Any] | None = None
    training: Change = lambda data: data
    text: bool = True
    slots: bool = True
    given_names: bool = True
    last_token: bool | None = None
    from_pairs: bool = False
    against: str = ""


def _hard(data: RewardData) -> RewardData:
    """The same pairs and weights, with certainty in place of probabilities."""
    return replace(data, pairs=[replace(pair, preference=float(pair.preference > 0.5)) for pair in data.pairs])


def _few(data: RewardData) -> RewardData:
    kept = np.random.default_rng(0).permutation(len(data.pairs))[:FEW]
    return replace(data, pairs=[data.pairs[int(place)] for place in sorted(kept)])


STANDARD = "standard: single form, effects from clicks"
PAIRS = "effects from pairs alone, soft labels"
SINGLE, PAIR = f"single form, {FEW:,} pairs", f"pair form, {FEW:,} pairs"
NO_LAST_TOKEN = f"{PAIR}, 24 epochs, no last token"
VARIANTS = (
    Variant(STANDARD),
    Variant("given scenes", {"scene": "given"}),
    Variant("without the product's text", text=False),
    Variant(PAIRS, from_pairs=True),
    Variant("given scenes, effects from pairs", {"scene": "given"}, from_pairs=True, against=PAIRS),
    Variant("without the regression loss", {"regression_weight": 0.0}, from_pairs=True, against=PAIRS),
    Variant("without the pair loss (regression only)", {"classification_weight": 0.0}, from_pairs=True, against=PAIRS),
    Variant("without names of the scene's slots", {"slot_weight": 0.0}, from_pairs=True, slots=False, against=PAIRS),
    Variant("hard labels on the same pairs", from_pairs=True, training=_hard, against=PAIRS),
    Variant("the paper's filter (hard, 5–20 %, > 1,000)", from_pairs=True, clicks={"labels": "paper"}, against=PAIRS),
    Variant("without correction of positions", from_pairs=True, clicks={"position_correction": False}, against=PAIRS),
    Variant("Beta prior in place of the learned one", from_pairs=True, clicks={"shrinkage": "beta"}, against=PAIRS),
    Variant(SINGLE, from_pairs=True, training=_few, against=PAIRS),
    Variant(PAIR, {"form": "pair", "epochs": 12}, training=_few, against=SINGLE),
    Variant(f"{PAIR}, 24 epochs", {"form": "pair"}, training=_few, against=SINGLE),
    Variant(NO_LAST_TOKEN, {"form": "pair"}, training=_few, last_token=False, against=SINGLE),
    Variant(f"{NO_LAST_TOKEN}, names learned from the log", {"form": "pair"}, training=_few,
            last_token=False, given_names=False, against=SINGLE),
    Variant(f"{SINGLE}, names learned from the log", from_pairs=True, training=_few, given_names=False, against=SINGLE),
)  # fmt: skip


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
        parts.append(table(world, row, standard=STANDARD, naming=(SINGLE, NO_LAST_TOKEN)))
        print(parts[-1])
    if asked.page:
        asked.page.write_text(HEADER + "\n".join(parts), encoding="utf-8")


def measure(out: Path, world: Any, seed: int, scale: str) -> dict[str, Any]:
    """All variants of one world and seed; what is done already is read."""
    folder = out / f"{world}-{seed}"
    workspace = run(prepare(folder, world=world, seed=seed, scale=SCALES[scale], workers=1), on_progress=lambda _: None)
    held = split.read(workspace, workspace.products())
    everything = reward_data(workspace, held)
    everything = replace(everything, images=[everything.image(at) for at in range(len(everything.creative_ids))])
    seen: list[Features] = []  # looked at once, by the first variant that is not done yet
    found: dict[str, Any] = {}
    for variant in VARIANTS:
        path = folder / "variants" / f"{VARIANTS.index(variant)}.json"
        if not path.exists():
            started = time.process_time()
            result = _measure(
                workspace, variant, everything, seen, config=SCALES[scale].reward.model_copy(update={"seed": seed})
            )
            result["cpu_seconds"] = time.process_time() - started
            path.parent.mkdir(exist_ok=True)
            with atomic_file(path) as temporary:
                temporary.write_text(json.dumps(result), encoding="utf-8")
            print(f"{world} {seed}: {variant.name}, {result['cpu_seconds']:.0f} CPU-s", flush=True)
        found[variant.name] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _measure(
    workspace: Workspace, variant: Variant, everything: RewardData, seen: list[Features], *, config: RewardConfig
) -> dict[str, Any]:
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
    config = config.model_copy(update=dict(variant.reward))
    model = reward_model.build(
        vlm.load(writer_source(workspace)).vlm,
        form=config.form,
        slots=SLOTS if variant.slots else None,
        departments=[product.department for product in held.training(products)] if variant.text else (),
        products=held.training(products) if variant.text else (),
        named=named_slots(writer_source(workspace)) if variant.slots and variant.given_names else None,
        last_token=variant.last_token,
        given_scenes=config.scene == "given",
        seed=config.seed,
    )
    features = _features(model, everything, seen, learning=learning) if config.form == "single" else None
    for _ in train(model, learning, config=config, rng=np.random.default_rng(config.seed), features=features):
        pass
    known = truth.read(workspace)
    assert known is not None
    log_ctr = np.array([known[name] for name in testing.creative_ids])
    result: dict[str, Any] = {"pairs": len(learning.informative)}
    if variant.name == STANDARD:
        judged = evaluation.evaluate(
            model, testing, rng=np.random.default_rng(config.seed + 1), true_log_ctr=log_ctr, training=learning
        )
        result["report"] = json.loads(json.dumps(asdict(judged)))
    odds, left_share, names = _odds(model, testing, features)
    result |= {"cells": _cells(odds, testing, log_ctr), "left_share": left_share, "names": names}
    result["temperature"] = float(model.heads.temperature)
    return result


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


def _features(
    model: reward_model.RewardModel, everything: RewardData, seen: list[Features], *, learning: RewardData
) -> Features:
    """Of every creative as one variant is told its product: the pictures and scenes are the same for all variants."""
    count = len(everything.creative_ids)
    if not seen:
        scenes = everything.slots or [None] * count
        with torch.inference_mode():
            seen += [
                extract(
                    model.backbone,
                    [everything.product(at) for at in range(start, min(start + 256, count))],
                    [(everything.image(at),) for at in range(start, min(start + 256, count))],
                    scenes=[(scene,) for scene in scenes[start : start + 256]],
                    prices=model.prices, departments=(), slots=SLOTS, last_token=False,
                )
                for start in range(0, count, 256)
            ]  # fmt: skip
    return model.replace_product_features(
        concatenate(seen), [learning.products[name] for name in everything.product_of]
    )


def _odds(
    model: reward_model.RewardModel, data: RewardData, features: Features | None
) -> tuple[np.ndarray, float | None, dict[str, float]]:
    """Log-odds of every pair, (pair,), how often the pair form takes the left picture in a single order, and names."""
    places = data.pair_indices
    if features is not None:
        scores = model.logits(features).mean(0)[:, 0]
        own = torch.from_numpy(np.unique(places))
        return np.asarray(scores[places[:, 0]] - scores[places[:, 1]]), None, _names(model, [features.take(own)])
    odds, lefts, seen = [], [], []
    scenes = data.slots or [None] * len(data.creative_ids)
    for start in range(0, len(places), 128):
        chunk = places[start : start + 128]
        products, both = [data.product(first) for first, _ in chunk], []
        for order in (chunk, chunk[:, ::-1]):
            views = [(data.image(left), data.image(right)) for left, right in order]
            seen.append(model.features(products, views, [(scenes[left], scenes[right]) for left, right in order]))
            logits = model.logits(seen[-1]).mean(0)
            both.append(logits[:, 0] - logits[:, 1])
        odds.append((both[0] - both[1]) / 2)
        lefts += [pair_agreement(one, np.ones(len(chunk))) for one in both]
    return np.concatenate(odds), float(np.concatenate(lefts).mean()), _names(model, seen)


@torch.inference_mode()
def _names(model: reward_model.RewardModel, seen: Sequence[Features]) -> dict[str, float]:
    """Share of held-out pictures whose slots are named rightly, by slot; empty for heads without names."""
    right: dict[str, list[torch.Tensor]] = {}
    for features in seen if model.slots else ():
        parts = model.heads.predict_slots(features).slots.split(model.heads.shape.groups, dim=-1)
        for place, (slot, part) in enumerate(zip(model.slots, parts, strict=True)):
            noted = features.scene[..., place]
            right.setdefault(slot, []).append((part.argmax(-1) == noted)[noted >= 0])
    return {slot: float(torch.cat(own).float().mean()) for slot, own in right.items()}


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
