"""The photo that a cut-out was made of: where its outline cannot be trusted, the photo's own backdrop can.

`cutout_file.save` keeps it beside the cut-out and notes where in it that lies; what came with its own transparency, or
fills its photo, has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from clickscape.catalog.confidence import SURE
from clickscape.catalog.cutout import open_cutout
from clickscape.catalog.cutout_file import BOX, CONFIDENCE, notes_of
from clickscape.catalog.images import open_image
from clickscape.errors import ImageError
from clickscape.files import photo_file


@dataclass(frozen=True, slots=True, eq=False)
class OwnPhoto:
    """A product's photo (height, width, 3) sRGB, and the cut-out's alpha (height, width) at its place in it.

    `confidence`: probability that the outline is right.
    """

    pixels: UInt8[np.ndarray, "height width 3"]
    alpha: UInt8[np.ndarray, "height width"]
    confidence: float

    @property
    def is_doubtful(self) -> bool:
        """Whether the outline is probably not right."""
        return self.confidence < SURE


def has_own_photo(cutout: str) -> bool:
    """Whether the photo of a cut-out's file lies beside it."""
    return photo_file(Path(cutout)).is_file()


def open_own_photo(cutout: str) -> OwnPhoto:
    """Open the photo beside a cut-out's file.

    ImageError where there is none, it cannot be read, or the cut-out does not fit into it.
    """
    file = photo_file(Path(cutout))
    if not file.is_file():
        raise ImageError(
            f"{file}: no photo of this cut-out, or no longer one without transparency. `clickscape generate` draws "
            "other ads for it; `clickscape ingest` brings a lost photo back."
        )
    pixels, product, notes = open_image(file)[..., :3], open_cutout(cutout), notes_of(Path(cutout))
    height, width = pixels.shape[:2]
    try:
        left, top = (int(number) for number in notes[BOX].split())
        confidence = float(notes[CONFIDENCE])
    except (KeyError, ValueError):
        left, top, confidence = -1, -1, 0.0
    tall, wide = product.shape[:2]
    if min(left, top) < 0 or left + wide > width or top + tall > height:
        raise ImageError(f"{file}: not the photo of its cut-out. Delete both, and run `clickscape ingest` again.")
    alpha = np.zeros((height, width), np.uint8)
    alpha[top : top + tall, left : left + wide] = product[..., 3]
    return OwnPhoto(np.ascontiguousarray(pixels), alpha, confidence)
