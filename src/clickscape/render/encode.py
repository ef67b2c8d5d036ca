"""Encode an image into a file of at most so many bytes, in the best quality that fits.

Bytes grow with quality, so the best one is found by bisection. Between formats and ways of storing color the order is
given: the first format that reaches the least acceptable quality is taken; JPEG keeps every pixel's color (4:4:4)
unless that costs so much that coarser color (4:2:0) leaves a better picture.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clickscape.errors import ImageError
from clickscape.render.placements import Format

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

BEST, LEAST = 95, 40
"""Quality (0–100): above the first only bytes grow; below the second a product no longer looks like itself."""

_FULL_COLOR = 75  # JPEG: with 4:4:4 below this quality, 4:2:0 is tried
EXTENSIONS: dict[Format, str] = {"jpeg": "jpg", "png": "png", "webp": "webp"}


@dataclass(frozen=True, slots=True)
class Encoded:
    """The file's bytes and how they came about; `quality` is None for PNG, which loses nothing."""

    data: bytes
    format: Format
    quality: int | None
    full_color: bool

    @property
    def extension(self) -> str:
        """What such a file's name ends with, without the dot."""
        return EXTENSIONS[self.format]


def encode(image: UInt8[np.ndarray, "height width 3"], *, max_bytes: int, formats: Sequence[Format]) -> Encoded:
    """Encode a picture (height, width, 3), uint8 sRGB, into at most `max_bytes` in the first of `formats` that can.

    The same picture always gives the same bytes. ImageError when no format fits at quality `LEAST`.
    """
    from PIL import Image

    picture = Image.fromarray(image)
    smallest: int | None = None
    for name in formats:
        made = _WAYS[name](picture, max_bytes)
        if len(made.data) <= max_bytes:
            return made
        smallest = min(len(made.data), smallest or len(made.data))
    raise ImageError(
        f"a picture of {picture.width} × {picture.height} pixels needs {smallest:,} bytes at the least acceptable "
        f"quality ({LEAST} of 100, {' or '.join(formats)}), {max_bytes:,} are allowed. Draw it smaller, or calmer."
    )


def _jpeg(picture: Any, max_bytes: int) -> Encoded:
    fine = _searched(lambda quality: _saved(picture, "JPEG", quality=quality, subsampling=0), max_bytes)
    if len(fine[0]) <= max_bytes and fine[1] >= _FULL_COLOR:
        return Encoded(fine[0], "jpeg", fine[1], full_color=True)
    coarse = _searched(lambda quality: _saved(picture, "JPEG", quality=quality, subsampling=2), max_bytes)
    return Encoded(coarse[0], "jpeg", coarse[1], full_color=False)


def _webp(picture: Any, max_bytes: int) -> Encoded:
    data, quality = _searched(lambda quality: _saved(picture, "WEBP", quality=quality, method=4), max_bytes)
    return Encoded(data, "webp", quality, full_color=False)


def _png(picture: Any, max_bytes: int) -> Encoded:  # noqa: ARG001 - nothing to search
    return Encoded(_saved(picture, "PNG", optimize=True), "png", None, full_color=True)


_WAYS: dict[Format, Callable[[Any, int], Encoded]] = {"jpeg": _jpeg, "png": _png, "webp": _webp}


def _searched(save: Callable[[int], bytes], max_bytes: int) -> tuple[bytes, int]:
    """The file of the highest quality from LEAST to BEST that fits, or that of LEAST if none does."""
    data = save(BEST)
    if len(data) <= max_bytes:
        return data, BEST
    best, quality = save(LEAST), LEAST
    low, high = LEAST, BEST  # low is the best known to fit (or the last resort), high is too large
    while len(best) <= max_bytes and high - low > 1:
        middle = (low + high) // 2
        data = save(middle)
        if len(data) <= max_bytes:
            best, quality, low = data, middle, middle
        else:
            high = middle
    return best, quality


def _saved(picture: Any, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()
