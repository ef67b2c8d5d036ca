"""Scale from the reward's log-odds to log CTR, fitted to clicks of products that the reward model was not trained on.

The likelihood is that of `reward.effects`, with the reward as the one column of its design and no prior: what is wanted
is the slope itself, not one shrunk to zero. Its error is that of the products, which differ by more than chance
(sandwich, clustered by product). What the clicks do beyond that and beyond chance is what the reward gets
wrong; it grows with the number of slots in which two pictures differ. Pictures share many an error of the model, so its
own interval alone would promise too much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clickscape.reward.protocol import RewardModel, Slots
from clickscape.types import Creative, Estimate, Product

LEAST_PRODUCTS = 8
"""With fewer, the error of the slope is not known."""

_REACH = 1.96
_STEPS = 50
_TYPICAL = 0.05  # misfit of a pair that is expected when pairs are weighed, in squared log CTR

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scale:
    """Log CTR per log-odds of reward, with its standard error, fitted to so many products.

    misfit: standard deviation of what the reward gets wrong of a difference in log CTR, per slot that differs.
    """

    slope: float
    error: float
    misfit: float
    products: int

    @property
    def known(self) -> bool:
        """Whether the reward follows CTR at all: the slope's 95 % interval lies above zero."""
        return self.slope - _REACH * self.error > 0

    def percent(self, reward: Estimate, *, slots: int) -> Estimate:
        """Return a 95 % interval of reward in per cent of CTR, for pictures that differ in so many slots."""
        middle = self.slope * reward.value
        slack = _REACH * math.hypot(self.error * reward.value, self.misfit * math.sqrt(slots))
        below = math.hypot(self.slope * (reward.value - reward.low), slack)
        above = math.hypot(self.slope * (reward.high - reward.value), slack)
        value, low, high = (100 * math.expm1(min(one, 50.0)) for one in (middle, middle - below, middle + above))
        return Estimate(value, low, high, reward.level)


@dataclass(frozen=True, eq=False)
class ProductClicks:
    """One product's creatives: rewards, clicks and examinations (creative,), and in how many slots two differ."""

    rewards: Floats
    clicks: Floats
    examinations: Floats
    differing: Floats


def clicked_products(
    model: RewardModel,
    estimates: Sequence[Mapping[str, Any]],
    *,
    products: Mapping[str, Product],
    creatives: Mapping[str, Creative],
    images: Callable[[Creative], NDArray[np.uint8]],
    scenes: Callable[[Creative], Slots | None],
    limit: int = 1_500,
) -> list[ProductClicks]:
    """Return rewards beside clicks of some products, those with most clicks first, up to `limit` creatives.

    estimates: rows of table `ctr.ESTIMATES`. products, creatives: by id; what is not among them is left out.
    """
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for row in estimates:
        if row["product_id"] in products and row["creative_id"] in creatives and row["examinations"] > 0:
            rows.setdefault(row["product_id"], []).append(row)
    found: list[ProductClicks] = []
    total = 0
    for name, product_rows in sorted(rows.items(), key=lambda item: (-sum(row["clicks"] for row in item[1]), item[0])):
        if len(product_rows) < 2 or total + len(product_rows) > limit:
            continue
        total += len(product_rows)
        shown = [creatives[row["creative_id"]] for row in product_rows]
        first, *others = (images(creative) for creative in shown)
        count = len(others)
        whole, *rest = (scenes(creative) for creative in shown)
        odds = model.odds([products[name]] * count, others, [first] * count, [(one, whole) for one in rest]).mean
        found.append(
            ProductClicks(
                rewards=np.array([0.0, *odds]),
                clicks=np.array([row["clicks"] for row in product_rows], np.float64),
                examinations=np.array([row["examinations"] for row in product_rows], np.float64),
                differing=_differing([scenes(creative) or {} for creative in shown]),
            )
        )
    return found


def _differing(scenes: Sequence[Mapping[str, str | None]]) -> NDArray[np.float64]:
    """Return in how many slots two scenes differ, at least 1: (scene, scene)."""
    return np.array(
        [[max(sum(one[slot] != two.get(slot) for slot in one), 1) for two in scenes] for one in scenes], float
    )


def fit_scale(products: Sequence[ProductClicks]) -> Scale | None:
    """Return the scale that fits the clicks of some products best; only differences of reward within a product count.

    None when fewer than LEAST_PRODUCTS have clicks and differing rewards.
    """
    usable = [
        one
        for one in products
        if len(one.rewards) > 1 and np.all(one.examinations > 0) and one.clicks.sum() > 0 and np.ptp(one.rewards) > 0
    ]
    if len(usable) < LEAST_PRODUCTS:
        return None
    slope = 0.0
    for _ in range(_STEPS):
        pull, bend = np.sum([_derivatives(one, slope) for one in usable], axis=0)
        step = float(np.clip(-pull / bend, -1, 1))
        slope += step
        if abs(step) < 1e-10:
            break
    each = np.array([_derivatives(one, slope) for one in usable])
    error = math.sqrt(float(np.sum(each[:, 0] ** 2)) * len(usable) / (len(usable) - 1)) / float(each[:, 1].sum())
    return Scale(slope, error, _misfit(usable, slope=slope), len(usable))


def _derivatives(one: ProductClicks, slope: float) -> tuple[float, float]:
    """First and second derivative by the slope of minus a product's log-likelihood."""
    share = one.examinations * np.exp(slope * (one.rewards - one.rewards.mean()))
    expected = one.clicks.sum() * share / share.sum()
    apart = one.rewards - float(share @ one.rewards) / share.sum()
    return float(apart @ (expected - one.clicks)), float(expected @ apart**2)


def _misfit(usable: Sequence[ProductClicks], *, slope: float) -> float:
    """By the method of moments over pairs: squared gap = chance + misfit² × slots that differ."""
    above = below = 0.0
    for one in usable:
        first, second = np.triu_indices(len(one.rewards), 1)
        rest = np.log((one.clicks + 0.5) / one.examinations) - slope * one.rewards
        noise = 1 / (one.clicks + 0.5)
        chance, differing = noise[first] + noise[second], one.differing[first, second]
        weight = 1 / (chance + _TYPICAL) ** 2
        above += float(np.sum(weight * differing * ((rest[first] - rest[second]) ** 2 - chance)))
        below += float(np.sum(weight * differing**2))
    return math.sqrt(max(above, 0.0) / below) if below else 0.0
