"""The file of a cut-out: the best photo's, made once, with what was noted about it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from clickscape.catalog import cutout_file, sample
from clickscape.catalog.cutout import Cutout
from clickscape.catalog.cutout_file import (
    CONFIDENCE,
    FLAGS,
    FlaggedProduct,
    cut_product,
    flagged,
    model_digest,
    notes_of,
    save,
)
from clickscape.catalog.flags import Flags
from clickscape.errors import ImageError, ModelError
from clickscape.types import Product


def test_what_is_noted_about_a_cut_out_stays_with_it(tmp_path: Path) -> None:
    box = np.full((120, 80, 4), 255, np.uint8)
    file = tmp_path / "box.png"
    save(Cutout(box, "plain", 0.5, Flags()), file)
    assert notes_of(file)[CONFIDENCE] == "0.500"
    assert notes_of(file)[FLAGS] == "doubtful"
    own = Product("A", "Box", image=str(file))
    Image.fromarray(box).save(tmp_path / "other.png")
    assert flagged([own, replace(own, product_id="B", image=str(tmp_path / "other.png"))]) == [
        FlaggedProduct("A", own.title, ("doubtful",), 0.5, own.image)
    ]
    file.write_bytes(b"torn")
    with pytest.raises(ImageError, match=r"box.png: the cut-out cannot be read"):
        notes_of(file)


def test_a_product_is_cut_out_once_and_anew_for_another_photo_or_model(tmp_path: Path) -> None:
    for number, side in enumerate((40, 200)):
        Image.fromarray(sample.cutout("coffee_mug-navy", side)).save(tmp_path / f"{number}.png")
    mug = Product("A", "Mug", image=str(tmp_path / "0.png"), more_images=(str(tmp_path / "1.png"),))
    made = cut_product(mug, folder=tmp_path / "cut")
    assert (made.product.image, made.product.more_images) == (mug.more_images[0], (mug.image,)), "the larger one"
    before = made.file.stat().st_mtime_ns
    assert cut_product(mug, folder=tmp_path / "cut") == made
    assert made.file.stat().st_mtime_ns == before
    assert cut_product(mug, folder=tmp_path / "cut", model="other").file != made.file
    assert cut_product(replace(mug, more_images=()), folder=tmp_path / "cut").file != made.file
    (tmp_path / "0.png").write_bytes(b"torn")
    bad = cut_product(replace(mug, more_images=()), folder=tmp_path / "cut")
    assert not bad.file.exists()
    assert "0.png" in bad.problem
    with pytest.raises(ModelError, match=r"gone.onnx: no such matting model"):
        model_digest(tmp_path / "gone.onnx")


@pytest.mark.parametrize("number", [None, "", "-1", "7", "x", "9" * 5_000])
def test_a_file_that_was_not_made_here_is_made_anew(tmp_path: Path, number: str | None) -> None:
    """Another program's picture, or one that speaks of a photo that the product does not have."""
    Image.fromarray(sample.cutout("coffee_mug-navy", 60)).save(tmp_path / "0.png")
    mug = Product("A", "Mug", image=str(tmp_path / "0.png"))
    made = cut_product(mug, folder=tmp_path / "cut")
    good = made.file.read_bytes()
    texts = PngImagePlugin.PngInfo()
    if number is not None:
        texts.add_itxt("clickscape:photo", number)
    Image.new("RGBA", (9, 9)).save(made.file, pnginfo=texts)
    assert cut_product(mug, folder=tmp_path / "cut") == made
    assert made.file.read_bytes() == good


def test_a_symlink_in_the_place_of_a_cut_out_is_replaced_and_not_followed(tmp_path: Path) -> None:
    Image.fromarray(sample.cutout("coffee_mug-navy", 60)).save(tmp_path / "0.png")
    mug = Product("A", "Mug", image=str(tmp_path / "0.png"))
    made = cut_product(mug, folder=tmp_path / "cut")
    moved = made.file.rename(tmp_path / "victim.png").read_bytes()
    made.file.symlink_to(tmp_path / "victim.png")
    assert cut_product(mug, folder=tmp_path / "cut") == made
    assert not made.file.is_symlink()
    assert (tmp_path / "victim.png").read_bytes() == moved


def test_a_photo_that_opencv_gives_up_is_one_line_and_a_further_photo_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does where memory or a file's size is limited."""
    for name, side in (("large", 200), ("small", 90)):
        box = np.full((side + 40, side + 40, 3), 255, np.uint8)
        box[20:-20, 20:-20] = 60
        Image.fromarray(box).save(tmp_path / f"{name}.png")
    original = cutout_file.examine

    def limited(picture: np.ndarray, **options: object) -> Cutout:
        if len(picture) > 200:
            cv2.resize(picture, (0, 0))  # raises
        return original(picture, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(cutout_file, "examine", limited)
    product = Product("A", "Box", image=str(tmp_path / "large.png"))
    found = cut_product(product, folder=tmp_path / "cut")
    assert found.problem.startswith(f"{tmp_path / 'large.png'}: it cannot be cut out (")
    assert "\n" not in found.problem
    both = replace(product, more_images=(str(tmp_path / "small.png"),))
    found = cut_product(both, folder=tmp_path / "cut")
    assert (found.problem, found.product.image) == ("", str(tmp_path / "small.png"))
