"""Train a reward model of the form that the settings name."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import TypeVar

from clickscape.compute.device import ALONE, Processes
from clickscape.config import RewardConfig
from clickscape.reward import effects_model, two_branch_training
from clickscape.reward.data import RewardData
from clickscape.reward.encoders import open_backbone
from clickscape.reward.protocol import RewardModel, Step
from clickscape.vlm import slots as named_slots
from clickscape.vlm.model import find_checkpoint

Trainer = Callable[..., Generator[Step, None, RewardModel]]

FORMS: Mapping[str, Trainer] = {"effects": effects_model.train, "two_branch": two_branch_training.train}
"""Setting `reward.form` → what trains it: (backbone, data, config=, slots=, named=) → steps and the model."""

SHARED = frozenset({"two_branch"})
"""Forms whose training several processes can share."""

_Made = TypeVar("_Made")


def train(
    data: RewardData,
    *,
    config: RewardConfig,
    source: Path | str,
    slots: Mapping[str, tuple[str, ...]],
    device: str = "cpu",
    processes: Processes = ALONE,
) -> Generator[Step, None, RewardModel]:
    """Train a model of form `config.form` on all of the data; yields steps, returns the model.

    source: folder or name of its backbone, and of what names slots beside it. slots: names of a scene's slots and their
    values. processes: those that share the work, all with the same arguments; only forms in `SHARED` know how.
    ModelError where a model of this form cannot learn from the data.
    """
    named = named_slots.read(find_checkpoint(source, allow_download=False)[0])
    backbone = open_backbone(source, device=device)
    shared = {"processes": processes} if config.form in SHARED else {}
    return (yield from FORMS[config.form](backbone, data, config=config, slots=slots, named=named, **shared))


def run(steps: Generator[Step, None, _Made]) -> _Made:
    """Return what a training returns, for callers who watch no steps."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            made: _Made = stop.value
            return made
