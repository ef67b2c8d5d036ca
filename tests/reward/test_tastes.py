"""Tastes of audiences: found where they differ, drawn to everybody's where they do not, and known as well as said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clickscape import reward
from clickscape.config import RewardConfig
from clickscape.errors import ModelError
from clickscape.generation.audience import AudienceReward, product_for
from clickscape.reward import effects_model, training
from clickscape.reward.data import AudienceCounts, RewardData
from clickscape.reward.effects import ClickTable, Effects, fit_effects
from clickscape.reward.evaluate import audience_gain
from clickscape.reward.tastes import Tastes, fit_tastes, gain_per_click

SHARES = np.array([0.5, 0.3, 0.2])
NAMES = ("old", "young", "rich")


def fitted(
    *, differ: float, seed: int, products: int = 150, image_sd: float = 0.1, seen: float = 4_000.0
) -> tuple[Tastes, np.ndarray, Effects]:
    """A log in which old and young like the opposite of six figures, and its deviations from what everybody likes."""
    rng = np.random.default_rng(seed)
    product = np.repeat(np.arange(products), 5)
    columns = rng.normal(size=(len(product), 6))
    pooled, likes = rng.normal(0, 0.2, 6), rng.normal(0, differ, 6)
    deviations = np.stack([likes, -likes, np.zeros(6)])
    deviations = deviations - SHARES @ deviations
    beyond = rng.normal(0, image_sd, len(product))  # the same picture for all
    chance = 0.03 * np.exp((columns @ (pooled + deviations).T) + beyond[:, None])
    examinations = seen * SHARES * rng.uniform(0.5, 1.5, (len(product), 1))
    counts = AudienceCounts(NAMES, rng.poisson(examinations * chance).astype(float), examinations)
    table = ClickTable(columns, product, counts.clicks.sum(1), counts.examinations.sum(1))
    everybody = fit_effects(table, np.zeros(6, int))
    found = fit_tastes(columns, np.zeros(6, int), place=np.arange(6), pooled=everybody, product=product, counts=counts)
    assert found is not None
    return found, deviations, everybody


def test_opposite_tastes_are_found() -> None:
    found, deviations, everybody = fitted(differ=0.2, seed=1)
    for place, name in enumerate(NAMES):
        told = found.effects_of(name, everybody).mode - everybody.mode
        assert np.abs(told - deviations[place]).max() < 0.05
    assert found.effects_of("nobody", everybody) is everybody


def test_their_intervals_hold_the_truth() -> None:
    """True deviations lie within two standard deviations, over ten logs; what a picture gains with all is no taste."""
    inside = []
    for seed in range(10):
        found, deviations, everybody = fitted(differ=0.1, seed=seed, products=60, image_sd=0.3)
        for place, name in enumerate(NAMES):
            own = found.effects_of(name, replace(everybody, prior=np.zeros(6), factor=np.zeros((6, 0))))
            gap = own.mode - everybody.mode - deviations[place]
            inside.extend(np.abs(gap) < 2 * np.sqrt(own.variance(np.eye(6))))
    assert 0.88 < np.mean(inside) <= 1


def test_who_does_not_differ_is_drawn_to_everybody() -> None:
    """Clicks alone would leave an error of 1 / √clicks per figure; ten small logs, 150 products each."""
    errors, chance = [], []
    for seed in range(10):
        found, _, everybody = fitted(differ=0.0, seed=seed, seen=400.0)
        told = np.array([found.effects_of(name, everybody).mode for name in NAMES]) - everybody.mode
        errors.append(np.mean(told**2, axis=1))
        chance.append((1 - SHARES) / SHARES / (150 * 5 * 400 * 0.03))
    assert np.sqrt(np.mean(errors) / np.mean(chance)) < 0.6


def test_deviations_cancel_out_over_everybody() -> None:
    found, _, everybody = fitted(differ=0.2, seed=3)
    told = np.array([found.effects_of(name, everybody).mode for name in NAMES])
    assert np.allclose(found.shares @ told, everybody.mode)


def test_one_audience_has_no_taste_of_its_own() -> None:
    counts = AudienceCounts(("all", "other"), np.array([[3.0, 0], [4.0, 0]]), np.array([[90.0, 9], [90.0, 9]]))
    pooled = Effects(np.zeros(1), np.ones(1), np.zeros((1, 0)), 0.1)
    nothing = fit_tastes(
        np.eye(2)[:, :1], np.zeros(1, int), place=np.array([0]), pooled=pooled, product=np.zeros(2, int), counts=counts
    )
    assert nothing is None


def test_gain_by_hand() -> None:
    """Two ads seen alike; an audience clicks the first 3 of 4 times, for odds of 3 : 1 rather than even ones."""
    counts = AudienceCounts(("one",), np.array([[3.0], [1.0]]), np.array([[100.0], [100.0]]))
    found = gain_per_click(
        np.zeros(2), np.log([[3.0], [1.0]]), counts, product=np.zeros(2, int), groups=["a", "a"],
        rng=np.random.default_rng(0),
    )  # fmt: skip
    assert found is not None
    assert found.value == pytest.approx((3 * np.log(1.5) + np.log(0.5)) / 4)


def by_wall(data: RewardData, *, seed: int = 4) -> RewardData:
    """The small world's clicks by two audiences: the young like red walls, the old do not."""
    rng = np.random.default_rng(seed)
    assert data.log_ctr is not None
    assert data.slots is not None
    red = np.array([scene is not None and scene["wall"] == "red" for scene in data.slots])
    level = data.log_ctr[:, None] + red[:, None] * np.array([0.8, -0.8])
    examinations = np.full(level.shape, 3_000.0)
    counts = AudienceCounts(("young", "old"), rng.poisson(examinations * np.exp(level)).astype(float), examinations)
    return replace(data, clicks=counts.clicks.sum(1), examinations=examinations.sum(1), audiences=counts)


def test_a_model_is_asked_for_an_audience_and_saved_with_it(world: Any, tmp_path: Path) -> None:
    steps = effects_model.train(
        world.fresh_backbone(), by_wall(world.data(world.products(24))), config=RewardConfig(), slots=world.slots
    )
    model = training.run(steps)
    unseen = by_wall(world.data(world.products(33)[24:]), seed=5)
    red = next(row for row, name in enumerate(unseen.creative_ids) if name.endswith("-red"))
    product, pictures = unseen.product(red), [unseen.image(row) for row in range(red, red + 3)]
    young, old, everybody = (model.for_audience(name).score([product] * 3, pictures) for name in ("young", "old", "?"))
    assert young[0] - young[1:].mean() > everybody[0] - everybody[1:].mean() > old[0] - old[1:].mean()
    assert model.for_audience("?") is model
    gain = audience_gain(model, unseen, rng=np.random.default_rng(0))
    assert gain is not None
    assert gain.low > 0.01

    model.save(tmp_path / "reward")
    loaded = reward.load(tmp_path / "reward")
    assert np.allclose(loaded.for_audience("old").score([product] * 3, pictures), old, atol=1e-4)
    told = loaded.with_given_scenes().for_audience("young").odds([product], pictures[:1], pictures[1:2])
    assert told.sd[0] > loaded.with_given_scenes().odds([product], pictures[:1], pictures[1:2]).sd[0]
    settings = tmp_path / "reward" / "reward.json"
    settings.write_text(settings.read_text().replace('"own_columns": ', '"own_columns": 1'))
    with pytest.raises(ModelError, match=r"taste_|own columns"):
        reward.load(tmp_path / "reward")


def test_each_ad_is_scored_by_its_own_audience_in_the_order_of_the_ads(world: Any) -> None:
    model = training.run(
        effects_model.train(
            world.fresh_backbone(), by_wall(world.data(world.products(12))), config=RewardConfig(), slots=world.slots
        )
    )
    product, pictures = world.products(1)[0], world.pictures(5)
    audiences = ["young", "", "old", "young", "nobody knows"]
    scenes = [{"wall": wall} for wall in ("red", "green", "blue", "red", "green")]
    found = AudienceReward(model).score([product_for(product, name) for name in audiences], pictures, scenes)
    alone = [
        model.for_audience(name).score([product], [picture], [scene])[0]
        for name, picture, scene in zip(audiences, pictures, scenes, strict=True)
    ]
    assert np.allclose(found, alone)
    assert AudienceReward(model).score([], [], None).shape == (0,)


def test_a_log_that_tells_no_audience_gives_a_model_of_everybody(world: Any) -> None:
    data = replace(by_wall(world.data(world.products(12))), audiences=None)
    model = training.run(effects_model.train(world.fresh_backbone(), data, config=RewardConfig(), slots=world.slots))
    assert model.for_audience("young") is model
    assert not model.log_ctrs_by_audience([], [])
    assert audience_gain(model, by_wall(data), rng=np.random.default_rng(0)) is None


def test_counts_of_audiences_fit_the_creatives(world: Any) -> None:
    data = by_wall(world.data(world.products(2)))
    assert data.audiences is not None
    with pytest.raises(ValueError, match="entries for 6 creatives"):
        replace(data, audiences=data.audiences.take([0, 1]))
    with pytest.raises(ValueError, match="shape"):
        AudienceCounts(("a",), np.zeros((2, 2)), np.zeros((2, 2)))
    one = data.only({"p0"})
    assert one.audiences is not None
    assert not one.audiences.clicks[3:].any()
    assert one.audiences.clicks[:3].all()
    assert data.audiences.largest(1).names == ("young",)
