"""Badges and text that a shop laid over its photo are left out and named; pairs, letters on the product stay."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from clickscape.catalog import sample
from clickscape.catalog.cutout import examine

Box = tuple[int, int, int, int]


def _photo(*, badge: Box | None = None, text: str = "", at: tuple[int, int] = (0, 0)) -> NDArray[np.uint8]:
    """A mug in the middle of a white photo of 400 pixels, with a red badge or a line of text over it."""
    picture = Image.new("RGB", (400, 400), "white")
    mug = Image.fromarray(sample.cutout("coffee_mug-navy", 220))
    picture.paste(mug, (90, 100), mug)
    draw = ImageDraw.Draw(picture)
    if badge:
        draw.ellipse(badge, fill=(226, 28, 40))
        middle = ((badge[0] + badge[2]) / 2, (badge[1] + badge[3]) / 2)
        draw.text(middle, "-30%", fill="white", anchor="mm", font=ImageFont.load_default(20))
    draw.text(at, text, fill=(60, 60, 60), font=ImageFont.load_default(20))
    return np.asarray(picture)


@pytest.mark.slow
@pytest.mark.parametrize("corner", [(8, 8), (312, 8), (8, 312), (312, 312)])
def test_a_badge_in_a_corner_is_no_product(corner: tuple[int, int]) -> None:
    x, y = corner
    found = examine(_photo(badge=(x, y, x + 80, y + 80)))
    assert "badge" in found.flags.names
    assert found.pixels[y : y + 80, x : x + 80, 3].max() == 0
    plain = examine(_photo()).pixels[..., 3] > 127
    assert np.array_equal(plain[100:300, 100:300], (found.pixels[..., 3] > 127)[100:300, 100:300])


def test_a_line_of_text_beside_the_product_is_left_out_and_named() -> None:
    found = examine(_photo(text="Free shipping today", at=(110, 360)))
    assert found.flags.names == ("text",)
    assert found.pixels[350:, :, 3].max() == 0


@pytest.mark.slow
def test_a_photo_with_nothing_over_it_has_no_such_flag() -> None:
    assert examine(_photo()).flags.names == ()


@pytest.mark.slow
def test_the_smaller_one_of_a_pair_stays_and_so_does_a_button_without_marks() -> None:
    picture = Image.fromarray(_photo())
    small = Image.fromarray(sample.cutout("coffee_mug-crimson", 80))
    picture.paste(small, (6, 310), small)
    ImageDraw.Draw(picture).ellipse((320, 10, 390, 80), fill=(226, 28, 40))  # a ball, flat: nothing is written on it
    found = examine(np.asarray(picture))
    assert "badge" not in found.flags.names
    assert found.pixels[320:380, 20:60, 3].max() == 255
    assert found.pixels[40, 350, 3] == 255


@pytest.mark.usefixtures("network")
def test_what_is_printed_on_the_product_stays() -> None:
    picture = Image.new("RGB", (400, 400), "white")
    draw = ImageDraw.Draw(picture)
    draw.rounded_rectangle((110, 60, 290, 350), 20, fill=(40, 90, 160))
    draw.text((200, 200), "RIVER soap", fill="white", anchor="mm", font=ImageFont.load_default(28))
    found = examine(np.asarray(picture))
    assert "text" not in found.flags.names
    inside = cv2.erode((found.pixels[..., 3] > 250).astype(np.uint8), np.ones((3, 3), np.uint8))
    assert inside[80:330, 130:270].all()
