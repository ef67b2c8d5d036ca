"""From the reward's log-odds to CTR: what one unit of reward was worth in clicks, on products that taught it nothing.

Given all clicks of a product, how they fall on its creatives is multinomial with shares proportional to examinations ×
exp(slope × reward). The one slope is where that is likeliest; its error is that of the products, which differ by more
than chance (sandwich, clustered by product). What the clicks do beyond that and beyond chance is what the reward gets
wrong; it grows with the number of slots in which two pictures differ. The heads agree on many an error, so their spread
alone would promise too much.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickscape.types import Estimate

LEAST_PRODUCTS = 8
"""With fewer, the error of the slope is not known."""

_REACH = 1.96
_STEPS = 50
_TYPICAL = 0.05  # misfit of a pair that is expected when pairs are weighed, in squared log CTR

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scale:
    """Log CTR per log-odds of reward, with its standard error, learned on so many products.

    misfit: standard deviation of what the reward gets wrong of a difference in log CTR, per slot that differs.
    """

    slope: float
    error: float
    misfit: float
    products: int

    @property
    def known(self) -> bool:
        """Whether the reward speaks of CTR at all: the slope's 95 % interval lies above zero."""
        return self.slope - _REACH * self.error > 0

    def percent(self, reward: Estimate, *, slots: int) -> Estimate:
        """A 95 % interval of reward as per cent of CTR, for pictures that differ in so many slots; all errors count."""
        middle = self.slope * reward.value
        slack = _REACH * math.hypot(self.error * reward.value, self.misfit * math.sqrt(slots))
        below = math.hypot(self.slope * (reward.value - reward.low), slack)
        above = math.hypot(self.slope * (reward.high - reward.value), slack)
        value, low, high = (100 * math.expm1(min(one, 50.0)) for one in (middle, middle - below, middle + above))
        return Estimate(value, low, high, reward.level)


@dataclass(frozen=True, eq=False)
class Clicked:
    """One product's creatives: rewards, clicks and examinations (creative,), and in how many slots two differ."""

    rewards: Floats
    clicks: Floats
    examinations: Floats
    differing: Floats


def learn_scale(products: Sequence[Clicked]) -> Scale | None:
    """The scale that fits the clicks of some products best; only differences of reward within a product count.

    None when fewer than LEAST_PRODUCTS tell anything.
    """
    told = [
        one
        for one in products
        if len(one.rewards) > 1 and np.all(one.examinations > 0) and one.clicks.sum() > 0 and np.ptp(one.rewards) > 0
    ]
    if len(told) < LEAST_PRODUCTS:
        return None
    slope = 0.0
    slopes = bends = np.zeros(len(told))
    for _ in range(_STEPS):
        slopes, bends = np.array([_slope(one, slope=slope) for one in told]).T
        step = float(np.clip(slopes.sum() / bends.sum(), -1, 1))
        slope += step
        if abs(step) < 1e-10:
            break
    error = math.sqrt(float(np.sum(slopes**2)) * len(told) / (len(told) - 1)) / float(bends.sum())
    return Scale(slope, error, _misfit(told, slope=slope), len(told))


def _slope(one: Clicked, *, slope: float) -> tuple[float, float]:
    """First derivative of one product's log likelihood, and minus the second."""
    reward = one.rewards - one.rewards.mean()
    height = np.log(one.examinations) + slope * reward
    share = np.exp(height - height.max())
    share /= share.sum()
    mean, total = share @ reward, one.clicks.sum()
    return float(one.clicks @ reward - total * mean), float(total * (share @ (reward - mean) ** 2))


def _misfit(told: Sequence[Clicked], *, slope: float) -> float:
    """By the method of moments over pairs: squared gap = chance + misfit² × slots that differ."""
    above = below = 0.0
    for one in told:
        first, second = np.triu_indices(len(one.rewards), 1)
        rest = np.log((one.clicks + 0.5) / one.examinations) - slope * one.rewards
        noise = 1 / (one.clicks + 0.5)
        chance, differing = noise[first] + noise[second], one.differing[first, second]
        weight = 1 / (chance + _TYPICAL) ** 2
        above += float(np.sum(weight * differing * ((rest[first] - rest[second]) ** 2 - chance)))
        below += float(np.sum(weight * differing**2))
    return math.sqrt(max(above, 0.0) / below) if below else 0.0
