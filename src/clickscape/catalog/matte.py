"""From a mask to a matte: soft alpha along the edge, and the background's color taken out of the pixels there."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from clickscape.catalog.background import Floats, Mask, disc

Pixels = NDArray[np.uint8]

_KNOWN = 0.05  # a model's alpha nearer than this to 0 or 1 is believed


def soften(image: Pixels, mask: Mask | Floats, *, band: int, least_contrast: float = 30) -> Pixels:
    """The picture (height, width, 3) sRGB with straight alpha: uint8 (height, width, 4).

    A mask has a hard edge, whose pixels within ``band`` outside and three times that inside are mixed; an alpha 0..1
    says itself where it is unsure.  There a pixel is I = a·F + (1 − a)·B with F the nearest sure product color and B
    the nearest sure background color; a is the projection of I − B on F − B, unless the two lie closer than
    ``least_contrast`` (RGB distance, 0..255): then it stays what it was.
    """
    given = mask.astype(np.float32)
    if mask.dtype == np.bool_:
        # a flood stops at the first mixed pixel, so the true edge lies inside the mask
        inside = cv2.erode(mask.astype(np.uint8), disc(3 * band), borderValue=1)
        outside = 1 - cv2.dilate(mask.astype(np.uint8), disc(band))
    else:
        inside, outside = (given > 1 - _KNOWN).astype(np.uint8), (given < _KNOWN).astype(np.uint8)
    known = np.where(inside > 0, 1, np.where(outside > 0, 0, given))
    pixels = np.dstack([image, np.rint(known * 255).astype(np.uint8)])
    edge = (inside == 0) & (outside == 0)
    if not edge.any() or not inside.any() or not outside.any():
        return pixels
    product, background = _nearest(image, inside, at=edge), _nearest(image, outside, at=edge)
    observed = image[edge].astype(np.float32)
    span = product - background
    length = (span * span).sum(1)
    alpha = np.clip(((observed - background) * span).sum(1) / np.maximum(length, 1e-6), 0, 1)
    alpha = np.where(length > least_contrast**2, alpha, given[edge])
    unmixed = background + (observed - background) / np.maximum(alpha, 0.05)[:, None]
    pixels[edge, :3] = np.clip(np.rint(np.where(alpha[:, None] > 0.05, unmixed, product)), 0, 255).astype(np.uint8)
    pixels[edge, 3] = np.rint(alpha * 255).astype(np.uint8)
    return pixels


def _nearest(image: Pixels, sure: NDArray[np.uint8], *, at: Mask) -> Floats:
    """For the pixels ``at`` (none of them sure) the color of the nearest one where ``sure`` is set: (pixel, 3)."""
    _, labels = cv2.distanceTransformWithLabels(1 - sure, cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL)
    colors = np.zeros((int(labels.max()) + 1, 3), np.float32)
    border = (sure > 0) & (cv2.erode(sure, np.ones((3, 3), np.uint8)) == 0)  # nothing deeper is nearest to anything
    colors[labels[border]] = image[border]
    return colors[labels[at]]
