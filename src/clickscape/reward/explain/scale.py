"""From the reward's log-odds to CTR: what one unit of reward was worth in clicks, on products that taught it nothing.

Given all clicks of a product, how they fall on its creatives is multinomial with shares proportional to examinations ×
exp(slope × reward). The one slope is where that is likeliest; its error is that of the products, which differ by more
than chance (sandwich, clustered by product).
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

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scale:
    """Log CTR per log-odds of reward, with its standard error, learned on so many products."""

    slope: float
    error: float
    products: int

    @property
    def known(self) -> bool:
        """Whether the reward speaks of CTR at all: the slope's 95 % interval lies above zero."""
        return self.slope - _REACH * self.error > 0

    def percent(self, reward: Estimate) -> Estimate:
        """A difference of reward as per cent of CTR; the errors of both factors count. The level stays 95 %."""
        middle = self.slope * reward.value
        slack = _REACH * self.error * abs(reward.value)
        below = math.hypot(self.slope * (reward.value - reward.low), slack)
        above = math.hypot(self.slope * (reward.high - reward.value), slack)
        value, low, high = (100 * math.expm1(min(one, 50.0)) for one in (middle, middle - below, middle + above))
        return Estimate(value, low, high, reward.level)


def learn_scale(rewards: Sequence[Floats], clicks: Sequence[Floats], examinations: Sequence[Floats]) -> Scale | None:
    """The scale that fits the clicks of some products best, one array over its creatives per product.

    Only differences of reward within a product count. None when fewer than LEAST_PRODUCTS tell anything.
    """
    told = [
        (reward - reward.mean(), clicked, np.log(examined))
        for reward, clicked, examined in zip(rewards, clicks, examinations, strict=True)
        if len(reward) > 1 and np.all(examined > 0) and clicked.sum() > 0 and np.ptp(reward) > 0
    ]
    if len(told) < LEAST_PRODUCTS:
        return None
    slope = 0.0
    slopes = bends = np.zeros(len(told))
    for _ in range(_STEPS):
        slopes, bends = np.array([_slope(*one, slope=slope) for one in told]).T
        step = float(np.clip(slopes.sum() / bends.sum(), -1, 1))
        slope += step
        if abs(step) < 1e-10:
            break
    error = math.sqrt(float(np.sum(slopes**2)) * len(told) / (len(told) - 1)) / float(bends.sum())
    return Scale(slope, error, len(told))


def _slope(reward: Floats, clicks: Floats, log_examinations: Floats, *, slope: float) -> tuple[float, float]:
    """First derivative of one product's log likelihood, and minus the second."""
    height = log_examinations + slope * reward
    share = np.exp(height - height.max())
    share /= share.sum()
    mean = share @ reward
    return float(clicks @ reward - clicks.sum() * mean), float(clicks.sum() * (share @ (reward - mean) ** 2))
