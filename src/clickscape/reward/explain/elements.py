"""Credits of scene elements: the effect of each on CTR across the log, per department and overall.

An element is one value of one slot ("light: golden hour"). Its credit is the CTR of creatives that show it over the
CTR of the same product's creatives with that slot as its department was shown it on average, everything else equal;
overall, it is the mean of that over where the element was shown. There is an effect in general, and
one in each department on top; elements that few creatives show are shrunk towards what the log shows of others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import ndtri

from clickscape.errors import LogError
from clickscape.reward.effects import ClickTable, Floats, Integers, fit_effects
from clickscape.reward.scene_elements import Element, element_blocks, element_columns, element_design
from clickscape.stats.bootstrap import LEVEL
from clickscape.types import Estimate

Scenes = Mapping[str, Mapping[str, str | None]]
"""creative_id → slot → value; None where the scene has no such slot."""


@dataclass(frozen=True, slots=True)
class Credit:
    """Effect of one element, in per cent of CTR against its slot's average; `department` None: the whole log.

    impressions, creatives: those that showed it.
    """

    department: str | None
    slot: str
    element: str
    percent: Estimate
    impressions: int
    creatives: int

    @property
    def significant(self) -> bool:
        """Whether the interval excludes zero, the slot's average."""
        return not self.percent.low <= 0 <= self.percent.high

    @property
    def conclusion(self) -> str:
        """Whether its creatives have more or fewer clicks, in words that claim no cause."""
        if not self.significant:
            return "not enough evidence"
        return "more clicks" if self.percent.value > 0 else "fewer clicks"


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
            raise LogError(f"no creative of category {department!r} distinguishes elements. Name one of: {known}.")
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
            lines.append(f"  {one.element:<16} {one.percent.value:>+z7.1f}  {interval:<16} {counts}  {one.conclusion}")
        return [
            *lines,
            f"against the average of the slot; {self.used:,} creatives compared, {self.left_out:,} could not be",
            f"what elements do not explain of a creative: sd {self.creative_sd:.2f} of log CTR",
        ]

    def as_record(self) -> dict[str, Any]:
        """Everything as plain values for JSON."""
        rows = [{**asdict(credit), "conclusion": credit.conclusion} for credit in self.credits]
        return {**asdict(self), "credits": rows}


@dataclass(frozen=True, eq=False)
class _Log:
    """Creatives with a known scene; all (creative,), sorted by product.

    comparable: examined, of a product with a click and another such creative.
    """

    scenes: Sequence[Mapping[str, str | None]]
    departments: Sequence[str]
    product: Integers
    clicks: Floats
    examinations: Floats
    impressions: Floats
    comparable: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class _Posterior:
    """Mean (column,) and covariance (column, column) of the effects, with the column of each element."""

    columns: Mapping[Element, int]
    mean: Floats
    covariance: Floats

    def sd(self, slot: str, *, overall: bool) -> float:
        """Root mean square of a slot's effects, in general or in departments."""
        columns = [
            column for (where, name, _), column in self.columns.items() if name == slot and (where is None) == overall
        ]
        return float(np.sqrt(np.mean(self.mean[columns] ** 2 + np.diag(self.covariance)[columns])))


def credit(estimates: pa.Table, *, scenes: Scenes, departments: Mapping[str, str]) -> ElementReport:
    """Credit every element with the clicks of table `ctr.ESTIMATES`; departments: product_id → department.

    Intervals cover at 95 % under the learned prior. LogError when no product has two examined creatives of
    different scenes and a click.
    """
    log = _read(estimates, scenes, departments)
    if not _scenes_differ(log):
        raise LogError(
            f"{estimates.num_rows} creatives, and no product has two with clicks whose scenes differ: nothing "
            f"distinguishes elements. Show products in several scenes, and run `clickscape clicks` again."
        )
    columns = element_columns(log.scenes, log.departments)
    rows = np.flatnonzero(log.comparable)
    whole = element_design(log.scenes, log.departments, columns)
    table = ClickTable(lambda some: whole(rows[some]), log.product[rows], log.clicks[rows], log.examinations[rows])
    effects = fit_effects(table, element_blocks(columns))
    posterior = _Posterior(columns, effects.mode, effects.covariance)
    examined = {name: _totals(log, log.examinations, name) for name in sorted(set(log.departments))}
    slots = list(dict.fromkeys(slot for scene in log.scenes for slot, value in scene.items() if value is not None))
    found = _credits(log, posterior, examined, None, slots=slots)
    for name in examined:
        found += _credits(log, posterior, {name: examined[name]}, name, slots=slots)
    return ElementReport(
        credits=tuple(found),
        overall_sd={slot: posterior.sd(slot, overall=True) for slot in slots},
        department_sd={slot: posterior.sd(slot, overall=False) for slot in slots},
        creative_sd=effects.image_sd,
        used=len(rows),
        left_out=len(log.comparable) - len(rows),
    )


def _read(estimates: pa.Table, scenes: Scenes, departments: Mapping[str, str]) -> _Log:
    """The creatives whose scene is known."""
    known = [row for row in estimates.to_pylist() if scenes.get(row["creative_id"])]
    known.sort(key=lambda row: str(row["product_id"]))
    names = [row["product_id"] for row in known]
    product = np.unique(np.array(names, dtype=object), return_inverse=True)[1] if known else np.zeros(0, np.int64)
    clicks, examinations, impressions = (
        np.array([row[name] for row in known], np.float64) for name in ("clicks", "examinations", "impressions")
    )
    examined = examinations > 0
    several = np.bincount(product, examined) >= 2
    clicked = np.bincount(product, clicks * examined) > 0
    return _Log(
        scenes=[scenes[row["creative_id"]] for row in known],
        departments=[departments.get(name, "") for name in names],
        product=product,
        clicks=clicks,
        examinations=examinations,
        impressions=impressions,
        comparable=examined & (several & clicked)[product],
    )


def _scenes_differ(log: _Log) -> bool:
    """Whether two comparable creatives of any product show different scenes."""
    first: dict[int, Mapping[str, str | None]] = {}
    rows = np.flatnonzero(log.comparable).tolist()
    return any(log.scenes[row] != first.setdefault(int(log.product[row]), log.scenes[row]) for row in rows)


def _totals(log: _Log, values: Floats, department: str | None) -> dict[tuple[str, str], float]:
    """Sums of values (creative,) over the creatives that show each (slot, value), in a department or everywhere."""
    found: dict[tuple[str, str], float] = {}
    for scene, where, value in zip(log.scenes, log.departments, values.tolist(), strict=True):
        if department is None or where == department:
            for slot, shown in scene.items():
                if shown is not None:
                    found[slot, shown] = found.get((slot, shown), 0.0) + value
    return found


def _credits(
    log: _Log,
    posterior: _Posterior,
    examined: Mapping[str, Mapping[tuple[str, str], float]],
    department: str | None,
    *,
    slots: Sequence[str],
) -> list[Credit]:
    """Credits over some departments, best first within their slot; examined: department → (slot, value) → how often."""
    creatives, impressions = (
        _totals(log, values, department) for values in (np.ones(len(log.clicks)), log.impressions)
    )
    total: dict[tuple[str, str], float] = {}
    for shown in examined.values():
        for element, weight in shown.items():
            total[element] = total.get(element, 0.0) + weight
    elements = sorted(element for element, weight in total.items() if weight > 0)
    sums = np.zeros((len(elements), len(posterior.columns)))
    for row, (slot, value) in enumerate(elements):
        for where, shown in examined.items():
            share = shown.get((slot, value), 0.0) / total[slot, value]  # of the element, where it was shown
            peers = {peer: weight for (name, peer), weight in shown.items() if name == slot}
            for peer, weight in peers.items() if share else ():
                part = share * ((peer == value) - weight / sum(peers.values()))
                for group in (None, where):
                    sums[row, posterior.columns[group, slot, peer]] += part
    mean = sums @ posterior.mean
    half_width = ndtri(0.5 + LEVEL / 2) * np.sqrt(
        np.einsum("rc,cd,rd->r", sums, posterior.covariance, sums, optimize=True)
    )
    order = sorted(range(len(elements)), key=lambda row: (slots.index(elements[row][0]), -mean[row]))
    return [
        Credit(
            department=department,
            slot=elements[row][0],
            element=elements[row][1],
            percent=_percent(float(mean[row]), float(half_width[row])),
            impressions=int(impressions[elements[row]]),
            creatives=int(creatives[elements[row]]),
        )
        for row in order
    ]


def _percent(effect: float, half_width: float) -> Estimate:
    """An effect on log CTR as per cent of CTR."""
    value, low, high = (100 * math.expm1(one) for one in (effect, effect - half_width, effect + half_width))
    return Estimate(value, low, high, LEVEL)
