"""Which photographs become ads on their own backdrop, from the catalog to the exported file, with real parts."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.factory import Brightness, Done, clickscape, rows_of
from tests.render.test_own_backdrop import CORAL, WHITE, photo_of, product_of

from clickscape import vlm as clickscape_vlm
from clickscape.catalog import sample
from clickscape.catalog.cutout import examine
from clickscape.catalog.cutout_file import cut_product, save
from clickscape.catalog.images import open_image
from clickscape.config import GenerateConfig
from clickscape.config.brand import Rules
from clickscape.files import photo_file
from clickscape.gates.style import Style
from clickscape.generation.own_backdrop import descriptions
from clickscape.generation.pipeline import AdPipeline
from clickscape.generation.select import CandidateSelector
from clickscape.render.own_backdrop import Backdrop, PhotoRenderer
from clickscape.render.studio.engine import StudioRenderer
from clickscape.types import Product
from clickscape.workspace import Workspace


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A catalog of two products: a photo before white, and one with its own transparency."""
    Image.fromarray(photo_of("coffee_mug-navy", ground=WHITE)).save(tmp_path / "white.png")
    Image.fromarray(sample.cutout("soccer_ball-original", 200)).save(tmp_path / "clear.png")
    (tmp_path / "catalog.csv").write_text(
        "id,title,category,image\nW,Mug,Home,white.png\nC,Ball,Sports,clear.png\n", encoding="utf-8"
    )
    return tmp_path


def generate(shop: Path, *more: str, out: str = "ads") -> Done:
    small = ("--size", "192", "--keep", "2")
    return clickscape("generate", "--catalog", "catalog.csv", "--out", out, *small, *more, cwd=shop)


def renderers(shop: Path, out: str = "ads") -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in rows_of(shop / out / "creatives.jsonl"):
        found.setdefault(row["product_id"], set()).add(row["renderer"])
    return found


@pytest.mark.slow
def test_a_photograph_stays_on_its_backdrop_and_transparency_makes_scenes(shop: Path) -> None:
    done = generate(shop)
    assert done.code == 0, done.err
    assert "2 of them keep the backdrop of the product's own photo; --photographs scenes cuts it out" in done.out
    assert (shop / "ads" / "index.html").read_text(encoding="utf-8").count("the ads keep the photo's own backdrop") == 1
    drawn = renderers(shop)
    assert drawn["W"] == {"photo"}
    assert drawn["C"] == {"studio"}
    rows = [row for row in rows_of(shop / "ads" / "creatives.jsonl") if row["product_id"] == "W"]
    assert len({row["description"] for row in rows}) == 2
    for row in rows:
        assert Backdrop.of(row["description"]) is not None
        assert row["model_id"] == "own-backdrop-v1"
        assert row["scene"] == ""
        assert np.asarray(Image.open(shop / "ads" / row["image"])).shape == (192, 192, 3)
    before = {path.name: path.stat().st_mtime_ns for path in (shop / "ads").glob("*.png")}
    (photo,) = (shop / "ads" / "cutouts").glob("*.photo")
    photo.write_text("no picture", encoding="utf-8")
    assert generate(shop).code == 0, "what is finished is not opened again"
    assert {path.name: path.stat().st_mtime_ns for path in (shop / "ads").glob("*.png")} == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("photographs", "has_reward", "confidence", "expected"),
    [
        ("auto", False, 0.99, True),
        ("auto", True, 0.99, False),
        ("auto", True, 0.5, True),
        ("backdrop", True, 0.99, True),
        ("scenes", False, 0.5, False),
    ],
)
def test_a_reward_model_may_judge_scenes_of_cut_outs_that_are_sure(
    photographs: str, has_reward: bool, confidence: float, expected: bool, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(photo_of("coffee_mug-navy", ground=WHITE)).save(photo)
    cutout = replace(examine(open_image(photo)), confidence=confidence)
    save(cutout, tmp_path / "cutout.png", source=photo)
    selector = CandidateSelector(
        clickscape_vlm.load("tiny"),
        AdPipeline(StudioRenderer(), Brightness() if has_reward else None),
        GenerateConfig(photographs=photographs),
        Style.of(Rules()),
        datetime(2026, 6, 1, tzinfo=UTC),
    )
    found = selector.own_backdrop(Product("A", "Mug", image=str(tmp_path / "cutout.png")))
    assert (found is not None) == expected


@pytest.mark.slow
def test_text_over_a_photo_stays_out_of_ads(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(photo_of("coffee_mug-navy", ground=WHITE)).save(photo)
    cutout = examine(open_image(photo))
    save(replace(cutout, flags=replace(cutout.flags, text=True)), tmp_path / "cutout.png", source=photo)
    assert not photo_file(tmp_path / "cutout.png").exists()


@pytest.mark.slow
def test_scenes_may_be_asked_for(shop: Path) -> None:
    done = generate(shop, "--photographs", "scenes")
    assert done.code == 0, done.err
    assert renderers(shop)["W"] == {"studio"}


@pytest.mark.slow
def test_a_workspace_keeps_the_photo_and_exports_and_refreshes_such_ads(shop: Path) -> None:
    assert clickscape("new", "mine", cwd=shop).code == 0
    assert clickscape("ingest", "mine", "catalog.csv", cwd=shop).code == 0
    workspace = Workspace.open(shop / "mine")
    kept = {product.product_id: photo_file(Path(product.image)) for product in workspace.products()}
    assert kept["W"].read_bytes() == (shop / "white.png").read_bytes()
    assert not kept["C"].exists()
    assert clickscape("generate", "mine", "--out", "ads", "--size", "192", "--keep", "1", cwd=shop).code == 0
    assert renderers(shop)["W"] == {"photo"}
    assert clickscape("review", "mine", "--approve-all", cwd=shop).code == 0
    exported = clickscape(
        "export", "mine", "--placement", "google-pmax-landscape", "--approved-only", "--out", "out", cwd=shop
    )
    assert exported.code == 0, exported.err
    (file,) = (path for path in (shop / "out").rglob("W-*") if path.suffix in (".jpg", ".png", ".webp"))
    with Image.open(file) as exported_image:
        assert exported_image.width > 1.5 * exported_image.height
    Image.fromarray(photo_of("coffee_mug-crimson", ground=WHITE)).save(shop / "white.png")
    assert clickscape("ingest", "mine", "catalog.csv", cwd=shop).code == 0
    assert kept["W"].read_bytes() == (shop / "white.png").read_bytes()
    done = clickscape("refresh", "mine", cwd=shop)
    assert done.code == 0, done.err
    new = [one for one in workspace.creatives() if one.product_id == "W" and one.status == "draft"]
    assert [one.renderer for one in new] == ["photo"]


@pytest.mark.slow
def test_a_photo_that_became_transparent_stops_no_other_ad_from_being_drawn_anew(shop: Path) -> None:
    Image.fromarray(photo_of("coffee_mug-crimson", ground=WHITE)).save(shop / "clear.png")
    assert clickscape("new", "mine", cwd=shop).code == 0
    assert clickscape("ingest", "mine", "catalog.csv", cwd=shop).code == 0
    assert clickscape("generate", "mine", "--out", "ads", "--size", "192", "--keep", "1", cwd=shop).code == 0
    Image.fromarray(sample.cutout("coffee_mug-navy", 200)).save(shop / "white.png")
    Image.fromarray(photo_of("coffee_mug-navy", ground=WHITE)).save(shop / "clear.png")
    assert clickscape("ingest", "mine", "catalog.csv", cwd=shop).code == 0
    done = clickscape("refresh", "mine", cwd=shop)
    assert done.code == 0, done.err
    assert "1 creatives drawn anew" in done.out
    assert re.search(r"still stale: W-\S+: .*W\.photo: no photo of this cut-out", done.out)


@pytest.mark.slow
@pytest.mark.parametrize(("ground", "count"), [(WHITE, 18), (CORAL, 9)])
def test_there_are_as_many_descriptions_as_look_different(
    ground: tuple[int, int, int], count: int, tmp_path: Path
) -> None:
    product = product_of(photo_of("coffee_mug-navy", ground=ground), tmp_path)
    found = PhotoRenderer().backdrop(product)
    for asked, given in ((1, 3), (4, 4), (64, count)):
        texts = descriptions(found, count=asked, size=192, rng=np.random.default_rng(0))
        assert len(set(texts)) == len(texts) == given


@pytest.mark.slow
def test_a_cut_out_whose_photo_is_lost_is_made_anew(tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(photo_of("coffee_mug-navy", ground=WHITE)).save(photo)
    made = [cut_product(Product("A", "Mug", image=str(photo)), folder=tmp_path / "cut") for _ in range(2)][1].file
    photo_file(made).unlink()
    cut_product(Product("A", "Mug", image=str(photo)), folder=tmp_path / "cut")
    assert photo_file(made).read_bytes() == photo.read_bytes()
