"""A catalog moves in whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clickscape.errors import ImageError, WorkspaceError
from clickscape.types import Product
from clickscape.workspace import Workspace, replace_catalog

from .conftest import files


def cut_outs(folder: Path, *, number: int = 6) -> list[Product]:
    folder.mkdir(exist_ok=True)
    for n in range(number):
        Image.new("RGBA", (4, 4), (n, 0, 0, 255)).save(folder / f"{n}.png")
    return [Product(f"../{n}", f"Cup {n}", ("Home",), image=str(folder / f"{n}.png")) for n in range(number)]


def test_the_whole_catalog_moves_in_and_the_old_one_is_gone(workspace: Workspace, tmp_path: Path) -> None:
    workspace.catalog.joinpath("split.json").write_text("{}")
    moved = replace_catalog(workspace, cut_outs(tmp_path / "staged"))
    assert Workspace.open(workspace.path).products() == moved
    assert sorted(files(workspace.catalog)) == [*(f"cutouts/%2E.%2F{n}.png" for n in range(6)), "products.parquet"]
    assert np.asarray(Image.open(moved[5].image))[0, 0].tolist() == [5, 0, 0, 255]


def test_a_catalog_folder_that_holds_a_feed_of_the_user_is_not_replaced(workspace: Workspace, tmp_path: Path) -> None:
    feed = workspace.catalog / "feed.csv"
    feed.write_text("precious")
    with pytest.raises(WorkspaceError, match=r"catalog holds 'feed.csv'.*Move it"):
        replace_catalog(workspace, cut_outs(tmp_path / "staged"))
    assert files(workspace.catalog) == {"feed.csv": b"precious"}


def test_one_bad_product_leaves_the_workspace_as_it_was(workspace: Workspace, tmp_path: Path) -> None:
    replace_catalog(workspace, cut_outs(tmp_path / "staged", number=2))
    before = files(workspace.path)
    products = cut_outs(tmp_path / "staged")
    (tmp_path / "staged" / "4.png").unlink()
    with pytest.raises(ImageError, match=r"product '../4': the image .*4.png' cannot be read.*Fix its path"):
        replace_catalog(workspace, products)
    with pytest.raises(WorkspaceError, match="catalog is empty"):
        replace_catalog(workspace, [])
    with pytest.raises(WorkspaceError, match="appears twice"):
        replace_catalog(workspace, [products[0], products[0]])
    assert files(workspace.path) == before
