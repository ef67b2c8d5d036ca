"""Pixel effects on simulated clicks: four statistics of an image, and their scales.

Each figure is standardized by a fixed mean and spread (measured once, on 400 studio renders of scenes that the
copywriter chose), so that 0 is an average picture and a world's weights are effects per standard deviation.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from clickscape.render.color import colorfulness

SCALES: dict[str, tuple[float, float]] = {
    "contrast": (52.0, 15.5),
    "clutter": (4.0, 1.3),
    "brightness": (54.0, 14.0),
    "colorfulness": (79.0, 20.0),
}
"""Mean, and spread among ads of one product: CIELAB distance, L* per pixel, L*, Hasler–Süsstrunk M (8 bit)."""

_LIMIT = 2.5  # standard deviations beyond which more of the same changes nothing
_SIDE = 64  # pixels of the longer side at which pictures are measured, so that resolution does not count


@dataclass(frozen=True, slots=True)
class PixelStats:
    """Standardized figures of one picture, each within ±2.5; all zero is an average picture."""

    contrast: float = 0.0
    clutter: float = 0.0
    brightness: float = 0.0
    colorfulness: float = 0.0


def measure(image: NDArray[np.uint8], product_mask: NDArray[np.generic]) -> PixelStats:
    """Measure one picture; image: (height, width, 3) sRGB, product_mask: (height, width), bool or alpha."""
    raw = measure_raw(image, product_mask)
    return PixelStats(
        **{
            name: float(np.clip((raw[name] - mean) / spread, -_LIMIT, _LIMIT))
            for name, (mean, spread) in SCALES.items()
        }
    )


def measure_raw(image: NDArray[np.uint8], product_mask: NDArray[np.generic]) -> dict[str, float]:
    """The four figures in their own units, before `SCALES` is applied."""
    if image.ndim != 3 or image.shape[2] != 3 or image.shape[:2] != product_mask.shape:
        raise ValueError(
            f"expected an image (height, width, 3) and a mask (height, width), got {image.shape}, {product_mask.shape}"
        )
    shrink = _SIDE / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * shrink)), max(1, round(image.shape[0] * shrink)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    mask = cv2.resize(_share(product_mask), size, interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)

    product, outside = mask > 0.9, mask < 0.05
    reach = np.ones((_SIDE // 8 + 1, _SIDE // 8 + 1), np.uint8)
    around = outside & (cv2.dilate((mask > 0.5).astype(np.uint8), reach) > 0)
    contrast = 0.0
    if product.any() and around.any():
        contrast = float(np.linalg.norm(lab[product].mean(axis=0) - lab[around].mean(axis=0)))
    lightness = lab[..., 0]
    steps = np.hypot(cv2.Sobel(lightness, cv2.CV_32F, 1, 0) / 8, cv2.Sobel(lightness, cv2.CV_32F, 0, 1) / 8)
    return {
        "contrast": contrast,
        "clutter": float(steps[outside].mean()) if outside.any() else 0.0,
        "brightness": float(lightness.mean()),
        "colorfulness": colorfulness(small),
    }


def _share(mask: NDArray[np.generic]) -> NDArray[np.float32]:
    """The mask as a share from 0 to 1, whether it came as booleans, bytes or floats."""
    top = 255.0 if mask.dtype == np.uint8 else 1.0
    return mask.astype(np.float32) / np.float32(top)
