"""The scene-reading judge: effects of scene elements, in general and by department, learned from counts of clicks.

It shares nothing with the reward model but the likelihood: no pixel, no tower, no embedding, no gradient descent. What
misleads the reward model's picture features, it does not see; what only a picture shows (contrast, clutter), it cannot
know.

    log CTR(product, scene) = product + Σ over slots (effect in general + effect in the product's department)
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import FiniteFloat

from clickscape.errors import DeprecatedWarning, ModelError
from clickscape.json_files import parse_json, read_json, write_json
from clickscape.reward.data import RewardData
from clickscape.reward.protocol import Slots
from clickscape.reward.scene_elements import element_effects
from clickscape.types import Product

_REMEDY = "Train the judge again."
VERSION = 2
FILE = "scenes.json"
_OLD_KEYS = {"main": "overall", "own": "by_department"}  # version 1, of release 0.1, in logits

SlotEffects = Mapping[str, Mapping[str, FiniteFloat]]
"""Slot → value → effect on log CTR."""


@dataclass(frozen=True)
class SceneJudge:
    """Effects on log CTR, of values everywhere and in a department on top; a value that it never saw has effect 0."""

    overall: SlotEffects
    by_department: Mapping[str, SlotEffects]

    def score(
        self, products: Sequence[Product], _images: Sequence[np.ndarray], scenes: Sequence[Slots], /
    ) -> np.ndarray:
        """Return log CTRs from the scenes alone, (scene,); only differences within one product mean something."""
        return np.array(
            [
                _sum(self.overall, scene) + _sum(self.by_department.get(product.department, {}), scene)
                for product, scene in zip(products, scenes, strict=True)
            ]
        )

    def save(self, folder: Path) -> None:
        """Write scenes.json into a folder, whole or not at all."""
        values = {"version": VERSION, "overall": self.overall, "by_department": self.by_department}
        write_json(folder / FILE, values)


def fit(data: RewardData) -> SceneJudge:
    """Learn from the clicks of creatives whose scenes are known; ModelError when there are none."""
    found = element_effects(data)
    if not found:
        raise ModelError(
            "no two creatives of a product with clicks and known scenes, so a judge that reads scenes has nothing to "
            "learn from. Keep the scenes of the creatives, or choose judge = 'pair'."
        )
    overall: dict[str, dict[str, float]] = {}
    by_department: dict[str, dict[str, dict[str, float]]] = {}
    for (department, slot, value), effect in found.items():
        table = overall if department is None else by_department.setdefault(department, {})
        table.setdefault(slot, {})[value] = effect
    return SceneJudge(overall, by_department)


def load(folder: Path) -> SceneJudge:
    """Open what `SceneJudge.save` wrote; ModelError for anything missing, damaged or of another kind."""
    file = Path(folder) / FILE
    try:
        values = read_json(file, dict[str, Any], error=ModelError, remedy=_REMEDY)
    except FileNotFoundError:
        raise ModelError(f"{file}: no judge here. Train one with `clickscape reward --judge scene`.") from None
    version = values.pop("version", None)
    if version not in (1, VERSION):
        raise ModelError(f"{file}: version {version!r}, this release reads {VERSION}. {_REMEDY}")
    text = json.dumps({_OLD_KEYS.get(name, name): value for name, value in values.items()})
    judge = parse_json(text, SceneJudge, where=str(file), error=ModelError, remedy=_REMEDY)
    if version == 1:
        said = (
            f"{file}: version 1 of release 0.1 is read until the next release. Run `clickscape reward --judge scene`."
        )
        warnings.warn(said, DeprecatedWarning, stacklevel=2)
    return judge


def _sum(table: SlotEffects, scene: Slots) -> float:
    return sum(table.get(slot, {}).get(value, 0.0) for slot, value in scene.items() if value is not None)
