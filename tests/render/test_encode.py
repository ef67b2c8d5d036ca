"""Files within their bytes: the best quality that fits, found as a search through all of them would find it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from clickscape.errors import ImageError
from clickscape.render.encode import BEST, LEAST, encode
from clickscape.render.placements import Format

RNG = np.random.default_rng(5)
NOISE = RNG.integers(0, 256, (128, 192, 3), dtype=np.uint8)
CALM = np.broadcast_to(np.linspace(40, 220, 192, dtype=np.uint8)[None, :, None], (128, 192, 3)).copy()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize(("kind", "name"), [("jpeg", "JPEG"), ("webp", "WEBP"), ("png", "PNG")])
def test_a_calm_picture_gets_the_best_quality_of_the_first_format(kind: Format, name: str) -> None:
    made = encode(CALM, max_bytes=150_000, formats=(kind, "png"))
    image = opened(made.data)
    assert image.format == name
    assert image.size == (192, 128)
    assert made.format == kind
    assert made.quality == (None if kind == "png" else BEST)
    assert np.abs(np.asarray(image.convert("RGB")).astype(int) - CALM).max() <= 4


@pytest.mark.parametrize("share", [0.35, 0.55, 0.8])
@pytest.mark.parametrize("kind", ["jpeg", "webp"])
def test_bisection_finds_what_trying_every_quality_finds(kind: Format, share: float) -> None:
    options = {"jpeg": {"subsampling": 2}, "webp": {"method": 4}}[kind]

    def size(quality: int, **other: int) -> int:
        stream = io.BytesIO()
        Image.fromarray(NOISE).save(stream, kind, quality=quality, **{**options, **other})
        return stream.tell()

    limit = int(size(LEAST) + share * (size(BEST) - size(LEAST)))
    made = encode(NOISE, max_bytes=limit, formats=(kind,))
    assert len(made.data) <= limit
    if made.full_color:
        options = {"subsampling": 0}
    assert made.quality == max(quality for quality in range(LEAST, BEST + 1) if size(quality) <= limit)


def test_jpeg_keeps_every_color_while_that_leaves_a_good_picture() -> None:
    """JPEG's layers: (id, horizontal, vertical sampling, table); 1 × 1 for luminance means 4:4:4."""
    plenty = encode(NOISE, max_bytes=150_000, formats=("jpeg",))
    scarce = encode(NOISE, max_bytes=14_000, formats=("jpeg",))
    assert plenty.full_color
    assert not scarce.full_color
    assert opened(plenty.data).layer[0][1:3] == (1, 1)
    assert opened(scarce.data).layer[0][1:3] == (2, 2)


@settings(max_examples=25)
@given(limit=st.integers(9_000, 120_000), seed=st.integers(0, 5))
def test_noise_never_exceeds_its_bytes(limit: int, seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    made = encode(noise, max_bytes=limit, formats=("jpeg", "png"))
    assert len(made.data) <= limit
    assert made == encode(noise, max_bytes=limit, formats=("jpeg", "png"))


def test_the_next_format_is_tried_when_the_first_does_not_fit() -> None:
    """PNG cannot shrink noise, so WebP takes over although it comes second."""
    made = encode(NOISE, max_bytes=30_000, formats=("png", "webp"))
    assert made.format == made.extension == "webp"
    assert encode(NOISE, max_bytes=100_000, formats=("png", "jpeg")).extension == "png"


def test_an_image_that_does_not_fit_reports_the_bytes_it_needs() -> None:
    with pytest.raises(ImageError, match=r"192 × 128 pixels needs [\d,]+ bytes .*\(40 of 100, jpeg or png\), 900 are"):
        encode(NOISE, max_bytes=900, formats=("jpeg", "png"))
