"""Search over scenes: descriptions that should score better than any that the policy sampled, found without drawing.

The scores of a round's candidates are fitted by effects of scene elements, everywhere and by department. A draw from
their posterior (Thompson 1933) says for each product which slots of its best candidate to put otherwise, so that two
proposals differ where little is known. Proposals are then drawn and scored like any candidate, and the winners teach
the policy (expert iteration: Anthony, Tian and Barber 2017).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from clickscape.errors import SceneError
from clickscape.generation.sample import Candidate
from clickscape.render.language import lexicon
from clickscape.render.language.reword import reword
from clickscape.render.scene import SLOTS, Scene
from clickscape.reward.baselines import fit_scores
from clickscape.reward.effects import Floats
from clickscape.reward.scene_elements import Element

CHANGED_SLOTS = 3
"""Slots of a description that a proposal changes at most: the rest stays the policy's own."""


def propose(
    candidates: Sequence[Sequence[Candidate]],
    departments: Sequence[str],
    *,
    count: int,
    rng: np.random.Generator,
) -> list[list[str]]:
    """Return up to `count` new descriptions of every product, none that it has; candidates, departments: (product,).

    None where no candidate has a scene, as with a renderer that takes words as they are.
    """
    scened = [
        (candidate, slots, department)
        for each, department in zip(candidates, departments, strict=True)
        for candidate in each
        if candidate.eligible and (slots := _slots(candidate)) is not None
    ]
    if not scened:
        return [[] for _ in candidates]
    columns, effects = fit_scores(
        [candidate.score for candidate, _, _ in scened],
        [slots for _, slots, _ in scened],
        [department for _, _, department in scened],
        products=[candidate.product_id for candidate, _, _ in scened],
    )
    drawn = iter(effects.draw(len(candidates) * count, rng=rng))
    return [
        _proposals(each, [_gains(next(drawn), columns, department) for _ in range(count)])
        for each, department in zip(candidates, departments, strict=True)
    ]


def _slots(candidate: Candidate) -> dict[str, str | None] | None:
    try:
        return Scene.from_json(candidate.scene).slots
    except SceneError:
        return None


def _gains(effects: Floats, columns: Mapping[Element, int], department: str) -> dict[str, dict[str, float]]:
    """Slot → value → effect in a department, of the values that any candidate shows."""
    found: dict[str, dict[str, float]] = {slot: {} for slot in SLOTS}
    for (where, slot, value), column in columns.items():
        if where is None:
            own = columns.get((department, slot, value))
            found[slot][value] = float(effects[column]) + (0.0 if own is None else float(effects[own]))
    return found


def _proposals(candidates: Sequence[Candidate], drawn: Sequence[Mapping[str, Mapping[str, float]]]) -> list[str]:
    """The product's best candidate, reworded by each draw."""
    best = max(candidates, key=lambda candidate: (candidate.eligible, candidate.score))
    slots = _slots(best)
    if slots is None or not best.eligible:
        return []
    known = {candidate.text for candidate in candidates}
    proposals: dict[str, None] = {}
    for effects in drawn:
        better = {slot: max(values, key=values.__getitem__) for slot, values in effects.items() if values}
        gain = {
            slot: effects[slot][value] - effects[slot].get(str(slots[slot]), 0.0)
            for slot, value in better.items()
            if slots[slot] is not None and value != slots[slot]
        }
        text = best.text
        for slot in sorted(gain, key=gain.__getitem__, reverse=True)[:CHANGED_SLOTS]:
            if gain[slot] > 0:
                text = reword(text, lexicon.PHRASES[slot][better[slot]][0])
        if text not in known:
            proposals[text] = None
    return list(proposals)
