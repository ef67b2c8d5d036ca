"""Made-up traffic for benchmarks/bandit.py: products of known CTR, and what a policy loses on them.

A world is past products, whose clicks say how much to believe of scores, and running products. The n-th look at a
creative at a placement ends the same under every policy, so that two policies differ by what they choose and not by
luck (common random numbers).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from clickscape.experiment.prior import PastCreatives, ScorePrior, learn_prior

Floats = NDArray[np.float64]
Policy = Callable[[Floats, Floats, int], Floats]
"""Clicks and exposures so far, (product, creative, placement), and the number of the batch → shares (…, creative)."""

CREATIVES, SPREAD, PLACEMENT_SPREAD, SCORE_SD = 8, 0.25, 0.08, 0.1
PLACEMENTS = np.array([0.5, 0.3, 0.2])
PLACEMENT_LEVEL = np.array([0.0, 0.2, -0.3])
POSITIONS, EXAMINATION = np.array([0.4, 0.3, 0.2, 0.1]), np.array([1.0, 0.7, 0.5, 0.35])
PAST_PRODUCTS, PAST_IMPRESSIONS = 40, 1_500
BATCH, A_DAY = 1_000, 5  # decisions of a batch, batches of a day
EARLY = 5_000
MOST_CLICKS = 1_500  # of a creative at a placement
GOOD = "scores as before, correlation .5"
CORRELATIONS = {  # of scores and truth within products: of the past ones, of the running ones
    GOOD: (0.5, 0.5),
    "scores as before, correlation .8": (0.8, 0.8),
    "scores that never said anything": (0.0, 0.0),
    "scores that were always upside down": (-0.5, -0.5),
    "scores right before, worthless now": (0.5, 0.0),
    "scores right before (.5), upside down now": (0.5, -0.5),
    "scores right before (.8), upside down now": (0.8, -0.8),
}


@dataclass(frozen=True)
class Traffic:
    """Running products of many worlds: log CTR and scores, (product, creative[, placement]), and each one's prior."""

    log_ctr: Floats
    scores: Floats
    priors: tuple[ScorePrior, ...]
    worlds: int


def draw_traffic(worlds: range, products: int, past: float, now: float) -> Traffic:
    """Draw worlds and learn each one's prior from its past products."""
    ctrs, scores, priors = [], [], []
    for number in worlds:
        rng = np.random.default_rng([number, 1])
        effect, log_ctr = _draw_products(rng, products)
        ctrs.append(log_ctr)
        scores.append(_scores(rng, effect, now))
        priors += [_prior(number, past)] * products
    return Traffic(np.concatenate(ctrs), np.concatenate(scores), tuple(priors), len(worlds))


@lru_cache(maxsize=1_000)
def _prior(number: int, correlation: float) -> ScorePrior:
    """What a world's past products say of scores."""
    rng = np.random.default_rng([number, 0])
    effect, log_ctr = _draw_products(rng, PAST_PRODUCTS)
    shown = PAST_IMPRESSIONS * np.exp(rng.normal(0, 0.5, (PAST_PRODUCTS, CREATIVES, 1))) * PLACEMENTS
    shown = shown * (POSITIONS @ EXAMINATION)
    clicks = rng.poisson(shown * np.exp(log_ctr)).astype(np.float64)
    count = PAST_PRODUCTS * CREATIVES
    known = PastCreatives(
        np.repeat(np.arange(PAST_PRODUCTS), CREATIVES), _scores(rng, effect, correlation).ravel(),
        np.full(count, SCORE_SD), clicks.reshape(count, -1), shown.reshape(count, -1),
    )  # fmt: skip
    return learn_prior(known)


def _draw_products(rng: np.random.Generator, count: int) -> tuple[Floats, Floats]:
    """Effects (product, creative) and log CTRs (product, creative, placement)."""
    effect = rng.normal(0, SPREAD, (count, CREATIVES))
    level = np.log(0.005) + np.log(6) * rng.random((count, 1, 1)) + PLACEMENT_LEVEL
    own = rng.normal(0, PLACEMENT_SPREAD, (count, CREATIVES, len(PLACEMENTS)))
    return effect, level + effect[..., None] + own


def _scores(rng: np.random.Generator, effect: Floats, correlation: float) -> Floats:
    """Scores with the slope that a calibrated model has; below 0: upside down; 0: noise as large as at .5."""
    noise = rng.normal(0, SPREAD, effect.shape)
    if not correlation:
        return 0.5 * noise
    size = abs(correlation)
    return np.sign(correlation) * size**2 * effect + size * np.sqrt(1 - size**2) * noise


@lru_cache(maxsize=1)
def _clicks_at(shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """Expected clicks of a creative at a placement after which its n-th click comes, (*shape, click): a Poisson process
    of rate 1.
    """
    rng = np.random.default_rng([seed, 2])
    return np.cumsum(rng.standard_exponential((*shape, MOST_CLICKS), dtype=np.float32), axis=-1)


def simulate(
    policy: Policy, traffic: Traffic, decisions: int, *, seed: int, drift: bool = False, delay: int = 0,
    corrected: bool = True, half_life: float | None = None,
) -> Floats:  # fmt: skip
    """Return regret after EARLY and after all decisions, (2, product), as a share of the best creative's clicks.

    delay: mean batches until a click comes; corrected: exposures count by the share of their clicks that came.
    """
    rng = np.random.default_rng([seed, 3])
    log_ctr = traffic.log_ctr.copy()
    clicks_at = _clicks_at(log_ctr.shape, seed)
    middle = log_ctr.mean(axis=1, keepdims=True)
    keep = 0.5 ** (1 / (5 * A_DAY)) if drift else 1.0
    fade = 0.5 ** (1 / (half_life * A_DAY)) if half_life else 1.0
    wait = np.exp(-1 / delay) if delay else 0.0
    clicks, exposures = np.zeros_like(log_ctr), np.zeros_like(log_ctr)
    expected, clicked = np.zeros_like(log_ctr), np.zeros(log_ctr.shape, np.int64)
    coming, young = np.zeros(log_ctr.shape, np.int64), np.zeros_like(log_ctr)
    lost, best = np.zeros(len(log_ctr)), np.zeros(len(log_ctr))
    early = None
    for number in range(decisions // BATCH):
        seen = exposures - young if delay and corrected else exposures
        shares = policy(clicks, np.maximum(seen, 0), number)
        placed = np.random.default_rng([seed, 4, number]).multinomial(BATCH, PLACEMENTS, size=len(log_ctr))
        shown = np.swapaxes(rng.multinomial(placed, shares / shares.sum(axis=-1, keepdims=True)), 1, 2)
        looked = rng.multinomial(shown, POSITIONS) @ EXAMINATION
        ctr = np.exp(log_ctr)
        expected += ctr * looked
        before, clicked = clicked, (clicks_at <= expected[..., None]).sum(axis=-1)
        top = ctr.max(axis=1, keepdims=True)
        lost += ((top - ctr) * looked).sum(axis=(1, 2))
        best += (top * looked).sum(axis=(1, 2))
        if (number + 1) * BATCH == EARLY:
            early = lost / best
        coming += clicked - before
        arrived = rng.binomial(coming, 1 - wait)
        coming -= arrived
        young = (young + looked) * wait * fade
        clicks, exposures = clicks * fade + arrived, exposures * fade + looked
        if drift:
            log_ctr = middle + keep * (log_ctr - middle)
            move = np.random.default_rng([seed, 5, number]).normal(0, SPREAD, (*log_ctr.shape[:2], 1))
            log_ctr = log_ctr + np.sqrt(1 - keep**2) * move
    return np.stack([lost / best if early is None else early, lost / best])
