"""Stage `ingest`: every photo is cut out once, the best one is taken, and what cannot be cut out is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw, ImageFont
from tests.factory import clickscape, write_rows

from clickscape.catalog import cutout_file, sample
from clickscape.catalog.cutout import open_cutout
from clickscape.catalog.images import open_image
from clickscape.stages import generate as generate_stage
from clickscape.stages.ingest import ingest
from clickscape.stages.progress import run
from clickscape.workspace import Workspace


@pytest.mark.slow
def test_the_best_photo_of_a_product_is_taken(tmp_path: Path) -> None:
    mug = sample.cutout("coffee_mug-navy", 300)
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    small = np.asarray(Image.fromarray(mug).resize((30, 30)))
    Image.fromarray(small).save(tmp_path / "small.png")
    canvas = np.zeros((400, 400, 4), np.uint8)
    canvas[40 : 40 + mug.shape[0], 50 : 50 + mug.shape[1]] = mug
    Image.fromarray(canvas).save(tmp_path / "sharp.png")
    rows = [
        {"id": "A", "title": "Mug", "image": "small.png", "additional_image_link": ["noise.png", "sharp.png"]},
        {"id": "B", "title": "Mug", "image": "sharp.png"},
    ]
    feed = write_rows(tmp_path / "catalog.jsonl", rows)
    shop = Workspace.create(tmp_path / "shop")
    run(ingest(shop, feed))
    chosen, plain = shop.products()
    assert np.array_equal(open_image(chosen.image), open_image(plain.image))
    assert [Path(image).name for image in chosen.more_images] == ["small.png", "noise.png"]
    assert plain.more_images == ()


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """A mug that is cut out already, and noise in which there is no product, beside a third that is a smaller mug."""
    mug = sample.cutout("coffee_mug-navy", 200)
    Image.fromarray(mug).save(tmp_path / "mug.png")
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    lines = ["id,title,image", "A,Blue mug,mug.png", "B,Nothing at all,noise.png", "C,Another mug,mug.png"]
    (tmp_path / "catalog.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path / "catalog.csv"


def test_a_photo_that_cannot_be_cut_out_stops_the_ingest_with_one_line(catalog: Path) -> None:
    shop = Workspace.create(catalog.parent / "shop")
    before = sorted(path.name for path in shop.path.rglob("*"))
    code, _, error = clickscape("ingest", shop.path, catalog)
    assert code == 2
    (line,) = [line for line in error.splitlines() if line.startswith("clickscape: ")]
    assert f"product 'B': {catalog.parent / 'noise.png'}: the product cannot be separated from its background" in line
    assert "--skip-bad-rows" in line
    assert sorted(path.name for path in shop.path.rglob("*") if path.name != ".lock") == [
        name for name in before if name != ".lock"
    ]


@pytest.mark.slow
def test_a_photo_that_cannot_be_cut_out_is_listed_when_bad_rows_are_skipped(catalog: Path) -> None:
    shop = Workspace.create(catalog.parent / "shop")
    code, told, _ = clickscape("ingest", shop.path, catalog, "--skip-bad-rows")
    assert code == 0
    assert "2 products" in told
    assert "no category: 3 of 3 rows, line 2, line 3, line 4" in told
    assert f"left out, line 3, product 'B': {catalog.parent / 'noise.png'}: the product cannot be separated" in told
    assert [product.product_id for product in shop.products()] == ["A", "C"]
    assert not list(shop.path.glob(".staging*"))


@pytest.mark.slow
def test_when_no_product_is_left_the_first_reason_is_reported(catalog: Path) -> None:
    catalog.write_text("id,title,image\nB,Nothing at all,noise.png\n", encoding="utf-8")
    shop = Workspace.create(catalog.parent / "shop")
    code, _, error = clickscape("ingest", shop.path, catalog, "--skip-bad-rows")
    assert code == 2
    assert "every product was left out; the first, line 2, product 'B': " in error


def test_every_photo_is_cut_out_once_and_not_again_after_a_kill(catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed at the third of three photos; the next attempt looks at that product only."""
    folder = catalog.parent
    for number in range(3):
        Image.fromarray(sample.cutout("coffee_mug-navy", 120 + number)).save(folder / f"{number}.png")
    rows = [
        {"id": "A", "title": "Mug", "image": "0.png", "additional_image_link": ["1.png"]},
        {"id": "B", "title": "Mug", "image": "2.png"},
    ]
    feed = write_rows(folder / "feed.jsonl", rows)
    seen: list[int] = []
    examine = cutout_file.examine

    def counting(image: np.ndarray, *, matting: Path | None = None) -> cutout_file.Cutout:
        seen.append(max(image.shape))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return examine(image, matting=matting)

    monkeypatch.setattr(cutout_file, "examine", counting)
    shop = Workspace.create(folder / "shop")
    with pytest.raises(KeyboardInterrupt):
        run(ingest(shop, feed))
    assert len(set(seen)) == len(seen) == 3
    run(ingest(Workspace.open(shop.path), feed))
    assert seen[3:] == seen[2:3]
    assert [product.product_id for product in shop.products()] == ["A", "B"]


def test_a_box_that_fills_its_cut_out_stays_whole(tmp_path: Path) -> None:
    """Trimmed, nothing of it is clear: opened again, it must not be taken for a photograph."""
    box = np.zeros((220, 180, 4), np.uint8)
    box[10:210, 10:170, :3] = np.random.default_rng(1).integers(0, 256, (200, 160, 3))
    box[10:210, 10:170, 3] = 255
    Image.fromarray(box).save(tmp_path / "box.png")
    (tmp_path / "catalog.csv").write_text("id,title,image\nA,Box,box.png\n", encoding="utf-8")
    shop = Workspace.create(tmp_path / "shop")
    run(ingest(shop, tmp_path / "catalog.csv"))
    assert np.array_equal(open_cutout(shop.products()[0].image), box[10:210, 10:170])


@pytest.mark.slow
def test_a_doubtful_cut_out_gets_no_ad_unless_asked_for(catalog: Path) -> None:
    """Writing on a colored wall: perhaps a cover, perhaps a mug before a wall."""
    photo = Image.new("RGB", (400, 400), (120, 170, 60))
    mug = Image.fromarray(sample.cutout("coffee_mug-original", 250))
    photo.paste(mug, (75, 130), mug)
    font = ImageFont.load_default(44)
    ImageDraw.Draw(photo).text((200, 60), "Garden Field", fill="white", anchor="mm", font=font)
    photo.save(catalog.parent / "noise.png")
    small = {"size": 192, "keep": 1, "per_product": 1, "tries": 4}
    out = catalog.parent / "ads"
    made = run(generate_stage.generate(workspace=None, catalog=catalog, out=out, overrides=small))
    (left_out,) = made.skipped
    assert left_out.place == "product 'B'"
    assert "--keep-doubtful" in left_out.reason
    assert not (out / "B-1.png").exists()
    assert 'alt="Photo of Nothing at all"' in (out / "index.html").read_text(encoding="utf-8")
    asked = run(generate_stage.generate(workspace=None, catalog=catalog, out=out, overrides=small, keep_doubtful=True))
    assert asked.skipped == ()
    assert (out / "B.json").exists()


@pytest.mark.slow
def test_generate_cuts_a_catalogs_photos_out_as_ingest_does(catalog: Path) -> None:
    """A model to which darkness is the product cuts out what no plain background gives away."""
    y, x = np.mgrid[:96, :96]
    noise = np.random.default_rng(0).integers(200, 256, (96, 96, 3))
    photo = np.where((np.hypot(x - 48, y - 48) < 30)[..., None], 0, noise).astype(np.uint8)
    Image.fromarray(photo).save(catalog.parent / "noise.png")
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[1], keepdims=1),
        helper.make_node("Less", ["m", "half"], ["b"]),
        helper.make_node("Cast", ["b"], ["y"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "matting",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 96, 96))],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.float32([0.5]), "half")],
    )
    model = catalog.parent / "plain.onnx"
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.write_bytes(made.SerializeToString())
    shop = Workspace.create(catalog.parent / "shop")
    run(ingest(shop, catalog, matting=model))
    small = {"size": 192, "keep": 1, "per_product": 1, "tries": 4}
    out = catalog.parent / "ads"
    run(generate_stage.generate(workspace=None, catalog=catalog, out=out, overrides=small, matting=model))
    kept = {path.read_bytes() for path in (out / "cutouts").glob("*.png")}
    assert kept == {Path(product.image).read_bytes() for product in shop.products()}
    assert clickscape("generate", shop.path, "--out", out, "--matting", model).code == 2
