"""Contributions of phrases: the picture is rendered again without each, and the reward model compares.

The same seeds render both, so that everything else stays. A contribution is uncertain twice: the heads of the model
disagree, and another seed gives another picture. Both go into the interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from clickscape.reward.features import Slots
from clickscape.reward.model import RewardModel
from clickscape.stats.bootstrap import LEVEL
from clickscape.types import Estimate, Product

Draw = Callable[[str, int], NDArray[np.uint8]]
"""(description, seed) → picture, (height, width, 3) sRGB."""


def phrase_contributions(
    model: RewardModel,
    product: Product,
    description: str,
    *,
    without: Mapping[str, str],
    draw: Draw,
    seeds: Sequence[int],
    read: Callable[[str], Slots | None] = lambda _: None,
) -> dict[str, Estimate]:
    """Return how the reward changes without each phrase, in log-odds; negative: the model likes the phrase.

    without: phrase → the description that lacks it. read: description → the scene that is rendered for it, for a model
    with given scenes. ValueError for fewer than two seeds: their spread would be unknown.
    """
    if len(set(seeds)) < 2:
        raise ValueError(f"at least two different seeds are needed for an interval, got {list(seeds)}")
    whole = [draw(description, seed) for seed in seeds]
    contributions = {}
    for phrase, rest in without.items():
        drawn = [draw(rest, seed) for seed in seeds]
        scenes = [(read(rest), read(description))] * len(seeds)
        contributions[phrase] = _estimate(model.log_odds([product] * len(seeds), drawn, whole, scenes))
    return contributions


def _estimate(odds: NDArray[np.float64]) -> Estimate:
    """Mean and interval of a (head, seed) table.

    Heads differ as other data would make them, so their spread counts in full; a mean over seeds gets better with each.
    """
    heads, seeds = odds.shape
    parts = np.array([odds.mean(0).var(ddof=1) / seeds, odds.mean(1).var(ddof=1) if heads > 1 else np.inf])
    variance, value = float(parts.sum()), float(odds.mean())
    if not 0 < variance < np.inf:
        return Estimate(value, value - variance, value + variance, LEVEL)
    freedom = variance**2 / float(np.sum(parts**2 / np.array([seeds - 1, max(heads - 1, 1)])))  # Welch–Satterthwaite
    half_width = float(np.sqrt(variance) * stdtrit(freedom, 0.5 + LEVEL / 2))
    return Estimate(value, value - half_width, value + half_width, LEVEL)
