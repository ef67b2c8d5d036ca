"""Measured figures against pictures whose figures are known."""

from __future__ import annotations

import numpy as np
import pytest

from clickscape.simulator import pixels


def _picture(background: int, product: int, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    image = np.full((size, size, 3), background, np.uint8)
    mask = np.zeros((size, size), np.uint8)
    quarter = size // 4
    mask[quarter:-quarter, quarter:-quarter] = 255
    image[mask > 0] = product
    return image, mask


def test_black_on_white_has_the_contrast_of_the_whole_scale() -> None:
    raw = pixels.measure_raw(*_picture(255, 0))
    assert raw["contrast"] == pytest.approx(100, abs=0.1)  # L* of white minus L* of black
    assert raw["brightness"] == pytest.approx(75, abs=0.5)  # three quarters of the picture are white
    assert raw["colorfulness"] == pytest.approx(0, abs=1e-4)


def test_colorfulness_by_hand() -> None:
    image, mask = _picture(0, 0)
    image[:] = (255, 0, 0)
    # rg = 255 and yb = 127.5 everywhere: no spread, so M = 0.3 · hypot(255, 127.5)
    assert pixels.measure_raw(image, mask)["colorfulness"] == pytest.approx(0.3 * np.hypot(255, 127.5), rel=1e-4)


def test_clutter_counts_the_background_only() -> None:
    image, mask = _picture(128, 128)
    quiet = pixels.measure_raw(image, mask)["clutter"]
    rng = np.random.default_rng(0)
    noisy_product, noisy_background = image.copy(), image.copy()
    noise = rng.integers(0, 256, image.shape, dtype=np.uint8)
    inner = np.zeros_like(mask, bool)
    inner[20:-20, 20:-20] = True
    noisy_product[inner] = noise[inner]
    noisy_background[mask == 0] = noise[mask == 0]
    assert quiet == pytest.approx(0, abs=1e-3)
    assert pixels.measure_raw(noisy_product, mask)["clutter"] == pytest.approx(quiet, abs=0.1)
    assert pixels.measure_raw(noisy_background, mask)["clutter"] > 3


def test_neither_resolution_nor_the_kind_of_mask_counts() -> None:
    small, large = pixels.measure(*_picture(200, 60)), pixels.measure(*_picture(200, 60, size=256))
    assert small.contrast == pytest.approx(large.contrast, abs=0.02)
    image, mask = _picture(200, 60)
    assert pixels.measure(image, mask > 0) == pixels.measure(image, mask) == small
    assert pixels.measure(image, mask / 255) == small


def test_a_picture_without_product_has_no_contrast_and_wrong_shapes_are_refused() -> None:
    image, mask = _picture(200, 60)
    assert pixels.measure_raw(image, np.zeros_like(mask))["contrast"] == 0
    assert pixels.measure_raw(image, np.full_like(mask, 255))["clutter"] == 0
    with pytest.raises(ValueError, match="expected an image"):
        pixels.measure(image, mask[:-1])
