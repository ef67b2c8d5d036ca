"""What has alpha already: its alpha is believed, trimmed, placed, and opened once."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clickscape.catalog.cutout import examine, has_alpha, open_cutout, place, product_picture, trim
from clickscape.errors import ImageError


def test_a_box_with_round_corners_that_fills_its_picture_is_believed() -> None:
    picture = np.zeros((400, 300, 4), np.uint8)
    picture[..., :3] = (40, 90, 120)
    picture[80:220, 40:260, :3] = (220, 190, 90)  # its label
    cv2.rectangle(picture, (4, 0), (295, 399), (40, 90, 120, 255), -1)
    cv2.rectangle(picture, (0, 4), (299, 395), (40, 90, 120, 255), -1)
    assert 0 < (picture[..., 3] < 64).mean() < 0.002
    assert examine(picture).way == "alpha"
    picture[..., 3] = np.where(np.random.default_rng(0).random((400, 300)) < 0.0005, 0, 255)  # stray pixels
    picture[[0, 0, -1, -1], [0, -1, 0, -1], 3] = 255
    assert not has_alpha(picture)


def test_half_transparent_glass_keeps_its_alpha() -> None:
    picture = np.zeros((120, 120, 4), np.uint8)
    picture[20:110, 40:80] = (190, 220, 220, 110)
    found = examine(picture)
    assert (found.way, found.pixels[60, 60, 3]) == ("alpha", 110)


def test_stray_pixels_below_a_product_are_no_part_of_it() -> None:
    picture = np.zeros((300, 300, 4), np.uint8)
    picture[40:200, 80:220] = (190, 60, 50, 255)
    picture[20:26, 100:110] = (190, 60, 50, 255)  # a small part, but no speck
    picture[280:282, 150:153] = (0, 0, 0, 255)
    found = trim(examine(picture).pixels)
    assert found.shape[:2] == (180, 140)


def test_a_shadow_in_the_alpha_is_left_behind_and_a_transparent_product_is_not() -> None:
    picture = np.zeros((300, 300, 4), np.uint8)
    shade = np.zeros((300, 300), np.uint8)
    cv2.ellipse(shade, (150, 210), (90, 16), 0, 0, 360, 130, -1)
    picture[..., 3] = cv2.GaussianBlur(shade, (0, 0), 6)
    picture[40:200, 80:220] = (190, 60, 50, 255)
    picture[60:100, 220:260] = (190, 60, 50, 120)  # a veil of the product's own color
    found = examine(picture).pixels
    assert (found[40:200, 80:220, 3] == 255).all()
    assert not found[206:, :, 3].any()
    assert (found[60:100, 226:260, 3] == 120).all()
    dark = np.zeros((120, 120, 4), np.uint8)
    dark[20:110, 40:80] = (20, 20, 20, 110)  # smoked glass
    assert examine(dark).pixels is dark


def test_trim_cuts_the_margin_and_faint_leftovers() -> None:
    cutout = np.zeros((50, 60, 4), np.uint8)
    cutout[10:30, 20:45, 3] = 255
    cutout[30:40, 20:45, 3] = 10  # leftover shadow
    assert trim(cutout).shape == (20, 25, 4)
    assert trim(cutout, faint=5).shape == (30, 25, 4)
    with pytest.raises(ImageError, match="cut-out is empty"):
        trim(np.zeros((5, 5, 4), np.uint8))


@given(
    width=st.integers(1, 60),
    height=st.integers(1, 60),
    canvas=st.tuples(st.integers(8, 80), st.integers(8, 80)),
    foot=st.none() | st.floats(0, 1),
)
@settings(max_examples=60)
def test_place_keeps_the_product_whole_and_in_proportion(
    width: int, height: int, canvas: tuple[int, int], foot: float | None
) -> None:
    product = np.full((height, width, 4), 255, np.uint8)
    placed = place(product, canvas, fill=0.8, foot=foot)
    assert placed.shape == (canvas[1], canvas[0], 4)
    rows, columns = np.flatnonzero(placed[..., 3].any(1)), np.flatnonzero(placed[..., 3].any(0))
    scale = 0.8 * min(canvas[0] / width, canvas[1] / height)
    assert len(rows) == max(1, round(height * scale))
    assert len(columns) == max(1, round(width * scale))
    assert abs((columns[0] + columns[-1] + 1) / 2 - canvas[0] / 2) <= 1


def test_product_picture_is_a_square_on_plain_gray() -> None:
    product = np.zeros((40, 20, 4), np.uint8)
    product[..., :3] = (10, 200, 30)
    product[..., 3] = 255
    picture = product_picture(product, size=96)
    assert picture.shape == (96, 96, 3)
    assert picture.dtype == np.uint8
    assert (picture[0] == 245).all()
    assert (picture[:, 0] == 245).all()
    assert (picture[48, 48] == (10, 200, 30)).all()
    filled = (picture != 245).any(-1)
    assert filled.any(1).sum() == 86  # 0.9 × 96, rounded
    assert filled.any(0).sum() == 43


def test_half_transparent_pixels_mix_with_the_background() -> None:
    glass = np.full((10, 10, 4), 255, np.uint8)
    glass[..., :3], glass[..., 3] = 0, 128
    assert abs(int(product_picture(glass, size=30)[15, 15, 0]) - round(245 * (1 - 128 / 255))) <= 1


def test_open_cutout_is_trimmed_read_only_and_cached_until_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "mug.png"
    pixels = np.zeros((30, 30, 4), np.uint8)
    pixels[5:20, 5:25] = (200, 10, 10, 255)
    Image.fromarray(pixels).save(path)
    first = open_cutout(path)
    assert first.shape == (15, 20, 4)
    assert open_cutout(path) is first
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 0
    pixels[5:26, 5:25] = (10, 10, 200, 255)
    Image.fromarray(pixels).save(path, compress_level=0)
    assert open_cutout(path).shape == (21, 20, 4)


@pytest.mark.usefixtures("network")
def test_open_cutout_names_the_file_that_cannot_be_cut_out(tmp_path: Path) -> None:
    path = tmp_path / "blank.png"
    Image.new("RGB", (40, 40), "white").save(path)
    with pytest.raises(ImageError, match=r"blank\.png: the product cannot be separated"):
        open_cutout(path)
    with pytest.raises(ImageError, match=r"gone\.png: no such image"):
        open_cutout(tmp_path / "gone.png")
