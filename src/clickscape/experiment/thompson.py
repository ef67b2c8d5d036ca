"""Shares of traffic by Thompson sampling, from counts of many products at once.

Two beliefs stand side by side: that the scores are worth their learned weight, and that they are worth nothing. Clicks
decide between them (Bayesian model averaging; Hoeting et al. 1999), so scores that have stopped being right lose their
say with every click. Posteriors are drawn from narrower than they are ("posterior reshaping", Chapelle and Li 2011):
for traffic that ends some day, plain Thompson sampling explores too long.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from clickscape.experiment.click_posterior import EffectPosterior, EffectPrior, effect_posterior
from clickscape.experiment.propensity import best_probabilities

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Thompson:
    """P(a creative wins a draw), (…, placement, creative), summing to 1 over creatives, and what it comes from.

    credence: (belief, …), probability of each belief given the clicks. posteriors: arrays begin with (belief, …).
    """

    probability: Floats
    credence: Floats
    posteriors: EffectPosterior


def thompson_shares(
    clicks: Floats, exposures: Floats, *, beliefs: EffectPrior, credence: Floats, exploration: float
) -> Thompson:
    """Return the exact distribution of Thompson sampling; clicks, exposures: (…, creative, placement).

    beliefs: arrays begin with (belief, …). credence: (belief, …) or (belief,), probability of each before the clicks.
    exploration: what the posterior's sd is multiplied by for drawing; 1 is plain Thompson sampling.
    """
    found = effect_posterior(
        np.broadcast_to(clicks, (len(credence), *clicks.shape)),
        np.broadcast_to(exposures, (len(credence), *clicks.shape)),
        prior=beliefs,
    )
    before = credence.reshape(credence.shape + (1,) * (found.log_evidence.ndim - credence.ndim))
    with np.errstate(divide="ignore"):  # a belief that nobody holds
        height = found.log_evidence + np.log(before)
    after = np.exp(height - height.max(axis=0))
    after /= after.sum(axis=0)
    mean, sd = np.swapaxes(found.mean, -1, -2), np.swapaxes(found.sd, -1, -2)
    winning = best_probabilities(mean, exploration * sd)
    return Thompson((after[..., None, None] * winning).sum(axis=0), after, found)
