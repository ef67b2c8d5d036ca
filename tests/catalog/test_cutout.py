"""Cut-outs against pictures whose true mask is known, because the test drew them."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from clickscape.catalog import sample
from clickscape.catalog.cutout import cut_out, has_alpha, open_cutout, place, product_picture, trim
from clickscape.errors import ImageError

WHITE = (255, 255, 255)
Scene = tuple[NDArray[np.uint8], NDArray[np.bool_]]


def _shape(name: str, size: int) -> NDArray[np.float32]:
    """Coverage 0..1 of a shape, anti-aliased by drawing it four times as large."""
    big = np.zeros((size * 4, size * 4), np.uint8)
    at = lambda x, y: (round(x * size * 4), round(y * size * 4))  # noqa: E731
    if name == "disc":
        cv2.circle(big, at(0.5, 0.5), size, 255, -1)
    elif name == "box":
        cv2.rectangle(big, at(0.3, 0.2), at(0.75, 0.8), 255, -1)
    elif name == "bottle":
        cv2.rectangle(big, at(0.38, 0.35), at(0.62, 0.88), 255, -1)
        cv2.rectangle(big, at(0.46, 0.1), at(0.54, 0.36), 255, -1)
    else:
        points = [at(0.5 + 0.36 * np.sin(k * 2 * np.pi / 3), 0.5 - 0.36 * np.cos(k * 2 * np.pi / 3)) for k in range(3)]
        cv2.fillPoly(big, [np.array(points)], 255)
    return cv2.resize(big, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def _photograph(
    name: str,
    color: tuple[int, int, int],
    background: tuple[int, int, int] = WHITE,
    *,
    size: int = 240,
    shadow: float = 0.0,
    noise: float = 0.0,
    jpeg: bool = False,
) -> Scene:
    """A shaded shape on a plain background with a soft shadow beside it, and its true mask."""
    cover = _shape(name, size)
    fallen = cv2.warpAffine(cover, np.float32([[1, 0, size * 0.04], [0, 1, size * 0.05]]), (size, size))
    fallen = cv2.GaussianBlur(fallen, (0, 0), size * 0.035)
    ground = np.array(background, np.float32) * (1 - shadow * fallen[..., None])
    shading = np.linspace(1.0, 0.8, size, dtype=np.float32)[None, :, None]
    picture = ground * (1 - cover[..., None]) + np.array(color, np.float32) * shading * cover[..., None]
    picture += np.random.default_rng(0).normal(0, noise, picture.shape) if noise else 0
    pixels = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    if jpeg:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=85)
        pixels = np.asarray(Image.open(buffer).convert("RGB"))
    return pixels, cover > 0.5


def _iou(cutout: NDArray[np.uint8], truth: NDArray[np.bool_]) -> float:
    found = cutout[..., 3] > 127
    return float((found & truth).sum() / (found | truth).sum())


@pytest.mark.parametrize("name", ["disc", "box", "bottle", "triangle"])
@pytest.mark.parametrize("color", [(230, 30, 40), (255, 255, 0), (255, 0, 0), (120, 120, 125), (30, 30, 32)])
def test_shapes_on_white_with_a_soft_shadow(name: str, color: tuple[int, int, int]) -> None:
    picture, truth = _photograph(name, color, shadow=0.3, noise=1.5, jpeg=True)
    assert _iou(cut_out(picture), truth) > 0.95


def test_a_gray_product_in_a_shadow_of_its_own_gray_stays_whole() -> None:
    picture, truth = _photograph("bottle", (200, 200, 200), shadow=0.4, noise=1.5, jpeg=True)
    found = cut_out(picture)[..., 3] > 127
    assert found[truth].mean() > 0.98  # its shadow may come along, but the flood must not leak into it


@pytest.mark.parametrize("background", [(240, 240, 240), (190, 215, 235), (40, 42, 48)])
def test_plain_backgrounds_of_other_colors(background: tuple[int, int, int]) -> None:
    picture, truth = _photograph("bottle", (215, 150, 40), background, shadow=0.2, noise=1)
    assert _iou(cut_out(picture), truth) > 0.95


@pytest.mark.parametrize("color", [(255, 255, 0), (255, 0, 0)])
def test_pure_yellow_and_pure_red_survive_whole(color: tuple[int, int, int]) -> None:
    picture = np.full((120, 120, 3), 255, np.uint8)
    picture[30:90, 40:80] = color
    cutout = cut_out(picture)
    assert (cutout[31:89, 41:79, 3] == 255).all()
    assert (cutout[31:89, 41:79, :3] == color).all()
    assert not cutout[:28, :, 3].any()


def test_large_pictures_are_masked_small_but_matted_at_full_size() -> None:
    picture, truth = _photograph("bottle", (20, 110, 60), size=1600, shadow=0.25)
    cutout = cut_out(picture)
    assert cutout.shape == (1600, 1600, 4)
    assert _iou(cutout, truth) > 0.97


def test_a_white_label_inside_the_product_stays() -> None:
    picture = np.full((160, 160, 3), 255, np.uint8)
    picture[20:140, 50:110] = (30, 80, 60)
    picture[60:100, 60:100] = 255
    assert (cut_out(picture)[65:95, 65:95, 3] == 255).all()


def test_background_color_is_taken_out_of_the_edge() -> None:
    picture, _ = _photograph("disc", (200, 30, 30))
    cutout = cut_out(picture)
    edge = (cutout[..., 3] > 60) & (cutout[..., 3] < 200)
    assert edge.sum() > 50
    # a mixed edge pixel in the picture has green of about 140; unmixed it has the product's 30
    assert np.median(cutout[edge][:, 1]) < 60
    assert np.median(picture[edge][:, 1]) > 90


def test_grabcut_takes_over_when_the_background_is_not_plain() -> None:
    picture, truth = _photograph("disc", (220, 30, 40))
    columns = np.linspace(0, 1, 240)[None, :, None]
    rows = np.linspace(0, 1, 240)[:, None, None]
    busy = (60 + 90 * columns) * [0.4, 1.0, 0.8] + 60 * rows * [0.0, 0.3, 1.0]
    picture = np.where(truth[..., None], picture, busy.astype(np.uint8))
    cutout = cut_out(picture)
    assert _iou(cutout, truth) > 0.9
    assert (cutout == cut_out(picture)).all()


def test_crumbs_of_a_white_product_on_white_are_refused() -> None:
    drawn = place(sample.cutout("wine_bottle-original", 220), (240, 240))
    alpha = drawn[..., 3:].astype(np.float32) / 255
    with pytest.raises(ImageError, match="cannot be told from its background"):
        cut_out(np.rint(drawn[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8))


@pytest.mark.parametrize("kind", ["blank", "noise"])
def test_a_picture_without_product_is_refused(kind: str) -> None:
    blank = np.full((90, 90, 3), 250, np.uint8)
    noise = np.random.default_rng(1).integers(0, 255, (90, 90, 3)).astype(np.uint8)
    with pytest.raises(ImageError, match=r"cannot be told from its background\. .*transparent background"):
        cut_out(blank if kind == "blank" else noise)


def test_real_alpha_is_believed_and_an_opaque_alpha_channel_is_not() -> None:
    picture, truth = _photograph("box", (30, 90, 200))
    drawn = np.dstack([picture, np.where(truth, 255, 0).astype(np.uint8)])
    assert has_alpha(drawn)
    assert cut_out(drawn) is drawn
    opaque = np.dstack([picture, np.full(truth.shape, 255, np.uint8)])
    assert not has_alpha(opaque)
    assert _iou(cut_out(opaque), truth) > 0.97


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
@settings(max_examples=60, deadline=None)
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


def test_open_cutout_names_the_file_that_cannot_be_cut_out(tmp_path: Path) -> None:
    path = tmp_path / "blank.png"
    Image.new("RGB", (40, 40), "white").save(path)
    with pytest.raises(ImageError, match=r"blank\.png: the product cannot be told"):
        open_cutout(path)
    with pytest.raises(ImageError, match=r"gone\.png: no such image"):
        open_cutout(tmp_path / "gone.png")


@pytest.mark.parametrize("product_id", ["toolbox-crimson", "coat-lemon", "coffee_mug-navy", "ladder-original"])
def test_sample_products_are_found_again_on_white(product_id: str) -> None:
    drawn = place(sample.cutout(product_id, 300), (340, 340))
    alpha = drawn[..., 3:].astype(np.float32) / 255
    picture = np.rint(drawn[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    truth = drawn[..., 3] > 127
    # what is enclosed (the handle of a mug) counts as product: on a photo it cannot be told from a white label
    hulls, _ = cv2.findContours(truth.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    enclosed = cv2.drawContours(np.zeros(truth.shape, np.uint8), hulls, -1, 1, -1) > 0
    assert _iou(cut_out(picture), enclosed) > 0.95
