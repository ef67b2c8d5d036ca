"""The effects model: it learns what sells from counts or pairs, for products never seen, and says what it knows."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clickscape import reward
from clickscape.config import RewardConfig
from clickscape.errors import ModelError
from clickscape.reward import effects_model, slot_probe, training
from clickscape.reward.data import RewardData
from clickscape.reward.evaluate import evaluate
from clickscape.reward.protocol import HALF_WIDTH, PROBIT


def _counted(data: RewardData, *, examined: float = 2_000.0, image_sd: float = 0.0, seed: int = 2) -> RewardData:
    rng = np.random.default_rng(seed)
    examinations = np.full(len(data.creative_ids), examined)
    assert data.log_ctr is not None
    level = data.log_ctr + rng.normal(0, image_sd, len(examinations))
    clicks = rng.poisson(examinations * np.exp(level)).astype(float)
    return replace(data, clicks=clicks, examinations=examinations, log_ctr=level)


def _trained(world: Any, data: RewardData, **changes: Any) -> effects_model.EffectsModel:
    steps = effects_model.train(
        world.fresh_backbone(), data, config=RewardConfig().model_copy(update=changes), slots=world.slots
    )
    return training.run(steps)


@pytest.mark.parametrize("known", ["counts", "pairs"])
@pytest.mark.parametrize("scene", ["predicted", "given"])
def test_a_separable_world_is_learned_for_products_never_seen(world: Any, known: str, scene: str) -> None:
    data = world.data(world.products(30))
    model = _trained(world, _counted(data) if known == "counts" else data, scene=scene)
    unseen = world.data(world.products(42)[30:])
    report = evaluate(model, unseen, rng=np.random.default_rng(0), true_log_ctr=unseen.log_ctr)
    assert report.true_accuracy is not None
    assert report.true_accuracy.value > 0.95
    assert report.baselines["product shuffled"].value < 0.7
    assert report.baselines["caption only"].value == 0.5


def test_without_scenes_thumbnails_do(world: Any) -> None:
    data = replace(_counted(world.data(world.products(30))), slots=None)
    model = _trained(world, data)
    assert not model.design.slots
    assert model.with_given_scenes() is model
    unseen = replace(world.data(world.products(42)[30:]), slots=None)
    report = evaluate(model, unseen, rng=np.random.default_rng(0), true_log_ctr=unseen.log_ctr)
    assert report.true_accuracy is not None
    assert report.true_accuracy.value > 0.9


def test_what_nobody_labelled_is_refused(world: Any) -> None:
    data = world.data(world.products(4))
    tied = replace(data, pairs=[replace(pair, preference=0.5) for pair in data.pairs])
    with pytest.raises(ModelError, match="no pair of creatives says which is better"):
        _trained(world, tied)


def test_given_scenes_count_before_what_is_read_from_the_picture(world: Any) -> None:
    model = _trained(world, _counted(world.data(world.products(24))))
    product, picture = world.products(1)[0], world.picture("red", seed=1)
    told = model.with_given_scenes()
    scenes: list[Any] = [{"wall": "red"}, {"wall": "blue"}, None]
    predicted, given = (one.score([product] * 3, [picture] * 3, scenes) for one in (model, told))
    assert np.ptp(predicted) == pytest.approx(0, abs=1e-9)
    assert given[0] > given[1] + 1
    assert given[2] == pytest.approx(predicted[2])


def test_a_slot_that_the_picture_does_not_show_is_a_class_of_its_own(world: Any) -> None:
    """Scenes with None: nothing breaks, and what was never shown is no wall."""
    data = _counted(world.data(world.products(24)))
    assert data.slots is not None
    hidden = [scene if number % 4 else {"wall": None} for number, scene in enumerate(data.slots)]
    model = _trained(world, replace(data, slots=hidden))
    assert slot_probe.class_counts(model.design.slots) == (4,)
    scores = model.with_given_scenes().score(world.products(2), world.pictures(2), [{"wall": None}, {"wall": "red"}])
    assert np.isfinite(scores).all()


def test_intervals_cover_the_true_gaps_and_probabilities_are_right(world: Any) -> None:
    """Pictures differ by something that no column says: 95 % of new products' true gaps lie in the intervals."""
    data = _counted(world.data(world.products(90)), image_sd=0.5)
    model = _trained(world, data, scene="given")
    fresh = _counted(world.data(world.products(150)[90:]), image_sd=0.5, seed=5)
    first, second = (list(map(int, side)) for side in fresh.pair_indices.T)
    assert fresh.slots is not None
    assert fresh.log_ctr is not None
    odds = model.odds(
        [fresh.product(row) for row in first],
        [fresh.image(row) for row in first],
        [fresh.image(row) for row in second],
        [(fresh.slots[one], fresh.slots[two]) for one, two in zip(first, second, strict=True)],
    )  # fmt: skip
    gaps = fresh.log_ctr[first] - fresh.log_ctr[second]
    inside = np.abs(gaps / model.temperature - odds.mean) < HALF_WIDTH * np.sqrt(odds.sd**2 + PROBIT**2)
    assert 0.9 < inside.mean() < 0.99
    sure = np.maximum(odds.probability, 1 - odds.probability)
    right = np.sign(odds.mean) == np.sign(gaps)
    assert sure.mean() == pytest.approx(right.mean(), abs=0.06)


def test_a_new_look_widens_the_interval(world: Any) -> None:
    """Pictures unlike any of the log are scored with less certainty."""
    model = _trained(world, _counted(world.data(world.products(30))))
    product, known = world.products(1)[0], [world.picture("red", seed=1), world.picture("blue", seed=2)]
    strange = [np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8) for seed in (0, 1)]
    strange[0] = np.where(np.arange(32)[:, None, None] % 8 < 4, 255, strange[0] // 8).astype(np.uint8)
    near, far = (model.odds([product], [one], [two]).sd[0] for one, two in (known, strange))
    assert far > near


def test_an_image_that_is_asked_about_twice_is_looked_at_once(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _trained(world, _counted(world.data(world.products(9))))
    seen: list[int] = []
    real = effects_model.picture_tokens

    def spy(backbone: Any, images: Any) -> Any:
        seen.append(len(images))
        return real(backbone, images)

    monkeypatch.setattr(effects_model, "picture_tokens", spy)
    one, two = world.pictures(2)
    model.odds(world.products(3), [one, two, one], [two, one, two])
    assert seen == [2]


def test_clicks_of_products_that_it_may_not_learn_from_change_nothing(world: Any) -> None:
    data = _counted(world.data(world.products(30)))
    learning = {product for number, product in enumerate(data.products) if number < 24}
    assert data.clicks is not None
    mine = np.array([product in learning for product in data.product_of])
    turned = replace(data, clicks=np.where(mine, data.clicks, 100 + data.clicks[::-1]))
    models = [_trained(world, one.only(learning)) for one in (data, turned)]
    assert models[0].effects.mode.tolist() == models[1].effects.mode.tolist()
    assert models[0].temperature == models[1].temperature


@pytest.mark.slow
def test_the_price_decides_where_the_clicks_say_so(world: Any, tmp_path: Path) -> None:
    """The same walls for everybody, but dear things sell on red and cheap ones on blue; euros and yen."""

    def priced(count: int, seed: int) -> RewardData:
        rng = np.random.default_rng(seed)
        products, dear = [], {}
        for number, product in enumerate(world.products(count)):
            price, currency = float(np.exp(rng.choice([1.0, 5.0]) + rng.normal(0, 0.3))), ("EUR", "JPY")[number % 2]
            dear[product.product_id] = price > math.e**3
            products.append(replace(product, price=price * (150 if currency == "JPY" else 1), currency=currency))
        data = world.data(products)
        worth = {"red": 0.6, "green": 0.0, "blue": -0.6}
        level = [
            worth[name.split("-")[1]] * (1 if dear[product] else -1)
            for name, product in zip(data.creative_ids, data.product_of, strict=True)
        ]
        return _counted(replace(data, log_ctr=np.array(level) - 3))

    seen, unseen = priced(60, 0), priced(30, 1)
    model = _trained(world, seen)
    report = evaluate(model, unseen, rng=np.random.default_rng(0), true_log_ctr=unseen.log_ctr)
    assert report.true_accuracy is not None
    assert report.true_accuracy.value > 0.9
    model.save(tmp_path / "reward")
    asked = list(unseen.products.values())[:4]
    again = reward.load(tmp_path / "reward").score(asked, world.pictures(4))
    np.testing.assert_allclose(again, model.score(asked, world.pictures(4)), atol=1e-5)
