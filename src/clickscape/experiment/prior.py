"""How much a reward model's scores say of CTRs before any click: learned from creatives that have clicks already.

log CTR of a creative = level of its product and placement + weight × (score ± its sd) + N(0, spread²), and N(0,
placement_spread²) of its own at every placement. Weight and spreads are where the clicks of past creatives are
likeliest, with all levels and effects integrated out by Laplace's method (empirical Bayes; Efron and Morris 1975). Then
the weight is made *honest*: it is shrunk by its own error, to 0 where the scores explain no more than chance would, and
the spread is learned again with that weight. The scores must be of creatives that the reward model did not learn from;
of others it knows the clicks by heart.

What was right of past creatives may be wrong of the next ones. So the prior keeps a second belief, that scores say
nothing, and `trust` is the share of products of which the first is thought to hold; `learn_trust` reads it from clicks
on the creatives that are shown now.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from clickscape.errors import ExperimentError
from clickscape.experiment.click_posterior import EffectPrior, effect_posterior
from clickscape.types import Estimate

Floats = NDArray[np.float64]

_GUESS = np.log([0.25, 0.1])  # spread and placement_spread, where few clicks tell
_GUESS_SD = 1.0  # of their logs
_BOUNDS = ((np.log(0.01), np.log(3.0)), (np.log(0.01), np.log(2.0)))
_DESCENT = {"eps": 1e-4, "ftol": 1e-9}  # steps of differences that the rest of Newton's method does not drown
_STEP = 0.02  # of the second differences that give the weight's error
_LEVEL_SD = 0.5  # at least, between levels of products
_NORMAL = 1.959964


@dataclass(frozen=True, slots=True)
class ScorePrior:
    """What scores and past clicks say of a new creative's log CTR, relative to the level of its product.

    weight: of a score, after shrinkage; observed: before it, with its interval, None without past creatives. spread:
    sd of log CTR around what the score says, the same at all placements; spread_alone: where scores say nothing.
    placement_spread: sd of what a creative has at one placement alone. log_ctr, level_sd: mean and sd of the levels of
    products. trust: probability that the scores of a product have the weight.
    """

    weight: float = 0.0
    spread: float = 0.25
    spread_alone: float = 0.25
    placement_spread: float = 0.1
    log_ctr: float = -4.6
    level_sd: float = 1.0
    trust: float = 0.5
    observed: Estimate | None = None

    def __post_init__(self) -> None:
        spreads = (self.spread, self.spread_alone, self.placement_spread, self.level_sd)
        if not (np.isfinite([self.weight, self.log_ctr, *spreads]).all() and self.weight >= 0 and min(spreads) > 0):
            raise ExperimentError(
                f"a prior needs a weight of 0 or more and spreads above 0, got {self.weight} and {spreads}. "
                "Learn it from past creatives again."
            )

        if not 0 <= self.trust <= 1:
            raise ExperimentError(f"a prior's trust is a probability, got {self.trust}. Learn it again.")

    @property
    def credence(self) -> Floats:
        """Return the probabilities of the two beliefs, (belief,): scores have the weight, or say nothing."""
        return np.array([self.trust, 1 - self.trust])

    def beliefs(self, scores: Floats, score_sds: Floats) -> EffectPrior:
        """Return the two priors of effects on log CTR, (belief, …, creative); scores, score_sds: (…, creative)."""
        centered = self.weight * (scores - scores.mean(axis=-1, keepdims=True))
        variance = self.spread**2 + (self.weight * score_sds) ** 2
        return EffectPrior(
            mean=np.stack([centered, np.zeros_like(centered)]),
            variance=np.stack([variance, np.full_like(variance, self.spread_alone**2)]),
            placement_variance=self.placement_spread**2,
            level=self.log_ctr,
            level_sd=self.level_sd,
        )


@dataclass(frozen=True, eq=False)
class PastCreatives:
    """Creatives that were shown: product (creative,) numbers, score and its sd (creative,), and their counts.

    clicks, exposures: (creative, placement); exposures as of `effect_posterior`.
    """

    product: NDArray[np.int64]
    score: Floats
    score_sd: Floats
    clicks: Floats
    exposures: Floats

    def __post_init__(self) -> None:
        lengths = {len(values) for values in (self.product, self.score, self.score_sd, self.clicks, self.exposures)}
        if len(lengths) != 1 or self.clicks.shape != self.exposures.shape or self.clicks.ndim != 2:
            raise ExperimentError("past creatives need one product, score, sd and row of counts each. Align them.")
        numbers = (self.score, self.score_sd, self.clicks, self.exposures)
        if not all(np.isfinite(values).all() for values in numbers) or min(
            values.min(initial=0) for values in numbers[1:]
        ):
            raise ExperimentError("a past creative has a score or count that is no number, or negative. Leave it out.")


def learn_prior(past: PastCreatives) -> ScorePrior:
    """Learn weight and spreads from past creatives; the defaults of `ScorePrior` where they have no clicks at all."""
    if not past.clicks.sum() > 0:
        return ScorePrior()
    evidence = _Evidence.of(past)
    free = evidence.fit(weight=None)
    error = evidence.weight_error(free)
    observed = Estimate(free[0], free[0] - _NORMAL * error, free[0] + _NORMAL * error)
    weight = max(free[0], 0.0) * max(1 - (error / free[0]) ** 2, 0.0) if free[0] else 0.0
    _, alone, placement_spread = evidence.fit(weight=0.0)
    spread = alone
    if weight:
        _, spread, placement_spread = evidence.fit(weight=weight)
    return ScorePrior(weight, spread, alone, placement_spread, evidence.level, evidence.level_sd, observed=observed)


def learn_trust(credence: Floats, log_evidence: Floats) -> float:
    """Return the share of products whose scores have the weight, the likeliest given their clicks.

    credence: (belief,), held before, which counts as one product more, so that no number of products makes it 0 or 1.
    log_evidence: (belief, product), nats.
    """
    gain = log_evidence[0] - log_evidence[1]
    prior, trust = float(credence[0]), float(credence[0])
    for _ in range(200):  # expectation–maximization
        holds = 1 / (1 + np.exp(np.clip(np.log1p(-trust) - np.log(trust) - gain, -700, 700)))
        trust = float((holds.sum() + prior) / (len(gain) + 1))
    return trust


@dataclass(frozen=True, eq=False)
class _Evidence:
    """The counts as (product, creative, placement), filled up with creatives that nobody saw: they say nothing."""

    clicks: Floats
    exposures: Floats
    score: Floats
    score_variance: Floats
    level: float
    level_sd: float

    @classmethod
    def of(cls, past: PastCreatives) -> _Evidence:
        order = np.argsort(past.product, kind="stable")
        product = np.unique(past.product[order], return_inverse=True)[1]
        sizes = np.bincount(product)
        place = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)

        def filled(values: Floats) -> Floats:
            table = np.zeros((len(sizes), int(sizes.max()), *values.shape[1:]))
            table[product, place] = values[order]
            return table

        middle = (np.bincount(product, past.score[order]) / sizes)[product]
        centered = np.empty_like(past.score)
        centered[order] = past.score[order] - middle
        clicks, exposures = filled(past.clicks), filled(past.exposures)
        shown = exposures.sum(axis=1) > 0
        levels = np.log((clicks.sum(axis=1)[shown] + 0.5) / exposures.sum(axis=1)[shown])
        return cls(clicks, exposures, filled(centered), filled(past.score_sd**2), float(levels.mean()),
                   max(float(levels.std()), _LEVEL_SD))  # fmt: skip

    def cost(self, weight: float, logs: Floats) -> float:
        """Minus the log evidence at a weight and the logs of the spreads, pulled a little to the guess."""
        spread, own = np.exp(logs)
        prior = EffectPrior(
            weight * self.score, spread**2 + weight**2 * self.score_variance, own**2, self.level, self.level_sd
        )
        found = effect_posterior(self.clicks, self.exposures, prior=prior).log_evidence.sum()
        return float(0.5 * (((logs - _GUESS) / _GUESS_SD) ** 2).sum() - found)

    def fit(self, *, weight: float | None) -> tuple[float, float, float]:
        """Return the weight, as given or the likeliest, and the likeliest spreads."""
        if weight is None:
            found = minimize(
                lambda x: self.cost(float(x[0]), x[1:]), [0.0, *_GUESS], method="L-BFGS-B", options=_DESCENT,
                bounds=((None, None), *_BOUNDS),
            ).x  # fmt: skip
            return (float(found[0]), *map(float, np.exp(found[1:])))  # type: ignore[return-value]
        found = minimize(lambda x: self.cost(weight, x), _GUESS, method="L-BFGS-B", options=_DESCENT, bounds=_BOUNDS).x
        return (weight, *map(float, np.exp(found)))  # type: ignore[return-value]

    def weight_error(self, at: tuple[float, float, float]) -> float:
        """Return the standard error of the weight, by the curvature of the evidence there."""
        logs = np.log(at[1:])
        costs = [self.cost(at[0] + move, logs) for move in (-_STEP, 0.0, _STEP)]
        bend = (costs[0] - 2 * costs[1] + costs[2]) / _STEP**2
        return float(1 / np.sqrt(bend)) if bend > 0 else np.inf
