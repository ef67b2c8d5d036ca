"""What clicks say of the creatives of one product: a normal posterior of each one's log CTR, placement by placement.

Clicks are Poisson with mean exposures × exp(level of the placement + effect of the creative there). Effects come from a
normal prior: one part that a creative has everywhere and one of its own at every placement, so that a creative with few
clicks here borrows from its clicks elsewhere (partial pooling; Gelman and Hill 2007, chapter 12). The posterior is
Laplace's: the mode by Newton's method and the curvature there, exact for a log posterior that is quadratic (Tierney and
Kadane 1986). Many products are computed at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

Floats = NDArray[np.float64]

_STEPS = 60
_CLOSE = 1e-9  # of the largest step of a log CTR
_LEAST_VARIANCE = 1e-8
_TINY = 1e-300


@dataclass(frozen=True, eq=False)
class EffectPrior:
    """What is thought of effects on log CTR before any click.

    mean, variance: (…, creative), of the part that a creative has at all placements. placement_variance: (…) or one
    number, of the part that it has at one alone. level, level_sd: of the log CTR of an average creative, the same way.
    """

    mean: Floats
    variance: Floats
    placement_variance: Floats | float
    level: Floats | float
    level_sd: Floats | float


@dataclass(frozen=True, eq=False)
class EffectPosterior:
    """log CTRs relative to the level of their placement, given that level; log_evidence: (…), of the clicks, nats.

    level: (…, placement); mean, sd: (…, creative, placement).
    """

    level: Floats
    mean: Floats
    sd: Floats
    log_evidence: Floats


def effect_posterior(clicks: Floats, exposures: Floats, *, prior: EffectPrior) -> EffectPosterior:
    """Return the posterior of every creative's effect; clicks, exposures: (…, creative, placement), not negative.

    exposures: impressions, or their weighted sum where positions are looked at more or less often or counts are
    decayed. A creative or placement without exposures has its prior.
    """
    places = clicks.shape[-1]
    own = np.maximum(np.asarray(prior.placement_variance, np.float64), _LEAST_VARIANCE)[..., None]
    shared = np.maximum(np.broadcast_to(prior.variance, clicks.shape[:-1]), _LEAST_VARIANCE)
    whole = own + places * shared
    precision = (np.eye(places) - (shared / whole)[..., None, None]) / own[..., None, None]  # Sherman and Morrison
    center = np.broadcast_to(np.asarray(prior.mean, np.float64)[..., None], clicks.shape)
    guess, width = (np.asarray(value, np.float64)[..., None] for value in (prior.level, prior.level_sd))
    effect = center
    level = np.log(
        (clicks.sum(axis=-2) + 1) / ((exposures * np.exp(np.minimum(effect, 5))).sum(axis=-2) + np.exp(-guess))
    )
    for _ in range(_STEPS):
        rate = exposures * np.exp(level[..., None, :] + effect)
        covariance, bend = _curvature(rate, precision, width)
        slope = clicks - rate - np.einsum("...pq,...q->...p", precision, effect - center)
        level_slope = (clicks - rate).sum(axis=-2) - (level - guess) / width**2
        level_slope = level_slope - np.einsum("...kp,...kpq,...kq->...p", rate, covariance, slope)
        move = np.linalg.solve(bend, level_slope[..., None])[..., 0]
        turn = np.einsum("...pq,...q->...p", covariance, slope - rate * move[..., None, :])
        largest = np.maximum(np.abs(move).max(axis=-1), np.abs(turn).max(axis=(-2, -1)))
        scale = 1 / np.maximum(largest, 1)
        level, effect = level + move * scale[..., None], effect + turn * scale[..., None, None]
        if largest.max(initial=0) < _CLOSE:
            break
    rate = exposures * np.exp(level[..., None, :] + effect)
    covariance, bend = _curvature(rate, precision, width)
    away = effect - center
    seen = clicks * (level[..., None, :] + effect + np.log(np.maximum(exposures, _TINY))) - rate - gammaln(clicks + 1)
    evidence = np.where(exposures > 0, seen, 0).sum(axis=(-2, -1))
    evidence -= 0.5 * np.einsum("...kp,...kpq,...kq->...", away, precision, away)
    evidence -= 0.5 * ((places - 1) * np.log(own) + np.log(whole)).sum(axis=-1)
    evidence -= (0.5 * ((level - guess) / width) ** 2 + np.log(width)).sum(axis=-1)
    evidence += 0.5 * np.linalg.slogdet(covariance)[1].sum(axis=-1) - 0.5 * np.linalg.slogdet(bend)[1]
    return EffectPosterior(level, effect, np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1)), evidence)


def _curvature(rate: Floats, precision: Floats, width: Floats) -> tuple[Floats, Floats]:
    """Covariance of each creative's effects given the levels, and the precision of the levels (Schur's complement)."""
    unit = np.eye(rate.shape[-1])
    covariance = np.linalg.inv(precision + rate[..., None] * unit)
    followed = np.einsum("...kp,...kpq,...kq->...pq", rate, covariance, rate)
    return np.asarray(covariance), (rate.sum(axis=-2) + width**-2)[..., None] * unit - followed
