"""What each element of a scene is worth in clicks, across the whole log: per department, and overall.

An element is one value of one slot ("light: golden hour"). Its credit is the CTR of creatives that show it over the
CTR of the same product's creatives with that slot as its department was shown it on average, everything else equal;
overall, it is the mean of that over where the element was shown. The model is that of `pooling`: elements that few
creatives show are drawn to what the log says of such elements elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.special import ndtri

from clickscape.clicks.cells import Floats
from clickscape.clicks.pooling import Pooled, Shown, pool
from clickscape.errors import LogError
from clickscape.types import Estimate

Scenes = Mapping[str, Mapping[str, str | None]]
"""creative_id → slot → value; None where the scene has no such slot."""


@dataclass(frozen=True, slots=True)
class Credit:
    """What one element is worth, in per cent of CTR against its slot's average; `department` None: the whole log.

    impressions, creatives: those that showed it.
    """

    department: str | None
    slot: str
    element: str
    percent: Estimate
    impressions: int
    creatives: int

    @property
    def enough(self) -> bool:
        """Whether the clicks tell the element from its slot's average: the interval does not span zero."""
        return not self.percent.low <= 0 <= self.percent.high

    @property
    def verdict(self) -> str:
        """What to make of it, in words."""
        if not self.enough:
            return "not enough evidence"
        return "earns clicks" if self.percent.value > 0 else "costs clicks"


@dataclass(frozen=True)
class ElementReport:
    """Every element's credit, best first within its department and slot, and what was learned of the log.

    overall_sd, department_sd: slot → standard deviation of the elements' effects on log CTR, in general and from one
    department to another. creative_sd: that of what the elements do not explain. used: creatives that could be compared
    with another of their product; left_out: all others.
    """

    credits: tuple[Credit, ...]
    overall_sd: Mapping[str, float]
    department_sd: Mapping[str, float]
    creative_sd: float
    used: int
    left_out: int

    def of(self, department: str | None) -> tuple[Credit, ...]:
        """The credits of one department, or of the whole log; LogError for one that is not there."""
        found = tuple(credit for credit in self.credits if credit.department == department)
        if not found:
            known = ", ".join(repr(name) for name in dict.fromkeys(c.department for c in self.credits) if name)
            raise LogError(f"no creative of category {department!r} tells elements apart. Name one of: {known}.")
        return found

    def lines(self, department: str | None) -> list[str]:
        """Return a table for people: one department's credits (None: the whole log's), slot by slot, best first."""
        lines: list[str] = []
        slot = ""
        for one in self.of(department):
            if one.slot != slot:
                slot = one.slot
                lines.append(f"{slot:<18} {'CTR, %':>7}  {'95 % interval':<16} {'impressions':>11} {'creatives':>9}")
            interval = f"[{one.percent.low:+z.1f}, {one.percent.high:+z.1f}]"
            counts = f"{one.impressions:>11,} {one.creatives:>9,}"
            lines.append(f"  {one.element:<16} {one.percent.value:>+z7.1f}  {interval:<16} {counts}  {one.verdict}")
        return [
            *lines,
            f"against the average of the slot; {self.used:,} creatives compared, {self.left_out:,} could not be",
            f"what elements do not explain of a creative: sd {self.creative_sd:.2f} of log CTR",
        ]

    def as_record(self) -> dict[str, Any]:
        """Everything as plain values for JSON."""
        rows = [{**asdict(credit), "verdict": credit.verdict} for credit in self.credits]
        return {**asdict(self), "credits": rows}


@dataclass(frozen=True, eq=False)
class _Table:
    """What was shown, with names: elements: (slot, value) by column; groups: departments by number."""

    shown: Shown
    impressions: Floats
    elements: tuple[tuple[str, str], ...]
    groups: tuple[str, ...]


def credit(
    estimates: pa.Table, *, scenes: Scenes, departments: Mapping[str, str], level: float = 0.95
) -> ElementReport:
    """Credit every element with the clicks of table `ctr.ESTIMATES`; departments: product_id → department.

    Intervals cover at `level` under the learned prior. LogError when no product has two examined creatives of
    different scenes and a click.
    """
    table = _lay_out(estimates, scenes, departments)
    pooled = pool(table.shown)
    seen = table.shown.elements[pooled.informative]
    if not np.any(seen.any(axis=0) & ~seen.all(axis=0)):
        raise LogError(
            f"{estimates.num_rows} creatives, and no product has two with clicks whose scenes differ: nothing tells "
            f"one element from another. Show products in several scenes, and run `clickscape clicks` again."
        )
    slots = list(dict.fromkeys(slot for slot, _ in table.elements))
    weights = _examined(table)
    found = list(_credits(table, pooled, weights, None, level=level))
    for number in range(len(table.groups)):
        only = np.zeros_like(weights)
        only[number] = weights[number]
        found += _credits(table, pooled, only, number, level=level)
    used = int(pooled.informative.sum())
    return ElementReport(
        credits=tuple(found),
        overall_sd=dict(zip(slots, pooled.overall_sd.tolist(), strict=True)),
        department_sd=dict(zip(slots, pooled.group_sd.tolist(), strict=True)),
        creative_sd=pooled.creative_sd,
        used=used,
        left_out=len(pooled.informative) - used,
    )


def _lay_out(estimates: pa.Table, scenes: Scenes, departments: Mapping[str, str]) -> _Table:
    """The creatives whose scene is known, as arrays."""
    rows = [row for row in estimates.to_pylist() if scenes.get(row["creative_id"])]
    elements = tuple(_elements(scenes[row["creative_id"]] for row in rows))
    column = {element: number for number, element in enumerate(elements)}
    slots = list(dict.fromkeys(slot for slot, _ in elements))
    design = np.zeros((len(rows), len(elements)))
    for number, row in enumerate(rows):
        for slot, value in scenes[row["creative_id"]].items():
            if value is not None:
                design[number, column[slot, value]] = 1
    products = sorted({row["product_id"] for row in rows})
    groups = tuple(sorted({departments.get(name, "") for name in products}))
    product = {name: number for number, name in enumerate(products)}
    group = {name: groups.index(departments.get(name, "")) for name in products}
    shown = Shown(
        clicks=np.array([row["clicks"] for row in rows], np.float64),
        examinations=np.array([row["examinations"] for row in rows], np.float64),
        product=np.array([product[row["product_id"]] for row in rows], np.int64),
        group=np.array([group[row["product_id"]] for row in rows], np.int64),
        elements=design,
        slot=np.array([slots.index(slot) for slot, _ in elements], np.int64),
    )
    return _Table(shown, np.array([row["impressions"] for row in rows], np.float64), elements, groups)


def _elements(scenes: Iterable[Mapping[str, str | None]]) -> list[tuple[str, str]]:
    """Every (slot, value) that is shown, slots in the order in which scenes name them."""
    found: dict[str, set[str]] = {}
    for scene in scenes:
        for slot, value in scene.items():
            if value is not None:
                found.setdefault(slot, set()).add(value)
    return [(slot, value) for slot, values in found.items() for value in sorted(values)]


def _examined(table: _Table) -> Floats:
    """Examinations of every element in every group, (group, element)."""
    weights = np.zeros((len(table.groups), len(table.elements)))
    np.add.at(weights, table.shown.group, table.shown.examinations[:, None] * table.shown.elements)
    return weights


def _credits(table: _Table, pooled: Pooled, weights: Floats, number: int | None, *, level: float) -> Sequence[Credit]:
    """Credits of one group, or over all (None), best first within their slot; weights: (group, element)."""
    here = slice(None) if number is None else table.shown.group == number
    creatives = table.shown.elements[here].sum(0)
    impressions = table.impressions[here] @ table.shown.elements[here]
    slot, total = table.shown.slot, weights.sum(0)
    same = slot[:, None] == slot
    share = weights / np.maximum(weights @ same, 1e-300)  # of a slot as the group was shown it
    own = weights / np.maximum(total, 1e-300)  # of an element, where it was shown
    sums = own.T[:, :, None] * (np.eye(len(slot))[:, None, :] - same[:, None, :] * share)
    mean, covariance = pooled.combine(sums)
    reach = ndtri(0.5 + level / 2) * np.sqrt(np.maximum(np.diag(covariance), 0))
    rows = sorted(np.flatnonzero((creatives > 0) & (total > 0)).tolist(), key=lambda row: (slot[row], -mean[row]))
    return [
        Credit(
            department=None if number is None else table.groups[number],
            slot=table.elements[row][0],
            element=table.elements[row][1],
            percent=_percent(float(mean[row]), float(reach[row]), level=level),
            impressions=int(impressions[row]),
            creatives=int(creatives[row]),
        )
        for row in rows
    ]


def _percent(effect: float, reach: float, *, level: float) -> Estimate:
    """An effect on log CTR as per cent of CTR."""
    value, low, high = (100 * math.expm1(one) for one in (effect, effect - reach, effect + reach))
    return Estimate(value, low, high, level)
