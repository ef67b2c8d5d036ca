"""Ads by descriptions of one's own, and products that join the catalog one by one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clickscape.errors import ClickscapeError, WorkspaceError
from clickscape.stages.add_product import add_product
from clickscape.stages.draw import BY_HAND, draw
from clickscape.stages.generate import generate
from clickscape.stages.progress import run
from clickscape.types import Product
from clickscape.workspace import Workspace

TEXT = "pale marble podium, soft morning light"


@pytest.fixture
def shop(tmp_path: Path) -> Workspace:
    """A workspace with a mug."""
    made = Workspace.create(tmp_path / "shop")
    made.settings_path.write_text("[generate]\nsize = 96\nkeep = 1\n")
    run(add_product(made, mug(tmp_path)))
    return made


def mug(folder: Path, name: str = "mug", title: str = "Red Mug") -> Product:
    pixels = np.zeros((96, 96, 4), np.uint8)
    pixels[20:84, 26:70] = (180, 40, 40, 255)
    Image.fromarray(pixels).save(folder / f"{name}.png")
    return Product(name, title, ("Home", "Kitchen"), price=12.5, currency="EUR", image=str(folder / f"{name}.png"))


def test_a_product_joins_the_catalog_and_the_others_stay(shop: Workspace, tmp_path: Path) -> None:
    made = run(add_product(shop, mug(tmp_path, "cup", "White Cup")))
    assert (made.title, made.price, made.category) == ("White Cup", 12.5, ("Home", "Kitchen"))
    assert [one.product_id for one in shop.products()] == ["mug", "cup"]
    assert all(Path(one.image).is_file() for one in shop.products())
    run(add_product(shop, mug(tmp_path, "cup", "Blue Cup")))
    assert [one.title for one in shop.products()] == ["Red Mug", "Blue Cup"]


def test_a_photo_that_cannot_be_cut_out_changes_nothing(shop: Workspace, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    before = shop.products_path.read_bytes()
    with pytest.raises(ClickscapeError):
        run(add_product(shop, replace(mug(tmp_path), product_id="bad", image=str(tmp_path / "bad.png"))))
    assert shop.products_path.read_bytes() == before
    assert not [path for path in shop.path.iterdir() if path.name.startswith(".staging")]


def test_descriptions_become_drafts_and_the_same_again_adds_nothing(shop: Workspace) -> None:
    made = run(draw(shop, "mug", [TEXT, "dark slate, candle light"], parent_id="older"))
    assert not made.refused
    stored = {one.creative_id: one for one in shop.creatives()}
    assert len(stored) == 2
    for one, text in zip(made.creatives, [TEXT, "dark slate, candle light"], strict=True):
        held = stored[one.creative_id]
        assert (held.description, held.status, held.model_id, held.parent_id) == (text, "draft", BY_HAND, "older")
        assert np.asarray(Image.open(held.image)).shape == (96, 96, 3)
    assert held.scene["surface"]
    again = run(draw(shop, "mug", [TEXT]))
    assert [one.creative_id for one in again.creatives] == [made.creatives[0].creative_id]
    assert len(shop.creatives()) == 2
    run(draw(shop, "mug", [TEXT], seed=1))
    assert len(shop.creatives()) == 3


@pytest.mark.parametrize("text", ["", "   ", "x" * 501])
def test_no_description_is_refused_before_anything_is_drawn(shop: Workspace, text: str) -> None:
    with pytest.raises(WorkspaceError, match="expected 1 to 500"):
        run(draw(shop, "mug", [TEXT, text]))
    assert shop.creatives() == []


def test_an_unknown_product_is_named(shop: Workspace) -> None:
    with pytest.raises(WorkspaceError, match="no product 'sofa'"):
        run(draw(shop, "sofa", [TEXT]))


@pytest.mark.slow
def test_generate_draws_only_what_it_is_asked_for(shop: Workspace, tmp_path: Path) -> None:
    run(add_product(shop, mug(tmp_path, "cup", "White Cup")))
    run(generate(workspace=shop.path, catalog=None, out=tmp_path / "ads", only={"cup"}))
    assert {one.product_id for one in shop.creatives()} == {"cup"}
    run(generate(workspace=shop.path, catalog=None, out=tmp_path / "ads"))
    assert {one.product_id for one in shop.creatives()} == {"mug", "cup"}
