"""What creatives that nobody has seen would have earned, by their scene elements.

    value = direct + correction
    direct      what the elements' effects expect, beside the product's own CTR
    correction  MIPS: mean of element weight · (click − expected click), over the elements that the log shows

Effects on a product's creatives are always fitted to other products, so that the residuals of the correction are
honest. Which slots the weights tell apart is chosen by SLOPE from all of them down to none, as Saito and Joachims
(2022, 5) suggest. The error is that of products (a jackknife that leaves out groups of them, effects fitted anew), and
of what a new creative does beyond its elements: as much as the log's creatives do. It knows no bias: a creative whose
elements act on one another in a way that the log never showed earns something else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from clickscape.experiment.decisions import Decisions, Floats, Integers
from clickscape.experiment.element_weights import Elements, element_weights, support
from clickscape.experiment.off_policy import LEVEL, PolicyValue, effective_number, interval, logged_ctr
from clickscape.experiment.off_policy_rewards import Rewards, fit_rewards, residual_variance
from clickscape.experiment.off_policy_scores import clustered_error, jackknife_error
from clickscape.experiment.slope import slope
from clickscape.experiment.target_policy import TargetPolicy
from clickscape.types import Estimate

GROUPS = 12
"""Groups of products that effects are fitted without in turn."""

LEAST_PRODUCTS = 8
"""Products with traffic below which effects of elements cannot be told from products."""

MOST_UNKNOWN = 0.25
"""Share of the traffic that may show an element which the log never showed."""

FitEffects = Callable[[Integers], Floats]
"""Fold of each of the target's creatives, (creative,) → effects on log CTR without the fold's clicks (fold, creative).
"""


@dataclass(frozen=True, slots=True)
class NewCreativesValue:
    """What a policy with new creatives would have earned, and what that rests on.

    support: slot → share of the target's traffic whose element the log shows ("all": all slots at once). slots: those
    that the correction's weights tell apart. corrected: share of the target's traffic that the correction reaches.
    creative_sd: of what a creative does beyond its elements, log CTR.
    """

    value: PolicyValue
    support: Mapping[str, float]
    slots: tuple[str, ...]
    corrected: float
    creative_sd: float


@dataclass(frozen=True, eq=False)
class _Correction:
    slots: tuple[str, ...]
    weight: Floats
    supported: float
    value: float
    error: float


def evaluate_new(
    decisions: Decisions,
    target: TargetPolicy,
    *,
    scenes: Mapping[str, Mapping[str, str | None]],
    departments: Mapping[str, str],
    fit: FitEffects,
    level: float = LEVEL,
) -> NewCreativesValue:
    """Estimate the CTR of a policy that shows creatives by their scenes, seen or not.

    scenes: creative → slot → value, for the log's creatives and the new ones. departments: of products. The clicks of
    one user on many products are taken for independent.
    """
    elements = Elements.of(target.creatives, scenes)
    shares = support(decisions, target, elements)
    facts = {
        "policy": target.name,
        "estimator": "mips",
        "logged": logged_ctr(decisions, level=level),
        "decisions": len(decisions.shown),
        "without_overlap": 1 - shares["all"],
    }
    shown, clicked = decisions.impressions, decisions.clicks
    if reason := _reason(shares["all"], decisions):
        nothing = PolicyValue(
            **facts, ctr=None, lift=None, effective_decisions=0.0, effective_clicks=0.0, reason=reason  # type: ignore[arg-type]
        )  # fmt: skip
        return NewCreativesValue(nothing, shares, (), 0.0, math.nan)
    owner = _owners(decisions, target)
    fold = _folds(decisions)
    effects = np.exp(fit(fold[owner]))
    expected = effects[fold[owner], np.arange(len(owner))]
    rewards = _rewards(decisions, shown, clicked, expected)
    rate = rewards.base[decisions.set_of_entry] * expected[decisions.creative]
    residual = clicked - shown * rate
    direct = _direct(decisions, target, rewards, expected)
    pool = np.unique([departments.get(name, "") for name in decisions.products], return_inverse=True)[1]
    levels = _levels(decisions, target, elements, residual, pool=pool[decisions.product], exposure=rewards.base)
    count = len(decisions.shown)
    chosen = levels[slope([one.value for one in levels], [one.error for one in levels])]
    value = direct.sum() / count + chosen.value
    of_set = fold[decisions.product]
    of_entry = of_set[decisions.set_of_entry]
    replicates = []
    for number, effect in enumerate(effects):
        kept, entries = of_set != number, of_entry != number
        anew = _rewards(decisions, np.where(entries, shown, 0.0), np.where(entries, clicked, 0.0), effect)
        whole = (_direct(decisions, target, anew, effect) * kept).sum() + (chosen.weight * residual)[entries].sum()
        replicates.append(whole / max(clicked[entries].sum(), 0.5))
    ratio = value / decisions.ctr
    spread = residual_variance(decisions, shown, clicked, rate)
    new = np.bincount(target.creative, target.probability * (decisions.size * rewards.base)[target.sets], len(owner))
    parts = (new * expected) / max(float((new * expected).sum()), 1e-300)
    own = math.sqrt(spread * float((parts**2).sum()))
    error, degrees = jackknife_error(np.array(replicates))
    relative = math.hypot(error / ratio, own) if ratio > 0 else math.inf
    logged = clustered_error(decisions.clicked - decisions.ctr, decisions.user)[0] / decisions.ctr
    lift = interval(ratio, relative * ratio, degrees, level=level)
    answer = PolicyValue(
        **facts,  # type: ignore[arg-type]
        ctr=interval(value, math.hypot(relative, logged) * value, degrees, level=level),
        lift=Estimate(lift.value - 1, lift.low - 1, lift.high - 1, level),
        effective_decisions=effective_number(np.repeat(chosen.weight, shown.astype(np.int64))),
        effective_clicks=effective_number(np.repeat(chosen.weight, clicked.astype(np.int64))),
    )
    return NewCreativesValue(answer, shares, chosen.slots, chosen.supported, math.sqrt(spread))


def _reason(supported: float, decisions: Decisions) -> str:
    """Why there is no CTR, or an empty text."""
    traffic = len(np.unique(decisions.product[decisions.size > 0]))
    if traffic < LEAST_PRODUCTS:
        return (
            f"not measurable: {traffic} products have traffic, expected {LEAST_PRODUCTS} or more to tell what a scene "
            f"does from what a product does"
        )
    if 1 - supported > MOST_UNKNOWN:
        return f"not measurable: {1 - supported:.1%} of its traffic shows scene elements that the log never showed"
    if not decisions.clicked.any():
        return "not measurable: the log has no click"
    return ""


def _folds(decisions: Decisions) -> Integers:
    """Group of every product, from 0, those with traffic spread evenly over them; (product,)."""
    traffic = np.bincount(decisions.product, decisions.size, len(decisions.products)) > 0
    fold = np.zeros(len(traffic), np.int64)
    fold[traffic] = np.arange(traffic.sum()) % GROUPS
    return fold


def _owners(decisions: Decisions, target: TargetPolicy) -> Integers:
    """Product of each of the target's creatives, (creative,)."""
    owner = np.zeros(len(target.creatives), np.int64)
    owner[target.creative] = decisions.product[target.sets]
    owner[decisions.creative] = decisions.product[decisions.set_of_entry]
    return owner


def _rewards(decisions: Decisions, shown: Floats, clicked: Floats, expected: Floats) -> Rewards:
    return fit_rewards(decisions, impressions=shown, clicks=clicked, prior=expected[: len(decisions.creatives)])


def _direct(decisions: Decisions, target: TargetPolicy, rewards: Rewards, expected: Floats) -> Floats:
    """Clicks that the target expects in all decisions of each set, (set,)."""
    rate = target.probability * rewards.base[target.sets] * expected[target.creative]
    return np.asarray(np.bincount(target.sets, rate, len(decisions.product)) * decisions.size)


def _levels(
    decisions: Decisions,
    target: TargetPolicy,
    elements: Elements,
    residual: Floats,
    *,
    pool: Integers,
    exposure: Floats,
) -> list[_Correction]:
    """Corrections by the weights of fewer and fewer slots: each time without the one that makes most of the error."""
    product = decisions.product[decisions.set_of_entry]
    count = len(decisions.shown)

    def correction(slots: tuple[str, ...]) -> _Correction:
        found = element_weights(decisions, target, key=elements.key(slots), pool=pool, exposure=exposure)
        of_product = np.bincount(product, found.weight * residual)
        error = math.sqrt(float((of_product**2).sum())) / count
        return _Correction(slots, found.weight, found.supported, float(of_product.sum()) / count, error)

    slots, levels = elements.slots, []
    while slots:
        levels.append(correction(slots))
        fewer = [tuple(slot for slot in slots if slot != left_out) for left_out in slots]
        slots = min(fewer, key=lambda some: correction(some).error) if len(slots) > 1 else ()
    nothing = np.zeros(len(decisions.creative))
    return [*levels, _Correction((), nothing, 0.0, 0.0, 0.0)]
