"""Baselines that know the scene: one that ignores the product, and the best scene of every category."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from clickscape.reward.data import RewardData
from clickscape.reward.effects import ClickTable, Effects, fit_effects
from clickscape.reward.scene_elements import Element, element_blocks, element_columns, element_design, element_effects

EXPECTED_CLICKS = 1_000.0
"""Clicks of an average creative from which the best scenes are read: so many that the prior hardly counts."""


def scene_only(training: RewardData, data: RewardData) -> np.ndarray | None:
    """Return scores (creative,) from the true scene alone, whatever the product; None without counts or scenes."""
    if data.slots is None or not (effects := element_effects(training, departments=False)):
        return None
    return np.array(
        [
            sum(effects.get((None, slot, value), 0.0) for slot, value in (scene or {}).items() if value is not None)
            for scene in data.slots
        ]
    )


def fit_scores(
    scores: Sequence[float] | np.ndarray,
    slots: Sequence[Mapping[str, str | None]],
    departments: Sequence[str],
    *,
    products: Sequence[str],
) -> tuple[dict[Element, int], Effects]:
    """Return the columns of scene elements, everywhere and by department, and their effects on a reward model's scores.

    scores (logits), slots, departments, products: one entry per creative. The effects are fitted to the clicks that the
    scores expect within each product.
    """
    order = np.argsort(np.asarray(products), kind="stable")
    product = np.unique(np.asarray(products)[order], return_inverse=True)[1]
    rate = np.exp(np.asarray(scores, dtype=np.float64)[order])
    clicks = EXPECTED_CLICKS * rate / (np.bincount(product, rate) / np.bincount(product))[product]
    columns = element_columns(slots, departments)
    design = element_design([slots[row] for row in order], [departments[row] for row in order], columns)
    table = ClickTable(design, product, clicks, np.ones(len(clicks)))
    return columns, fit_effects(table, element_blocks(columns))


def best_scene_per_category(
    scores: np.ndarray,
    slots: Sequence[Mapping[str, str | None]],
    departments: Sequence[str],
    *,
    products: Sequence[str],
) -> dict[str, dict[str, str | None]]:
    """Return the scene that a reward model scores best in every department: search by category, not by product.

    scores, slots, departments, products: one entry per creative, as of `fit_scores`. The best scene is taken among the
    combinations of slots that scenes really have (a scene without a wall has no palette).
    """
    columns, fitted = fit_scores(scores, slots, departments, products=products)
    effects = fitted.mode

    patterns: dict[tuple[bool, ...], dict[str, set[str | None]]] = {}
    for scene in slots:
        allowed = patterns.setdefault(tuple(value is None for value in scene.values()), {slot: set() for slot in scene})
        for slot, value in scene.items():
            allowed[slot].add(value)
    best: dict[str, dict[str, str | None]] = {}
    for department in sorted(set(departments)):

        def effect(slot: str, value: str | None, department: str = department) -> float:
            if value is None:
                return 0.0
            found = (columns.get((where, slot, value)) for where in (None, department))
            return sum(float(effects[column]) for column in found if column is not None)

        scenes = [
            {slot: max(sorted(values, key=str), key=lambda value, slot=slot: effect(slot, value))  # type: ignore[misc]
             for slot, values in allowed.items()}
            for allowed in patterns.values()
        ]  # fmt: skip
        best[department] = max(scenes, key=lambda scene: sum(effect(*item) for item in scene.items()))
    return best
