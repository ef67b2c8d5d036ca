"""Reward models: which of two advertising images of one product gets clicked more.

reward = clickscape.reward.load("models/reward")
ranking = reward.rank(product, images)          # list[Ranked(index, Estimate)], best first
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clickscape.reward.model import RewardModel


def load(folder: str | Path, *, device: str = "cpu") -> RewardModel:
    """Open a reward model's checkpoint folder on a torch device.

    ModelError if it is missing, damaged or of another kind.
    """
    from clickscape.reward import caig, model

    opened = caig.load if caig.is_caig(Path(folder)) else model.load
    return opened(Path(folder), device=device)
