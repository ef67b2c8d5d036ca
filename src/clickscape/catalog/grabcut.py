"""GrabCut for products on a busy background; pixels near the border count as background."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from clickscape.catalog.background import Mask, cleaned

Pixels = NDArray[np.uint8]

_SIDE = 320  # longest side, pixels, that it runs on
_CONTRAST = 8  # LAB distance of the median colors of product and background; less is no find


def grab(image: Pixels) -> Mask | None:
    """Product mask of a picture (height, width, 3) sRGB; None when all looks alike."""
    height, width = image.shape[:2]
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    if float(lab.reshape(-1, 3).std(0).max()) < 2:
        return None
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    margin_x, margin_y = max(1, size[0] // 20), max(1, size[1] // 20)
    box = (margin_x, margin_y, size[0] - 2 * margin_x, size[1] - 2 * margin_y)
    labels = np.zeros(small.shape[:2], np.uint8)
    cv2.setRNGSeed(0)  # GrabCut starts from k-means; the same picture shall always give the same mask
    try:
        cv2.grabCut(small, labels, box, np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_RECT)
    except cv2.error:
        return None
    found = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    mask = cleaned(cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5)
    if not mask.any() or mask.all():
        return None
    contrast = float(np.linalg.norm(np.median(lab[mask], 0) - np.median(lab[~mask], 0)))
    return mask if contrast > _CONTRAST else None
