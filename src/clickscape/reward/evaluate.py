"""Evaluation of a reward model: beside its noise ceiling and its baselines, with intervals.

The unit of the bootstrap is the cluster (the object behind a product, where it is known): its color variants, and the
many pairs of one product, are not independent. A tie in prediction counts half; a pair that the clicks leave tied does
not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from scipy.special import logit

from clickscape.reward.baselines import scene_only
from clickscape.reward.calibrate import error_of_counts
from clickscape.reward.data import AudienceCounts, RewardData
from clickscape.reward.protocol import Image, Odds, RewardModel, joined
from clickscape.reward.ranking import ranking, rows_of, scores_of
from clickscape.reward.report import Part, RewardReport
from clickscape.reward.tastes import gain_per_click
from clickscape.stats.accuracy import calibration_errors, normalized_accuracy, pair_agreement
from clickscape.stats.bootstrap import ClusterBootstrap, percentile_interval
from clickscape.types import Estimate

DECIDED_AT = float(logit(0.975))
"""Log-odds from which a pair counts as decided: the model says so with a probability of 97.5 %."""

_RESAMPLES = 1_000
_REFITS = 200
_CHUNK = 256  # pairs whose pictures are open at a time
TRUE_ORDER, COUNTS, NOISY_LABELS = "true order", "noise removed", "noisy labels"


def evaluate(
    predictor: RewardModel | np.ndarray,
    data: RewardData,
    *,
    rng: np.random.Generator,
    true_log_ctr: np.ndarray | None = None,
    order_probability: np.ndarray | None = None,
    training: RewardData | None = None,
    baselines: Mapping[str, np.ndarray] | None = None,
) -> RewardReport:
    """Evaluate a model, or ready scores (creative,), on the pairs of held-out products.

    true_log_ctr: (creative,), where a simulated world knows it. order_probability: P(true CTR of the first > true CTR
    of the second) given the clicks, of every informative pair, (pair,); the ceiling where there is no truth. training:
    what the model learned from, for the scene-only baseline and to tell which scenes are new. baselines: further
    scores (creative,) that must lose.
    """
    if not len(data.pair_indices):
        raise ValueError("no pair to evaluate on: every pair is a tie, or there are none")
    left_share = None
    compared: dict[str, np.ndarray] = {}
    is_model = not isinstance(predictor, np.ndarray)
    if isinstance(predictor, np.ndarray):
        odds = Odds(_gaps(predictor, data), np.full(len(data.pair_indices), np.nan))
    else:
        odds, left_share, compared = predict(predictor, data, rng=rng)
    predicted = odds.log_odds
    if training is not None and (scores := scene_only(training, data)) is not None:
        compared["scene only"] = _gaps(scores, data)
    compared |= {name: _gaps(scores, data) for name, scores in (baselines or {}).items()}

    observed = np.array([pair.preference for pair in data.informative]) - 0.5
    groups = [data.group(pair.product_id) for pair in data.informative]
    bootstrap = ClusterBootstrap.draw(groups, rng=rng, resamples=_RESAMPLES)
    estimate = bootstrap.mean
    hits = pair_agreement(predicted, observed)
    ceiling = normalized = true_accuracy = oracle = None
    source = "unknown"
    if true_log_ctr is not None:
        true_gaps = _gaps(true_log_ctr, data)
        oracle = pair_agreement(true_gaps, observed)
        source = "the true CTRs on the same pairs"
        true_accuracy = estimate(pair_agreement(predicted, true_gaps), true_gaps != 0)
    elif order_probability is not None:
        oracle = np.where(observed > 0, order_probability, 1 - order_probability)
        source = "the posterior of the clicks"
    if oracle is not None:
        ceiling = estimate(oracle)
        normalized = normalized_accuracy(
            estimate(hits), ceiling, accuracies=bootstrap.means(hits), ceilings=bootstrap.means(oracle)
        )

    def parts(found: Mapping[str, np.ndarray]) -> dict[str, Part]:
        return {
            name: Part(int(chosen.sum()), estimate(hits, chosen), None if oracle is None else estimate(oracle, chosen))
            for name, chosen in found.items()
        }

    known = None if true_log_ctr is None else _gaps(true_log_ctr, data)
    calibration, basis = _calibration(predicted, data, known, bootstrap=bootstrap) if is_model else (None, "unknown")
    return RewardReport(
        pairs=len(hits),
        products=len({pair.product_id for pair in data.informative}),
        clusters=len(bootstrap.names),
        accuracy=estimate(hits),
        ceiling=ceiling,
        ceiling_source=source,
        true_accuracy=true_accuracy,
        normalized_accuracy=normalized,
        left_share=left_share,
        baselines={name: estimate(pair_agreement(gaps, observed)) for name, gaps in compared.items()},
        parts=parts(by_novelty(training, data) if training is not None else {}),
        by_gap=parts(_by_gap(np.abs(known if known is not None else np.array([p.gap for p in data.informative])))),
        evidence=parts(_by_evidence(odds)),
        calibration=calibration,
        calibration_source=basis,
        **_ranked(predicted, data, true_log_ctr, bootstrap=bootstrap),
    )


def _calibration(
    predicted: np.ndarray, data: RewardData, true_gaps: np.ndarray | None, *, bootstrap: ClusterBootstrap
) -> tuple[Estimate, str]:
    """Calibration error of log-odds (pair,), and what it was measured against: the best that is known."""
    probability = 0.5 + 0.5 * np.tanh(predicted / 2)
    if true_gaps is not None:
        return bootstrap.mean(calibration_errors(probability, (1 + np.sign(true_gaps)) / 2)), TRUE_ORDER
    if (found := _calibration_by_counts(predicted, data, bootstrap=bootstrap)) is not None:
        return found, COUNTS
    preference = np.array([pair.preference for pair in data.informative])
    return bootstrap.mean(calibration_errors(probability, preference)), NOISY_LABELS


def _calibration_by_counts(predicted: np.ndarray, data: RewardData, *, bootstrap: ClusterBootstrap) -> Estimate | None:
    """`calibrate.error_of_counts`, the whole of it fitted anew to every resample of clusters."""
    clicks, examinations = data.clicks, data.examinations
    if clicks is None or examinations is None:
        return None
    # log-odds of a creative against all of its product, itself among them: differences are those of the pairs
    pairs = np.bincount(data.pair_indices.ravel(), minlength=len(data.creative_ids))
    scores = scores_of(predicted, data.pair_indices, len(data.creative_ids)) * pairs / (pairs + 1)
    rows = np.flatnonzero(np.isfinite(scores)).tolist()
    product = np.unique([data.product_of[row] for row in rows], return_inverse=True)[1]
    cluster = bootstrap.of([data.group(data.product_of[row]) for row in rows]).cluster

    def error(drawn: np.ndarray) -> float | None:
        """For clusters drawn so often, (cluster,): a product drawn twice is two products."""
        often, of_pair = drawn[cluster].astype(np.int64), drawn[bootstrap.cluster].astype(np.int64)
        chosen = np.repeat(np.array(rows), often)
        copy = np.concatenate([np.arange(count) for count in often]) if len(often) else often
        return error_of_counts(
            np.repeat(predicted, of_pair), scores[chosen], np.repeat(product, often) + len(rows) * copy,
            clicks[chosen], examinations[chosen],
        )  # fmt: skip

    value = error(np.ones(len(bootstrap.names)))
    if value is None:
        return None
    resampled = [error(drawn) for drawn in bootstrap.drawn[:_REFITS]]
    return percentile_interval(value, np.array([np.nan if one is None else one for one in resampled]))


def _by_gap(gaps: np.ndarray) -> dict[str, np.ndarray]:
    """Which pairs' CTRs lie how far apart; gaps: |difference of log-CTR|, (pair,). No part is empty."""
    place = np.searchsorted(np.log(GAP_RATIOS), gaps, side="right")
    return {name: place == number for number, name in enumerate(GAPS) if (place == number).any()}


def _by_evidence(odds: Odds) -> dict[str, np.ndarray]:
    """Which pairs a model that can say so is sure of (`DECIDED_AT`)."""
    if not odds.known:
        return {}
    clear = np.abs(odds.log_odds) > DECIDED_AT
    return {name: pairs for name, pairs in ((DECIDED, clear), (UNDECIDED, ~clear)) if pairs.any()}


def _ranked(
    predicted: np.ndarray, data: RewardData, true_log_ctr: np.ndarray | None, *, bootstrap: ClusterBootstrap
) -> dict[str, Estimate]:
    """NDCG and regrets over products, clusters drawn as for the pairs; nothing where no CTR is known."""
    log_ctr = data.log_ctr if true_log_ctr is None else true_log_ctr
    if log_ctr is None:
        return {}
    scores = scores_of(predicted, data.pair_indices, len(data.creative_ids))
    rows = rows_of(data.product_of, np.isfinite(scores) & np.isfinite(log_ctr))
    if not rows:
        return {}
    by_product = bootstrap.of([data.group(product) for product in rows])
    found = ranking(scores, np.asarray(log_ctr, dtype=np.float64), list(rows.values()))
    return {
        name: by_product.mean(values)
        for name, values in (("ndcg", found.ndcg), ("regret", found.regret), ("random_regret", found.random_regret))
    }


GAP_RATIOS = (1.05, 1.20, 1.50)
GAPS = ("CTRs less than 5 % apart", "5 to 20 % apart", "20 to 50 % apart", "more than 50 % apart")
DECIDED, UNDECIDED = "decided by the model", "not enough evidence"

KNOWN_SCENES = "scenes as in training"
NEW_TOGETHER = "two elements never seen together"
NEW_ELEMENT = "an element never seen"


def by_novelty(training: RewardData, data: RewardData) -> dict[str, np.ndarray]:
    """Which pairs show what no training creative showed: name → bool (pair,); each pair in one part, no part empty.

    A scene's elements are its slots' values. A creative without a known scene counts as known.
    """
    if training.slots is None or data.slots is None:
        return {}
    elements: set[tuple[str, str | None]] = set()
    together: set[frozenset[tuple[str, str | None]]] = set()
    for scene in training.slots:
        elements |= set((scene or {}).items())
        together |= set(map(frozenset, combinations((scene or {}).items(), 2)))

    def novelty(scene: Mapping[str, str | None] | None) -> int:
        items = (scene or {}).items()
        if not elements.issuperset(items):
            return 2
        return int(not together.issuperset(map(frozenset, combinations(items, 2))))

    found = np.array([novelty(scene) for scene in data.slots])[data.pair_indices].max(axis=1)
    names = (KNOWN_SCENES, NEW_TOGETHER, NEW_ELEMENT)
    return {name: found == level for level, name in enumerate(names) if (found == level).any()}


def audience_gain(model: RewardModel, data: RewardData, *, rng: np.random.Generator) -> Estimate | None:
    """Return how much likelier a model finds an audience's clicks on held-out products when told which it is.

    Nats per click (`tastes.gain_per_click`); None where neither model nor log tells audiences apart.
    """
    if data.audiences is None:
        return None
    rows = np.flatnonzero(data.audiences.examinations.sum(1) > 0).tolist()
    parts = []
    for start in range(0, len(rows), _CHUNK):
        some = rows[start : start + _CHUNK]
        scenes = None if data.slots is None else [data.slots[row] for row in some]
        products, images = [data.product(row) for row in some], [data.image(row) for row in some]
        parts.append(model.log_ctrs_by_audience(products, images, scenes))
    if not parts or not parts[0]:
        return None
    blind, *aware = (np.concatenate([part[name] for part in parts]) for name in parts[0])
    names = [name for name in parts[0] if name]
    known = [data.audiences.names.index(name) for name in names if name in data.audiences.names]
    counts = AudienceCounts(
        tuple(data.audiences.names[place] for place in known),
        data.audiences.clicks[rows][:, known],
        data.audiences.examinations[rows][:, known],
    )
    scores = np.stack([one for name, one in zip(names, aware, strict=True) if name in counts.names], axis=1)
    product = np.unique([data.product_of[row] for row in rows], return_inverse=True)[1]
    groups = [data.group(data.product_of[row]) for row in rows]
    return gain_per_click(blind, scores, counts, product=product, groups=groups, rng=rng)


def predict(
    model: RewardModel, data: RewardData, *, rng: np.random.Generator
) -> tuple[Odds, float | None, dict[str, np.ndarray]]:
    """Odds of every pair, the share of the left picture (None for a model that sees no sides), and baselines."""
    others = _other_products(data, rng=rng)
    owners = np.array([pair.product_id for pair in data.informative])
    order = np.argsort(owners, kind="stable")  # a picture of several pairs is opened, and looked at, once
    parts, shuffled, lefts = [], [], []
    for start in range(0, len(order), _CHUNK):
        rows = order[start : start + _CHUNK]
        places = data.pair_indices[rows]
        opened: dict[int, Image] = {int(place): data.image(int(place)) for place in np.unique(places)}
        products = [data.products[name] for name in owners[rows]]
        firsts, seconds = ([opened[int(place)] for place in side] for side in places.T)
        scenes = None if data.slots is None else [(data.slots[one], data.slots[two]) for one, two in places]
        again, twice = len(products), 1 if others is None else 2
        asked = [*products, *([] if others is None else [data.products[others[name]] for name in owners[rows]])]
        odds = model.odds(asked, firsts * twice, seconds * twice, None if scenes is None else scenes * twice)
        parts.append(Odds(odds.mean[:again], odds.sd[:again]))
        shuffled.append(odds.mean[again:])
        if model.reads_sides:
            orders = [list(zip(*order, strict=True)) for order in ((firsts, seconds), (seconds, firsts))]
            gaps = [model.side_by_side(products, pairs).mean for pairs in orders]
            lefts += [pair_agreement(one, np.ones(len(one))) for one in gaps]
    back = np.argsort(order, kind="stable")
    whole = joined(parts)
    compared = {"caption only": np.zeros(len(order))}  # two gray pictures are one picture twice: odds of 0
    if others is not None:
        compared["product shuffled"] = np.concatenate(shuffled)[back]
    left_share = float(np.concatenate(lefts).mean()) if lefts else None
    return Odds(whole.mean[back], whole.sd[back]), left_share, compared


def _other_products(data: RewardData, *, rng: np.random.Generator) -> dict[str, str] | None:
    """Another product for every product, of another department where there is one; None for a single product."""
    product_ids = sorted({pair.product_id for pair in data.informative})
    if len(product_ids) < 2:
        return None
    others = {}
    for product_id in product_ids:
        department = data.products[product_id].department
        strangers = [other for other in product_ids if data.products[other].department != department]
        pool = strangers or [other for other in product_ids if other != product_id]
        others[product_id] = pool[rng.integers(len(pool))]
    return others


def _gaps(scores: np.ndarray, data: RewardData) -> np.ndarray:
    """Score of the first minus score of the second creative of every informative pair."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.shape != (len(data.creative_ids),):
        raise ValueError(f"one score per creative is needed: {len(data.creative_ids)} creatives, scores {scores.shape}")
    return np.asarray(scores[data.pair_indices[:, 0]] - scores[data.pair_indices[:, 1]])
