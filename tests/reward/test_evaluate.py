"""Evaluation: hand-counted accuracies, ceilings that recover a known truth, intervals that respect clusters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import ndtr

from clickscape.reward.baselines import best_scene_per_category, scene_only
from clickscape.reward.data import RewardData
from clickscape.reward.evaluate import (
    KNOWN_SCENES,
    NEW_ELEMENT,
    NEW_TOGETHER,
    evaluate,
)
from clickscape.stats.accuracy import pair_agreement
from clickscape.types import CreativePair, Product


def _data(products: int, each: int, *, observed: np.ndarray, slots: object = None, groups: object = None) -> RewardData:
    """``each`` creatives per product; the preference of a pair says which of the two observed values is higher."""
    ids = [(f"p{number}", f"p{number}-{place}") for number in range(products) for place in range(each)]
    pairs = []
    for number in range(products):
        for a in range(each):
            for b in range(a + 1, each):
                gap = observed[number * each + a] - observed[number * each + b]
                preference = 0.5 if gap == 0 else 0.9 if gap > 0 else 0.1
                pairs.append(CreativePair(f"p{number}", f"p{number}-{a}", f"p{number}-{b}", preference, gap, 1.0))
    return RewardData(
        products={f"p{number}": Product(f"p{number}", "thing", ("Toys",)) for number in range(products)},
        creative_ids=[creative for _, creative in ids],
        product_of=[owner for owner, _ in ids],
        images=[],
        pairs=pairs,
        log_ctr=observed,
        slots=slots,
        groups=groups,
    )


def test_accuracy_counted_by_hand() -> None:
    data = _data(2, 2, observed=np.array([1.0, 0.0, 0.0, 1.0]))
    report = evaluate(np.array([3.0, 2.0, 5.0, 5.0]), data, rng=np.random.default_rng(0))
    assert report.accuracy.value == 0.75  # one right, one tied prediction that counts half
    assert (report.pairs, report.products, report.clusters) == (2, 2, 2)
    assert report.ceiling is None
    assert report.ceiling_source == "unknown"


def test_an_observed_tie_does_not_count() -> None:
    data = _data(2, 2, observed=np.array([1.0, 0.0, 0.5, 0.5]))
    assert evaluate(np.array([1.0, 0.0, 0.0, 1.0]), data, rng=np.random.default_rng(0)).pairs == 1
    with pytest.raises(ValueError, match="tie"):
        evaluate(np.zeros(2), _data(1, 2, observed=np.zeros(2)), rng=np.random.default_rng(0))


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=20))
def test_agreement_of_opposites_adds_up_to_one(gaps: list[float]) -> None:
    predicted = np.array(gaps)
    observed = np.linspace(-1, 1, len(gaps)) + 0.013
    assert (pair_agreement(predicted, observed) + pair_agreement(-predicted, observed) == 1).all()


def test_the_oracle_reaches_the_noise_ceiling_and_the_true_order() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=400)
    data = _data(100, 4, observed=truth + rng.normal(0, 0.8, size=400))
    report = evaluate(truth, data, rng=rng, true_log_ctr=truth)
    assert report.ceiling is not None
    assert report.accuracy == report.ceiling
    assert report.normalized_accuracy is not None
    assert report.normalized_accuracy.value == pytest.approx(1.0)
    assert report.true_accuracy is not None
    assert report.true_accuracy.value == 1.0
    # gaps √2·N(0,1) seen through noise of .8: P(right sign) = ½ + atan(1/.8)/π
    assert report.ceiling.value == pytest.approx(0.5 + np.arctan(1 / 0.8) / np.pi, abs=0.03)


def test_the_ceiling_is_the_oracles_whatever_the_model_predicts() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=400)
    data = _data(100, 4, observed=truth + rng.normal(0, 0.8, size=400))
    oracle = evaluate(truth, data, rng=rng, true_log_ctr=truth)
    wrong = evaluate(-truth, data, rng=rng, true_log_ctr=truth)
    assert oracle.ceiling is not None
    assert wrong.ceiling is not None
    assert wrong.ceiling.value == oracle.ceiling.value
    assert wrong.accuracy.value == pytest.approx(1 - oracle.ceiling.value)
    assert f"{wrong.ceiling.value:.3f} [" in next(line for line in wrong.lines() if line.startswith("noise ceiling"))


@pytest.mark.parametrize("known", [False, True])
def test_no_share_of_a_ceiling_that_may_be_a_coins(known: bool) -> None:
    """Half of the products' clicks say the opposite of the truth: nobody is right more often than a coin."""
    rng = np.random.default_rng(8)
    truth = rng.normal(size=240)
    data = _data(60, 4, observed=truth * np.repeat([1.0, -1.0], 120))
    guess = np.full(len(data.informative), 0.5)
    report = evaluate(
        truth, data, rng=rng, true_log_ctr=truth if known else None, order_probability=None if known else guess
    )
    assert report.ceiling is not None
    assert report.normalized_accuracy is None
    (line,) = [line for line in report.lines() if line.startswith("normalized accuracy")]
    assert f"not measurable: the noise ceiling, {report.ceiling.value:.3f} [" in line
    assert "e+" not in line


def test_the_posterior_of_the_clicks_recovers_the_ceiling_whatever_the_model_predicts() -> None:
    """Gaps N(0, 2) seen through noise N(0, 2 · 0.81): P(first better | gap seen) = Φ(gap · 1/√(2 · 0.81 · 1.81))."""
    rng = np.random.default_rng(2)
    truth = rng.normal(size=6000)
    data = _data(1500, 4, observed=truth + rng.normal(0, 0.9, size=6000))
    gaps = data.log_ctr[data.pair_indices[:, 0]] - data.log_ctr[data.pair_indices[:, 1]]
    probability = ndtr(gaps / 1.81 / np.sqrt(2 * 0.81 / 1.81))
    report = evaluate(truth, data, rng=rng, order_probability=probability)
    known = evaluate(truth, data, rng=rng, true_log_ctr=truth)
    assert report.ceiling is not None
    assert known.ceiling is not None
    assert report.ceiling.value == pytest.approx(known.ceiling.value, abs=0.015)
    assert report.ceiling_source == "the posterior of the clicks"
    wrong = evaluate(-truth, data, rng=rng, order_probability=probability)
    assert wrong.ceiling is not None
    assert wrong.ceiling.value == report.ceiling.value
    assert {part.ceiling is not None for part in wrong.by_gap.values()} == {True}


def test_intervals_are_over_clusters() -> None:
    """Forty products of four objects: the interval must be as wide as four observations make it."""
    rng = np.random.default_rng(3)
    data = _data(40, 2, observed=np.tile([1.0, 0.0], 40))
    scores = np.concatenate([np.tile([1.0, 0.0] if number < 20 else [0.0, 1.0], 1) for number in range(40)])
    groups = {f"p{number}": f"object {number // 10}" for number in range(40)}
    loose = evaluate(scores, data, rng=rng).accuracy
    clustered = evaluate(scores, _data(40, 2, observed=data.log_ctr, groups=groups), rng=rng).accuracy
    assert loose.value == clustered.value == 0.5
    assert clustered.high - clustered.low > 2 * (loose.high - loose.low)


def test_scene_only_learns_main_effects_and_no_more() -> None:
    rng = np.random.default_rng(4)
    effect = {"red": 0.5, "green": 0.0, "blue": -0.5}
    scenes = [{"wall": wall} for wall in rng.choice(list(effect), size=120)]
    observed = np.array([effect[scene["wall"]] for scene in scenes]) + np.repeat(rng.normal(size=40), 3)
    examinations = np.full(120, 20_000.0)
    data = replace(
        _data(40, 3, observed=observed, slots=scenes),
        clicks=rng.poisson(examinations * np.exp(observed - 4)).astype(float), examinations=examinations,
    )  # fmt: skip
    scores = scene_only(data, data)
    assert scores is not None
    gaps = np.array([scores[[scene["wall"] for scene in scenes].index(wall)] for wall in effect])
    assert gaps[0] - gaps[1] == pytest.approx(0.5, abs=0.08)
    assert gaps[1] - gaps[2] == pytest.approx(0.5, abs=0.08)
    report = evaluate(observed, data, rng=rng, training=data, baselines={"guess": np.zeros(120)})
    assert report.baselines["scene only"].value == 1.0
    assert report.baselines["guess"].value == 0.5
    assert scene_only(replace(data, clicks=None), data) is None


def test_accuracy_is_reported_apart_for_pairs_with_unseen_scenes() -> None:
    taught = [{"wall": "red", "prop": "none"}, {"wall": "red", "prop": "log"}, {"wall": "blue", "prop": "none"}, None]
    training = _data(2, 2, observed=np.array([1.0, 0.0, 0.0, 1.0]), slots=taught)
    shown = [
        {"wall": "blue", "prop": "none"}, {"wall": "red", "prop": "log"},  # both known
        {"wall": "blue", "prop": "log"}, {"wall": "red", "prop": "none"},  # the first known apart, never together
        {"wall": "red", "prop": "none"}, {"wall": "blue", "prop": "ice"},  # no ice in training
        {"wall": "blue", "prop": "log"}, {"wall": "red", "prop": "ice"},  # the newest counts
    ]  # fmt: skip
    data = _data(4, 2, observed=np.array([1.0, 0.0] * 4), slots=shown)
    scores = np.array([1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0])  # right, wrong, right, wrong
    report = evaluate(scores, data, rng=np.random.default_rng(0), training=training, true_log_ctr=np.arange(8.0))
    counted = {name: (part.pairs, part.accuracy.value) for name, part in report.parts.items()}
    assert counted == {KNOWN_SCENES: (1, 1.0), NEW_TOGETHER: (1, 0.0), NEW_ELEMENT: (2, 0.5)}
    assert report.parts[KNOWN_SCENES].ceiling is not None
    assert report.parts[KNOWN_SCENES].ceiling.value == 0.0  # the true order was the other way round
    assert evaluate(scores, data, rng=np.random.default_rng(0)).parts == {}


def test_best_scene_per_category_is_the_additive_optimum() -> None:
    rng = np.random.default_rng(5)
    effect = {("wall", "red"): 0.3, ("wall", "blue"): 0.1, ("wall", None): 0.0,
             ("setting", "studio"): 0.0, ("setting", "beach"): 0.35}  # fmt: skip
    scenes: list[dict[str, str | None]] = [
        {"setting": "studio", "wall": str(rng.choice(["red", "blue"]))}
        if rng.random() < 0.7
        else {"setting": "beach", "wall": None}
        for _ in range(300)
    ]
    departments = ["Toys" if number // 3 % 2 else "Tools" for number in range(300)]
    products = [str(number // 3) for number in range(300)]
    sign = np.array([1.0 if name == "Toys" else -1.0 for name in departments])
    scores = sign * np.array([sum(effect[item] for item in scene.items()) for scene in scenes])
    best = best_scene_per_category(scores, scenes, departments, products=products)
    assert best["Toys"] == {"setting": "beach", "wall": None}  # .35, although red is the best wall
    assert best["Tools"] == {"setting": "studio", "wall": "blue"}


def test_scores_must_be_one_per_creative() -> None:
    with pytest.raises(ValueError, match="one score per creative"):
        evaluate(np.zeros(3), _data(1, 2, observed=np.array([1.0, 0.0])), rng=np.random.default_rng(0))
