"""The split: whole groups, stable while the catalog grows, never everything and never nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickscape.catalog.split import Split, split_by_hash
from clickscape.config import SplitConfig
from clickscape.errors import WorkspaceError
from clickscape.json_files import parse_json
from clickscape.types import Product


def _products(names: set[str], variants: int) -> list[Product]:
    return [
        Product(f"{name}-{number}", "a thing", attributes={"item_group_id": name})
        for name in sorted(names)
        for number in range(variants)
    ]


@given(st.sets(st.text("abcdefgh", min_size=1, max_size=5), min_size=2, max_size=30), st.integers(1, 3))
def test_groups_stay_whole_and_both_sides_hold_something(names: set[str], variants: int) -> None:
    products = _products(names, variants)
    made = split_by_hash(products)
    learned, tested = made.training(products), made.testing(products)
    assert learned
    assert tested
    assert len(learned) + len(tested) == len(products)
    objects = [{product.product_id.rpartition("-")[0] for product in side} for side in (learned, tested)]
    assert not objects[0] & objects[1]


def test_a_growing_catalog_keeps_its_split() -> None:
    names = {f"n{number}" for number in range(200)}
    before, after = split_by_hash(_products(names, 1)), split_by_hash(_products(names | {"new"}, 1))
    assert before.held_out == after.held_out - {"new"}
    assert 0.1 < len(before.held_out) / 200 < 0.3


def test_without_groups_every_product_is_its_own() -> None:
    made = split_by_hash([Product("a", "x"), Product("b", "y")])
    assert made.groups == {"a": "a", "b": "b"}


def test_a_share_of_every_department_is_kept_apart() -> None:
    shelf = [Product(f"{name}{number}", "x", (name,)) for name in "ABC" for number in range(12)]
    whole = Split({product.product_id: product.product_id for product in shelf}, frozenset({"A0", "A1", "A2", "A3"}))
    apart = whole.reserved_groups(shelf, share=0.25)
    assert [name[0] for name in sorted(apart)] == ["A"] * 2 + ["B"] * 3 + ["C"] * 3
    assert not apart & whole.held_out
    assert whole.reserved_groups(shelf[::-1], share=0.25) == apart
    assert len(whole.reserved_groups(shelf, share=0.99)) == 31
    for count, expected in ((1, 0), (2, 1), (3, 2), (6, 2)):
        assert len(Split({name: name for name in "abcdef"}, frozenset("abcdef"[count:])).reserved_groups(
            [Product(name, "x", (name,)) for name in "abcdef"], share=0.01
        )) == expected  # fmt: skip


@given(st.dictionaries(st.text(), st.text(), max_size=4), st.sets(st.text(), max_size=3))
def test_a_split_is_read_as_it_was_written(groups: dict[str, str], held_out: set[str]) -> None:
    made = Split(groups, frozenset(held_out))
    assert parse_json(made.to_json(), Split, where="", error=WorkspaceError, remedy="") == made


def test_whole_categories_are_held_out_with_every_variant_of_their_objects() -> None:
    """An object whose variants stand in two categories belongs to that of its first; without any: alone."""
    shelf = [
        Product(f"{name}-{number}", "x", ("Shop", name), {"item_group_id": f"{name}-{number // 2}"})
        for name in "ABCDEFGHIJ"
        for number in range(6)
    ]
    astray = Product("A-9", "x", ("Shop", "B"), {"item_group_id": "A-0"})
    loose = Product("loose", "x")
    made = split_by_hash([*shelf, astray, loose], config=SplitConfig(by="category", share=0.4))
    assert made.groups["A-9"] == made.groups["A-0"] == made.groups["A-5"] == "Shop > A"
    assert made.groups["loose"] == "loose"
    tested = {product.category for product in made.testing(shelf)}
    assert 1 <= len(tested) <= 7
    assert not tested & {product.category for product in made.training(shelf)}


def test_the_share_is_the_settings() -> None:
    products = _products({f"n{number}" for number in range(400)}, 1)
    for share in (0.1, 0.5):
        found = split_by_hash(products, config=SplitConfig(share=share))
        assert len(found.held_out) / 400 == pytest.approx(share, abs=0.07)
