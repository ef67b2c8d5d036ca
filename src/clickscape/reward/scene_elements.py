"""Elements of scenes, one value of one slot each, as columns of a design: everywhere, and in each department."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from clickscape.reward.data import RewardData
from clickscape.reward.effects import ClickTable, Floats, Integers, fit_effects, without_folds

Element = tuple[str | None, str, str]
"""Department (None: all of them), slot and value."""


def element_columns(
    scenes: Sequence[Mapping[str, str | None]], departments: Sequence[str], *, by_department: bool = True
) -> dict[Element, int]:
    """Return a column for every value of every slot that the scenes show, and for it in each department.

    scenes, departments: (row,). by_department: with columns of departments. A slot that a scene lacks is no element.
    """
    found: dict[Element, None] = {}
    for scene, department in zip(scenes, departments, strict=True):
        for slot, value in scene.items():
            if value is not None:
                found.update(
                    dict.fromkeys([(None, slot, value), *([(department, slot, value)] if by_department else [])])
                )
    return {element: column for column, element in enumerate(sorted(found, key=str))}


def element_design(
    scenes: Sequence[Mapping[str, str | None]], departments: Sequence[str], columns: Mapping[Element, int]
) -> Callable[[Integers], Floats]:
    """Return the design of the elements' effects, rows → (row, column): 1 where a row shows the element."""
    shown = [
        [
            columns[element]
            for slot, value in scene.items()
            if value is not None
            for element in ((None, slot, value), (department, slot, value))
            if element in columns
        ]
        for scene, department in zip(scenes, departments, strict=True)
    ]
    index = np.full((len(shown), max(map(len, shown), default=0)), len(columns))  # one more column, for no element
    for row, numbers in enumerate(shown):
        index[row, : len(numbers)] = numbers

    def design(rows: Integers) -> Floats:
        found = np.zeros((len(rows), len(columns) + 1))
        np.put_along_axis(found, index[rows], 1.0, axis=1)
        return found[:, :-1]

    return design


def element_blocks(columns: Mapping[Element, int]) -> Integers:
    """Return the block of every column: each slot's elements everywhere, and each slot's in one department."""
    slots = sorted({slot for _, slot, _ in columns})
    blocks = np.zeros(len(columns), np.int64)
    for (department, slot, _), column in columns.items():
        blocks[column] = slots.index(slot) + (0 if department is None else len(slots))
    return blocks


def element_effects(data: RewardData, *, departments: bool = True) -> dict[Element, float]:
    """Return the effect of every element on log CTR, from the creatives whose scene and clicks are known.

    departments: with effects in each department on top of the general ones. Empty where no product has two such
    creatives and a click.
    """
    if data.slots is None or data.clicks is None or data.examinations is None:
        return {}
    scened = np.array([scene is not None for scene in data.slots])
    usable = np.flatnonzero(scened & np.isfinite(data.clicks) & (data.examinations > 0))
    owners = np.asarray(data.product_of)[usable]
    order = np.argsort(owners, kind="stable")
    rows, product = usable[order], np.unique(owners[order], return_inverse=True)[1]
    scenes = [data.slots[row] or {} for row in rows]
    where = [data.product(row).department for row in rows]
    columns = element_columns(scenes, where, by_department=departments)
    design = element_design(scenes, where, columns)
    table = ClickTable(design, product, data.clicks[rows], data.examinations[rows])
    if not len(table.informative):
        return {}
    effects = fit_effects(table, element_blocks(columns)).mode
    return {element: float(effects[column]) for element, column in columns.items()}


def scene_effects(
    scenes: Sequence[Mapping[str, str | None]],
    departments: Sequence[str],
    products: Sequence[str],
    *,
    clicks: Floats,
    examinations: Floats,
    fold: Integers,
) -> Floats:
    """Return what every creative's scene is expected to do to log CTR, without the clicks of each fold: (fold, row).

    scenes, departments, products: (row,). clicks, examinations: (row,), NaN for creatives to say something of without
    learning from them. fold: (row,) from 0, one for a product. 0 where no product has two known creatives and a click.
    """
    columns = element_columns(scenes, departments)
    design = element_design(scenes, departments, columns)
    known = np.flatnonzero(np.isfinite(clicks) & (examinations > 0))
    rows = known[np.argsort(np.asarray(products)[known], kind="stable")]
    owner = np.unique(np.asarray(products)[rows], return_inverse=True)[1]
    table = ClickTable(lambda some: design(rows[some]), owner, clicks[rows], examinations[rows])
    folds = int(fold.max()) + 1
    if not len(table.informative):
        return np.zeros((folds, len(scenes)))
    modes = without_folds(table, fit_effects(table, element_blocks(columns)), fold[rows], folds=folds)
    return np.asarray(modes @ design(np.arange(len(scenes))).T)
