"""The demo: the whole loop on the sample catalog with simulated clicks, from feed to report.

Every stage is the one that a shop's workspace uses; only the catalog and the shoppers are made up.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from clickscape.catalog import sample
from clickscape.catalog.split import Split
from clickscape.config import ClicksConfig, OptimizeConfig, RewardConfig, SimulateConfig
from clickscape.json_files import read_json
from clickscape.stages import split
from clickscape.stages.clicks import clicks
from clickscape.stages.compare import compare
from clickscape.stages.progress import Progress, Stage
from clickscape.stages.report import TIMINGS, report
from clickscape.stages.reward import reward
from clickscape.stages.simulate import simulate
from clickscape.stages.variants import train_variants
from clickscape.types import Product
from clickscape.workspace import Manifest, Workspace, write_text

Result = TypeVar("Result")
CUTOUT_SIDE = 400
"""Pixels of the longer side of the sample cut-outs."""

POLICIES = {"preference-only": "preference_only", "product-centric": "product_centric"}


BRIEF = OptimizeConfig(rounds=3, pairs_per_product=1, unparsed_share=1.0)
"""Half of the rounds that a shop optimizes for, and a third of the pairs."""


@dataclass(frozen=True)
class Scale:
    """How large a demo is: `full` fits into eight minutes of two idle cores, `long` optimizes as shops do."""

    variants: tuple[str, ...] = sample.VARIANTS
    learning_creatives: int = 5
    testing_creatives: int = 4
    descriptions: int = 3
    reward: RewardConfig = field(default_factory=RewardConfig)
    optimize: OptimizeConfig = BRIEF


SCALES: dict[str, Scale] = {
    "full": Scale(),
    "long": Scale(optimize=OptimizeConfig()),
    "small": Scale(
        variants=sample.VARIANTS[:2],
        learning_creatives=3,
        testing_creatives=3,
        descriptions=2,
        reward=RewardConfig(),
        optimize=BRIEF.model_copy(update={"rounds": 1, "products_per_round": 48, "candidates": 3, "epochs": 1}),
    ),
}


@dataclass(frozen=True, slots=True)
class DemoResult:
    """Path of the report, and its headline as lines of text."""

    report: Path
    summary: tuple[str, ...]


def prepare(
    out: Path, *, world: Literal["harmony", "siren"], seed: int, scale: Scale, workers: int
) -> Stage[Workspace]:
    """The workspace `out` with the sample catalog, a simulated log and what the clicks say; nothing is learned yet."""
    workspace = Workspace.create(out, exist_ok=True)
    clock = _Clock(workspace)
    products = yield from clock.timed("catalog", _catalog(workspace, scale))
    fewer = {p.product_id: scale.testing_creatives for p in products if sample.is_held_out(p.product_id)}
    shown = SimulateConfig(world=world, creatives_per_product=scale.learning_creatives, seed=seed)
    yield from clock.timed("simulate", simulate(workspace, shown, workers=workers, fewer=fewer))
    yield from clock.timed("clicks", clicks(workspace, ClicksConfig()))
    return workspace


def demo(out: Path, *, world: Literal["harmony", "siren"], seed: int, scale: Scale, workers: int) -> Stage[DemoResult]:
    """Run every stage in the workspace `out` and write its report; a killed demo goes on where it stopped."""
    workspace = yield from prepare(out, world=world, seed=seed, scale=scale, workers=workers)
    clock = _Clock(workspace)
    evaluated = yield from clock.timed("reward", reward(workspace, scale.reward.model_copy(update={"seed": seed})))
    configs = {
        name: scale.optimize.model_copy(update={"objective": objective, "seed": seed})
        for name, objective in POLICIES.items()
    }
    yield from clock.timed("variants", train_variants(workspace, configs, workers=workers))
    compared = yield from clock.timed(
        "compare",
        compare(
            workspace,
            {name: workspace.models / name for name in POLICIES},
            truth=world,
            descriptions=scale.descriptions,
            seed=seed,
            workers=workers,
        ),
    )
    page = report(workspace)
    return DemoResult(page, _summary(evaluated, compared))


def _catalog(workspace: Workspace, scale: Scale) -> Stage[list[Product]]:
    """Write the sample catalog into the workspace, split by object."""
    wanted = [p.product_id for p in sample.products() if p.product_id.endswith(tuple(f"-{v}" for v in scale.variants))]
    inputs = {"products": wanted, "side": CUTOUT_SIDE}
    if workspace.finished("catalog", None, inputs):
        yield Progress("catalog", 1, 1, "reused")
        return workspace.products()
    with workspace.start_run("catalog", None, inputs) as run:
        products: list[Product] = []
        for product in sample.write_each(workspace.catalog, CUTOUT_SIDE, product_ids=wanted):
            products.append(product)
            if len(products) % 16 == 0:
                yield Progress("catalog", len(products), len(wanted), "painting products")
        workspace.write_products(products)
        groups = {product.product_id: sample.object_of(product.product_id).object_id for product in products}
        held_out = frozenset(item.object_id for item in sample.objects() if item.held_out)
        split.write(workspace, Split(groups, held_out))
        run.finish(outputs=[workspace.products_path])
    return workspace.products()


class _Clock:
    """Wall and CPU seconds (children included) of every stage, kept in the workspace for the report."""

    def __init__(self, workspace: Workspace) -> None:
        self.path = workspace.runs_folder / TIMINGS
        self.seconds: dict[str, dict[str, float]] = {}
        if self.path.exists():
            self.seconds = read_json(self.path, dict[str, dict[str, float]], remedy="Delete it.")

    def timed(self, name: str, stage: Stage[Result]) -> Stage[Result]:
        """The same stage; what a reused one cost is known from the run that made it."""
        wall, processor = time.monotonic(), _processor_seconds()
        reused = False
        while True:
            try:
                progress = next(stage)
            except StopIteration as stop:
                result: Result = stop.value
                break
            reused = progress.note == "reused"
            yield progress
        if not reused:
            self.seconds[name] = {"wall": time.monotonic() - wall, "cpu": _processor_seconds() - processor}
            write_text(self.path, json.dumps(self.seconds))
        return result


def _processor_seconds() -> float:
    return sum(os.times()[:4])


def _summary(evaluated: Manifest, compared: Manifest) -> tuple[str, ...]:
    lines = [
        *evaluated.result["summary"],
        "held-out products, true CTR of simulated clicks against the pre-trained model:",
    ]
    for name, row in compared.result["rows"].items():
        lift, match = row["uplift"], row["matching_share"]
        lines.append(
            f"{name:44s} {lift['value']:+7.1%} [{lift['low']:+.1%}, {lift['high']:+.1%}]  "
            f"matching {match['value']:.0%}  parsed {row['parse_rate']['value']:.0%}"
        )
    return tuple(lines)
