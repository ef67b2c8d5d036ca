"""Prices: places worked out by hand, currencies kept apart, and a reward model to which they matter."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_a_scale_without_all_prices_or_without_spread_is_refused() -> None:
    with pytest.raises(ValueError, match="no scale for all prices"):
        Prices({"USD": {"Toys": (0.0, 1.0)}})
    with pytest.raises(ValueError, match="deviation > 0"):
        Prices({"USD": {"": (0.0, 0.0)}})
