"""A linear probe that names the slots of a picture's scene: multinomial logistic regression on pooled image tokens.

It is convex and begins from the maps with which the tower was warmed up: they are the mean of the prior, so few
creatives change little. How strongly it holds to them, and one temperature per slot, are chosen by names of objects
that the probe did not meet. Effects need its probabilities to be right, not only its first choice: the expected design
given the picture is the correction for misread slots (regression calibration, Carroll et al. 2006). `held_out` are
probabilities by probes that did not meet the row's object, so that rows of training err as new pictures will.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from clickscape.errors import ModelError
from clickscape.reward.protocol import Floats, Slots
from clickscape.vlm.slots import FILE, NamedSlots

STRENGTHS = (50.0, 300.0, 1e6)
"""Inverse variances of what is added to the prior's maps, tried in turn; by the last they stay as they are."""

FOLDS = 4
COMPONENTS = 200
"""Directions of the tokens in which the probe may leave its prior."""

_STEPS, _LOOSE = 40, 0.1
_ROUNDING = 1e-10  # share of the largest eigenvalue below which one is that of no direction
_UNNAMED = -30.0  # logit of a value that neither log nor prior knows


@dataclass(frozen=True, eq=False)
class SlotProbe:
    """slots: slot → its values, after which comes the class "shows none". weight: (token, class); bias: (class,)."""

    slots: Mapping[str, tuple[str, ...]]
    weight: Floats
    bias: Floats

    def probabilities(self, tokens: Floats) -> Floats:
        """Return P(class) of every slot's classes, one slot after the other: (picture, token) → (picture, class)."""
        return softmax(np.asarray(tokens, np.float64) @ self.weight + self.bias, class_counts(self.slots))


def class_counts(slots: Mapping[str, tuple[str, ...]]) -> tuple[int, ...]:
    """Return how many classes each slot has: its values, and one for none."""
    return tuple(len(values) + 1 for values in slots.values())


def given_probabilities(slots: Mapping[str, tuple[str, ...]], scenes: Sequence[Slots | None]) -> Floats:
    """Return certainty where a scene says a slot's class, NaN where it does not, (scene, class)."""
    found = np.full((len(scenes), sum(class_counts(slots))), np.nan)
    start = 0
    for slot, values in slots.items():
        place = {value: number for number, value in enumerate((*values, None))}
        for row, scene in enumerate(scenes):
            if scene is not None and slot in scene and (number := place.get(scene[slot])) is not None:
                found[row, start : start + len(place)] = np.arange(len(place)) == number
        start += len(place)
    return found


def from_named(slots: Mapping[str, tuple[str, ...]], named: NamedSlots | None, *, width: int) -> SlotProbe | None:
    """Return the maps of the tower's warm-up as a probe; None without any. ModelError for tokens of another width."""
    if named is None:
        return None
    if named.weight.shape[1] != width:
        raise ModelError(
            f"the names of slots were learned on {named.weight.shape[1]} numbers a picture, this backbone gives "
            f"{width}. Delete {FILE} from its folder, or restore the one that belongs there."
        )
    theirs = [(slot, value) for slot, values in named.values.items() for value in values]
    rows = {item: row for row, item in enumerate(theirs)}
    ours = [(slot, value) for slot, values in slots.items() for value in (*values, None)]
    weight, bias = np.zeros((width, len(ours))), np.full(len(ours), _UNNAMED)
    for column, (slot, value) in enumerate(ours):
        if value is not None and (row := rows.get((slot, value))) is not None:
            weight[:, column], bias[column] = named.weight[row].double().numpy(), float(named.bias[row])
    return SlotProbe(slots, weight, bias)


def fit(
    tokens: Floats,
    known: Floats,
    cluster: np.ndarray,
    *,
    slots: Mapping[str, tuple[str, ...]],
    prior: SlotProbe | None,
) -> tuple[SlotProbe, Floats]:
    """Return the probe, and P(class) of every row by probes that did not meet its cluster, (picture, class).

    tokens: (picture, token). known: classes as of `given_probabilities`. cluster: (picture,) names of objects.
    """
    counts = class_counts(slots)
    mean = tokens.mean(0, dtype=np.float64)
    basis = _components(tokens - mean)
    inner = np.asarray((tokens - mean) @ basis, np.float64)
    if prior is not None:
        prior = _admitting(prior, tokens, known)
    start = np.zeros(known.shape) if prior is None else np.asarray(tokens @ prior.weight + prior.bias, np.float64)
    number = np.unique(cluster, return_inverse=True)[1]
    fold = (np.random.default_rng(0).permutation(number.max(initial=0) + 1) % FOLDS)[number]
    best: tuple[float, float, Floats] | None = None
    for strength in STRENGTHS if prior is not None else STRENGTHS[:-1]:
        logits = np.zeros(known.shape)
        for part in range(FOLDS):
            mine, others = fold == part, fold != part
            solved = _solve(inner[others], start[others], known[others], strength, counts)
            logits[mine] = solved.logits(inner[mine], start[mine], counts)
        cost = _cost(softmax(logits, counts), known)
        if best is None or cost < best[0]:
            best = cost, strength, logits
    assert best is not None
    _, strength, logits = best
    cool = np.repeat([_temperature(*part) for part in _parts(logits, known, counts)], counts)
    solved = _solve(inner, start, known, strength, counts)
    sharp = np.repeat(np.exp(solved.sharpness), counts)
    weight, bias = basis @ solved.weight, solved.bias - mean @ (basis @ solved.weight)
    if prior is not None:
        weight, bias = weight + prior.weight * sharp, bias + prior.bias * sharp
    return SlotProbe(slots, weight / cool, bias / cool), softmax(logits / cool, counts)


@dataclass(frozen=True, eq=False)
class _Solved:
    """Logits = exp(sharpness of the slot) · prior's + inner tokens · weight + bias."""

    weight: Floats
    bias: Floats
    sharpness: Floats

    def logits(self, inner: Floats, start: Floats, counts: tuple[int, ...]) -> Floats:
        return np.asarray(start * np.repeat(np.exp(self.sharpness), counts) + inner @ self.weight + self.bias)


def _solve(inner: Floats, start: Floats, known: Floats, strength: float, counts: tuple[int, ...]) -> _Solved:
    """The likeliest probe with normal priors: inverse variance `strength` for weights, _LOOSE for the rest."""
    width, classes = inner.shape[1], known.shape[1]
    named = np.isfinite(known)
    target = np.nan_to_num(known)
    edges = np.cumsum([0, *counts[:-1]])

    def unpacked(values: Floats) -> _Solved:
        weight, bias, sharpness = np.split(values, [width * classes, width * classes + classes])
        return _Solved(weight.reshape(width, classes), bias, sharpness)

    def cost(values: Floats) -> tuple[float, Floats]:
        found = unpacked(values)
        probability = softmax(found.logits(inner, start, counts), counts)
        error = (probability - target) * named
        value = -float(np.log(np.maximum(probability, 1e-12))[target > 0].sum())
        rest = values[width * classes :]
        value += strength / 2 * float((found.weight**2).sum()) + _LOOSE / 2 * float((rest**2).sum())
        turned = np.add.reduceat((error * start).sum(0), edges) * np.exp(found.sharpness)
        slope = np.concatenate([(inner.T @ error + strength * found.weight).ravel(), error.sum(0), turned])
        slope[width * classes :] += _LOOSE * rest
        return value, slope

    first = np.zeros(width * classes + classes + len(counts))
    return unpacked(minimize(cost, first, jac=True, method="L-BFGS-B", options={"maxiter": _STEPS}).x)


def softmax(logits: Floats, counts: tuple[int, ...]) -> Floats:
    """Return probabilities of each slot's classes, (picture, class)."""
    edges = np.cumsum([0, *counts[:-1]])
    raised = np.exp(logits - np.repeat(np.maximum.reduceat(logits, edges, axis=1), counts, axis=1))
    return np.asarray(raised / np.repeat(np.add.reduceat(raised, edges, axis=1), counts, axis=1))


def _admitting(prior: SlotProbe, tokens: Floats, known: Floats) -> SlotProbe:
    """The prior with values that it has no name for but the log has, as likely at first as its slot's others."""
    bias = prior.bias.copy()
    seen, unnamed = np.nansum(known, axis=0) > 0, prior.bias == _UNNAMED
    logits = (tokens @ prior.weight + prior.bias).mean(0)
    start = 0
    for count in class_counts(prior.slots):
        own = np.arange(start, start + count)
        new, named = own[(seen & unnamed)[own]], own[~unnamed[own]]
        bias[new] = logits[named].max(initial=0.0) if len(named) else 0.0
        start += count
    return SlotProbe(prior.slots, prior.weight, bias)


def _components(centered: Floats) -> Floats:
    """The leading directions of tokens, scaled so that their mean square is 1: (token, component).

    Pictures span no more directions than there are pictures: with few, the matrix of their products is the smaller one
    and has the same eigenvalues.
    """
    pictures, width = centered.shape
    few = pictures < width
    values, vectors = np.linalg.eigh((centered @ centered.T if few else centered.T @ centered) / max(pictures, 1))
    values, vectors = values[::-1][:COMPONENTS], vectors[:, ::-1][:, :COMPONENTS]
    mean = max(float(values.sum()) / min(width, COMPONENTS), 1e-12)
    if few:
        some = values > _ROUNDING * values.max(initial=0.0)
        vectors = centered.T @ (vectors[:, some] / np.sqrt(values[some] * pictures))
    return np.asarray(vectors / np.sqrt(mean))


def _cost(probability: Floats, known: Floats) -> float:
    """Log loss of the named slots, nats."""
    return -float(np.log(np.maximum(probability, 1e-12))[np.nan_to_num(known) > 0].sum())


def _parts(logits: Floats, known: Floats, counts: tuple[int, ...]) -> list[tuple[Floats, Floats]]:
    ends = np.cumsum(counts)[:-1]
    return list(zip(np.split(logits, ends, axis=1), np.split(known, ends, axis=1), strict=True))


def _temperature(logits: Floats, known: Floats) -> float:
    """What one slot's logits are best divided by."""

    def cost(log_temperature: float) -> float:
        return _cost(softmax(logits / np.exp(log_temperature), (logits.shape[1],)), known)

    if not np.isfinite(known).any():
        return 1.0
    return float(np.exp(minimize_scalar(cost, bounds=(-2.0, 2.0), method="bounded").x))
