"""The split: whole groups, stable while the catalog grows, never everything and never nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickscape.errors import WorkspaceError
from clickscape.stages import split
from clickscape.types import Product
from clickscape.workspace import Workspace


def _products(names: set[str], variants: int) -> list[Product]:
    return [
        Product(f"{name}-{number}", "a thing", attributes={"item_group_id": name})
        for name in sorted(names)
        for number in range(variants)
    ]


@given(st.sets(st.text("abcdefgh", min_size=1, max_size=5), min_size=2, max_size=30), st.integers(1, 3))
def test_groups_stay_whole_and_both_sides_hold_something(names: set[str], variants: int) -> None:
    products = _products(names, variants)
    made = split.by_hash(products)
    learned, tested = made.training(products), made.testing(products)
    assert learned
    assert tested
    assert len(learned) + len(tested) == len(products)
    objects = [{product.product_id.rpartition("-")[0] for product in side} for side in (learned, tested)]
    assert not objects[0] & objects[1]


def test_a_growing_catalog_keeps_its_split() -> None:
    names = {f"n{number}" for number in range(200)}
    before, after = split.by_hash(_products(names, 1)), split.by_hash(_products(names | {"new"}, 1))
    assert before.held_out == after.held_out - {"new"}
    assert 0.1 < len(before.held_out) / 200 < 0.3


def test_without_groups_every_product_is_its_own() -> None:
    made = split.by_hash([Product("a", "x"), Product("b", "y")])
    assert made.groups == {"a": "a", "b": "b"}


def test_a_split_is_kept_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "shop")
    products = [Product("a", "x"), Product("b", "y")]
    split.write(workspace, split.Split({"a": "g", "b": "h"}, frozenset({"g"})))
    assert split.read(workspace, products).is_held_out("a")
    assert split.read(workspace, [*products, Product("c", "z")]) == split.by_hash([*products, Product("c", "z")])
    (workspace.catalog / "split.json").write_text("{")
    with pytest.raises(WorkspaceError, match=r"split.json: not a split"):
        split.read(workspace, products)
