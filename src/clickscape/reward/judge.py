"""The judge: a second opinion of ads that never teaches, behind one verb whatever its architecture.

A judge is worth its name only if it errs elsewhere than the teacher. So it is of another form, and it learned from
products that the teacher never saw (`stages.judge` parts them).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from clickscape.reward import model as reward_model
from clickscape.reward import scenes as reward_scenes
from clickscape.reward.features import Slots
from clickscape.reward.model import RewardModel
from clickscape.types import Product


class Judge(Protocol):
    """Whatever judges ads by their pictures, by their scenes, or by both; only differences within a product count."""

    def judge(
        self, products: Sequence[Product], images: Sequence[np.ndarray], scenes: Sequence[Slots], /
    ) -> np.ndarray:
        """(ad,) logits."""
        ...


class PictureJudge:
    """A reward model of another form than the teacher's; scenes are nothing to it."""

    def __init__(self, model: RewardModel) -> None:
        self.model = model

    def judge(
        self, products: Sequence[Product], images: Sequence[np.ndarray], _scenes: Sequence[Slots], /
    ) -> np.ndarray:
        """(ad,) logits, one number per image."""
        return self.model.score(products, images)


def load(folder: Path, *, device: str = "cpu") -> Judge:
    """Open models/judge, whichever form it has; ModelError for anything missing or damaged."""
    folder = Path(folder)
    if (folder / reward_scenes.FILE).exists():
        return reward_scenes.load(folder)
    return PictureJudge(reward_model.load(folder, device=device))
