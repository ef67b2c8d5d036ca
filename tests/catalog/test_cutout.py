"""Cut-outs against pictures whose true mask is known, because the test drew them."""

from __future__ import annotations

import io
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from tests.factory import saliency_by_color

from clickscape.catalog import matting, sample
from clickscape.catalog.confidence import LEAST, SURE, confidence
from clickscape.catalog.cutout import cut_out, examine, has_alpha, place
from clickscape.catalog.mask import find
from clickscape.catalog.matting import saliency
from clickscape.catalog.recolor import recolor
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


@pytest.mark.slow
@pytest.mark.parametrize("name", ["disc", "box", "bottle", "triangle"])
@pytest.mark.parametrize("color", [(230, 30, 40), (255, 255, 0), (255, 0, 0), (120, 120, 125), (30, 30, 32)])
def test_shapes_on_white_with_a_soft_shadow_are_cut_out(name: str, color: tuple[int, int, int]) -> None:
    picture, truth = _photograph(name, color, shadow=0.3, noise=1.5, jpeg=True)
    assert _iou(cut_out(picture), truth) > 0.95


@pytest.mark.usefixtures("network")
def test_a_gray_product_in_a_shadow_of_its_own_gray_stays_whole() -> None:
    picture, truth = _photograph("bottle", (200, 200, 200), shadow=0.4, noise=1.5, jpeg=True)
    found = cut_out(picture)[..., 3] > 127
    assert found[truth].mean() > 0.97  # its shadow may come along, but the flood must not leak into it


@pytest.mark.slow
@pytest.mark.parametrize("background", [(240, 240, 240), (190, 215, 235), (40, 42, 48)])
def test_plain_backgrounds_of_other_colors_are_removed(background: tuple[int, int, int]) -> None:
    picture, truth = _photograph("bottle", (215, 150, 40), background, shadow=0.2, noise=1)
    assert _iou(cut_out(picture), truth) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("color", [(255, 255, 0), (255, 0, 0), (0, 255, 255), (255, 0, 255), (0, 255, 0)])
def test_pure_colors_survive_whole(color: tuple[int, int, int]) -> None:
    picture = np.full((120, 120, 3), 255, np.uint8)
    picture[30:90, 40:80] = color
    cutout = cut_out(picture)
    assert (cutout[31:89, 41:79, 3] == 255).all()
    assert (cutout[31:89, 41:79, :3] == color).all()
    assert not cutout[:28, :, 3].any()


@pytest.mark.slow
def test_large_pictures_are_masked_small_but_matted_at_full_size() -> None:
    picture, truth = _photograph("bottle", (20, 110, 60), size=1600, shadow=0.25)
    cutout = cut_out(picture)
    assert cutout.shape == (1600, 1600, 4)
    assert _iou(cutout, truth) > 0.97


@pytest.mark.usefixtures("network")
def test_a_white_label_inside_the_product_stays() -> None:
    picture = np.full((160, 160, 3), 255, np.uint8)
    picture[20:140, 50:110] = (30, 80, 60)
    picture[60:100, 60:100] = 255
    assert (cut_out(picture)[65:95, 65:95, 3] == 255).all()


@pytest.mark.usefixtures("network")
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


def _on(product_id: str, background: int, *, fill: float = 0.86) -> Scene:
    """A sample product on plain gray of one level, and its true mask."""
    drawn = place(sample.cutout(product_id, 300), (340, 340), fill=fill)
    alpha = drawn[..., 3:].astype(np.float32) / 255
    return np.rint(drawn[..., :3] * alpha + background * (1 - alpha)).astype(np.uint8), drawn[..., 3] > 127


@pytest.mark.slow
@pytest.mark.parametrize("product_id", ["night_cream-original", "face_serum-original", "wine_bottle-original"])
def test_a_white_product_on_white_is_closed_around_its_print(product_id: str) -> None:
    picture, truth = _on(product_id, 255)
    mask = find(picture, saliency(picture))[0].mask
    assert (mask & truth).sum() / (mask | truth).sum() > 0.9


@pytest.mark.slow
def test_a_pale_product_on_white_is_found_whole() -> None:
    """By color alone three quarters of it are found: the network sees it in the darker picture."""
    source = sample.object_of("camera-original").hero_rgb
    pale = recolor(sample.cutout("camera-original", 400), source=source, target=(246, 245, 242))
    drawn = place(pale, (420, 420), fill=0.8)
    alpha = drawn[..., 3:].astype(np.float32) / 255
    picture = np.rint(drawn[..., :3] * alpha + 250 * (1 - alpha)).astype(np.uint8)
    assert _iou(cut_out(picture), drawn[..., 3] > 127) > 0.95


def test_a_shape_that_has_no_color_of_its_own_is_the_second_candidate() -> None:
    picture = np.full((200, 200, 3), 250, np.uint8)
    truth = _shape("disc", 200) > 0.5
    picture[truth] = 249
    _, by_shape = find(picture, truth.astype(np.float32))
    assert (by_shape.mask & truth).sum() / (by_shape.mask | truth).sum() > 0.95


@pytest.mark.parametrize(("level", "looks"), [(250, 2), (120, 1)])
def test_a_pale_picture_is_seen_twice(level: int, looks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[NDArray[np.uint8]] = []
    monkeypatch.setattr(matting, "alpha", lambda image, model: seen.append(image) or image[..., 0] / 255)
    matting.saliency(np.full((20, 20, 3), level, np.uint8))
    assert [int(one[0, 0, 0]) for one in seen] == [level, 236][:looks]


@pytest.mark.usefixtures("network")
def test_crumbs_of_a_white_product_on_white_are_refused() -> None:
    picture = np.full((240, 240, 3), 255, np.uint8)
    for number in range(6):  # letters far apart, and nothing of what they are printed on
        top, left = 50 + 120 * (number // 3), 30 + 80 * (number % 3)
        picture[top : top + 16, left : left + 12] = 30
    with pytest.raises(ImageError, match="cannot be separated from its background"):
        cut_out(picture)


@pytest.mark.slow
def test_holes_are_opened_on_clipped_white_too() -> None:
    for background in (238, 255):
        picture, truth = _on("coffee_mug-navy", background)
        found = cut_out(picture)[..., 3] > 127
        hole = np.asarray(ndimage.binary_fill_holes(truth)) & ~truth
        assert hole.sum() > 2000
        assert found[hole].mean() < 0.1


@pytest.mark.slow
def test_a_fading_reflection_is_left_behind() -> None:
    drawn = place(sample.cutout("camera-crimson", 300), (320, 400), fill=0.7, foot=0.62)
    alpha = drawn[..., 3:].astype(np.float32) / 255
    foot = int(np.flatnonzero((drawn[..., 3] > 127).any(1))[-1]) + 1
    fade = np.zeros((400, 1, 1), np.float32)
    fade[foot : foot + 60, 0, 0] = 0.3 * np.linspace(1, 0, 60)
    ground = np.full((400, 320, 3), 244, np.float32)
    upside = np.zeros_like(drawn, np.float32)
    upside[foot : foot + 120] = drawn[foot - 120 : foot][::-1]
    strength = fade * upside[..., 3:] / 255
    ground = ground * (1 - strength) + upside[..., :3] * strength
    picture = np.rint(drawn[..., :3] * alpha + ground * (1 - alpha)).astype(np.uint8)
    found = cut_out(picture)[..., 3] > 127
    assert (picture[foot + 5 : foot + 20] < 225).any()  # the reflection is plain to see
    assert not found[foot + 3 :].any()
    assert _iou(cut_out(picture), drawn[..., 3] > 127) > 0.95


def test_a_background_that_darkens_towards_the_corners_is_still_plain() -> None:
    picture, truth = _photograph("bottle", (215, 150, 40), (235, 235, 235), size=320, noise=1)
    y, x = np.mgrid[-1:1:320j, -1:1:320j]
    dimmed = picture * (1 - 0.15 * (x * x + y * y) + 0.05 * x)[..., None]
    picture = np.where(truth[..., None], picture, np.rint(dimmed)).astype(np.uint8)
    found = examine(picture)
    assert found.way == "plain"
    assert _iou(found.pixels, truth) > 0.97


@pytest.mark.usefixtures("network")
def test_a_product_may_lie_on_an_edge() -> None:
    picture, truth = _photograph("bottle", (30, 90, 200), noise=1)
    picture, truth = picture[:, 97:], truth[:, 97:]
    assert truth[:, 0].mean() > 0.4
    assert _iou(cut_out(picture), truth) > 0.97


def test_a_sure_cut_out_is_not_doubtful_and_grabcut_always_is() -> None:
    found = examine(_photograph("bottle", (20, 110, 60), noise=1, jpeg=True)[0])
    assert found.confidence is not None
    assert found.confidence > SURE
    assert not found.doubtful
    busy = np.random.default_rng(0).integers(60, 200, (200, 200, 3)).astype(np.uint8)
    busy = cv2.GaussianBlur(busy, (0, 0), 6)
    busy = np.clip((busy.astype(np.float32) - 128) * 6 + 128, 0, 255).astype(np.uint8)
    cv2.circle(busy, (100, 100), 55, (240, 10, 20), -1)
    grabbed = examine(busy)
    assert grabbed.way == "grabcut"
    assert grabbed.doubtful


def test_each_sign_of_a_poor_mask_lowers_its_confidence() -> None:
    picture = _photograph("box", (20, 110, 60), noise=1)[0]
    whole, *_ = find(picture, saliency_by_color(picture))
    assert whole is not None
    unsupported = replace(whole, supported=0.3)
    partly = replace(unsupported, sure=0.2, kept=0.3, undecided=0.6)
    assert confidence(partly) < LEAST
    assert confidence(partly) < confidence(unsupported) < confidence(whole)


@pytest.mark.parametrize("kind", ["blank", "noise"])
@pytest.mark.usefixtures("network")
def test_a_picture_without_product_is_refused(kind: str) -> None:
    blank = np.full((90, 90, 3), 250, np.uint8)
    noise = np.random.default_rng(1).integers(0, 255, (90, 90, 3)).astype(np.uint8)
    with pytest.raises(ImageError, match=r"cannot be separated from its background\. .*transparent background"):
        cut_out(blank if kind == "blank" else noise)


@pytest.mark.usefixtures("network")
def test_real_alpha_is_used_and_an_opaque_alpha_channel_is_ignored() -> None:
    picture, truth = _photograph("box", (30, 90, 200))
    drawn = np.dstack([picture, np.where(truth, 255, 0).astype(np.uint8)])
    assert has_alpha(drawn)
    assert cut_out(drawn) is drawn
    opaque = np.dstack([picture, np.full(truth.shape, 255, np.uint8)])
    assert not has_alpha(opaque)
    assert _iou(cut_out(opaque), truth) > 0.97


@pytest.mark.slow
@pytest.mark.parametrize("product_id", ["toolbox-crimson", "coat-lemon", "coffee_mug-navy", "bicycle-original"])
def test_sample_products_are_found_again_on_near_white(product_id: str) -> None:
    picture, truth = _on(product_id, 250)
    assert _iou(cut_out(picture), truth) > 0.95
