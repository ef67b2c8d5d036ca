"""What benchmarks/bandit.py compares: clickscape's bandit, simple policies, Beta posteriors and vowpalwabbit."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace
from itertools import accumulate

import numpy as np

from _bandit_worlds import (
    BATCH,
    CREATIVES,
    EARLY,
    EXAMINATION,
    PLACEMENTS,
    POSITIONS,
    SCORE_SD,
    Floats,
    Policy,
    Traffic,
)
from clickscape.experiment import bandit
from clickscape.experiment.click_posterior import EffectPrior
from clickscape.experiment.prior import learn_trust
from clickscape.experiment.propensity import with_floor
from clickscape.experiment.thompson import Thompson, thompson_shares

RULES = bandit.BanditRules()


class ScoreBandit:
    """clickscape's bandit for products of many worlds; trust is learned from a world's products, every other batch."""

    def __init__(self, traffic: Traffic, *, use_scores: bool = True, rules: bandit.BanditRules = RULES,
                 trust: float | None = None) -> None:  # fmt: skip
        priors = traffic.priors if use_scores else [replace(one, weight=0.0, spread=one.spread_alone)
                                                    for one in traffic.priors]  # fmt: skip
        each = [one.beliefs(scores, np.full(CREATIVES, SCORE_SD)) for one, scores in
                zip(priors, traffic.scores, strict=True)]  # fmt: skip
        kept = slice(None) if use_scores else slice(1, 2)
        self.beliefs = EffectPrior(
            np.stack([one.mean for one in each], axis=1)[kept], np.stack([one.variance for one in each], axis=1)[kept],
            *(np.array([getattr(one, name) for one in each]) for name in ("placement_variance", "level", "level_sd")),
        )  # fmt: skip
        self.worlds, self.rules, self.fixed = traffic.worlds, rules, trust is not None
        begin = 0.5 if trust is None else trust
        self.credence = np.repeat([[begin], [1 - begin]], len(each), axis=1)[kept]

    def __call__(self, clicks: Floats, exposures: Floats, number: int) -> Floats:
        found = thompson_shares(
            clicks, exposures, beliefs=self.beliefs, credence=self.credence, exploration=self.rules.exploration
        )
        if not self.fixed and len(self.credence) == 2 and number % 2 == 0:
            self._learn(found)
        return with_floor(found.probability, floor=self.rules.floor)

    def _learn(self, found: Thompson) -> None:
        evidence = found.posteriors.log_evidence.reshape(2, self.worlds, -1)
        trust = [learn_trust(np.array([0.5, 0.5]), evidence[:, world]) for world in range(self.worlds)]
        each = np.repeat(trust, evidence.shape[2])
        self.credence = np.stack([each, 1 - each])


def uniform(clicks: Floats, _exposures: Floats, _number: int) -> Floats:
    """Every creative equally often."""
    return np.full(np.swapaxes(clicks, 1, 2).shape, 1 / CREATIVES)


def best_of_log(decisions: int) -> Policy:
    """Return a policy: every creative equally often for a tenth of the decisions, then the one with the highest CTR."""
    kept: list[Floats] = []

    def policy(clicks: Floats, exposures: Floats, number: int) -> Floats:
        if number < decisions // BATCH // 10:
            return uniform(clicks, exposures, number)
        if not kept:
            kept.append((clicks.sum(axis=2) / exposures.sum(axis=2)).argmax(axis=1))
        chosen = np.eye(CREATIVES)[kept[0]]
        return np.repeat(chosen[:, None], len(PLACEMENTS), axis=1)

    return policy


def beta_sampling(
    seed: int, *, traffic: Traffic | None = None, exploration: float = 1.0, floor: float = RULES.floor
) -> Policy:
    """Return Thompson sampling from Beta posteriors over all placements, by 200 draws a batch.

    Beta(1, 1), or with `traffic` the pseudo-counts that say what the learned prior says.
    """
    rng = np.random.default_rng(seed)

    def policy(clicks: Floats, exposures: Floats, _number: int) -> Floats:
        hits, shown = clicks.sum(axis=2), exposures.sum(axis=2)
        a, b = np.ones_like(hits), np.ones_like(hits)
        if traffic is not None:
            weight, level, width = (np.array([getattr(one, name) for one in traffic.priors])[:, None]
                                    for name in ("weight", "log_ctr", "spread"))  # fmt: skip
            effect = np.exp(weight * (traffic.scores - traffic.scores.mean(axis=1, keepdims=True)))
            base = (hits.sum(axis=1, keepdims=True) + 1) / (
                (shown * effect).sum(axis=1, keepdims=True) + np.exp(-level)
            )
            a = 1 / (width**2 + (weight * SCORE_SD) ** 2)
            b = a / (base * effect) - a
        draws = rng.beta((a + hits) / exploration**2, np.maximum(b + shown - hits, 1) / exploration**2,
                         size=(200, *hits.shape)).argmax(axis=2)  # fmt: skip
        share = (draws[..., None] == np.arange(CREATIVES)).mean(axis=0)
        return np.repeat(with_floor(share, floor=floor)[:, None], len(PLACEMENTS), axis=1)

    return policy


def vowpal(traffic: Traffic, decisions: int, options: str, *, seed: int) -> Floats | None:
    """Return regret of vowpalwabbit, (2, world), on each world's first product; None where it is not installed.

    It learns after every decision, and sees placement, creative, their product, and the score.
    """
    try:
        from vowpalwabbit import Workspace
    except ImportError:
        print("vowpalwabbit is not installed, its row is left out: pip install clickscape[peers]")
        return None
    rng, found = np.random.default_rng(seed), []
    every = len(traffic.log_ctr) // traffic.worlds
    for product in range(0, len(traffic.log_ctr), every):
        ctr, scores = np.exp(traffic.log_ctr[product]), traffic.scores[product]
        learner = Workspace(f"--cb_explore_adf {options} -q sa --quiet --random_seed {seed + 1}")
        actions = [f"|a c{place} |r score:{scores[place]:.4f}" for place in range(CREATIVES)]
        parsed = [learner.parse([f"shared |s p{place}", *actions]) for place in range(len(PLACEMENTS))]
        places = rng.choice(len(PLACEMENTS), size=decisions, p=PLACEMENTS).tolist()
        looks = EXAMINATION[rng.choice(len(POSITIONS), size=decisions, p=POSITIONS)].tolist()
        draws, clicks = rng.random((2, decisions)).tolist()
        rates, tops = ctr.tolist(), ctr.max(axis=0).tolist()
        lost = best = 0.0
        early = None
        for number, (place, look, draw, click) in enumerate(zip(places, looks, draws, clicks, strict=True), start=1):
            shares = learner.predict(parsed[place])
            limits = list(accumulate(shares))
            chosen = min(bisect_right(limits, draw * limits[-1]), CREATIVES - 1)
            own = rates[chosen][place]
            lost, best = lost + (tops[place] - own) * look, best + tops[place] * look
            text = [f"shared |s p{place}", *actions]
            text[chosen + 1] = f"0:{-float(click < own * look)}:{shares[chosen]:.6f} {actions[chosen]}"
            learner.learn(text)
            if number == EARLY:
                early = lost / best
        learner.finish()
        found.append([lost / best if early is None else early, lost / best])
    return np.array(found).T
