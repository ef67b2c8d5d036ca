"""Detect a background that continues the product past its mask, as when inpainting gives a bottle a second neck.

Every color gets a likelihood ratio: how usual it is in the product, against how usual it is in the background. What is
product-like outside the mask, hangs together and touches it, is an extension. A background in the product's own
colors explains itself, as does what runs on beyond reach, like the sea behind a teal pot. The foot is left out:
reflections and contact shadows belong there.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from jaxtyping import Float32

from clickscape.gates.outline import Floats, Mask

_SIZE = 110.0  # pixels to which a larger product (root of its box) is scaled: colors, not details, are compared
_REACH = 0.4  # share of the product's size that an extension may go out
_FOOT = 0.10  # share of the product's height, from its lowest pixel, that is not looked at
_LIKELY = 1.7  # natural logarithm of the likelihood ratio from which a color counts as the product's
_BINS = (20, 26, 26)  # of CIELAB: 5 units of lightness, 8 of each color axis
_RARE = 1e-5  # likelihood of a color that was never seen
_TOUCHING = 3  # pixels of contact that make a region part of the product's outline


def extension_share(
    image: Float32[np.ndarray, "height width 3"], product: Float32[np.ndarray, "height width 4"]
) -> float:
    """Area of the largest product-like region that grows out of the product, as a share of the product's own area.

    `image` (height, width, 3) and `product` (height, width, 4) are 0..1; 0 when the product is not visible.
    """
    rows, columns = np.nonzero(product[..., 3] >= 0.5)
    if not rows.size:
        return 0.0
    size = float(np.sqrt((np.ptp(rows) + 1) * (np.ptp(columns) + 1)))
    if size > _SIZE:
        height, width = (max(1, round(side * _SIZE / size)) for side in image.shape[:2])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        product = cv2.resize(product, (width, height), interpolation=cv2.INTER_AREA)
        size = _SIZE
    alpha = product[..., 3]
    solid = np.flatnonzero((alpha >= 0.5).any(1))
    product = alpha > 0.98
    if not product.any():
        return 0.0
    away = cv2.distanceTransform((alpha < 0.02).astype(np.uint8), cv2.DIST_L2, 5)
    above = np.arange(len(alpha))[:, None] < solid[-1] - _FOOT * (solid[-1] - solid[0])
    near, far = (away > 1.5) & (away < _REACH * size), away >= _REACH * size
    likely = _ratio(image, product, near, far) > _LIKELY
    found = (likely & above & (away > 0) & (away < _REACH * size)).astype(np.uint8)
    found = cv2.morphologyEx(found, cv2.MORPH_OPEN, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(found, connectivity=8)
    rim = (away > 0) & (away < 2)
    contact = np.bincount(labels[rim], minlength=count)[1:]
    endless = np.bincount(labels[(away >= _REACH * size - 2) & (away < _REACH * size)], minlength=count)[1:] > 0
    areas = statistics[1:, cv2.CC_STAT_AREA][(contact >= _TOUCHING) & ~endless]
    return float(areas.max() / product.sum()) if areas.size else 0.0


def _ratio(image: Floats, product: Mask, near: Mask, far: Mask) -> Floats:
    """Log likelihood ratio (height, width) of each color: in the product, against in the near and far background."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    place = (lab + np.array([0, 104, 104], np.float32)) / np.array([5.001, 8, 8], np.float32)
    steps = np.clip(place, 0, np.array(_BINS) - 1).astype(np.int64)
    color = (steps[..., 0] * _BINS[1] + steps[..., 1]) * _BINS[2] + steps[..., 2]
    background = [_frequency(color[part]) for part in (near, far) if part.any()]
    usual = sum(background) / max(1, len(background))
    return np.asarray(np.log((_frequency(color[product]) + _RARE) / (usual + _RARE))[color], np.float32)


def _frequency(color: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Share of each color bin, spread a little over its neighbors."""
    counts = np.bincount(color, minlength=int(np.prod(_BINS))).reshape(_BINS).astype(np.float64)
    for axis in range(3):
        counts = 0.25 * np.roll(counts, 1, axis) + 0.5 * counts + 0.25 * np.roll(counts, -1, axis)
    return np.asarray(counts / max(counts.sum(), 1.0)).ravel()
