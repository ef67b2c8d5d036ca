"""GrabCut for products on a busy background, started from what is salient."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from clickscape.catalog.background import Mask, cleaned

Pixels = NDArray[np.uint8]

_SIDE = 320  # longest side, pixels, that it runs on
_CERTAIN = 0.05  # saliency nearer than this to 0 or 1 is believed
_CONTRAST = 8  # LAB distance of the median colors of product and background; less is no find


def grab(image: Pixels, saliency: NDArray[np.float32]) -> Mask | None:
    """Product mask of a picture (height, width, 3) sRGB and its saliency 0..1; None when all is alike."""
    height, width = image.shape[:2]
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    if float(lab.reshape(-1, 3).std(0).max()) < 2:
        return None
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    salient = cv2.resize(saliency, size, interpolation=cv2.INTER_AREA)
    labels = np.where(salient > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[salient < _CERTAIN], labels[salient > 1 - _CERTAIN] = cv2.GC_BGD, cv2.GC_FGD
    cv2.setRNGSeed(0)  # GrabCut starts from k-means; the same picture shall always give the same mask
    try:
        cv2.grabCut(small, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), 4, cv2.GC_INIT_WITH_MASK)
    except cv2.error:
        return None
    found = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.float32)
    mask = cleaned(cv2.resize(found, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5)
    if not mask.any() or mask.all():
        return None
    contrast = float(np.linalg.norm(np.median(lab[mask], 0) - np.median(lab[~mask], 0)))
    return mask if contrast > _CONTRAST else None
