"""The judge's part of stage `reward`: groups of products that are kept from the teacher, and a model of another form.

models/judge/groups.json names the groups; `optimize` leaves them out of its rounds and watches the policy on them.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clickscape.compute.device import best_device
from clickscape.config import RewardConfig
from clickscape.errors import ConfigError, ModelError
from clickscape.render.studio.scene import SLOTS
from clickscape.reward import evaluate as evaluation
from clickscape.reward import judge as reward_judge
from clickscape.reward import model as reward_model
from clickscape.reward import scene_judge
from clickscape.reward import train as training
from clickscape.reward.data import RewardData
from clickscape.reward.encoders import open_backbone
from clickscape.reward.evaluate import RewardReport
from clickscape.reward.judge import Judge, PictureJudge
from clickscape.reward.scene_judge import SceneJudge
from clickscape.stages.progress import Progress, Stage
from clickscape.stages.split import Split
from clickscape.types import Product
from clickscape.workspace import Workspace, atomic_file

NAME = "judge"
_GROUPS = "groups.json"


def check(config: RewardConfig) -> None:
    """ConfigError where teacher and judge would be of one form."""
    if config.judge == config.form:
        raise ConfigError(
            f"reward.judge: {config.judge!r} is the form of the reward model itself, and would err where it errs. "
            "Choose judge = 'scene', or another form than the reward model's."
        )


def groups(held: Split, products: Sequence[Product], config: RewardConfig) -> frozenset[str]:
    """The groups that only the judge learns from; none without a judge."""
    return frozenset() if config.judge == "none" else held.apart(products, share=config.judge_share)


def train(
    workspace: Workspace, data: RewardData, *, groups: frozenset[str], config: RewardConfig, source: Path | str
) -> Stage[Judge | None]:
    """Train the judge on its own groups alone and save models/judge; None without one."""
    if config.judge == "none":
        return None
    folder = workspace.models / NAME
    own = data.only({product_id for product_id in data.products if data.group(product_id) in groups})
    rng = np.random.default_rng([config.seed, 1])
    yield Progress(NAME, 0, 1, "learning from products of its own")
    judge: SceneJudge | PictureJudge
    if config.judge == "scene":
        judge = scene_judge.fit(own)
        judge.save(folder)
    else:
        asked = config.model_copy(update={"form": config.judge})
        products = [data.products[name] for name in sorted({pair.product_id for pair in own.pairs})]
        model = reward_model.build(
            open_backbone(source, device=best_device()),
            form=config.judge,
            slots=SLOTS,
            departments=[product.department for product in products],
            products=products,
            seed=config.seed + 1,
        )
        for step in training.train(model, own, config=asked, rng=rng):
            yield Progress(NAME, 0, 1, f"loss {step.loss:.3f}")
        model.save(folder)
        judge = PictureJudge(model)
    with atomic_file(folder / _GROUPS) as waiting:
        waiting.write_text(json.dumps(sorted(groups)) + "\n", encoding="utf-8")
    yield Progress(NAME, 1, 1)
    return judge


def load(workspace: Workspace, *, device: str = "cpu") -> tuple[Judge, frozenset[str]] | None:
    """The workspace's judge and its groups; None where it has none, ModelError where it is damaged."""
    folder = workspace.models / NAME
    if not folder.exists():
        return None
    try:
        names = frozenset(json.loads((folder / _GROUPS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ModelError(f"{folder / _GROUPS}: damaged ({error}). Run `clickscape reward --judge` again.") from None
    return reward_judge.load(folder, device=device), names


def remove(workspace: Workspace) -> None:
    """Take models/judge away at once, if it is there."""
    folder = workspace.models / NAME
    if folder.exists():
        waiting = Path(tempfile.mkdtemp(prefix=f".{NAME}-", dir=workspace.models))
        os.replace(folder, waiting / "old")
        shutil.rmtree(waiting)


def evaluate(judge: Judge, testing: RewardData, *, true_log_ctr: np.ndarray | None, seed: int) -> RewardReport:
    """The judge on the same held-out pairs as the teacher."""
    predictor: reward_model.RewardModel | np.ndarray
    if isinstance(judge, PictureJudge):
        predictor = judge.model
    else:
        assert isinstance(judge, SceneJudge)
        products = [testing.product(place) for place in range(len(testing.creative_ids))]
        scenes = [scene or {} for scene in testing.slots or [{}] * len(products)]
        predictor = judge.score(products, [], scenes)
    return evaluation.evaluate(
        predictor, testing, rng=np.random.default_rng(seed + 1), true_log_ctr=true_log_ctr, resamples=1000
    )


def summary(judged: RewardReport, *, groups: frozenset[str], config: RewardConfig) -> list[str]:
    """What is said of the judge beside the teacher's figures."""
    rows = [("judge, pair accuracy", judged.accuracy), ("judge, on the true order", judged.true_accuracy)]
    told = [f"{name:34s} {one.value:.3f} [{one.low:.3f}, {one.high:.3f}]" for name, one in rows if one is not None]
    return [f"judge: form {config.judge}, {len(groups)} groups that the reward model never sees", *told]
