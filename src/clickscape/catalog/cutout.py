"""Cut a product out of its photo, and place the cut-out on a canvas.

The first of these that applies: the photo's own alpha; a matting model, where one is given; the separation of a plain
background by its edges and shadows (`mask`); GrabCut.  Every cut-out carries the probability that it is right; one
that is likely wrong is an error.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clickscape.catalog.background import Mask
from clickscape.catalog.confidence import LEAST, SURE, confidence
from clickscape.catalog.flags import Flags, flag
from clickscape.catalog.full_bleed import full_bleed
from clickscape.catalog.grabcut import grab
from clickscape.catalog.images import open_image
from clickscape.catalog.mask import find
from clickscape.catalog.matte import soften
from clickscape.catalog.matting import alpha, saliency
from clickscape.catalog.overlays import text_lines, without_overlays
from clickscape.catalog.remnants import FAINT, without_remnants
from clickscape.compute.cache import ByteCache
from clickscape.errors import ImageError

Pixels = NDArray[np.uint8]
Way = Literal["alpha", "matting", "plain", "grabcut", "whole", "strokes"]

_WORKING = 800  # longest side, pixels, on which masks are found
_CACHE = ByteCache(128_000_000)
_REMEDY = (
    "Save the picture with a transparent background, or photograph the product on a plain one; or say what the product "
    "is: `clickscape cutout FILE --keep x,y`, or --whole."
)


@dataclass(frozen=True, slots=True, eq=False)
class Cutout:
    """A product with straight alpha, uint8 (height, width, 4) sRGB, how it was found, and how likely it is right.

    ``confidence``: probability that at least nine tenths of mask and truth agree (IoU); None where nobody knows.
    """

    pixels: Pixels
    way: Way
    confidence: float | None
    flags: Flags

    @property
    def doubtful(self) -> bool:
        """Whether a person should look at it before it is published."""
        return self.confidence is not None and self.confidence < SURE


def cut_out(image: Pixels, *, matting: Path | None = None) -> Pixels:
    """The product with straight alpha, uint8 (height, width, 4), from a picture (height, width, 3 or 4) sRGB.

    As `examine`, without the rest of what it finds.
    """
    return examine(image, matting=matting).pixels


def examine(image: Pixels, *, matting: Path | None = None) -> Cutout:
    """The product cut out of a picture (height, width, 3 or 4) sRGB, and what is known about the cut-out.

    ``matting``: an ONNX model that finds the alpha (see `matting.alpha`).  ImageError when neither the alpha, nor a
    model, nor a plain background, nor GrabCut gives a plausible product; ModelError when the model cannot be used.
    """
    if has_alpha(image):
        pixels = without_remnants(image)
        return Cutout(pixels, "alpha", 1.0, flag(pixels))
    if image.shape[2] == 4 and image[..., 3].min() == 255:
        image = np.ascontiguousarray(image[..., :3])
    elif image.shape[2] == 4:
        opaque = image[..., 3:].astype(np.float32) / 255
        image = np.rint(image[..., :3] * opaque + 255 * (1 - opaque)).astype(np.uint8)
    if matting is not None:
        return _by_model(image, matting)
    height, width = image.shape[:2]
    scale = min(1.0, _WORKING / max(height, width))
    small_size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(image, small_size, interpolation=cv2.INTER_AREA) if scale < 1 else image

    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    salient, lines = saliency(small), text_lines(lab)
    band = max(1, round(1 / scale))
    found = max(find(small, salient), key=lambda one: (_plausible(one.mask), confidence(one)), default=None)
    whole, most = full_bleed(small, lab, found, lines)
    if whole is not None:
        return Cutout(soften(image, _enlarged(whole, image), band=band), "whole", most, Flags(whole=True))
    probability = min(most, confidence(found)) if found is not None and _plausible(found.mask) else 0.0
    if found is not None and probability >= LEAST:
        mask, badge, text = without_overlays(found.mask, lab, lines)
        pixels = soften(image, _enlarged(mask, image), band=band)
        return Cutout(pixels, "plain", probability, flag(pixels, ground=found.ground, lab=lab, badge=badge, text=text))
    grabbed = grab(small, salient) if found is None else None  # on a plain background GrabCut knows no better
    if grabbed is None or not _plausible(grabbed):
        raise ImageError(f"the product cannot be separated from its background. {_REMEDY}")
    mask, badge, text = without_overlays(grabbed, lab, lines)
    pixels = soften(image, _enlarged(mask, image), band=band, least_contrast=50)
    return Cutout(pixels, "grabcut", LEAST, flag(pixels, badge=badge, text=text))


def has_alpha(image: Pixels) -> bool:
    """Whether the picture has an alpha channel that cuts something out: part visible, part or two corners clear.

    Clear corners tell a box with round ones, which fills its picture, from an opaque photo with a few stray pixels.
    """
    if image.shape[2] != 4:
        return False
    alpha = image[..., 3]
    corners = int((alpha[[0, 0, -1, -1], [0, -1, 0, -1]] < FAINT).sum())
    clear, visible = float((alpha < 64).mean()), float((alpha > FAINT).mean())
    return visible > 0.001 and (clear > 0.005 or (corners >= 2 and clear > 0))


def trim(cutout: Pixels, *, faint: int = FAINT) -> Pixels:
    """The cut-out without the margin in which no alpha reaches ``faint``; ImageError when nothing is visible."""
    left, top, width, height = visible_box(cutout, faint=faint)
    return cutout[top : top + height, left : left + width]


def visible_box(cutout: Pixels, *, faint: int = FAINT) -> tuple[int, int, int, int]:
    """Left, top, width and height of what has an alpha of ``faint`` or more; ImageError when nothing has."""
    left, top, width, height = cv2.boundingRect((cutout[..., 3] >= faint).astype(np.uint8))
    if not width:
        raise ImageError(f"the cut-out is empty: no pixel has an alpha of {faint} or more. {_REMEDY}")
    return int(left), int(top), int(width), int(height)


def place(cutout: Pixels, size: tuple[int, int], *, fill: float = 0.86, foot: float | None = None) -> Pixels:
    """The trimmed cut-out on a transparent canvas of ``size`` = (width, height), as large as ``fill`` of it allows.

    It stands in the middle, or with its lowest pixel at ``foot`` (share of the canvas height from the top).
    """
    width, height = size
    product = trim(cutout)
    scale = fill * min(width / product.shape[1], height / product.shape[0])
    scaled_size = (max(1, round(product.shape[1] * scale)), max(1, round(product.shape[0] * scale)))
    # Pillow scales RGBA with premultiplied alpha, so that hidden colors do not bleed into the edge
    scaled = np.asarray(Image.fromarray(np.ascontiguousarray(product)).resize(scaled_size, Image.Resampling.BICUBIC))
    left = (width - scaled_size[0]) // 2
    top = (height - scaled_size[1]) // 2 if foot is None else round(foot * height) - scaled_size[1]
    top = min(max(top, 0), height - scaled_size[1])
    canvas = np.zeros((height, width, 4), np.uint8)
    canvas[top : top + scaled_size[1], left : left + scaled_size[0]] = scaled
    return canvas


def product_picture(
    cutout: Pixels, size: int = 96, background: tuple[int, int, int] = (245, 245, 245), *, fill: float = 0.9
) -> Pixels:
    """The bare product as models see it: uint8 (size, size, 3) on a plain ``background``."""
    canvas = place(cutout, (size, size), fill=fill)
    alpha = canvas[..., 3:].astype(np.float32) / 255
    return np.rint(canvas[..., :3] * alpha + np.array(background, np.float32) * (1 - alpha)).astype(np.uint8)


def open_cutout(path: str | PathLike[str]) -> Pixels:
    """The trimmed cut-out of a file, read-only and cached until the file changes; cut out first if it has no alpha."""
    status = None
    with suppress(OSError):  # open_image says what is wrong
        status = Path(path).stat()
    key = (str(path), status.st_mtime_ns if status else 0, status.st_size if status else 0)

    def opened() -> Pixels:
        pixels = open_image(path)
        try:
            cutout = np.ascontiguousarray(trim(cut_out(pixels)))
        except ImageError as error:
            raise ImageError(f"{path}: {error}") from error
        cutout.setflags(write=False)
        return cutout

    return _CACHE.get(key, opened)


def _by_model(image: Pixels, matting: Path) -> Cutout:
    share = alpha(image, matting)
    if not _plausible(share > 0.5):
        raise ImageError(f"the matting model {matting.name} finds no product. {_REMEDY}")
    pixels = soften(image, share, band=1)
    return Cutout(pixels, "matting", None, flag(pixels))


def _enlarged(mask: Mask, image: Pixels) -> Mask:
    size = (image.shape[1], image.shape[0])
    return np.asarray(cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.5)


def _plausible(mask: Mask) -> bool:
    """Whether the mask can be a product: no speck, not the whole picture, not lying on all four edges, no crumbs.

    Crumbs, small parts far apart, are what is left of a white product on white: its label's letters, its cap.
    """
    edges = [mask[0].mean(), mask[-1].mean(), mask[:, 0].mean(), mask[:, -1].mean()]
    if not (0.004 < mask.mean() < 0.995 and min(edges) < 0.02 and np.mean(edges) < 0.6):
        return False
    solid = mask.astype(np.uint8)
    if mask.mean() > 0.93 and max(edges) > 0.02:  # a box with a thin margin all around may be as large
        return False
    largest = cv2.connectedComponentsWithStats(solid)[2][1:, cv2.CC_STAT_AREA].max() / mask.sum()
    if largest > 0.55:
        return True
    return bool(mask.sum() > 0.5 * cv2.contourArea(cv2.convexHull(cv2.findNonZero(solid))))
