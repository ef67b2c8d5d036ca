"""How well a scene suits a kind of product, as the shipped prompt model learned it in pre-training.

One description tells little of what its model believes: a third of what `tiny` read was badly chosen, and only setting
and prop depend on the product. Averaged over hundreds of products of a department its settings and props do tell, so
`scripts/pretrain_tiny.py` counts them once and keeps the counts beside the weights.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from clickscape.errors import ModelError
from clickscape.files import write_text
from clickscape.json_files import read_json
from clickscape.render.scene import NO_PROP, Scene
from clickscape.vlm.shipped import TINY_FOLDER

FILE = "department_fit.json"
SLOTS = ("setting", "prop")
"""What the product decides; everything else of a scene follows its setting."""

_PRIOR = 20.0  # pseudo-observations of the average department: what is rare there is no evidence here
_Counts = dict[str, dict[str, dict[str, int]]]


@dataclass(frozen=True, eq=False)
class DepartmentFit:
    """Counts of what the model chose: department → slot → value → descriptions. At least two departments."""

    counts: Mapping[str, Mapping[str, Mapping[str, int]]]

    @classmethod
    def of(cls, scenes: Iterable[tuple[str, Scene]]) -> DepartmentFit:
        """Count the scenes of descriptions, each with the department of its product."""
        counts: dict[str, dict[str, Counter[str]]] = {}
        for department, scene in scenes:
            own = counts.setdefault(department, {slot: Counter() for slot in SLOTS})
            for slot in SLOTS:
                own[slot].update(_values(scene, slot))
        return cls({name: {slot: dict(own[slot]) for slot in SLOTS} for name, own in sorted(counts.items())})

    def lift(self, scene: Scene, slot: str) -> Float64[np.ndarray, " department"]:
        """log p(what the scene shows | department) − log p(it), nats, shrunk towards 0: (department,).

        Of two props, the one that suits less; 0 for what the model never wrote.
        """
        unknown = np.zeros(len(self.counts))
        return np.asarray(np.min([self._lifts[slot].get(value, unknown) for value in _values(scene, slot)], axis=0))

    @cached_property
    def _lifts(self) -> dict[str, dict[str, Float64[np.ndarray, " department"]]]:
        """Slot → value → log-lift in every department."""
        lifts: dict[str, dict[str, np.ndarray]] = {}
        for slot in SLOTS:
            rows = [own[slot] for own in self.counts.values()]
            totals = np.array([sum(row.values()) for row in rows], float)
            lifts[slot] = {}
            for value in sorted({name for row in rows for name in row}):
                hits = np.array([row.get(value, 0) for row in rows], float)
                average = hits.sum() / totals.sum()
                lifts[slot][value] = np.log((hits + _PRIOR * average) / (totals + _PRIOR)) - math.log(average)
        return lifts

    def likely(self, scenes: Sequence[Scene], *, department: str = "") -> Float64[np.ndarray, " department"]:
        """Probability of each department, (department,): certain where it is named, else from what the model wrote.

        The model reads a title that we cannot: the scenes that it chose for a product say where it would put it.
        """
        if department in self.counts:
            return np.array([float(name == department) for name in self.counts])
        told = np.zeros(len(self.counts))
        for scene in scenes:
            told += self.lift(scene, "setting") + self.lift(scene, "prop")
        odds = np.exp(told - told.max())
        return np.asarray(odds / odds.sum())

    def write(self, folder: Path) -> None:
        """Write the counts into a model's folder."""
        write_text(folder / FILE, json.dumps(self.counts, indent=1, sort_keys=True) + "\n")


@lru_cache(maxsize=1)
def shipped() -> DepartmentFit:
    """Read the counts of the shipped model; ModelError for a damaged file."""
    found = read_json(TINY_FOLDER / FILE, _Counts, error=ModelError, remedy="Install clickscape again.")
    return DepartmentFit(found)


def _values(scene: Scene, slot: str) -> tuple[str, ...]:
    if slot == "prop":
        return scene.props or (NO_PROP,)
    return (str(scene.slots[slot]),)
