"""The judge: a second reward model that no prompt model learns from, behind one method whatever its form.

A judge is worth its name only if it errs elsewhere than the reward model. So it is of another form, and it learned from
products that the reward model never saw (`data.divide_for_judge`).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from clickscape.compute.device import ALONE, Processes
from clickscape.config import RewardConfig
from clickscape.errors import ConfigError
from clickscape.reward import load as load_model
from clickscape.reward import neighbor_judge, training
from clickscape.reward.data import RewardData
from clickscape.reward.protocol import Slots, Step
from clickscape.types import Product


class Judge(Protocol):
    """Protocol of a judge: scores ads by image, scene or both; only differences within a product are meaningful."""

    def score(
        self, products: Sequence[Product], images: Sequence[np.ndarray], scenes: Sequence[Slots], /
    ) -> np.ndarray:
        """Return one number per ad, (ad,)."""
        ...

    def save(self, folder: Path) -> None:
        """Write everything that `load` needs."""
        ...


def check_form(config: RewardConfig) -> None:
    """Raise ConfigError where reward model and judge would be of one form."""
    if config.judge == config.form:
        raise ConfigError(
            f"reward.judge: {config.judge!r} is the form of the reward model itself, and would err where it errs. "
            "Choose judge = 'neighbors', or another form than the reward model's."
        )


def train(
    data: RewardData,
    *,
    config: RewardConfig,
    source: Path | str,
    slots: Mapping[str, tuple[str, ...]],
    device: str,
    processes: Processes = ALONE,
) -> Generator[Step, None, Judge]:
    """Train a judge of form `config.judge` on all of the data; yields steps, returns the judge.

    source: backbone of a judge that reads pictures. processes: as for `training.train`.
    ModelError where one of this form cannot learn from the data.
    """
    if config.judge == "neighbors":
        return neighbor_judge.fit(data)
    settings = config.model_copy(update={"form": config.judge, "seed": config.seed + 1})
    return (
        yield from training.train(data, config=settings, source=source, slots=slots, device=device, processes=processes)
    )


def scores(judge: Judge, data: RewardData) -> np.ndarray:
    """Return the judge's scores of the creatives that pairs compare, NaN for others, (creative,)."""
    found = np.full(len(data.creative_ids), np.nan)
    rows: dict[str, list[int]] = {}
    for place in np.unique(data.pair_indices).tolist():
        rows.setdefault(data.product_of[place], []).append(place)
    for own in rows.values():
        scenes = [{} if data.slots is None else data.slots[place] or {} for place in own]
        images = [data.image(place) for place in own]
        found[own] = judge.score([data.product(place) for place in own], images, scenes)
    return found


def load(folder: Path, *, device: str = "cpu") -> Judge:
    """Open models/judge, whichever form it has; ModelError for anything missing or damaged."""
    folder = Path(folder)
    if (folder / neighbor_judge.FILE).exists():
        return neighbor_judge.load(folder)
    return load_model(folder, device=device)
