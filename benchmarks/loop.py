"""What does product-centric optimization win, over seeds and both worlds, against baselines?

Runs the stages of `clickscape demo` once per world and seed, each in a workspace of its own below --out, with every
asked objective as a variant of its own, and prints the comparison pooled over seeds: means, with 95 % intervals from a
bootstrap over seeds × objects. A killed run goes on where it stopped, and variants can be added later: what is finished
is not repeated. The judge is a reward model of scenes alone that learned from the clicks of the
held-out products themselves; it teaches nobody. What every run measured is kept in results/loop/, one file per scale,
world and seed, to which later variants are added; --table gets the table of all variants.

    python benchmarks/loop.py --out loop-runs --seeds 5
    python benchmarks/loop.py --out loop-long --scale long --variants ALL --seeds 5 --table docs/experiments/loop.md
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from _loop_tables import HEADER, pool, table
from clickscape.catalog import sample
from clickscape.config import OptimizeConfig
from clickscape.demo import SCALES, Scale, prepare
from clickscape.preference.diversity import self_bleu
from clickscape.render.scene import Scene
from clickscape.reward.scene_elements import element_effects
from clickscape.simulator.evaluation import TrueAd
from clickscape.stages import compare, split
from clickscape.stages.optimize import optimize
from clickscape.stages.progress import Progress, Stage, run
from clickscape.stages.reward import reward, reward_data
from clickscape.stages.variants import train_variants
from clickscape.workspace import Manifest, Workspace, atomic_file

RESULTS = Path(__file__).parent / "results" / "loop"

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "preference-only": {"objective": "preference_only"},
    "product-centric": {"objective": "product_centric"},
    "product-centric, no search": {"objective": "product_centric", "searched_share": 0.0},
    "margin-weighted, preference-only": {"objective": "preference_only", "preference": "margin_dpo"},
    "margin-weighted, product-centric": {"objective": "product_centric", "preference": "margin_dpo"},
    "preference-only, no anchor": {"objective": "preference_only", "anchor": "none"},
    "product-centric, no anchor (the paper's form)": {"objective": "product_centric", "anchor": "none"},
    "margin-weighted, product-centric, no anchor": {
        "objective": "product_centric", "preference": "margin_dpo", "anchor": "none"
    },
}  # fmt: skip

GATED = "product-centric, relevance gate"
"""The product-centric objective under the relevance gate (docs/experiments/relevance.md)."""

FIRST = ("preference-only", "product-centric")
Judge = Callable[[Sequence[TrueAd]], list[float]]
"""Gives the logits of ads."""

PEER = "GRPO (TRL)"
"""A row for models/grpo, where `benchmarks/grpo.py` has left one."""

ORDER = (compare.PRETRAINED, *VARIANTS, GATED, PEER, compare.CATEGORY, compare.ORACLE)

CHANGES: Mapping[str, tuple[str, str]] = {
    "the product term": ("product-centric", "preference-only"),
    "search over scenes": ("product-centric", "product-centric, no search"),
    "the product term, margin-weighted": ("margin-weighted, product-centric", "margin-weighted, preference-only"),
    "the product term, no anchor": ("product-centric, no anchor (the paper's form)", "preference-only, no anchor"),
    "the anchor, product-centric": ("product-centric", "product-centric, no anchor (the paper's form)"),
    "the anchor, preference-only": ("preference-only", "preference-only, no anchor"),
    "the anchor, margin-weighted": (
        "margin-weighted, product-centric", "margin-weighted, product-centric, no anchor"
    ),
    "the relevance gate": (GATED, "product-centric"),
    "GRPO in place of product-centric": (PEER, "product-centric"),
    "margin weights, product-centric": ("margin-weighted, product-centric", "product-centric"),
    "margin weights, preference-only": ("margin-weighted, preference-only", "preference-only"),
}  # fmt: skip
"""What the tables call a change, and the rows after and before it."""


def main() -> None:
    """Run, pool, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("loop-runs"), help="folder of the workspaces")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--worlds", nargs="+", default=["harmony", "siren"], choices=["harmony", "siren"])
    parser.add_argument("--scale", default="full", choices=sorted(SCALES))
    parser.add_argument(
        "--variants",
        nargs="+",
        default=list(FIRST),
        choices=["ALL", *VARIANTS, GATED],
        metavar="VARIANT",
        help="or ALL",
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--table", type=Path, help="also write the tables to this Markdown file")
    asked = parser.parse_args()
    chosen = [*VARIANTS, GATED] if "ALL" in asked.variants else asked.variants
    search = compare.BEST_OF.format(n=SCALES[asked.scale].descriptions)
    parts = []
    for world in asked.worlds:
        for seed in range(asked.seeds):
            folder = asked.out / f"{world}-{seed}"
            stages = one_run(
                folder, chosen, world=world, seed=seed, scale=SCALES[asked.scale], workers=asked.workers
            )  # fmt: skip
            run(stages, on_progress=_Lines(f"{world} seed {seed}"))
            keep(measured(Workspace.open(folder)), RESULTS / f"{asked.scale}-{world}-{seed}.json")
        kept = [json.loads(file.read_text()) for file in sorted(RESULTS.glob(f"{asked.scale}-{world}-*.json"))]
        parts.append(table(world, pool(kept, order=ORDER, search=search, changes=CHANGES), search=search))
        print(parts[-1])
    if asked.table:
        command = f"python benchmarks/loop.py --scale {asked.scale} --table {asked.table}"
        asked.table.write_text(HEADER.format(command=command) + "\n".join(parts), encoding="utf-8")


def one_run(
    folder: Path, chosen: Sequence[str], *, world: Literal["harmony", "siren"], seed: int, scale: Scale, workers: int
) -> Stage[Manifest]:
    """Every stage of one world and seed; returns the manifest of the comparison."""
    workspace = yield from prepare(folder, world=world, seed=seed, scale=scale, workers=workers)
    yield from reward(workspace, scale.reward.model_copy(update={"seed": seed}))
    policies = {name: workspace.models / _folder(name) for name in chosen}
    configs = {
        _folder(name): scale.optimize.model_copy(update={**VARIANTS[name], "seed": seed})
        for name in chosen
        if name != GATED
    }
    if set(FIRST) <= set(chosen):  # variants that are run together sample their first round together
        yield from train_variants(workspace, {name: configs.pop(name) for name in FIRST}, workers=workers)
    for name, config in configs.items():
        yield from train_variants(workspace, {name: config}, workers=workers)
    if GATED in chosen:
        yield from _gated(workspace, scale.optimize.model_copy(update={"seed": seed}), target=policies[GATED])
    if (workspace.models / "grpo").exists():
        policies[PEER] = workspace.models / "grpo"
    return (
        yield from compare.compare(
            workspace, policies, truth=world, descriptions=scale.descriptions, seed=seed, workers=workers
        )
    )


def _gated(workspace: Workspace, config: OptimizeConfig, *, target: Path) -> Stage[Manifest]:
    """One more variant, by `clickscape optimize` under a setting of the workspace that changes nothing else here."""
    if workspace.settings.relevance.use == "off":
        told = workspace.settings_path.read_text(encoding="utf-8")
        with atomic_file(workspace.settings_path) as waiting:
            waiting.write_text(told.replace("[relevance]\n", '[relevance]\nuse = "refuse"\n'), encoding="utf-8")
    assert workspace.settings.relevance.use == "refuse", workspace.settings_path
    return (yield from optimize(workspace, config, target=target, name=target.name))


def _folder(variant: str) -> str:
    return re.sub("[^a-z]+", "-", variant.lower()).strip("-")


def measured(workspace: Workspace) -> dict[str, Any]:
    """What one run found, ready for JSON: of every row of its newest comparison, and of its reward model."""
    compared, trained = workspace.newest(compare.STAGE), workspace.newest("reward")
    assert compared is not None
    assert trained is not None
    ads, judge, rewarded = compare.read_ads(compared[0]), _judge(workspace), trained[1].result
    rows = {
        name: {
            "cells": _cells(own, before=ads[compare.PRETRAINED], best=ads[compare.ORACLE], judge=judge).tolist(),
            "distinct scenes": len({ad.scene for ad in own}),
            "self-BLEU": _self_bleu(own),
        }
        for name, own in ads.items()
    }
    parts = {
        name: {key: part[key]["value"] for key in ("accuracy", "ceiling")}
        for name, part in rewarded["parts"].items()
        if part["ceiling"]
    }
    accuracy = {key: rewarded[key]["value"] for key in ("accuracy", "ceiling", "true_accuracy")}
    accuracy["share"] = (rewarded["normalized_accuracy"] or {"value": None})["value"]
    return {"at": datetime.now(UTC).isoformat(timespec="seconds"), "rows": rows, "reward": accuracy, "parts": parts}


def keep(found: dict[str, Any], file: Path) -> None:
    """Write what a run found; rows that an earlier one found and this one has not stay."""
    if file.exists():
        found["rows"] = {**json.loads(file.read_text())["rows"], **found["rows"]}
    file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(file) as waiting:
        waiting.write_text(json.dumps(_rounded(found)) + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    """The same with five digits: more than any of it means."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value


def _judge(workspace: Workspace) -> Judge:
    """The judge of a run: what learned from the scenes and clicks of its held-out products."""
    products = workspace.products()
    held = split.read(workspace, products)
    by_id = {product.product_id: product for product in held.testing(products)}
    own = reward_data(workspace, held).only(set(by_id))
    effects = element_effects(own)

    def log_ctr(ad: TrueAd) -> float:
        named = [(slot, value) for slot, value in Scene.from_json(ad.scene).slots.items() if value is not None]
        department = by_id[ad.product_id].department
        return sum(effects.get((where, *one), 0.0) for one in named for where in (None, department))

    return lambda ads: [log_ctr(ad) for ad in ads]


def _self_bleu(ads: Sequence[TrueAd]) -> float:
    shelves: dict[str, list[str]] = {}
    for ad in ads:
        shelves.setdefault(sample.object_of(ad.product_id).department, []).append(ad.description)
    return float(np.mean([self_bleu(texts) for texts in shelves.values() if len(texts) > 1]))


def _cells(after: Sequence[TrueAd], *, before: Sequence[TrueAd], best: Sequence[TrueAd], judge: Judge) -> np.ndarray:
    """Sums per object, objects in order: (object, 8).

    Products; CTR after, before and of the oracle; wins by the reward model and by the judge; matches; understood.
    """
    own, earlier, known = (_by_product(ads) for ads in (after, before, best))
    sums: dict[str, np.ndarray] = {}
    for product_id, ads in own.items():
        others = earlier[product_id]
        row = np.array(
            [
                1.0,
                *(np.mean([ad.relative_ctr for ad in some]) for some in (ads, others, known[product_id])),
                _wins([ad.reward for ad in ads], [ad.reward for ad in others]),
                _wins(judge(ads), judge(others)),
                np.mean([ad.matching for ad in ads]),
                np.mean([ad.parsed for ad in ads]),
            ]
        )
        key = sample.object_of(product_id).object_id
        sums[key] = sums.get(key, np.zeros(len(row))) + row
    return np.stack([sums[key] for key in sorted(sums)])


def _by_product(ads: Sequence[TrueAd]) -> dict[str, list[TrueAd]]:
    found: dict[str, list[TrueAd]] = {}
    for ad in ads:
        found.setdefault(ad.product_id, []).append(ad)
    return found


def _wins(own: Sequence[float], others: Sequence[float]) -> float:
    """How often one of the first beats one of the second; a tie is half of it."""
    gap = np.subtract.outer(np.array(own), np.array(others))
    return float(np.mean((gap > 0) + 0.5 * (gap == 0)))


class _Lines:
    """Prints a line when a stage begins."""

    def __init__(self, title: str) -> None:
        self.title, self.stage = title, ""

    def __call__(self, progress: Progress) -> None:
        if progress.stage != self.stage:
            self.stage = progress.stage
            print(f"{self.title}: {progress.stage} {progress.note}", flush=True)


if __name__ == "__main__":
    main()
