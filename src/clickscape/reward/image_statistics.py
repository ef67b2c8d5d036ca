"""Five statistics of a picture, whatever it shows, that the display-advertising literature ties to clicks.

Brightness, contrast, colorfulness, detail, and how far the middle stands out from what surrounds it (Azimi et al. 2012,
"Visual appearance of display ads and its effect on click through rate"; Cheng et al. 2012, "Multimedia features for
click prediction of new ads in display advertising"). A few numbers of which each may say a little; thousands of image
features would say more than so few clicks can teach.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from clickscape.render.color import colorfulness

STATISTICS = ("brightness", "contrast", "colorfulness", "detail", "prominence")
"""Mean and spread of CIELAB lightness, the M of Hasler and Süsstrunk (2003), lightness per pixel, CIELAB distance."""

_SIDE = 64  # pixels of the longer side at which pictures are measured, so that resolution does not count
_MIDDLE = (0.3, 0.7)  # shares of both sides between which the middle lies


def image_statistics(pictures: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Return the five statistics of every picture, uint8 (height, width, 3) sRGB → (picture, 5), in their own units."""
    return np.array([_measure(picture) for picture in pictures], np.float32).reshape(len(pictures), len(STATISTICS))


def _measure(picture: NDArray[np.uint8]) -> tuple[float, ...]:
    scale = _SIDE / max(picture.shape[:2])
    size = (max(2, round(picture.shape[1] * scale)), max(2, round(picture.shape[0] * scale)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    lightness = lab[..., 0]
    across, down = (cv2.Sobel(lightness, cv2.CV_32F, *axis) / 8 for axis in ((1, 0), (0, 1)))
    middle = np.zeros(lightness.shape, bool)
    middle[tuple(slice(*(round(share * length) for share in _MIDDLE)) for length in lightness.shape)] = True
    prominence = np.linalg.norm(lab[middle].mean(0) - lab[~middle].mean(0)) if middle.any() else 0.0
    return (
        float(lightness.mean()),
        float(lightness.std()),
        colorfulness(small),
        float(np.hypot(across, down).mean()),
        float(prominence),
    )
