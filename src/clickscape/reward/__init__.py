"""Reward models: which of two advertising images of one product gets clicked more.

reward = clickscape.reward.load("models/reward")
ranking = reward.rank(product, images)          # list[Ranked(index, Estimate)], best first
function = clickscape.reward.trl_reward(reward, renderer, products)      # for TRL's GRPOTrainer
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clickscape.reward.protocol import RewardModel


def load(folder: str | Path, *, device: str = "cpu") -> RewardModel:
    """Open a reward model's checkpoint folder on a torch device.

    ModelError if it is missing, damaged or of another kind.
    """
    from clickscape.errors import ModelError
    from clickscape.json_files import read_json
    from clickscape.reward import caig, effects_model, two_branch

    loaders = {"effects": effects_model.load, "two_branch": two_branch.load, caig.FORM: caig.load}
    file = Path(folder) / "reward.json"
    try:
        settings = read_json(file, dict[str, Any], error=ModelError, remedy="Train the reward model again.")
    except FileNotFoundError:
        raise ModelError(f"{file}: no reward model here. Train one with `clickscape reward`.") from None
    loader = loaders.get(str(settings.get("form")))
    if loader is None:
        raise ModelError(f"{file}: form {settings.get('form')!r} of version {settings.get('version')!r} is of another "
                         f"release. Train the reward model again.")  # fmt: skip
    return loader(Path(folder), device=device)


def __getattr__(name: str) -> Any:
    if name == "trl_reward":  # loads the renderers
        from clickscape.reward.trl import trl_reward

        return trl_reward
    raise AttributeError(f"clickscape.reward has no attribute {name!r}; verbs: load, trl_reward")
