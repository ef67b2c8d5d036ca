"""Records: what they refuse and how they add."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickscape.types import ClickCounts, CreativePair, Estimate, Product

counts = st.integers(0, 10**9).flatmap(lambda n: st.builds(ClickCounts, st.just(n), st.integers(0, n)))


@given(counts, counts, counts)
def test_counts_pool_in_any_order(a: ClickCounts, b: ClickCounts, c: ClickCounts) -> None:
    assert (a + b) + c == c + (b + a)


def test_counts_by_hand() -> None:
    assert ClickCounts(100, 3) + ClickCounts(50, 2) == ClickCounts(150, 5)


@pytest.mark.parametrize(("impressions", "clicks"), [(1, 2), (5, -1), (-1, 0)])
def test_impossible_counts_are_refused(impressions: int, clicks: int) -> None:
    with pytest.raises(ValueError, match="clicks must lie between 0 and the impressions"):
        ClickCounts(impressions, clicks)


def test_a_product_needs_a_title_and_a_sane_price() -> None:
    with pytest.raises(ValueError, match="'A-1' has no title"):
        Product("A-1", "  ")
    with pytest.raises(ValueError, match="needs a product_id"):
        Product("", "Mug")
    for price in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="price must be a number"):
            Product("A-1", "Mug", price=price)


def test_a_product_is_frozen_hashable_and_travels_to_workers() -> None:
    product = Product(
        "A-1", "Mug", ("Home", "Kitchen"), {"material": "clay"}, ("gift",), 12.5, "EUR", "mug.png", ("side.png",)
    )
    assert pickle.loads(pickle.dumps(product)) == product
    assert {product: 1}[product] == 1
    assert product.department == "Home"
    with pytest.raises(TypeError):
        product.attributes["material"] = "gold"  # type: ignore[index]


def test_estimates_and_pairs_refuse_nonsense() -> None:
    with pytest.raises(ValueError, match="upside down"):
        Estimate(0.5, 0.9, 0.1)
    with pytest.raises(ValueError, match="level"):
        Estimate(0.5, 0.1, 0.9, level=95)
    with pytest.raises(ValueError, match="needs two creatives"):
        CreativePair("p", "a", "a", 0.5, 0.0, 1.0)
    with pytest.raises(ValueError, match="probability"):
        CreativePair("p", "a", "b", 1.5, 0.0, 1.0)
