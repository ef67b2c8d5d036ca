"""Additive models of the scene: the rival that ignores the product, and the best scene of a category.

Both are ridge regressions on the slots, within products (or departments), so that products of different CTR are alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from clickscape.reward.data import RewardData

RIDGE = 3.0


def scene_only(training: RewardData, data: RewardData) -> np.ndarray:
    """The rival that knows the true scene and ignores the product: ridge on the slots. Scores, (creative,)."""
    if training.slots is None or data.slots is None or training.log_ctr is None:
        raise ValueError("the scene-only baseline needs the scenes of both sets and the log-CTRs of the training set")
    columns = _columns(training.slots)
    kept = np.isfinite(training.log_ctr)
    design = _one_hot(training.slots, columns)[kept]
    products = np.asarray(training.product_of)[kept]
    weights = _ridge(_centered(design, products), _centered(np.asarray(training.log_ctr)[kept], products))
    return _one_hot(data.slots, columns) @ weights


def best_scene_per_category(
    scores: np.ndarray,
    slots: Sequence[Mapping[str, str | None]],
    departments: Sequence[str],
    *,
    products: Sequence[str] | None = None,
) -> dict[str, dict[str, str | None]]:
    """The scene that scores best in every department: what a shop gets that optimizes categories instead of products.

    scores, slots, departments: one entry per creative. An additive model of the slots is fitted to the scores within
    each product (``products``; within the department when None), and its best scene is taken, among the combinations
    of slots that scenes really have (a scene without a wall has no palette).
    """
    groups = np.asarray(products if products is not None else departments)
    names = np.asarray(departments)
    columns = _columns(slots)
    patterns: dict[tuple[bool, ...], dict[str, set[str | None]]] = {}
    for scene in slots:
        allowed = patterns.setdefault(tuple(value is None for value in scene.values()), {slot: set() for slot in scene})
        for slot, value in scene.items():
            allowed[slot].add(value)
    best: dict[str, dict[str, str | None]] = {}
    for name in sorted(set(departments)):
        own = names == name
        design = _one_hot([scene for scene, mine in zip(slots, own, strict=True) if mine], columns)
        wanted = _centered(np.asarray(scores, dtype=np.float64)[own], groups[own])
        weights = _ridge(_centered(design, groups[own]), wanted)
        worth = {column: float(weights[place]) for column, place in columns.items()}
        candidates = [
            {slot: max(sorted(values, key=str), key=lambda value, slot=slot: worth[slot, value])  # type: ignore[misc]
             for slot, values in allowed.items()}
            for allowed in patterns.values()
        ]  # fmt: skip
        best[name] = max(candidates, key=lambda scene: sum(worth[item] for item in scene.items()))
    return best


def _columns(slots: Sequence[Mapping[str, str | None] | None]) -> dict[tuple[str, str | None], int]:
    found = sorted({item for scene in slots if scene for item in scene.items()}, key=str)
    return {item: place for place, item in enumerate(found)}


def _one_hot(
    slots: Sequence[Mapping[str, str | None] | None], columns: Mapping[tuple[str, str | None], int]
) -> np.ndarray:
    """(creative, column); values that are not among the columns are left out."""
    design = np.zeros((len(slots), len(columns)))
    for row, scene in enumerate(slots):
        for item in (scene or {}).items():
            if item in columns:
                design[row, columns[item]] = 1.0
    return design


def _centered(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Values minus the mean of their group."""
    number = np.unique(groups, return_inverse=True)[1]
    table = values.reshape(len(values), -1)
    sums = np.zeros((number.max() + 1, table.shape[1]))
    np.add.at(sums, number, table)
    means = sums / np.bincount(number)[:, None]
    return np.asarray((table - means[number]).reshape(values.shape))


def _ridge(design: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return np.asarray(np.linalg.solve(design.T @ design + RIDGE * np.eye(design.shape[1]), design.T @ wanted))
