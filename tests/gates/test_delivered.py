"""What became of an approved picture: re-encoding and resizing change nothing, everything else is found and named."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance

from clickscape.gates.delivered import Comparison, compare
from clickscape.gates.registration import Registration, register

Pixels = NDArray[np.uint8]
PRODUCT = (slice(90, 210), slice(130, 270))


def scene(seed: int = 0, size: tuple[int, int] = (400, 300)) -> Pixels:
    """A soft backdrop with a few things on it and a striped product in the middle."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(90, 220, (5, 6, 3)).astype(np.float32)
    picture = Image.fromarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    for _ in range(7):
        x, y, radius = rng.uniform(0, size[0]), rng.uniform(0, size[1]), rng.uniform(8, 30)
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tuple(rng.integers(0, 255, 3).tolist()))
    pen.rectangle((130, 90, 269, 209), fill=(176, 40, 52))
    for row in range(100, 205, 22):
        pen.rectangle((140, row, 250, row + 7), fill=(240, 236, 224))
    return np.asarray(picture)


def mask() -> NDArray[np.bool_]:
    made = np.zeros((300, 400), bool)
    made[PRODUCT] = True
    return made


def encoded(picture: Pixels, quality: int = 75, kind: str = "JPEG") -> Pixels:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, kind, quality=quality)
    return np.asarray(Image.open(stream).convert("RGB"))


def resized(picture: Pixels, factor: float, method: int = Image.Resampling.LANCZOS) -> Pixels:
    size = (round(picture.shape[1] * factor), round(picture.shape[0] * factor))
    return np.asarray(Image.fromarray(picture).resize(size, method))


def seen(delivered: Pixels, approved: Pixels | None = None) -> Comparison:
    return compare(delivered, scene() if approved is None else approved, product=mask())


def test_the_same_pixels_are_identical() -> None:
    found = seen(scene().copy())
    assert found.approved
    assert found.identical


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
@pytest.mark.parametrize("quality", [60, 95])
@pytest.mark.parametrize("factor", [1.0, 0.6, 1.5])
def test_encoding_and_resizing_again_leave_it_approved(kind: str, quality: int, factor: float) -> None:
    found = seen(encoded(resized(scene(), factor), quality, kind))
    assert found.approved, found
    assert not found.identical
    assert found.crop == (0, 0, 400, 300)


@pytest.mark.parametrize("box", [(40, 0, 360, 300), (0, 30, 400, 270), (25, 12, 340, 255)])
def test_a_crop_is_found_with_its_box(box: tuple[int, int, int, int]) -> None:
    left, top, width, height = box
    found = seen(encoded(resized(scene()[top : top + height, left : left + width], 0.8)))
    assert found.changes == ("cropped",)
    assert np.allclose(found.crop, box, atol=2)
    assert found.cut == pytest.approx(1 - width * height / (400 * 300), abs=0.01)


def test_the_box_of_a_mirrored_crop_is_that_of_the_approved_picture() -> None:
    found = seen(encoded(scene()[:, 60:][:, ::-1]))
    assert set(found.changes) == {"mirrored", "cropped"}
    assert np.allclose(found.crop, (60, 0, 340, 300), atol=2)


def test_what_was_added_around_it_is_measured() -> None:
    found = seen(encoded(cv2.copyMakeBorder(scene(), 45, 45, 0, 0, cv2.BORDER_REFLECT)))
    assert found.changes == ("extended",)
    assert found.extended == pytest.approx(90 / 390, abs=0.01)


def test_a_stretched_picture_is_named() -> None:
    tall = np.asarray(Image.fromarray(scene()).resize((400, 330)))
    assert seen(encoded(tall)).changes == ("stretched",)


@pytest.mark.parametrize(("name", "factor"), [("Brightness", 1.12), ("Contrast", 0.85), ("Color", 1.4)])
def test_changed_colors_of_the_whole_picture_are_named(name: str, factor: float) -> None:
    found = seen(encoded(np.asarray(getattr(ImageEnhance, name)(Image.fromarray(scene())).enhance(factor))))
    assert "colors" in found.changes
    assert found.color > 2


def test_a_product_of_another_color_is_the_product_that_changed() -> None:
    picture = scene().copy()
    picture[PRODUCT] = picture[PRODUCT][..., [2, 1, 0]]
    found = seen(encoded(picture))
    assert found.changes == ("product",)
    left, top, width, height = found.regions[0].box
    assert 120 <= left <= left + width <= 280
    assert 80 <= top <= top + height <= 220


def test_words_on_the_background_are_the_background_that_changed() -> None:
    picture = Image.fromarray(scene())
    ImageDraw.Draw(picture).rectangle((20, 240, 120, 262), fill=(255, 255, 255))
    found = seen(encoded(np.asarray(picture)))
    assert found.changes == ("background",)
    assert found.regions[0].box[0] == pytest.approx(20, abs=6)
    without = compare(encoded(np.asarray(picture)), scene())
    assert without.changes == ("picture",), "nobody knows where the product is"


def test_another_picture_is_another() -> None:
    assert seen(encoded(scene(seed=5))).changes[-1] in ("other", "background")
    assert seen(encoded(np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8))).changes == ("other",)
    assert seen(np.zeros((300, 400, 3), np.uint8)).changes == ("other",)


@pytest.mark.parametrize("size", [(1, 1), (3, 400), (400, 3)])
def test_tiny_pictures_are_no_fault(size: tuple[int, int]) -> None:
    assert not seen(np.full((*size, 3), 90, np.uint8)).approved


def test_registration_finds_scale_and_shift_to_a_fraction_of_a_pixel() -> None:
    part = scene()[30:, 50:]
    found = register(encoded(resized(part, 0.7), 90), scene())
    assert found.scale_x == pytest.approx(0.7, abs=0.003)
    assert (found.shift_x, found.shift_y) == pytest.approx((-35, -21), abs=0.5)


def test_a_warp_puts_the_picture_where_registration_says() -> None:
    there = Registration(0.5, 0.5, 10, 20).warp(scene(), (240, 190))
    half = cv2.resize(scene(), (200, 150), interpolation=cv2.INTER_AREA)
    assert np.abs(there[20:170, 10:210].astype(int) - half).max() <= 1
