"""Every generated image went through the fidelity gate; what fails is drawn again, and what never passes is named."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.factory import rows_of

from clickscape import render
from clickscape.catalog import feeds, sample
from clickscape.config import FidelityConfig
from clickscape.errors import ClickscapeError
from clickscape.gates import fidelity
from clickscape.generation.creative_record import LEFT_OUT, MANIFEST, REFUSED, Summary
from clickscape.generation.retry import fidelity_limits
from clickscape.render.language.parse import parse
from clickscape.stages import generate as stage
from clickscape.stages import generate_block
from clickscape.stages.progress import run
from clickscape.stages.relevance import relevance_gate
from clickscape.workspace import Workspace

SMALL = {"size": 192, "keep": 1, "per_product": 1, "tries": 2}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mug that fills its picture, and one with a forgotten frame high above it, which keeps it small in every ad."""
    folder = tmp_path_factory.mktemp("catalog")
    mug = sample.cutout("coffee_mug-navy", 160)
    Image.fromarray(mug).save(folder / "plain.png")
    framed = np.zeros((800, 800, 4), np.uint8)
    framed[-mug.shape[0] :, 320 : 320 + mug.shape[1]] = mug
    framed[:2] = (128, 128, 128, 60)
    Image.fromarray(framed).save(folder / "framed.png")
    lines = ["id,title,category,image", "A,Blue Mug,Home,plain.png", "B,Green Mug,Home,framed.png"]
    (folder / "catalog.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "catalog.csv"


@pytest.fixture(scope="module")
def ads(catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the stage ran once."""
    out = tmp_path_factory.mktemp("ads")
    run(stage.generate(workspace=None, catalog=catalog, out=out, overrides=SMALL))
    return out


@pytest.mark.slow
def test_products_whose_images_never_pass_the_gate_are_named(catalog: Path, ads: Path) -> None:
    (made,) = rows_of(ads / MANIFEST)
    assert (made["creative_id"], made["image"], made["gate"]["passed"]) == ("A-1", "A-1.png", True)
    (left_out,) = rows_of(ads / LEFT_OUT)
    assert (left_out["creative_id"], left_out["image"], left_out["gate"]["passed"]) == ("B-1", "", False)
    tries = left_out["gate"]["rejected"]
    assert len(tries) == 1, "neither another seed nor another description makes the product of a photo larger"
    assert all("too_small" in [failure["kind"] for failure in one["failures"]] for one in tries)
    assert sorted(path.name for path in ads.glob("*.png")) == ["A-1.png"]

    again = run(stage.generate(workspace=None, catalog=catalog, out=ads, overrides=SMALL))
    assert again.images == 1
    (named,) = again.left_out
    assert named.startswith("B-1: ")
    assert "too_small: 0.1" in named
    assert named.endswith("; 1 picture was tried")
    assert rows_of(ads / LEFT_OUT) == [left_out]


@pytest.mark.slow
def test_two_processes_draw_the_same_bytes_as_this_one(
    catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate_block, "NEIGHBORS", 1)  # a block for each of the two products
    monkeypatch.setattr(stage, "_PER_PROCESS", 1)
    folders = [tmp_path / name for name in ("one", "two")]
    for workers, out in enumerate(folders, start=1):
        run(stage.generate(workspace=None, catalog=catalog, out=out, overrides=SMALL, workers=workers))
    found = [
        {path.name: path.read_bytes() for path in out.iterdir() if path.suffix in (".png", ".json")} for out in folders
    ]
    assert found[0] == found[1]
    assert found[0].keys() == {"A-1.png", "A.json", "B.json"}


def test_the_clock_is_an_argument(catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[datetime] = []
    monkeypatch.setattr(generate_block, "select", lambda selector, *_, **__: iter(seen.append(selector.now) or ()))
    now = datetime(2020, 12, 1, tzinfo=UTC)
    with contextlib.suppress(KeyError):  # nothing was selected, so nothing can be recorded
        run(stage.generate(workspace=None, catalog=catalog, out=tmp_path, overrides=SMALL, now=now))
    assert seen == [now]


def test_the_pictures_on_the_disk_are_those_that_passed(catalog: Path, ads: Path) -> None:
    """The file is lossless: drawn again from its row, the product's pixels in it are the cut-out's own."""
    (row,) = rows_of(ads / MANIFEST)
    product = next(one for one in feeds.read(catalog) if one.product_id == row["product_id"])
    drawn_by = render.load("studio")
    drawn = drawn_by.render(product, row["description"], size=(192, 192), seed=row["seed"])
    with Image.open(ads / row["image"]) as file:
        limits = fidelity_limits(FidelityConfig(), source=drawn_by.digital_source)
        pose = drawn.staging.pose if drawn.staging else "stands"
        assert fidelity.check(np.asarray(file.convert("RGB")), drawn.product, limits=limits, pose=pose).passed


def test_the_summary_says_only_what_happened() -> None:
    assert Summary(3, 0, ()).lines == ("3 images, every one through the fidelity gate",)
    told = Summary(3, 1, ("B-1: floating after 4 pictures",)).lines
    assert len(told) == 4
    assert "1 of them" in told[1]
    assert told[-1] == "B-1: floating after 4 pictures"


BRAND = """
[brand]
use = ["oak"]
avoid = ["neon", "black marble"]
palette = ["mint"]
[brand.placement.story]
use = ["no props"]
"""


@pytest.mark.slow
def test_brand_rules_reach_the_manifest_the_summary_and_the_refusals(
    catalog: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shipped model's own words: what was written, what became of it, which rule is met, for which placement."""
    (tmp_path / "brand.toml").write_text(BRAND, encoding="utf-8")
    brand_options = stage.BrandOptions(tmp_path / "brand.toml", placement="story")
    settings = {"size": 192, "keep": 2, "per_product": 6, "tries": 3}

    def make() -> Summary:
        asked: dict[str, Any] = {"overrides": settings, "brand_options": brand_options}
        return run(stage.generate(workspace=None, catalog=catalog, out=tmp_path / "ads", **asked))

    made = make()
    everything = rows_of(tmp_path / "ads" / MANIFEST)
    assert made.images == len(everything) > 0
    for row in everything:
        scene = json.loads(row["scene"])
        assert (row["audience"], row["placement"]) == ("", "story")
        assert row["rules"] == {"use": not scene["props"], "palette": scene["palette"] == "mint"}
        assert parse(row["description"]).scene.to_json() == row["scene"]
        assert row["written"] != row["description"]
        assert scene["surface"] != "black marble"
    assert made.met == {rule: sum(row["rules"][rule] for row in everything) for rule in ("use", "palette")}
    assert made.met["use"] == made.images
    assert made.edited == sum(bool(row["written"]) for row in everything) > 0
    assert f"brand rule 'use': met by {made.images} of {made.images} images" in made.lines
    refused = rows_of(tmp_path / "ads" / REFUSED)
    assert made.refused == Counter(row["rule"] for row in refused)
    assert {row["rule"] for row in refused} <= {"avoid", "duplicate"}

    with monkeypatch.context() as patch:
        patch.setattr(
            generate_block, "select", lambda *_, wanted, **__: iter([]) if not wanted else pytest.fail("done again")
        )
        assert make() == made
    (tmp_path / "ads" / "A.json").unlink()  # as a kill would leave it
    make()
    assert rows_of(tmp_path / "ads" / MANIFEST) == everything
    assert rows_of(tmp_path / "ads" / REFUSED) == refused


def test_a_product_without_a_description_left_is_named() -> None:
    told = Summary(0, 0, (), refused={"weapons": 16}, empty=("A",)).lines
    assert "descriptions not drawn: 16 by 'weapons'; refused.jsonl says why" in told
    assert "no image of product 'A': every description was refused" in told


@pytest.mark.slow
def test_irrelevant_descriptions_are_refused_where_the_settings_ask(
    new_shop: Callable[[], Workspace], tmp_path: Path
) -> None:
    """The gate is asked before anything is drawn, and what it refuses is written down with the contrast it measured."""
    shop = new_shop()
    shop.write_products(shop.products()[::2])
    (shop.path / "clickscape.toml").write_text('[relevance]\nuse = "refuse"\nothers = 4\nlimit = 1.0\n')
    settings = {"size": 192, "keep": 1, "per_product": 3, "tries": 2}
    made = run(stage.generate(workspace=shop.path, catalog=None, out=tmp_path / "ads", overrides=settings))
    shop = Workspace.open(shop.path)
    products = {product.product_id: product for product in shop.products()}
    gate = relevance_gate(shop, shop.products())
    assert gate is not None
    drawn, refused = (rows_of(tmp_path / "ads" / name) for name in (MANIFEST, REFUSED))
    irrelevant = [row for row in refused if row["rule"] == "irrelevant"]
    assert made.images == len(drawn) > 5
    assert made.refused["irrelevant"] == len(irrelevant) > 5
    for found, passed in ((drawn, True), (irrelevant, False)):
        results = gate.check([products[row["product_id"]] for row in found], [row["description"] for row in found])
        assert {result.passed for result in results} == {passed}
    assert all("limit 1" in row["reason"] for row in irrelevant)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"overrides": {"model": "nowhere"}}, "nowhere: no such folder"),
        ({"overrides": {"keep": 10**11}}, r"(keep|per_product): Input should be .* Give another value"),
        ({"overrides": {"model": "nobody/nothing-of-this-name"}}, "nothing-of-this-name"),
        ({"matting": Path("gone.onnx")}, "gone.onnx: no such matting model"),
        ({"brand_options": stage.BrandOptions(Path("gone.toml"))}, "gone.toml: cannot be read"),
    ],
)
def test_a_wrong_argument_is_reported_before_the_feed_is_read(
    tmp_path: Path, asked: dict[str, Any], message: str
) -> None:
    begun: list[object] = []
    with pytest.raises(ClickscapeError, match=message):
        run(
            stage.generate(workspace=None, catalog=tmp_path / "gone.csv", out=tmp_path / "ads", **asked),
            on_progress=begun.append,
        )
    assert not begun
    assert not (tmp_path / "ads").exists()
