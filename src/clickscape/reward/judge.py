"""The judge: a second reward model that never teaches, behind one verb whatever its architecture.

A judge is worth its name only if it errs elsewhere than the teacher. So it is of another form, and it learned from
products that the teacher never saw (`stages.judge` parts them).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from clickscape.reward import model as reward_model
from clickscape.reward import scene_judge
from clickscape.reward.features import Slots
from clickscape.reward.model import RewardModel
from clickscape.types import Product


class Judge(Protocol):
    """A second opinion of ads, by their pictures, scenes or both; only differences within a product count."""

    def score(
        self, products: Sequence[Product], images: Sequence[np.ndarray], scenes: Sequence[Slots], /
    ) -> np.ndarray:
        """Return one number per ad, (ad,)."""
        ...


class PictureJudge:
    """A reward model of another form than the teacher's; it ignores scenes."""

    def __init__(self, model: RewardModel) -> None:
        self.model = model

    def score(
        self, products: Sequence[Product], images: Sequence[np.ndarray], _scenes: Sequence[Slots], /
    ) -> np.ndarray:
        """Return the model's score of every image, (ad,) logits."""
        return self.model.score(products, images)


def load(folder: Path, *, device: str = "cpu") -> Judge:
    """Open models/judge, whichever form it has; ModelError for anything missing or damaged."""
    folder = Path(folder)
    if (folder / scene_judge.FILE).exists():
        return scene_judge.load(folder)
    return PictureJudge(reward_model.load(folder, device=device))
