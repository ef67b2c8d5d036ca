"""Importance weights of scene elements in place of those of creatives: MIPS (Saito and Joachims 2022).

    w(x, e) = P(e | x, target) / P(e | x, log),    e: the elements of the creative that is shown

If a creative earns clicks by its elements alone, weighted clicks are as unbiased as with weights of creatives, with
less variance; and a creative that nobody has seen has weight where its elements were shown. Contexts may be pooled,
each by what it is expected to earn: then an element counts that was shown beside another product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clickscape.experiment.decisions import Decisions, Floats, Integers
from clickscape.experiment.target_policy import TargetPolicy

HIDDEN = "(hidden)"
"""The value of a slot that a picture does not show."""


@dataclass(frozen=True, eq=False)
class Elements:
    """Scene elements of creatives; code: (creative, slot), −1 in the rows of creatives whose scene nobody noted."""

    slots: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    code: Integers

    @classmethod
    def of(cls, creatives: Sequence[str], scenes: Mapping[str, Mapping[str, str | None]]) -> Elements:
        """Return the elements of creatives; scenes: creative → slot → value, None for what is not in the picture."""
        known = [scenes.get(creative) for creative in creatives]
        slots = tuple(dict.fromkeys(slot for scene in known if scene for slot in scene))
        code = np.full((len(creatives), len(slots)), -1)
        values = []
        for column, slot in enumerate(slots):
            shown = ["" if scene is None else scene.get(slot) or HIDDEN for scene in known]
            found = sorted({value for value in shown if value})
            number = {value: place for place, value in enumerate(found)} | {"": -1}
            code[:, column] = [number[value] for value in shown]
            values.append(tuple(found))
        return cls(slots, tuple(values), code)

    def key(self, slots: Sequence[str]) -> Integers:
        """Return a number for what each creative shows in some slots, (creative,): equal where all of them are equal.

        A creative without a scene is like no other.
        """
        count = len(self.code)
        if not slots:
            return np.zeros(count, np.int64)
        columns = self.code[:, [self.slots.index(slot) for slot in slots]]
        key = np.unique(columns, axis=0, return_inverse=True)[1].ravel()
        return np.where((columns < 0).any(1), key.max() + 1 + np.arange(count), key)


@dataclass(frozen=True, eq=False)
class ElementWeights:
    """Weights of the log's candidates, (entry,), and the share of the target's traffic whose elements the log shows."""

    weight: Floats
    supported: float


def element_weights(
    decisions: Decisions,
    target: TargetPolicy,
    *,
    key: Integers,
    pool: Integers | None = None,
    exposure: Floats | None = None,
) -> ElementWeights:
    """Return P(element | target) / P(element | log) for every candidate of the log.

    key: (creative,) number of what each of the target's creatives shows. pool: (set,) number of the pool of each set;
    None for each context on its own. exposure: (set,) expected clicks of a decision there, by which the sets of a pool
    count; None for equal ones.
    """
    pool = decisions.context if pool is None else pool
    traffic = decisions.size * (np.ones(len(pool)) if exposure is None else exposure)
    keys = int(key.max()) + 1
    logged = pool[decisions.set_of_entry] * keys + key[decisions.creative]
    wanted = pool[target.sets] * keys + key[target.creative]
    size = (int(pool.max()) + 1) * keys
    here = np.bincount(logged, decisions.propensity * traffic[decisions.set_of_entry], size)
    there = np.bincount(wanted, target.probability * traffic[target.sets], size)
    ratio = np.divide(there, here, out=np.zeros(size), where=here > 0)
    return ElementWeights(ratio[logged], float(there[here > 0].sum() / there.sum()))


def support(decisions: Decisions, target: TargetPolicy, elements: Elements) -> dict[str, float]:
    """Return by slot the share of the target's traffic whose value the log shows anywhere; "all": that of all slots."""
    shown = np.bincount(decisions.creative[decisions.propensity > 0], minlength=len(elements.code)) > 0
    traffic = target.probability * decisions.size[target.sets]
    found = np.ones(len(traffic), np.bool_)
    shares = {}
    for column, slot in enumerate(elements.slots):
        codes = elements.code[:, column]
        known = np.isin(codes, np.unique(codes[shown & (codes >= 0)])) & (codes >= 0)
        of_choice = known[target.creative]
        shares[slot] = float(traffic[of_choice].sum() / traffic.sum())
        found &= of_choice
    return {**shares, "all": float(traffic[found].sum() / traffic.sum()) if elements.slots else 0.0}
