"""Stage `compare`: pre-training, every objective, best of n and the best possible scene, on held-out products.

Every policy and baseline gets the same products and the same image seeds. Best of n renders as many images as a policy
writes descriptions; the oracle knows the world and shows how much there was to win.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from inspect import getsource
from pathlib import Path

import numpy as np

from clickscape import reward as reward_room
from clickscape import vlm
from clickscape.catalog.images import open_image
from clickscape.catalog.split import Split
from clickscape.compute.device import best_device
from clickscape.json_files import read_json_lines
from clickscape.preference.evaluate import Evaluation, evaluate
from clickscape.render.scene import Scene, slots_of
from clickscape.report.results import ORACLE, PRETRAINED
from clickscape.reward.baselines import best_scene_per_category
from clickscape.simulator import evaluation, worlds, writer
from clickscape.simulator.evaluation import TrueAd, TrueCtr
from clickscape.stages.progress import Progress, Stage
from clickscape.stages.reward import writer_source
from clickscape.stages.split import read as read_split
from clickscape.types import Product
from clickscape.workspace import Manifest, Workspace, fingerprint, write_text

STAGE = "compare"
VERSION = 2  # of ads.jsonl
ADS = "ads.jsonl"
BEST_OF = "best of {n} by the reward"
CATEGORY = "best scene per category"
SEARCHED = 1_500
"""Training creatives from which the reward model's best scene per category is read."""


def compare(
    workspace: Workspace,
    policies: Mapping[str, Path],
    *,
    truth: str | TrueCtr,
    descriptions: int = 4,
    size: int = 128,
    seed: int = 0,
    workers: int = 1,
) -> Stage[Manifest]:
    """Score every policy (name → checkpoint folder) and the baselines; the manifest's result holds one row for each.

    truth: name of a simulated world, whose best scenes are a row, too; or a function that says the true CTR of an ad
    (with several workers, one at the top of a module). The ads themselves go to ads.jsonl in the run's folder. A
    finished run with the same inputs is reused; a function is told by its name and source.
    """
    rewards = workspace.models / "reward"
    world = truth if isinstance(truth, str) else f"{truth.__qualname__} {fingerprint(getsource(truth))}"
    settings = {"version": VERSION, "world": world, "descriptions": descriptions, "size": size, "seed": seed}
    inputs = {"products": workspace.products_path, "reward": rewards, "writer": writer_source(workspace), **policies}
    if done := workspace.finished(STAGE, settings, inputs):
        yield Progress(STAGE, 1, 1, "reused")
        return done
    with workspace.start_run(STAGE, settings, inputs) as run:
        products = workspace.products()
        split = read_split(workspace, products)
        tested = split.testing(products)
        writers: dict[str, Path | str] = {PRETRAINED: writer_source(workspace), **policies}
        texts: dict[str, list[list[str]]] = {}
        for number, (name, source) in enumerate(writers.items()):
            yield Progress(STAGE, number, len(writers), f"{name} writes")
            texts[name] = vlm.load(source, device=best_device()).describe_all(tested, n=descriptions, seed=seed)
        yield Progress(STAGE, len(writers), len(writers), "searching scenes")
        rng = np.random.default_rng(seed)
        scenes = _category_scenes(workspace, split, rng=rng)
        fallback = Scene()
        texts[CATEGORY] = [[writer.describe(scenes.get(product.department, fallback), rng)] for product in tested]
        if isinstance(truth, str):
            shoppers = worlds.load(truth)
            texts[ORACLE] = [[writer.describe(shoppers.best_scene(product), rng)] for product in tested]

        ads: dict[str, list[list[TrueAd]]] = {name: [] for name in texts}
        jobs = [(name, it, each[number]) for number, it in enumerate(tested) for name, each in texts.items()]
        scored = evaluation.score_ads(  # all rows at once, product by product: each is opened and measured once
            [product for _, product, _ in jobs],
            [mine for _, _, mine in jobs],
            truth=truth, reward=rewards, size=size, seed=seed, workers=workers,
        )  # fmt: skip
        for number, ((name, _, _), found) in enumerate(zip(jobs, scored, strict=True)):
            ads[name].append(found)
            if number % 16 == 0:
                yield Progress(STAGE, number, len(jobs), "scoring ads")
        for name in writers:
            label = BEST_OF.format(n=descriptions)
            ads[label if name == PRETRAINED else f"{name}, {label}"] = [[_best(some)] for some in ads[name]]
        rows = _rows(ads, split, seed=seed)
        lines = [json.dumps({"row": name, **asdict(ad)}) for name in ads for some in ads[name] for ad in some]
        write_text(run.folder / ADS, "\n".join(lines) + "\n")
        yield Progress(STAGE, len(jobs), len(jobs))
        return run.finish(
            outputs=[run.folder / ADS],
            result={
                "rows": rows,
                "products": len(tested),
                "objects": len({split.groups[p.product_id] for p in tested}),
            },
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Line(TrueAd):
    """One ad and the row that it belongs to."""

    row: str


def read_ads(folder: Path) -> dict[str, list[TrueAd]]:
    """Read the ads that `compare` scored, by row."""
    found: dict[str, list[TrueAd]] = {}
    for line in read_json_lines(folder / ADS, _Line, remedy=f"Delete {folder} and compare again."):
        found.setdefault(line.row, []).append(TrueAd(*(getattr(line, part.name) for part in fields(TrueAd))))
    return found


def _rows(ads: Mapping[str, Sequence[Sequence[TrueAd]]], split: Split, *, seed: int) -> dict[str, dict[str, object]]:
    """One evaluation per row, against the pre-trained model."""
    measured = {name: evaluation.outcomes(row, cluster=split.groups.__getitem__) for name, row in ads.items()}
    rows: dict[str, Evaluation] = {
        name: evaluate(one, before=measured[PRETRAINED], rng=np.random.default_rng(seed))
        for name, one in measured.items()
    }
    return {name: asdict(row) for name, row in rows.items()}


def _best(ads: Sequence[TrueAd]) -> TrueAd:
    return max(ads, key=lambda ad: (ad.parsed, ad.reward))


def _category_scenes(workspace: Workspace, split: Split, *, rng: np.random.Generator) -> dict[str, Scene]:
    """Return the scene with the highest reward in each department, from training creatives alone."""
    by_id: dict[str, Product] = {product.product_id: product for product in workspace.products()}
    known = [one for one in workspace.creatives() if not split.is_held_out(one.product_id) and one.scene]
    chosen = [known[index] for index in sorted(rng.permutation(len(known))[:SEARCHED])]
    products = [by_id[one.product_id] for one in chosen]
    scores = (
        reward_room.load(workspace.models / "reward", device=best_device())
        .with_given_scenes()
        .score(products, [open_image(one.image)[..., :3] for one in chosen], [slots_of(one) for one in chosen])
    )
    best = best_scene_per_category(
        scores,
        [slots_of(one) or {} for one in chosen],
        [product.department for product in products],
        products=[product.product_id for product in products],
    )
    return {department: Scene.from_slots(slots) for department, slots in best.items()}
