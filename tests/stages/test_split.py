"""The split beside the catalog: kept, and never changed behind anybody's back."""

from __future__ import annotations

from pathlib import Path

import pytest

from clickscape.catalog.split import Split, split_by_hash
from clickscape.errors import WorkspaceError
from clickscape.stages import split
from clickscape.stages.ingest import ingest
from clickscape.stages.progress import run
from clickscape.types import Product
from clickscape.workspace import Workspace

PRODUCTS = [Product("a", "x"), Product("b", "y")]


def test_a_split_is_kept_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "shop")
    assert split.read(workspace, PRODUCTS) == split_by_hash(PRODUCTS)
    split.write(workspace, Split({"a": "g", "b": "h"}, frozenset({"g"})))
    assert split.read(workspace, PRODUCTS).is_held_out("a")
    for damaged in ("{", "[]", '{"groups": {}}', '{"groups": 1, "held_out": []}'):
        (workspace.catalog / "split.json").write_text(damaged)
        with pytest.raises(WorkspaceError, match=r"split\.json: .*Delete the file to split by hash"):
            split.read(workspace, PRODUCTS)


def test_a_product_without_a_group_is_an_error_and_not_another_split(tmp_path: Path) -> None:
    """Split anew, what a model learned from would be what it is tested on."""
    workspace = Workspace.create(tmp_path / "shop")
    split.write(workspace, Split({"a": "g", "b": "h"}, frozenset({"g"})))
    with pytest.raises(WorkspaceError, match=r"split.json has no group for product 'c'"):
        split.read(workspace, [*PRODUCTS, Product("c", "z")])


def test_ingest_splits_as_the_settings_say(feed: Path, tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "shop")
    workspace.settings_path.write_text('[split]\nby = "category"\nshare = 0.5\n')
    run(ingest(workspace, feed))
    products = workspace.products()
    found = split.read(workspace, products)
    assert set(found.groups.values()) == {" > ".join(product.category) for product in products}
    (workspace.catalog / "split.json").unlink()
    assert split.read(workspace, products) == found
