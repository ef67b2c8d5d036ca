"""Shares of traffic by Thompson sampling, from counts of many products at once.

Two beliefs stand side by side: that the scores have their learned weight, and that they say nothing. Clicks decide
between them (Bayesian model averaging; Hoeting et al. 1999), so scores that have stopped being right lose their say
with every click. Draws are narrower than the posterior ("posterior reshaping", Chapelle and Li 2011): for traffic that
ends some day, plain Thompson sampling explores too long. Only what clicks said is narrowed, by counting them several
times (a power posterior; Friel and Pettitt 2008): the prior stays as wide as it is, and so does its doubt.
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

    credence: (belief, …), probability of each belief given the clicks. posteriors: those of the clicks counted once;
    arrays begin with (belief, …).
    """

    probability: Floats
    credence: Floats
    posteriors: EffectPosterior


def thompson_shares(
    clicks: Floats, exposures: Floats, *, beliefs: EffectPrior, credence: Floats, exploration: float
) -> Thompson:
    """Return the exact distribution of Thompson sampling; clicks, exposures: (…, creative, placement).

    beliefs: arrays begin with (belief, …). credence: (belief, …) or (belief,), probability of each before the clicks.
    exploration: sd of draws over that of the posterior where there are many clicks, which count 1 / exploration² times
    for drawing; 1 is plain Thompson sampling.
    """
    shape = (len(credence), *clicks.shape)
    clicks, exposures = np.broadcast_to(clicks, shape), np.broadcast_to(exposures, shape)
    found = effect_posterior(clicks, exposures, prior=beliefs)
    before = credence.reshape(credence.shape + (1,) * (found.log_evidence.ndim - credence.ndim))
    with np.errstate(divide="ignore"):  # a belief that nobody holds
        height = found.log_evidence + np.log(before)
    after = np.exp(height - height.max(axis=0))
    after /= after.sum(axis=0)
    times = exploration**-2
    drawn = found if times == 1 else effect_posterior(times * clicks, times * exposures, prior=beliefs)
    winning = best_probabilities(np.swapaxes(drawn.mean, -1, -2), np.swapaxes(drawn.sd, -1, -2))
    return Thompson((after[..., None, None] * winning).sum(axis=0), after, found)
