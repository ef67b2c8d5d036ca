"""Covers, posters and boxes that fill their photo are the product; a product before a color is not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from clickscape.catalog import sample
from clickscape.catalog.cutout import examine

TEAL, SAND = (38, 90, 120), (221, 190, 92)


def _cover(*, title: str = "GREEN TEA", panel: bool = True, corners: int = 0, margin: int = 0) -> NDArray[np.uint8]:
    """A printed front of 300 x 400 with rounded white corners, or within a white margin."""
    front = Image.new("RGB", (300, 400), TEAL)
    draw = ImageDraw.Draw(front)
    if panel:
        draw.rectangle((40, 130, 259, 320), fill=SAND)
    draw.text((150, 70), title, fill="white", anchor="mm", font=ImageFont.load_default(38))
    if corners:
        shape = Image.new("L", front.size, 0)
        ImageDraw.Draw(shape).rounded_rectangle((0, 0, 299, 399), corners, fill=255)
        front = Image.composite(front, Image.new("RGB", front.size, "white"), shape)
    picture = Image.new("RGB", (300 + 2 * margin, 400 + 2 * margin), "white")
    picture.paste(front, (margin, margin))
    return np.asarray(picture)


@pytest.mark.slow
@pytest.mark.parametrize("picture", [_cover(), _cover(title=""), _cover(panel=False)], ids=["cover", "poster", "title"])
def test_a_printed_front_that_fills_its_photo_stays_whole(picture: NDArray[np.uint8]) -> None:
    found = examine(picture)
    assert (found.way, found.flags.names, found.doubtful) == ("whole", ("whole",), False)
    assert found.pixels[..., 3].min() == 255
    assert np.array_equal(found.pixels[..., :3], picture)


@pytest.mark.slow
def test_rounded_corners_of_another_color_are_cut_off() -> None:
    found = examine(_cover(corners=16))
    assert found.way == "whole"
    assert found.pixels[[0, 0, -1, -1], [0, -1, 0, -1], 3].max() == 0
    assert (found.pixels[..., 3] > 250).mean() > 0.97


@pytest.mark.usefixtures("network")
def test_a_front_with_a_thin_margin_loses_the_margin_alone() -> None:
    found = examine(_cover(margin=6))
    assert (found.way, found.doubtful) == ("whole", False)
    solid = found.pixels[..., 3] > 127
    assert solid[8:-8, 8:-8].all()
    assert not solid[:4].any()
    assert not solid[:, :4].any()


@pytest.mark.usefixtures("network")
def test_a_product_before_a_colored_wall_is_cut_out() -> None:
    picture = Image.new("RGB", (400, 400), TEAL)
    duck = Image.fromarray(sample.cutout("teapot-amber", 260))
    picture.paste(duck, (70, 80), duck)
    found = examine(np.asarray(picture))
    assert found.way == "plain"
    assert (found.pixels[..., 3] > 127).mean() < 0.5


@pytest.mark.slow
def test_text_on_a_colored_wall_beside_a_product_makes_a_cut_out_doubtful() -> None:
    picture = Image.new("RGB", (400, 400), (120, 170, 60))
    draw = ImageDraw.Draw(picture)
    mug = Image.fromarray(sample.cutout("coffee_mug-original", 250))
    picture.paste(mug, (75, 130), mug)
    draw.text((200, 60), "Garden Field", fill="white", anchor="mm", font=ImageFont.load_default(44))
    assert examine(np.asarray(picture)).doubtful
