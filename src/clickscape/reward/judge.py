"""The judge: a second reward model that no prompt model learns from, behind one method whatever its form.

A judge is worth its name only if it errs elsewhere than the reward model. So it is of another form, and it learned from
products that the reward model never saw (`data.divide_for_judge`).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from clickscape.config import RewardConfig
from clickscape.errors import ConfigError
from clickscape.reward import model as reward_model
from clickscape.reward import scene_judge
from clickscape.reward import train as training
from clickscape.reward.data import RewardData
from clickscape.reward.encoders import open_backbone
from clickscape.reward.features import Slots
from clickscape.reward.model import RewardModel
from clickscape.reward.scene_judge import SceneJudge
from clickscape.types import Product


class Judge(Protocol):
    """Protocol of a judge: scores ads by image, scene or both; only differences within a product are meaningful."""

    def score(
        self, products: Sequence[Product], images: Sequence[np.ndarray], scenes: Sequence[Slots], /
    ) -> np.ndarray:
        """Return one number per ad, (ad,)."""
        ...


def check_form(config: RewardConfig) -> None:
    """Raise ConfigError where reward model and judge would be of one form."""
    if config.judge == config.form:
        raise ConfigError(
            f"reward.judge: {config.judge!r} is the form of the reward model itself, and would err where it errs. "
            "Choose judge = 'scene', or another form than the reward model's."
        )


def train(
    data: RewardData, *, config: RewardConfig, source: Path | str, slots: Mapping[str, tuple[str, ...]], device: str
) -> Generator[training.Step, None, SceneJudge | RewardModel]:
    """Train a judge of form `config.judge` on all of the data; yields steps of descent, returns the judge.

    source: backbone of a judge that reads pictures. ModelError where one of this form cannot learn from the data.
    """
    if config.judge == "scene":
        return scene_judge.fit(data)
    assert config.judge != "none"
    products = [data.products[name] for name in sorted({pair.product_id for pair in data.pairs})]
    model = reward_model.build(
        open_backbone(source, device=device),
        form=config.judge,
        slots=slots,
        departments=[product.department for product in products],
        products=products,
        seed=config.seed + 1,
    )
    settings = config.model_copy(update={"form": config.judge})
    yield from training.train(model, data, config=settings, rng=np.random.default_rng([config.seed, 1]))
    return model


def predictor(judge: SceneJudge | RewardModel, data: RewardData) -> RewardModel | np.ndarray:
    """Return what `evaluate` takes: the model of a judge that reads pictures, else its scores of all creatives."""
    if isinstance(judge, RewardModel):
        return judge
    products = [data.product(index) for index in range(len(data.creative_ids))]
    scenes = [scene or {} for scene in data.slots or [{}] * len(products)]
    return judge.score(products, [], scenes)


def load(folder: Path, *, device: str = "cpu") -> Judge:
    """Open models/judge, whichever form it has; ModelError for anything missing or damaged."""
    folder = Path(folder)
    if (folder / scene_judge.FILE).exists():
        return scene_judge.load(folder)
    return reward_model.load(folder, device=device)
