"""The estimators of off-policy evaluation, each a value and what every decision adds to it.

    w = target probability / propensity of what was shown,  r = click,  q = expected click rate,  V = policy's CTR

    IPS          mean of w · r                                                     (Horvitz and Thompson 1952)
    SNIPS        Σ w · r / Σ w                                                     (Swaminathan and Joachims 2015)
    direct       mean of Σ_a π(a) q(a)
    DR           direct + mean of w (r − q)                                        (Dudík, Langford and Li 2011)
    Switch-DR    DR whose correction leaves out decisions with w above a threshold (Wang, Agarwal and Dudík 2017)
    MIPS         IPS by the weights of scene elements, see `element_weights`       (Saito and Joachims 2022)

q was fitted to other decisions than those that it corrects: to those of other users, or, where the logging policy
learned from the clicks, to earlier ones only. Errors are those of users. Where the fitted model is not corrected for in
full, they come from the jackknife that leaves out groups of users (Shao and Tu 1995, 2.3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from clickscape.errors import ExperimentError
from clickscape.experiment.decisions import Decisions, Floats, Integers
from clickscape.experiment.element_weights import Elements, ElementWeights, element_weights
from clickscape.experiment.off_policy_rewards import Rewards, fit_rewards
from clickscape.experiment.slope import slope
from clickscape.experiment.target_policy import TargetPolicy

GROUPS = 20
"""Groups of users, or spans of time, that rewards are fitted without in turn."""

_WHOLE = 1 - 1e-9
_HALVINGS = 7  # of the largest weight, for SLOPE to choose a threshold from


@dataclass(frozen=True, eq=False)
class Score:
    """An estimate of a policy's CTR, by one of two ways to its error.

    influence: (decision,) what each decision adds beyond the mean. replicates: (group,) the estimate without each group
    in turn. weight: (decision,) that clicks count with. threshold: of the weights, where there is one. unclipped: the
    estimate without a threshold, where one was chosen by the data: its error knows no bias that a threshold brings.
    """

    value: float
    weight: Floats
    influence: Floats | None = None
    replicates: Floats | None = None
    threshold: float | None = None
    unclipped: Score | None = None


@dataclass(frozen=True, eq=False)
class Problem:
    """A log and a target policy, and what every estimator needs of both.

    adaptive: whether the logging policy learned from clicks, so that rewards are fitted to earlier decisions only.
    prior: (creative,) expected effects on the click rate, of the target's creatives; None for none. elements: of the
    scenes of the target's creatives, for MIPS.
    """

    decisions: Decisions
    target: TargetPolicy
    adaptive: bool = False
    prior: Floats | None = None
    elements: Elements | None = None

    @cached_property
    def entry_weight(self) -> Floats:
        """Importance weight of every candidate, (entry,); 0 where it could not be shown."""
        chance, wanted = self.decisions.propensity, self.target.on_entries(self.decisions)
        return np.divide(wanted, chance, out=np.zeros_like(chance), where=chance > 0)

    @cached_property
    def weight(self) -> Floats:
        """Importance weight of every decision, (decision,)."""
        return self.entry_weight[self.decisions.shown]

    @cached_property
    def group(self) -> Integers:
        """Group of every decision, from 0: of users, or of time where the log is adaptive; (decision,)."""
        count = len(self.decisions.shown)
        if self.adaptive:
            return np.arange(count) * GROUPS // count
        if self.decisions.user is None:
            return np.arange(count) % GROUPS
        return np.unique(np.unique(self.decisions.user, return_inverse=True)[1] % GROUPS, return_inverse=True)[1]

    @cached_property
    def counts(self) -> tuple[Floats, Floats]:
        """How often each candidate was shown and clicked in each group, both (group, entry)."""
        entries, groups = len(self.decisions.creative), int(self.group.max()) + 1
        key = self.group * entries + self.decisions.shown
        shown = np.bincount(key, np.ones(len(key)), groups * entries)
        clicked = np.bincount(key, self.decisions.clicked, groups * entries)
        return np.asarray(shown.reshape(groups, entries)), np.asarray(clicked.reshape(groups, entries))

    @cached_property
    def rewards(self) -> list[Rewards]:
        """Rewards for the decisions of each group, fitted without them."""
        shown, clicked = self.counts
        if self.adaptive:
            shows, clicks = np.cumsum(shown, axis=0) - shown, np.cumsum(clicked, axis=0) - clicked
        else:
            shows, clicks = shown.sum(0) - shown, clicked.sum(0) - clicked
        prior = None if self.prior is None else self.prior[: len(self.decisions.creatives)]
        return [
            fit_rewards(self.decisions, impressions=own, clicks=got, prior=prior)
            for own, got in zip(shows, clicks, strict=True)
        ]

    @cached_property
    def rates(self) -> Floats:
        """Click rate of every candidate by the rewards of each group, (group, entry)."""
        sets, creative = self.decisions.set_of_entry, self.decisions.creative
        return np.stack([rewards.of(sets, creative) for rewards in self.rewards])

    @cached_property
    def expected(self) -> Floats:
        """Click rate that the target expects in each set by the rewards of each group, (group, set)."""
        return np.stack([self._expected(rewards) for rewards in self.rewards])

    @cached_property
    def direct(self) -> Floats:
        """Click rate that the target expects in the set of each decision, (decision,)."""
        return np.asarray(self.expected[self.group, self.sets])

    @cached_property
    def residual(self) -> Floats:
        """Click less its expected rate, (decision,)."""
        return np.asarray(self.decisions.clicked - self.rates[self.group, self.decisions.shown])

    @cached_property
    def element_levels(self) -> list[ElementWeights]:
        """Weights in each context by all slots, then by fewer and fewer, each time without the noisiest one."""
        if self.elements is None or not self.elements.slots:
            raise ExperimentError("MIPS needs to know what creatives show, and nobody noted a scene. Use dr.")
        elements, clicks = self.elements, self.decisions.clicks

        def weights(slots: tuple[str, ...]) -> ElementWeights:
            return element_weights(self.decisions, self.target, key=elements.key(slots))

        slots = elements.slots
        levels = [weights(slots)]
        while len(slots) > 1:
            fewer = [tuple(slot for slot in slots if slot != left_out) for left_out in slots]
            slots = min(fewer, key=lambda some: float((weights(some).weight ** 2 * clicks).sum()))
            levels.append(weights(slots))
        return levels

    @property
    def sets(self) -> Integers:
        """Set of each decision, (decision,)."""
        return self.decisions.set_of_entry[self.decisions.shown]

    def _expected(self, rewards: Rewards) -> Floats:
        target, known = self.target, len(self.decisions.creatives)
        rate = rewards.of(target.sets, target.creative)
        if self.prior is not None:  # a creative that nobody saw is what its prior says
            rate = np.where(target.creative < known, rate, rate * self.prior[target.creative])
        return np.asarray(np.bincount(target.sets, target.probability * rate, len(self.decisions.product)))


def ips(problem: Problem) -> Score:
    """Return the mean of weighted clicks."""
    return clipped_ips(problem, threshold=math.inf)


def clipped_ips(problem: Problem, *, threshold: float | None = None) -> Score:
    """Return the mean of clicks by weights that are cut to at most a threshold; None to choose it by SLOPE."""
    if threshold is None:
        return _by_slope(problem, lambda limit: clipped_ips(problem, threshold=limit))
    weight = np.minimum(problem.weight, threshold)
    weighted = weight * problem.decisions.clicked
    value = float(weighted.mean())
    return Score(value, weight, influence=weighted - value, threshold=threshold)


def snips(problem: Problem) -> Score:
    """Return weighted clicks per weight."""
    mean = float(problem.weight.mean())
    value = float((problem.weight * problem.decisions.clicked).mean()) / mean if mean > 0 else 0.0
    influence = problem.weight * (problem.decisions.clicked - value) / mean if mean > 0 else problem.weight
    return Score(value, problem.weight, influence=influence)


def mips(problem: Problem) -> Score:
    """Return the mean of clicks weighted by elements, in each context; SLOPE chooses how many slots weights tell apart.

    Unbiased if only these slots act on clicks. Levels at which the log lacks a part of the target's traffic are left
    out, if any level has all of it.
    """
    whole = [level for level in problem.element_levels if level.supported >= _WHOLE] or problem.element_levels[-1:]
    scores = []
    for level in whole:
        weight = level.weight[problem.decisions.shown]
        weighted = weight * problem.decisions.clicked
        value = float(weighted.mean())
        scores.append(Score(value, weight, influence=weighted - value))
    chosen = slope([one.value for one in scores], [standard_error(one, problem)[0] for one in scores])
    return replace(scores[chosen], unclipped=scores[0])


def direct(problem: Problem) -> Score:
    """Return what rewards that were fitted to the log expect, with no correction.

    Its interval knows how the fit varies, and not how wrong the model is.
    """
    return switch_dr(problem, threshold=0.0)


def doubly_robust(problem: Problem) -> Score:
    """Return the direct estimate, corrected by weighted residuals."""
    return switch_dr(problem, threshold=math.inf)


def switch_dr(problem: Problem, *, threshold: float | None = None) -> Score:
    """Return the doubly robust estimate that leaves residuals with a weight above the threshold to the direct one.

    threshold: None to choose it by SLOPE.
    """
    if threshold is None:
        return _by_slope(problem, lambda limit: switch_dr(problem, threshold=limit))
    weight = np.where(problem.weight <= threshold, problem.weight, 0.0)
    score = problem.direct + weight * problem.residual
    value = float(score.mean())
    if math.isinf(threshold):
        return Score(value, weight, influence=score - value, threshold=threshold)
    return Score(value, weight, replicates=_without_groups(problem, threshold), threshold=threshold)


def stabilized_dr(problem: Problem) -> Score:
    """Return the doubly robust estimate whose decisions count less, the noisier their propensities make them.

    In each context decisions count by 1 / √(Σ_a π(a)² / propensity(a)), the contextual StableVar weights of Zhan,
    Hadad, Hirshberg and Athey (2021), and contexts by how often they came. Propensities must vary for no other reason
    than what the logging policy had learned.
    """
    log = problem.decisions
    square = np.bincount(log.set_of_entry, problem.entry_weight**2 * log.propensity, len(log.product))
    chance = np.divide(1.0, np.sqrt(square), out=np.zeros_like(square), where=square > 0)
    counts = log.size.astype(np.float64)
    contexts = int(log.context.max()) + 1
    total = np.bincount(log.context, counts * chance, contexts)
    scale = np.divide(np.bincount(log.context, counts, contexts), total, out=np.zeros(contexts), where=total > 0)
    share = (chance * scale[log.context])[problem.sets]
    correction = problem.weight * problem.residual
    score = problem.direct + correction
    value = float((share * score).mean())
    own = problem.direct
    influence = share * (score - own) + own - float(own.mean())
    return Score(value, problem.weight, influence=influence - influence.mean())


def _without_groups(problem: Problem, threshold: float) -> Floats:
    """Switch-DR without each group of users in turn, whose rewards were fitted without it; (group,)."""
    problem = replace(problem, adaptive=False)
    log, (shown, clicked) = problem.decisions, problem.counts
    shows, clicks = shown.sum(0) - shown, clicked.sum(0) - clicked
    sizes = np.stack([np.bincount(log.set_of_entry, own, len(log.product)) for own in shows])
    weight = np.where(problem.entry_weight <= threshold, problem.entry_weight, 0.0)
    whole = (problem.expected * sizes).sum(1) + ((clicks - shows * problem.rates) * weight).sum(1)
    return np.asarray(whole / np.maximum(shows.sum(1), 1))


def _by_slope(problem: Problem, estimate: Callable[[float], Score]) -> Score:
    """The estimate at the threshold that SLOPE chooses among none and the largest weight's halves down to 1."""
    largest = float(problem.weight.max())
    halves = [largest / 2**power for power in range(1, _HALVINGS) if largest / 2**power >= 1]
    scores = [estimate(limit) for limit in (math.inf, *halves)]
    chosen = slope([one.value for one in scores], [standard_error(one, problem)[0] for one in scores])
    return replace(scores[chosen], unclipped=scores[0])


def standard_error(score: Score, problem: Problem) -> tuple[float, float]:
    """Return the standard error of an estimate, over users where the log knows them, and its degrees of freedom."""
    if score.influence is not None:
        return clustered_error(score.influence, problem.decisions.user)
    assert score.replicates is not None
    return jackknife_error(score.replicates)


def clustered_error(influence: Floats, cluster: Integers | None) -> tuple[float, float]:
    """Return the standard error of a mean whose entries depend on each other within clusters, and degrees of freedom.

    influence, cluster: (entry,). Degrees of freedom are 2 (Σ s²)² / Σ s⁴ of the clusters' sums s: those of the χ² that
    has the mean and variance of Σ s² (Satterthwaite 1946). Where a few clusters make the error, it is hardly known.
    """
    count = len(influence)
    sums = influence if cluster is None else np.bincount(np.unique(cluster, return_inverse=True)[1], influence)
    groups, square, fourth = len(sums), float((sums**2).sum()), float((sums**4).sum())
    degrees = 2 * square**2 / fourth if fourth > 0 else math.inf
    return math.sqrt(square * groups / max(groups - 1, 1)) / count, degrees


def jackknife_error(replicates: Floats) -> tuple[float, float]:
    """Return the standard error by estimates without a group each, (group,), and its degrees of freedom."""
    groups = len(replicates)
    spread = float(((replicates - replicates.mean()) ** 2).sum())
    return math.sqrt((groups - 1) / groups * spread), float(max(groups - 1, 1))


ESTIMATORS: Mapping[str, Callable[[Problem], Score]] = {
    "ips": ips,
    "clipped-ips": clipped_ips,
    "snips": snips,
    "direct": direct,
    "dr": doubly_robust,
    "switch-dr": switch_dr,
    "stabilized-dr": stabilized_dr,
    "mips": mips,
}
"""Estimators by their names on the command line."""
