"""Contributions of phrases: the picture is rendered again without each, and the reward model compares.

The same seeds render both, so that everything else stays. A contribution is uncertain twice: the model knows effects
only so well, and another seed gives another picture. Both go into the interval.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from clickscape.reward.protocol import Odds, RewardModel, Slots
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
        contributions[phrase] = _estimate(model.odds([product] * len(seeds), drawn, whole, scenes))
    return contributions


def _estimate(odds: Odds) -> Estimate:
    """Mean and interval over pictures of other seeds, (seed,).

    What the model does not know of effects it does not know in any of them; a mean over seeds gets better with each.
    """
    seeds, value = len(odds.mean), float(odds.mean.mean())
    parts = np.array([odds.mean.var(ddof=1) / seeds, odds.sd.mean() ** 2 if odds.known else np.inf])
    variance = float(parts.sum())
    if not 0 < variance < np.inf:
        return Estimate(value, value - variance, value + variance, LEVEL)
    freedom = variance**2 / float(parts[0] ** 2 / (seeds - 1)) if parts[0] > 0 else np.inf  # Welch–Satterthwaite
    half_width = float(np.sqrt(variance) * stdtrit(min(freedom, 1e6), 0.5 + LEVEL / 2))
    return Estimate(value, value - half_width, value + half_width, LEVEL)
