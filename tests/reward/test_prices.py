"""Prices: places worked out by hand, currencies kept apart, and a reward model to which they matter."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickscape import reward
from clickscape.config import RewardConfig
from clickscape.errors import ModelError
from clickscape.reward import train as training
from clickscape.reward.evaluate import evaluate
from clickscape.reward.model import build
from clickscape.reward.prices import Prices, measure
from clickscape.types import Product


def _product(price: float | None, currency: str | None = "USD", department: str = "Toys", name: str = "p") -> Product:
    return Product(name, "a thing", (department,), price=price, currency=currency)


def test_price_features_worked_out_by_hand() -> None:
    # eight toys at e and e³: mean 2, deviation 1; two tools at e⁴ are too few for a place of their own
    toys = [_product(math.e ** (1 if number % 2 else 3)) for number in range(8)]
    prices = measure([*toys, *[_product(math.e**4, department="Tools") for _ in range(2)]])
    everything = np.array([1, 3] * 4 + [4, 4])
    mean, deviation = everything.mean(), everything.std()
    assert prices.scales["USD"]["Toys"] == pytest.approx((2.0, 1.0))
    assert set(prices.scales["USD"]) == {"", "Toys"}
    assert prices.features(_product(math.e**3)) == pytest.approx((1.0, (3 - mean) / deviation, 1.0))
    place = (4 - mean) / deviation
    assert prices.features(_product(math.e**4, department="Tools")) == pytest.approx((1.0, place, place))
    assert prices.features(_product(1e12)) == (1.0, 3.0, 3.0)


def test_an_unknown_price_is_a_category_of_its_own() -> None:
    prices = measure([_product(price) for price in (1, 2, 4, 8)])
    for price, currency in ((None, "USD"), (0.0, "USD"), (2.0, None), (2.0, "JPY")):
        assert prices.features(_product(price, currency)) == (0.0, 0.0, 0.0)
    # an average price has the same places, but it is known
    assert prices.features(_product(8**0.5)) == pytest.approx((1.0, 0.0, 0.0))
    assert measure([_product(5.0)] * 9).scales == {}
    assert measure([]).features(_product(5.0)) == (0.0, 0.0, 0.0)


@given(
    st.lists(st.floats(0.01, 1e5), min_size=2, max_size=20).filter(lambda prices: max(prices) > 1.1 * min(prices)),
    st.floats(0.001, 1e4),
)
def test_prices_are_compared_within_their_currency(amounts: list[float], rate: float) -> None:
    dollars = [_product(amount) for amount in amounts]
    others = [_product(amount * rate, "XXX") for amount in amounts]
    prices = measure([*dollars, *others])
    for dollar, other in zip(dollars, others, strict=True):
        assert prices.features(dollar) == pytest.approx(prices.features(other), abs=1e-5)


def _priced(world: Any, count: int) -> Any:
    """The same walls for everybody, but dear things sell on red and cheap ones on blue; euros and yen."""
    rng = np.random.default_rng(count)
    products = []
    for number, product in enumerate(world.products(count)):
        price, currency = float(np.exp(rng.choice([1.0, 5.0]) + rng.normal(0, 0.3))), ("EUR", "JPY")[number % 2]
        products.append(replace(product, price=price * (150 if currency == "JPY" else 1), currency=currency))
    data = world.data(products)
    dear = {one.product_id: one.price / (150 if one.currency == "JPY" else 1) > math.e**3 for one in products}
    worth = {"red": 1.0, "green": 0.0, "blue": -1.0}
    pairs = []
    for pair in data.pairs:
        gap = worth[pair.first.split("-")[1]] - worth[pair.second.split("-")[1]]
        gap = gap if dear[pair.product_id] else -gap
        pairs.append(replace(pair, gap=gap, preference=0.95 if gap > 0 else 0.05))
    return replace(data, pairs=pairs, log_ctr=None)


@pytest.mark.slow
def test_the_price_decides_where_the_clicks_say_so(world: Any, backbone: Any, tmp_path: Path) -> None:
    seen, unseen = _priced(world, 48), _priced(world, 24)
    products = list(seen.products.values())
    config = RewardConfig(epochs=25, products_per_batch=6, validation_share=0.2)
    accuracies = []
    for known in (products, []):
        model = build(backbone, slots=world.slots, departments=world.departments, products=known, ensemble=3)
        list(training.train(model, seen, config=config, rng=np.random.default_rng(0)))
        accuracies.append(evaluate(model, unseen, rng=np.random.default_rng(0)).accuracy.value)
        if known:
            model.save(tmp_path / "reward")
            again = reward.load(tmp_path / "reward")
            assert again.prices == model.prices
            asked = list(unseen.products.values())[:4]
            assert again.score(asked, world.pictures(4)).tolist() == model.score(asked, world.pictures(4)).tolist()
    assert accuracies[0] > 0.9
    assert accuracies[1] < 0.85  # chance, of 144 pairs in clusters: 0.37 to 0.67 over seeds


def test_damaged_prices_are_refused(world: Any, backbone: Any, tmp_path: Path) -> None:
    folder = tmp_path / "reward"
    build(backbone, slots=world.slots, departments=world.departments).save(folder)
    settings = json.loads((folder / "reward.json").read_text())
    for prices in ({"USD": {}}, {"USD": {"": [1.0, 0.0]}}, {"USD": {"": [1.0]}}, {"USD": 3}, None):
        (folder / "reward.json").write_text(json.dumps(settings | {"prices": prices}))
        with pytest.raises(ModelError, match="damaged"):
            reward.load(folder)
    (folder / "reward.json").write_text(json.dumps(settings | {"version": 1}))
    with pytest.raises(ModelError, match=r"version 1, this release reads 5\. Train the reward model again"):
        reward.load(folder)
    with pytest.raises(ValueError, match="no scale for all prices"):
        Prices({"USD": {"Toys": (0.0, 1.0)}})
