"""What the log says to show next: per department, the elements that earn and cost clicks, and an ad that has the best.

Only elements whose interval excludes the average of their slot are named; of a slot at most one on each side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from clickscape.reward.explain.elements import Credit, ElementReport, Scenes

MOST = 3
"""Elements named on each side: what one remembers."""


@dataclass(frozen=True, slots=True)
class Advice:
    """One department's elements, strongest first, and the creative whose scene the credits add up highest for."""

    department: str
    earns: tuple[Credit, ...]
    costs: tuple[Credit, ...]
    creative_id: str


def advise(report: ElementReport, *, scenes: Scenes, departments: Mapping[str, str]) -> tuple[list[Advice], list[str]]:
    """Return advice for each department that has any, and the names of those whose clicks are too few to tell.

    scenes: creative_id → slot → value; departments: creative_id → department.
    """
    by_department: dict[str, dict[tuple[str, str | None], Credit]] = {}
    for credit in report.credits:
        if credit.department:
            by_department.setdefault(credit.department, {})[credit.slot, credit.element] = credit
    found, unknown = [], []
    for department, elements in sorted(by_department.items()):
        earns, costs = _strongest(elements.values(), sign=1), _strongest(elements.values(), sign=-1)
        if not earns:
            unknown.append(department)
            continue
        totals = {
            creative: sum(
                math.log1p(elements[element].percent.value / 100) for element in scene.items() if element in elements
            )
            for creative, scene in scenes.items()
            if departments.get(creative) == department
        }
        best = max(sorted(totals), key=lambda creative: totals[creative])
        found.append(Advice(department, earns, costs, best))
    return found, unknown


def _strongest(elements: Iterable[Credit], *, sign: int) -> tuple[Credit, ...]:
    """The elements that surely earn (+1) or cost (−1) clicks, one of a slot, strongest first."""
    sure = [one for one in elements if one.significant and sign * one.percent.value > 0]
    slots: dict[str, Credit] = {}
    for one in sorted(sure, key=lambda one: sign * -one.percent.value):
        slots.setdefault(one.slot, one)
    return tuple(slots.values())[:MOST]
