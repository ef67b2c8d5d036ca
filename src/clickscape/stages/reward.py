"""Stage `reward`: train the reward model on the workspace's pairs and judge it on held-out products.

By setting, a judge of another form learns from products that are kept from the reward model (`stages.judge`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from clickscape import clicks as click_room
from clickscape.catalog.images import open_image
from clickscape.clicks.split_half import split_half
from clickscape.compute.device import best_device
from clickscape.config import OptimizeConfig, RewardConfig
from clickscape.errors import WorkspaceError
from clickscape.render.studio.scene import SLOTS, Scene
from clickscape.reward import evaluate as evaluation
from clickscape.reward import model as reward_model
from clickscape.reward import train as training
from clickscape.reward.data import RewardData
from clickscape.reward.encoders import open_backbone
from clickscape.stages import judge, split, truth
from clickscape.stages.progress import Progress, Stage
from clickscape.stages.served import shown
from clickscape.types import Creative, Estimate
from clickscape.vlm import model as vlm_model
from clickscape.vlm import slots
from clickscape.vlm.slots import NamedSlots
from clickscape.workspace import Manifest, Workspace, fingerprint_of

STAGE = "reward"


def reward(workspace: Workspace, config: RewardConfig) -> Stage[Manifest]:
    """Train, save models/reward (and models/judge), and evaluate; returns the run's manifest. A finished run is reused.

    ConfigError for a judge of the reward model's own form.
    """
    judge.check(config)
    source = backbone_source(workspace, config)
    inputs = {
        "products": workspace.products_path,
        "creatives": shown(workspace),
        "pairs": click_room.pairs_path(workspace),
        "backbone": source,
    }
    if done := workspace.finished(STAGE, fingerprint_of(STAGE, config, inputs)):
        yield Progress(STAGE, 1, 1, "reused")
        return done
    with workspace.start_run(STAGE, config, inputs) as run:
        yield Progress(STAGE, 0, 1, "reading creatives")
        products = workspace.products()
        held = split.read(workspace, products)
        everything = reward_data(workspace, held)
        kept = judge.groups(held, products, config)
        taught = [product for product in held.training(products) if held.groups[product.product_id] not in kept]
        learning = everything.only({product.product_id for product in taught})
        testing = everything.only({product.product_id for product in held.testing(products)})
        model = reward_model.build(
            open_backbone(source, device=best_device()),
            form=config.form,
            slots=SLOTS,
            departments=[product.department for product in taught],
            products=taught,
            named=named_slots(source) if config.trainable == "head" else None,
            given_scenes=config.scene == "given",
            seed=config.seed,
        )
        rng = np.random.default_rng(config.seed)
        paired = {pair.product_id for pair in learning.informative}
        share = 1 - config.validation_share
        total = config.epochs * math.ceil(share * len(paired) / config.products_per_batch)
        yield Progress(STAGE, 0, total, "looking at creatives")
        for step in training.train(model, learning, config=config, rng=rng):
            run.log(asdict(step))
            yield Progress(STAGE, min(step.number, total), total, f"loss {step.loss:.3f}")
        judge.remove(workspace)  # the old one may have learned from what this model was taught
        model.save(workspace.models / "reward")
        second = yield from judge.train(workspace, everything, groups=kept, config=config, source=source)
        yield Progress(STAGE, total, total, "judging held-out products")
        known = truth.read(workspace)
        true_log_ctr = None if known is None else np.array([_number(known.get(name)) for name in testing.creative_ids])
        judged = evaluation.evaluate(
            model,
            testing,
            rng=np.random.default_rng(config.seed + 1),
            true_log_ctr=true_log_ctr,
            split_half=None if known is not None else _split_half(workspace, testing, seed=config.seed),
            training=learning,
        )
        result = {**json.loads(json.dumps(asdict(judged))), "summary": summary(judged)}
        outputs = [workspace.models / "reward"]
        if second is not None:
            watching = judge.evaluate(second, testing, true_log_ctr=true_log_ctr, seed=config.seed)
            result["judge"] = json.loads(json.dumps(asdict(watching)))
            result["summary"] += judge.summary(watching, groups=kept, config=config)
            outputs.append(workspace.models / judge.NAME)
        return run.finish(outputs=outputs, result=result)


def _split_half(workspace: Workspace, data: RewardData, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Log-CTRs of every creative from two halves of its clicks: the ceiling where nobody knows the truth."""
    estimates = click_room.read_estimates(workspace)
    names = estimates["creative_id"].to_pylist()
    found = [
        dict(zip(names, half.tolist(), strict=True))
        for half in split_half(estimates, rng=np.random.default_rng(seed + 2))
    ]
    one, other = (np.array([_number(half.get(name)) for name in data.creative_ids]) for half in found)
    return one, other


def writer_source(workspace: Workspace) -> Path | str:
    """Folder of the workspace's own pre-trained prompt model, or the name of the shipped one."""
    own = workspace.models / "pretrained"
    return own if own.exists() else "tiny"


def start_source(workspace: Workspace, config: OptimizeConfig) -> Path | str:
    """Folder or name of what an optimization starts from: what the settings say, or else the workspace's writer."""
    return _named(config.start) if config.start else writer_source(workspace)


def backbone_source(workspace: Workspace, config: RewardConfig) -> Path | str:
    """Folder or name of what the reward model stands on: what the settings say, or else the workspace's writer."""
    return _named(config.backbone) if config.backbone else writer_source(workspace)


def _named(name: str) -> Path | str:
    """A folder where there is one of that name: its content is what counts, then."""
    folder = Path(name)
    return folder if folder.is_dir() else name


def named_slots(source: Path | str) -> NamedSlots | None:
    """What names slots beside the weights of a backbone; None where nothing does."""
    return slots.read(vlm_model.find(source, allow_download=False)[0])


def reward_data(workspace: Workspace, held: split.Split) -> RewardData:
    """The workspace's creatives, their estimates and pairs, as a reward model wants them; pictures are read lazily."""
    products = {product.product_id: product for product in workspace.products()}
    creatives = workspace.creatives()
    if not creatives:
        raise WorkspaceError(f"{workspace.path} has no creatives. Add some, or try `clickscape simulate`.")
    estimates = click_room.read_estimates(workspace)
    names = estimates["creative_id"].to_pylist()

    def column(name: str) -> np.ndarray:
        known = dict(zip(names, estimates[name].to_pylist(), strict=True))
        return np.array([_number(known.get(creative.creative_id)) for creative in creatives])

    return RewardData(
        products=products,
        creative_ids=[creative.creative_id for creative in creatives],
        product_of=[creative.product_id for creative in creatives],
        images=lambda index: open_image(creatives[index].image)[..., :3],
        pairs=click_room.read_pairs(workspace),
        log_ctr=column("log_ctr"),
        clicks=column("clicks"),
        examinations=column("examinations"),
        slots=[slots_of(creative) for creative in creatives],
        groups=held.groups,
    )


def slots_of(creative: Creative) -> Mapping[str, str | None] | None:
    """The slots of a creative's scene; None when nobody noted a scene."""
    return Scene.from_json(json.dumps(dict(creative.scene))).slots if creative.scene else None


def summary(judged: evaluation.RewardReport) -> list[str]:
    """The evaluation in lines for people: every accuracy with its interval, beside its ceiling and its baselines."""
    lines = [f"held out: {judged.pairs} pairs of {judged.products} products ({judged.clusters} groups)"]
    rows: list[tuple[str, Estimate | None]] = [
        ("pair accuracy", judged.accuracy),
        (f"noise ceiling ({judged.ceiling_source})", judged.ceiling),
        ("normalized accuracy", judged.normalized_accuracy),
        ("accuracy on the true order", judged.true_accuracy),
        *judged.baselines.items(),
        ("calibration error", judged.calibration),
        ("NDCG within products", judged.ndcg),
        ("CTR lost by its first choice", judged.regret),
        ("CTR lost by a random choice", judged.random_regret),
    ]
    lines += [
        f"{name:34s} {value.value:.3f} [{value.low:.3f}, {value.high:.3f}]" for name, value in rows if value is not None
    ]
    for name, part in {**judged.parts, **judged.by_gap, **judged.evidence}.items():
        value, top = part.accuracy, part.ceiling
        known = "" if top is None else f" of {top.value:.3f}"
        lines.append(f"{name:34s} {value.value:.3f} [{value.low:.3f}, {value.high:.3f}]{known}, {part.pairs} pairs")
    return lines


def _number(value: float | None) -> float:
    return math.nan if value is None else value
