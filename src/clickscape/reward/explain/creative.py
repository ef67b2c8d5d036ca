"""Explanation of one creative: what each phrase of its description adds to the reward, and to CTR.

Phrases are left out one by one and the rest rendered again by the creative's own renderer, with its own seed and more.
Rewards become per cent of CTR by a scale that is fitted to the clicks of held-out products; where there is none, they
stay log-odds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickscape.render.language.phrases import phrases
from clickscape.render.registry import RENDERERS
from clickscape.render.renderer import Renderer
from clickscape.reward.explain.phrases import phrase_contributions
from clickscape.reward.explain.scale import Scale
from clickscape.reward.protocol import RewardModel
from clickscape.types import Creative, Estimate, Product


@dataclass(frozen=True)
class PhraseEffect:
    """Change in reward and CTR when a phrase is removed.

    reward: log-odds. ctr: per cent, None where it is not known. instead: slot → what the scene shows (with, without).
    """

    phrase: str
    reward: Estimate
    ctr: Estimate | None
    instead: Mapping[str, tuple[str | None, str | None]]

    @property
    def significant(self) -> bool:
        """Whether the interval excludes zero."""
        shown = self.ctr or self.reward
        return not shown.low <= 0 <= shown.high


@dataclass(frozen=True)
class CreativeExplanation:
    """Heat map and phrase effects of one creative, and the files that hold them.

    reason: why there are no phrases, else "". seeds: of the pictures rendered with and without each phrase.
    """

    creative_id: str
    product_id: str
    title: str
    phrases: tuple[PhraseEffect, ...]
    reason: str
    seeds: tuple[int, ...]
    scale: Scale | None
    picture: Path
    record: Path

    @property
    def unit(self) -> str:
        """Unit of the phrases' figures."""
        return "CTR, %" if self.scale is not None and self.scale.known else "reward, log-odds"

    def lines(self) -> list[str]:
        """Return a table for people: the phrases that matter most first."""
        lines = [f"creative {self.creative_id} of {self.product_id}: {self.title}"]
        if self.reason:
            return [*lines, f"no phrases: {self.reason}"]
        width = max(len(one.phrase) for one in self.phrases) + 2
        lines.append(f"{'without':<{width}}  {self.unit:>16}  95 % interval    then")
        for one in sorted(self.phrases, key=lambda one: -abs(one.reward.value)):
            shown = one.ctr or one.reward
            digits = 1 if one.ctr else 2
            low, high = (f"{bound:+z.{digits}f}" for bound in (shown.low, shown.high))
            known = "" if one.significant else "  (not enough evidence)"
            then = ", ".join(f"{slot} {after or 'none'}" for slot, (_, after) in one.instead.items())
            if one.reward.low == one.reward.high == 0:
                known = "  (changes nothing)"
            name = f"'{one.phrase}'"
            lines.append(
                f"{name:<{width}}  {shown.value:>+z16.{digits}f}  {f'[{low}, {high}]':<15}  {then}{known}".rstrip()
            )
        return [*lines, self._measured()]

    def _measured(self) -> str:
        drawn = f"{len(self.seeds)} pictures with and without each phrase"
        if self.scale is None or not self.scale.known:
            return f"{drawn}; too few clicks on held-out products to say what a log-odds is in CTR"
        error, misfit = 1.96 * self.scale.error, 100 * 1.96 * self.scale.misfit
        return (
            f"{drawn}; by the clicks of {self.scale.products} held-out products a log-odds of reward is "
            f"{self.scale.slope:.3f} ± {error:.3f} of log CTR, and wrong by ± {misfit:.0f} % a slot"
        )


def why_no_phrases(creative: Creative) -> str:
    """Return why the creative cannot be rendered again without its phrases, or ""."""
    if not phrases(creative.description):
        return "the creative has no description"
    if creative.renderer not in RENDERERS:
        return f"nothing here draws as {creative.renderer!r} does"
    return ""


def phrase_effects(
    model: RewardModel,
    product: Product,
    description: str,
    *,
    renderer: Renderer,
    size: tuple[int, int],
    seeds: Sequence[int],
    scale: Scale | None,
) -> tuple[PhraseEffect, ...]:
    """Return the effect of every phrase of a description, in order; size: width and height to render at, pixels.

    scale: from rewards to CTR, None where it is not known.
    """
    drawing = _Drawing(renderer, product, size)
    apart = {phrase.text: phrase for phrase in phrases(description)}
    without = {text: phrase.without for text, phrase in apart.items()}
    found = []
    contributions = phrase_contributions(
        model, product, description, without=without, draw=drawing, seeds=seeds, read=drawing.slots.get
    )
    for phrase, reward in contributions.items():
        instead = drawing.changed_slots(description, without[phrase])
        slots = len(instead) or len(apart[phrase].slots)
        ctr = scale.percent(reward, slots=slots) if scale is not None and scale.known else None
        unchanged = reward.low == reward.high == 0
        found.append(PhraseEffect(phrase, reward, reward if ctr and unchanged else ctr, instead))
    return tuple(found)


class _Drawing:
    """Renders descriptions of one product, and remembers the scene of each."""

    def __init__(self, renderer: Renderer, product: Product, size: tuple[int, int]) -> None:
        self.renderer, self.product, self.size = renderer, product, size
        self.slots: dict[str, Mapping[str, str | None]] = {}

    def __call__(self, description: str, seed: int) -> NDArray[np.uint8]:
        drawn = self.renderer.render(self.product, description, size=self.size, seed=seed)
        self.slots[description] = drawn.scene.slots if drawn.scene is not None else {}
        return drawn.image

    def changed_slots(self, description: str, rest: str) -> dict[str, tuple[str | None, str | None]]:
        """Return the slots that differ between two descriptions, with what each shows."""
        before, after = self.slots[description], self.slots[rest]
        return {slot: (value, after[slot]) for slot, value in before.items() if value != after[slot]}
