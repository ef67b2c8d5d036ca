"""Effects from counts: against autograd, against the truth that drew the clicks, and with nothing to say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clickscape.config import RewardConfig
from clickscape.reward import evaluate as evaluation
from clickscape.reward import model as reward_model
from clickscape.reward.data import RewardData
from clickscape.reward.effects import EffectPrior
from clickscape.reward.features import concatenate
from clickscape.reward.head_effects import FeatureCounts, effect_design, fit_heads, has_linear_effects
from clickscape.reward.heads import CLASSIFICATION, Features, FusionHeads, HeadShape
from clickscape.reward.train import train

SLOTS = {"wall": ("red", "green", "blue"), "prop": ("ice",)}
DEPARTMENTS = ("Drinks", "Tools")


def _heads(**changes: Any) -> FusionHeads:
    shape = {
        "sides": 1, "vision_width": 3, "text_width": 2, "hidden_width": 0, "fact_width": 2, "statistic_width": 2,
        "slots": SLOTS, "departments": DEPARTMENTS, "ensemble": 3, "given_scenes": True,
    }  # fmt: skip
    return FusionHeads(HeadShape(**(shape | changes)), seed=0)


def _features(count: int, *, rng: np.random.Generator, per_product: int = 4) -> Features:
    def normal(*size: int) -> torch.Tensor:
        return torch.from_numpy(rng.normal(size=size)).float()

    return Features(
        vision=normal(count, 1, 3),
        text=normal(count, 2),
        hidden=torch.zeros(count, 0),
        price_features=normal(count // per_product, 2).repeat_interleave(per_product, 0),
        image_statistics=normal(count, 1, 2),
        department=torch.arange(count // per_product).remainder(2).repeat_interleave(per_product),
        scene=torch.stack([torch.from_numpy(rng.integers(classes, size=(count, 1))) for classes in (4, 2)], dim=2),
    )


def _counts(features: Features, score: np.ndarray, *, rng: np.random.Generator, traffic: float) -> FeatureCounts:
    product = np.arange(len(features)) // 4
    examinations = traffic * rng.lognormal(sigma=0.5, size=len(features))
    level = np.exp(rng.normal(-3, 0.5, size=product.max() + 1))[product]
    return FeatureCounts(
        features, product, rng.poisson(examinations * level * np.exp(score)).astype(float), examinations
    )


@torch.no_grad()
def test_a_score_is_the_design_times_the_effects() -> None:
    heads, features = _heads(), _features(12, rng=np.random.default_rng(0))
    for part in (heads.value, heads.interaction, heads.fact_interaction, heads.statistic):
        part.copy_(torch.randn(part.shape, generator=torch.Generator().manual_seed(1)))
    effects = torch.cat(
        [
            p[:, CLASSIFICATION].flatten(1)
            for p in (heads.value, heads.interaction, heads.fact_interaction, heads.statistic)
        ],
        dim=1,
    )
    assert torch.allclose(
        effects @ effect_design(heads.predict_slots(features)).T, heads(features).logits[:, :, 0], atol=1e-5
    )


def test_fitted_effects_are_those_that_drew_the_clicks() -> None:
    """Products of other CTRs, other traffic and rows without counts do not disturb; chance shrinks with traffic."""
    rng = np.random.default_rng(2)
    features = _features(1200, rng=rng)
    wall, tools = features.scene[:, 0, 0].numpy(), features.department.numpy() == 1
    true = (
        np.array([0.3, 0.0, -0.2, 0.0])[wall]
        + 0.5 * (tools & (wall == 1))
        + 0.1 * features.image_statistics[:, 0, 0].numpy()
    )
    errors = {}
    for traffic in (100, 10_000):
        counts = _counts(features, true, rng=rng, traffic=traffic)
        counts.clicks[:40] = np.nan
        counts.examinations[40:80] = 0
        heads = _heads()
        fit_heads(heads, counts, rng=rng)
        assert float(heads.temperature) == 1.0
        with torch.no_grad():
            found = heads(features).logits[:, :, 0].numpy()
        gaps = (found.mean(0) - true).reshape(-1, 4)
        errors[traffic] = float(np.std(gaps - gaps.mean(1, keepdims=True)))
    assert errors[10_000] < 0.02
    assert errors[10_000] < errors[100] < 0.15


def test_the_mode_is_where_the_posterior_is_flat() -> None:
    """What the prior asks of an effect is what the likelihood gives, by autograd in float64; large ones are let be."""
    rng = np.random.default_rng(3)
    features = _features(400, rng=rng)
    counts = _counts(features, 0.4 * (features.scene[:, 0, 0].numpy() == 0), rng=rng, traffic=3_000)
    heads = _heads(ensemble=1)
    fit_heads(heads, counts, rng=rng)
    with torch.no_grad():
        columns = effect_design(heads.predict_slots(features)).double()
    parts = (heads.value, heads.interaction, heads.fact_interaction, heads.statistic)
    found = torch.cat([part[0, CLASSIFICATION].detach().flatten() for part in parts]).double().requires_grad_()
    weights = (columns @ found + torch.from_numpy(np.log(counts.examinations))).reshape(-1, 4).log_softmax(1)
    (torch.from_numpy(counts.clicks).reshape(-1, 4) * weights).sum().backward()
    assert found.grad is not None
    size = found.detach().abs()
    plain = size > 1e-3  # below, the quotient is rounding
    asked = (found.grad / found.detach())[plain]
    assert plain.sum() > 10
    assert asked.min() > 0
    everywhere = asked[: int(plain[: parts[0][0, 0].numel()].sum())]
    assert everywhere[size[plain][: len(everywhere)].argmax()] < 0.1 * everywhere.max()
    assert float(asked.max()) < 1 / 0.005**2


def test_the_prior_is_learned_from_expected_squares() -> None:
    """One block, by hand: two effects whose squares are known, one of a small size and one of a large one."""
    prior = EffectPrior.of(np.zeros(2, np.int64))
    square = np.array([0.05**2, 0.4**2])
    odds = 0.2 / 0.8 * 0.05 / 0.2 * np.exp(square / 2 * (1 / 0.05**2 - 1 / 0.2**2))
    large = odds / (1 + odds)
    assert large == pytest.approx([0.0908, 1.0], abs=1e-3)
    assert prior.precision(square) == pytest.approx(large / 0.2**2 + (1 - large) / 0.05**2)
    learned = prior.learned(square)
    assert learned.share[0] == pytest.approx((large.sum() + 2 * 0.2) / 4)
    assert learned.large[0] == pytest.approx(np.sqrt((large @ square + 2 * 0.2**2) / (large.sum() + 2)))
    assert learned.small[0] == pytest.approx(np.sqrt(((1 - large) @ square + 2 * 0.05**2) / (2 - large.sum() + 2)))
    assert prior.precision() == pytest.approx(np.full(2, 1 / (0.2 * 0.2**2 + 0.8 * 0.05**2)))


def test_departments_differ_only_where_the_log_shows_it() -> None:
    """Where departments want nothing of their own, what is said of one is said of all; where they do, it is not."""
    shown = {}
    for wanted in (0.0, 0.6):
        rng = np.random.default_rng(7)
        features = _features(2_000, rng=rng)
        wall, tools = features.scene[:, 0, 0].numpy(), features.department.numpy() == 1
        true = 0.2 * (wall == 0) + wanted * np.where(tools, wall == 1, wall == 2)
        heads = _heads()
        fit_heads(heads, _counts(features, true, rng=rng, traffic=400), rng=rng)
        own = heads.interaction[:, CLASSIFICATION].detach().mean(0)
        shown[wanted] = float((own[:, 0] - own[:, 1]).abs().max())
    assert shown[0.0] < 0.05
    assert 0.5 < shown[0.6] < 0.7


def test_the_heads_spread_as_the_posterior_does() -> None:
    """Draws from the posterior cover the truth as often as they say; noise beyond chance widens them as it should."""
    wide, inside = {}, []
    for noise in (0.0, 0.12):
        spreads = []
        for seed in range(12):
            rng = np.random.default_rng(seed)
            features = _features(800, rng=rng)
            true = 0.3 * (features.scene[:, 0, 0].numpy() == 0)
            drawn = _counts(features, true + rng.normal(0, noise, size=800), rng=rng, traffic=1_400)
            heads = _heads(ensemble=40)
            fit_heads(heads, drawn, rng=rng)
            gap = heads.value[:, CLASSIFICATION, 0] - heads.value[:, CLASSIFICATION, 2]
            gap = (
                gap + (heads.interaction[:, CLASSIFICATION, 0] - heads.interaction[:, CLASSIFICATION, 2])[:, :2].mean(1)
            ).detach()
            spreads.append(float(gap.std()))
            inside.append(abs(float(gap.mean()) - 0.3) < 1.96 * float(gap.std()))
        wide[noise] = np.mean(np.square(spreads))
    expected = 1_400 * np.exp(-3 + 0.5**2 / 2 + 0.5**2 / 2)  # clicks of a creative
    assert wide[0.12] / wide[0.0] == pytest.approx(1 + expected * 0.12**2, rel=0.35)
    assert np.mean(inside) >= 0.85


def test_without_clicks_all_effects_are_zero() -> None:
    rng = np.random.default_rng(4)
    features = _features(8, rng=rng)
    heads = _heads()
    fit_heads(heads, FeatureCounts(features, np.arange(8) // 4, np.full(8, np.nan), np.ones(8)), rng=rng)
    with torch.no_grad():
        assert heads(features).logits.abs().max() == 0


def test_effects_are_linear_in_the_single_form_with_slots() -> None:
    assert has_linear_effects(_heads())
    assert not has_linear_effects(_heads(sides=2))
    assert not has_linear_effects(_heads(slots={}))
    assert not has_linear_effects(_heads(hidden_width=4))


def _counted(data: RewardData, *, rng: np.random.Generator) -> RewardData:
    """The same creatives with clicks drawn from their CTRs."""
    assert data.log_ctr is not None
    examinations = rng.uniform(1_000, 3_000, size=len(data.creative_ids))
    return replace(
        data, clicks=rng.poisson(examinations * np.exp(data.log_ctr)).astype(float), examinations=examinations
    )


@pytest.mark.parametrize("scene", ["predicted", "given"])
def test_a_model_learns_from_counts(world: Any, backbone: Any, tmp_path: Path, scene: str) -> None:
    """Scores are log CTRs over the temperature, probabilities are right, and a checkpoint keeps how scenes are read."""
    rng = np.random.default_rng(5)
    data, fresh = _counted(world.data(world.products(60)), rng=rng), world.data(world.products(90)[60:])
    model = reward_model.build(
        backbone,
        slots=world.slots,
        departments=[p.department for p in data.products.values()],
        given_scenes=scene == "given",
    )
    config = RewardConfig(epochs=4 if scene == "given" else 12, products_per_batch=8, scene=scene)
    list(train(model, data, config=config, rng=np.random.default_rng(0)))
    report = evaluation.evaluate(model, fresh, rng=np.random.default_rng(1), true_log_ctr=fresh.log_ctr)
    assert report.true_accuracy is not None
    assert report.calibration is not None
    assert report.true_accuracy.value > 0.95
    assert report.calibration.value < 0.06
    model.save(tmp_path / "reward")
    again = reward_model.load(tmp_path / "reward")
    products = [fresh.product(place) for place in range(3)]
    images = [fresh.image(place) for place in range(3)]
    scores = again.score(products, images, fresh.slots[:3])
    assert scores == pytest.approx(model.score(products, images, fresh.slots[:3]), abs=1e-4)
    blind = again.score(products, [np.full_like(images[0], 127)] * 3, fresh.slots[:3])
    assert bool(np.ptp(blind) > 1) == (scene == "given")
    believing = again.with_given_scenes().score(products, [np.full_like(images[0], 127)] * 3, fresh.slots[:3])
    assert np.ptp(believing) > 1
    assert again.score(products, [np.full_like(images[0], 127)] * 3, fresh.slots[:3]) == pytest.approx(blind)
    with pytest.raises(ValueError, match="one scene per image"):
        again.score(products, images, [None])


def test_features_that_the_caller_has_are_those_that_training_would_take(world: Any, backbone: Any) -> None:
    data = _counted(world.data(world.products(24)), rng=np.random.default_rng(6))
    scores = []
    for given in (False, True):
        model = reward_model.build(backbone, slots=world.slots, departments=world.departments)
        count = range(len(data.creative_ids))
        features = concatenate(
            [model.features([data.product(at)], [(data.image(at),)], [(data.slots[at],)]) for at in count]
        )
        config = RewardConfig(epochs=2, products_per_batch=8)
        for _ in train(model, data, config=config, rng=np.random.default_rng(0), features=features if given else None):
            pass
        scores.append(model.logits(features))
    assert np.abs(scores[0] - scores[1]).max() < 0.02


def test_without_counts_the_effects_learned_from_pairs_stay(world: Any, backbone: Any) -> None:
    plain = world.data(world.products(24))
    unknown = replace(
        plain, clicks=np.full(len(plain.creative_ids), np.nan), examinations=np.ones(len(plain.creative_ids))
    )
    scores = []
    for data in (plain, unknown):
        model = reward_model.build(backbone, slots=world.slots, departments=world.departments)
        list(train(model, data, config=RewardConfig(epochs=2, products_per_batch=8), rng=np.random.default_rng(0)))
        scores.append(model.score([data.product(at) for at in range(3)], [data.image(at) for at in range(3)]))
    assert np.ptp(scores[0]) > 0
    assert np.array_equal(scores[0], scores[1])
