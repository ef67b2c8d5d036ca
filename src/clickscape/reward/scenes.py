"""A judge that reads: what every element of a scene is worth in every department, learned from pairs of clicks.

It shares nothing with the reward model that teaches: no pixel, no tower, no embedding, no gradient descent. What the
teacher's eye can be talked into, this one does not see; what only a picture shows (contrast, clutter), it cannot know.

    P(first better) = σ(s(first) − s(second)),   s(product, scene) = Σ over slots (main + department's own)

A Bradley–Terry model with soft labels (Bradley & Terry 1952), fitted by Newton's method; how strongly both parts are
held to zero is chosen on objects that the fit does not see.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import expit

from clickscape.errors import ModelError
from clickscape.reward.data import RewardData, pair_weights, split
from clickscape.reward.features import Slots
from clickscape.types import Product
from clickscape.workspace.files import atomic_file

VERSION = 1
FILE = "scenes.json"
RIDGES = tuple((main, own) for main in (0.3, 1.0, 3.0) for own in (0.3, 1.0, 3.0, 10.0))
"""Strengths of the ridge on the main and on the departments' own worths, in units of one product's pairs."""

_STEPS, _TOLERANCE = 50, 1e-8

Worths = Mapping[str, Mapping[str, float]]
"""Slot → value → worth in logits."""


@dataclass(frozen=True)
class SceneJudge:
    """Worths in logits, of values everywhere and in a department on top; what it never saw is worth 0."""

    main: Worths
    own: Mapping[str, Worths]

    def score(self, products: Sequence[Product], scenes: Sequence[Slots]) -> np.ndarray:
        """Logits, (scene,) float64; only differences within one product mean something."""
        return np.array(
            [
                _worth(self.main, scene) + _worth(self.own.get(product.department, {}), scene)
                for product, scene in zip(products, scenes, strict=True)
            ]
        )

    def judge(
        self, products: Sequence[Product], _images: Sequence[np.ndarray], scenes: Sequence[Slots], /
    ) -> np.ndarray:
        """As `score`: pictures are nothing to a judge that reads."""
        return self.score(products, scenes)

    def save(self, folder: Path) -> None:
        """Write scenes.json into a folder, whole or not at all."""
        with atomic_file(folder / FILE) as waiting:
            text = json.dumps({"version": VERSION, "main": self.main, "own": self.own}, indent=1)
            waiting.write_text(text + "\n", encoding="utf-8")


def fit(data: RewardData, *, validation_share: float, rng: np.random.Generator) -> SceneJudge:
    """Learn from the pairs whose two scenes are known; ModelError when there are none."""
    if data.slots is None or not any(_known(data, data.places)):
        raise ModelError(
            "no pair of creatives with two known scenes, so a judge that reads scenes has nothing to learn from. "
            "Note the scenes of the creatives, or choose judge = 'pair'."
        )
    seen, held = split(data, share=validation_share, rng=rng)
    ridge = RIDGES[len(RIDGES) // 2]
    if held is not None and any(_known(held, held.places)):
        ridge = min(RIDGES, key=lambda strengths: _loss(_fit(seen, strengths), held))
    return _fit(data, ridge)


def load(folder: Path) -> SceneJudge:
    """Open what `SceneJudge.save` wrote; ModelError for anything missing, damaged or of another kind."""
    file = Path(folder) / FILE
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if values["version"] != VERSION:
            raise ModelError(f"{file}: version {values['version']!r}, this release reads {VERSION}. Train it again.")
        own = {str(name): _read(worths) for name, worths in values["own"].items()}
        return SceneJudge(_read(values["main"]), own)
    except FileNotFoundError:
        raise ModelError(f"{file}: no judge here. Train one with `clickscape reward --judge scene`.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{file}: damaged ({error}). Train the judge again.") from None


def _fit(data: RewardData, ridge: tuple[float, float]) -> SceneJudge:
    """Newton's method on the soft-label logistic loss + ½ · ridge · worth²; convex, so where it starts is no matter."""
    assert data.slots is not None
    known = _known(data, data.places)
    places, pairs = data.places[known], [pair for pair, kept in zip(data.informative, known, strict=True) if kept]
    weight, wanted = pair_weights(pairs), np.array([pair.preference for pair in pairs])
    columns: dict[tuple[str | None, str, str], int] = {}
    rows, numbers, signs = [], [], []
    for row, two in enumerate(places):
        for place, sign in zip(two, (1.0, -1.0), strict=True):
            for slot, value in (data.slots[place] or {}).items():
                for where in (None, data.product(place).department):
                    if value is not None:
                        rows.append(row)
                        numbers.append(columns.setdefault((where, slot, value), len(columns)))
                        signs.append(sign)
    design = np.zeros((len(places), len(columns)))
    np.add.at(design, (rows, numbers), signs)
    held = np.array([ridge[0] if where is None else ridge[1] for where, _, _ in columns])
    worth = np.zeros(len(columns))
    for _ in range(_STEPS):
        chance = expit(design @ worth)
        slope = design.T @ (weight * (chance - wanted)) + held * worth
        curve = (design * (weight * chance * (1 - chance))[:, None]).T @ design
        step = np.linalg.solve(curve + np.diag(held), slope)
        worth = worth - step
        if np.abs(step).max() < _TOLERANCE:
            break
    main: dict[str, dict[str, float]] = {}
    own: dict[str, dict[str, dict[str, float]]] = {}
    for (where, slot, value), column in columns.items():
        table = main if where is None else own.setdefault(where, {})
        table.setdefault(slot, {})[value] = float(worth[column])
    return SceneJudge(main, own)


def _loss(judge: SceneJudge, data: RewardData) -> float:
    """Soft-label cross-entropy on pairs of other objects, nats."""
    assert data.slots is not None
    known = _known(data, data.places)
    pairs = [pair for pair, kept in zip(data.informative, known, strict=True) if kept]
    gap = np.array(
        [
            judge.score([data.product(first)] * 2, [data.slots[first] or {}, data.slots[second] or {}])
            for first, second in data.places[known]
        ]
    )
    gap = gap[:, 0] - gap[:, 1]
    wanted = np.array([pair.preference for pair in pairs])
    each = np.logaddexp(0, gap) - wanted * gap
    return float((pair_weights(pairs) * each).sum() / pair_weights(pairs).sum())


def _known(data: RewardData, places: np.ndarray) -> np.ndarray:
    """Which pairs have two known scenes, (pair,) bool."""
    assert data.slots is not None
    noted = np.array([scene is not None for scene in data.slots])
    return np.asarray(noted[places].all(1))


def _worth(table: Worths, scene: Slots) -> float:
    return sum(table.get(slot, {}).get(value, 0.0) for slot, value in scene.items() if value is not None)


def _read(worths: Worths) -> dict[str, dict[str, float]]:
    return {slot: {value: float(worth) for value, worth in table.items()} for slot, table in worths.items()}
