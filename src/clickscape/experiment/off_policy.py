"""What another policy would have earned on logged traffic, and by how much more than what was shown.

`evaluate` answers for one target policy with an interval, or says why the log cannot: a policy that goes where the log
never went is refused, with the share of its traffic that has no overlap.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtrit

from clickscape.errors import ExperimentError
from clickscape.experiment.decisions import Decisions, Floats
from clickscape.experiment.element_weights import Elements
from clickscape.experiment.off_policy_scores import (
    ESTIMATORS,
    Problem,
    Score,
    clustered_error,
    jackknife_error,
    standard_error,
)
from clickscape.experiment.target_policy import TargetPolicy
from clickscape.types import Estimate

LEVEL = 0.95
MOST_WITHOUT_OVERLAP = 0.01
"""Share of a policy's traffic that may go where the log could not, above which no CTR is said."""

LEAST_CLICKS = 10.0
"""Effective number of weighted clicks, (Σ w)² / Σ w² over clicks, below which no interval holds what it says."""

DEFAULT = "dr"
"""Without bias, and with the coverage that it says; the others trade one for the other: docs/experiments/off-policy.md.
"""


@dataclass(frozen=True, slots=True)
class PolicyValue:
    """What a target policy would have earned: its CTR and lift over what was logged, None where `reason` says why.

    logged: the CTR that the logging policy earned on the same decisions. effective_decisions: (Σ w)² / Σ w² of the
    importance weights; effective_clicks: the same over clicks. without_overlap: share of the target's traffic that
    goes to creatives which the log could not show there. threshold: of the weights, where one was chosen.
    """

    policy: str
    estimator: str
    ctr: Estimate | None
    lift: Estimate | None
    logged: Estimate
    decisions: int
    effective_decisions: float
    effective_clicks: float
    without_overlap: float
    threshold: float | None = None
    reason: str = ""


def evaluate(
    decisions: Decisions,
    target: TargetPolicy,
    *,
    estimator: str = DEFAULT,
    adaptive: bool = False,
    prior: Floats | None = None,
    elements: Elements | None = None,
    level: float = LEVEL,
) -> PolicyValue:
    """Estimate the CTR of a target policy and its lift over the logging policy.

    adaptive: the logging policy learned from the clicks (a bandit). prior: (creative,) expected effect of each of the
    target's creatives on the click rate, as a factor, for the direct part. elements: of the target's creatives, for the
    estimator mips. Intervals are those of users where the log has them. ExperimentError for an unknown estimator, and
    for an adaptive log without times.
    """
    if estimator not in ESTIMATORS:
        raise ExperimentError(f"no estimator {estimator!r}. There are: {', '.join(ESTIMATORS)}.")
    if adaptive and not decisions.ordered:
        raise ExperimentError(
            "a log that a learning policy made needs times: rewards may be fitted to earlier decisions only. Log ts."
        )
    problem = Problem(decisions, target, adaptive=adaptive, prior=prior, elements=elements)
    outside, weight = target.without_overlap(decisions), problem.weight
    if estimator == "mips":  # what has to overlap is elements
        outside = 1 - max(level.supported for level in problem.element_levels)
        weight = problem.element_levels[0].weight[decisions.shown]
    facts = {
        "policy": target.name,
        "estimator": estimator,
        "logged": logged_ctr(decisions, level=level),
        "decisions": len(decisions.shown),
        "effective_decisions": effective_number(weight),
        "effective_clicks": effective_number(weight * decisions.clicked),
        "without_overlap": outside,
    }
    if reason := _reason(outside, float(facts["effective_clicks"])):  # type: ignore[arg-type]  # facts are of all kinds
        return PolicyValue(**facts, ctr=None, lift=None, reason=reason)  # type: ignore[arg-type]
    score = ESTIMATORS[estimator](problem)
    known = score.unclipped or score
    ctr = interval(known.value, *standard_error(known, problem), level=level)
    return PolicyValue(
        **facts,  # type: ignore[arg-type]
        ctr=_around(score.value, ctr),
        lift=_lift(score, known, problem, level=level),
        threshold=score.threshold if score.unclipped else None,
    )


def logged_ctr(decisions: Decisions, *, level: float = LEVEL) -> Estimate:
    """Return the CTR of the log itself with its interval."""
    return interval(decisions.ctr, *clustered_error(decisions.clicked - decisions.ctr, decisions.user), level=level)


def interval(value: float, error: float, degrees: float, *, level: float = LEVEL) -> Estimate:
    """Return a rate with its interval, symmetric on the log scale by Student's t: few clicks are skewed.

    degrees: of freedom of the error. A rate that is not above 0 has the interval that is symmetric itself.
    """
    width = error * float(stdtrit(min(degrees, 1e9), (1 + level) / 2))
    if value <= 0:
        return Estimate(value, value - width, value + width, level)
    return Estimate(value, value * math.exp(-width / value), value * math.exp(width / value), level)


def effective_number(weight: Floats) -> float:
    """Return (Σ w)² / Σ w²: how many equal weights say as much; 0 without any."""
    square = float((weight**2).sum())
    return float(weight.sum()) ** 2 / square if square > 0 else 0.0


def _reason(outside: float, clicks: float) -> str:
    """Why there is no CTR, or an empty text."""
    if outside > MOST_WITHOUT_OVERLAP:
        return (
            f"not measurable: {outside:.1%} of its traffic has no overlap with the log, which never shows those "
            f"creatives there"
        )
    if clicks < LEAST_CLICKS:
        return (
            f"not measurable: the clicks on what it would show weigh as {clicks:.1f}, expected {LEAST_CLICKS:g} or more"
        )
    return ""


def _lift(score: Score, known: Score, problem: Problem, *, level: float) -> Estimate | None:
    """CTR of the target / CTR of the log − 1, with the interval of the ratio on the log scale."""
    log = problem.decisions
    if log.ctr <= 0 or score.value <= 0 or known.value <= 0:
        return None
    ratio = known.value / log.ctr
    if known.influence is not None:
        influence = known.influence / known.value - (log.clicked - log.ctr) / log.ctr
        error, degrees = clustered_error(influence, log.user)
    else:
        assert known.replicates is not None
        shown, clicked = replace(problem, adaptive=False).counts
        others = (clicked.sum() - clicked.sum(1)) / np.maximum(shown.sum() - shown.sum(1), 1)
        error, degrees = jackknife_error(known.replicates / others)
        error = error / ratio
    found = interval(ratio, error * ratio, degrees, level=level)
    found = _around(score.value / log.ctr, found)
    return Estimate(found.value - 1, found.low - 1, found.high - 1, level)


def _around(value: float, found: Estimate) -> Estimate:
    """The interval of an estimate, widened to hold another one of the same thing."""
    return Estimate(value, min(found.low, value), max(found.high, value), found.level)
