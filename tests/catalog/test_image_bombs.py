"""Small files that hold much: pictures are bounded in bytes, pixels, tiles and passes before they are decoded."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clickscape.catalog.cutout import examine
from clickscape.catalog.images import MAX_BYTES, MAX_SIDE, MAX_WEBP_PIXELS, check_image, open_image
from clickscape.errors import ImageError

WIDTH, HEIGHT = MAX_SIDE + 40, (MAX_SIDE + 40) // 2
RED, BLUE = (200, 30, 40), (20, 40, 190)


def halves(mode: str = "RGB") -> Image.Image:
    """Red on the left, blue on the right, and larger than pictures are handed on."""
    picture = Image.new("RGB", (WIDTH, HEIGHT), RED)
    picture.paste(BLUE, (WIDTH // 2, 0, WIDTH, HEIGHT))
    return picture.quantize(4) if mode == "P" else picture.convert(mode)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "mode"),
    [("png", "RGB"), ("jpg", "RGB"), ("jpg", "CMYK"), ("webp", "RGB"), ("gif", "P"), ("bmp", "RGB"), ("tiff", "CMYK"),
     ("png", "P"), ("png", "RGBA")],
)  # fmt: skip
def test_a_large_picture_is_scaled_to_the_longest_side(tmp_path: Path, suffix: str, mode: str) -> None:
    halves(mode).save(tmp_path / f"a.{suffix}")
    pixels = open_image(tmp_path / f"a.{suffix}")
    assert pixels.shape == (MAX_SIDE // 2, MAX_SIDE, 4)
    middle = MAX_SIDE // 2
    for columns, color in ((slice(0, middle - 9), RED), (slice(middle + 9, None), BLUE)):
        assert np.abs(pixels[::97, columns, :3].astype(int) - color).max() <= 9
    assert (pixels[..., 3] == 255).all()


@pytest.mark.parametrize("suffix", ["jpg", "tiff", "png"])
def test_a_large_picture_is_turned_as_exif_says(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it to the right: what was on the left is on top
    halves().save(tmp_path / f"a.{suffix}", exif=exif)
    pixels = open_image(tmp_path / f"a.{suffix}")
    assert pixels.shape == (MAX_SIDE, MAX_SIDE // 2, 4)
    assert np.abs(pixels[10, 10, :3].astype(int) - RED).max() <= 6
    assert np.abs(pixels[-10, 10, :3].astype(int) - BLUE).max() <= 6


def test_hidden_colors_do_not_bleed_when_a_picture_is_scaled_down(tmp_path: Path) -> None:
    pixels = np.zeros((8, 2 * MAX_SIDE, 4), np.uint8)
    pixels[:, ::2, :3] = 255  # every other column is white and clear, those between are black and solid
    pixels[:, 1::2, 3] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.abs(open_image(tmp_path / "a.png").astype(int) - (0, 0, 0, 128)).max() <= 1


@pytest.mark.parametrize(("mode", "value", "expected"), [("I;16", 32768, 128), ("1", 1, 255), ("LA", (70, 128), 70)])
def test_rare_modes_are_scaled_down_too(tmp_path: Path, mode: str, value: int, expected: int) -> None:
    Image.new(mode, (WIDTH, 20), value).save(tmp_path / "a.png")
    pixels = open_image(tmp_path / "a.png")
    assert pixels.shape[1] == MAX_SIDE
    assert np.abs(pixels[9, 9].astype(int) - [*[expected] * 3, 128 if mode == "LA" else 255]).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (1, 40_000), (1_000_000, 1), (2, 9), (3_000, 5)])
def test_pictures_of_extreme_proportions_are_bounded_and_cut_out_or_refused(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    Image.new("RGB", size, RED).save(tmp_path / "a.png")
    pixels = open_image(tmp_path / "a.png")
    assert max(pixels.shape) <= MAX_SIDE
    with pytest.raises(ImageError, match="from its background"):
        examine(pixels)


@pytest.mark.slow
@pytest.mark.parametrize("function", [open_image, check_image])
def test_a_webp_is_bounded_more_tightly_because_it_is_decoded_whole(tmp_path: Path, function: object) -> None:
    side = int(MAX_WEBP_PIXELS**0.5) + 1
    for suffix in ("webp", "jpg"):
        Image.new("L", (side, side), 200).save(tmp_path / f"a.{suffix}", method=0, quality=0)
    with pytest.raises(ImageError, match=r"a\.webp: 5657 × 5657 = 32 million pixels\. At most 32 million are opened"):
        function(tmp_path / "a.webp")  # type: ignore[operator]
    function(tmp_path / "a.jpg")  # type: ignore[operator]


PEAK = """
import sys
from pathlib import Path
from clickscape.catalog.cutout import examine
from clickscape.catalog.images import open_image
def peak():  # of this process alone; getrusage's begins with that of whoever started it
    return int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0])
before = peak()
print(examine(open_image(Path(sys.argv[1]))).pixels.shape[0])
print((peak() - before) // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), [("bomb.png", 7_900), ("bomb.webp", 5_600)])
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says there what a process took at its peak")
def test_a_picture_at_the_limit_is_cut_out_in_bounded_memory(tmp_path: Path, name: str, side: int) -> None:
    """62 million pixels in 90 kB; as floats of three channels they would be 750 MB each, one too many."""
    picture = Image.new("P", (side, side), 1)
    picture.putpalette([200, 30, 40, 255, 255, 255])
    picture.paste(0, (side // 4, side // 4, side * 5 // 8, side * 3 // 4))
    picture.save(tmp_path / name, compress_level=1, method=0, quality=10)
    found = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path / name)], check=True, capture_output=True, text=True
    )
    side, megabytes = map(int, found.stdout.split())
    assert side == MAX_SIDE
    assert megabytes < 700


def _progressive(scans: int) -> bytes:
    """A progressive JPEG whose last scan, a few bytes, stands there again and again."""
    buffer = io.BytesIO()
    Image.new("L", (64, 64), 200).save(buffer, "JPEG", progressive=True)
    data = buffer.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * (scans - data.count(b"\xff\xda") + 1) + b"\xff\xd9"


def test_a_jpeg_of_many_scans_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(_progressive(64))
    assert open_image(path).shape == (64, 64, 4)
    path.write_bytes(_progressive(65))
    with pytest.raises(ImageError, match=r"a\.jpg: a JPEG of over 64 scans\. Save it as a baseline JPEG"):
        open_image(path)


def test_marks_inside_of_other_data_are_no_scans(tmp_path: Path) -> None:
    """A profile, a thumbnail or a film behind the picture may hold any bytes."""
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg", icc_profile=b"\xff\xda" * 200, comment=b"\xff\xda\0\2" * 200)
    with (tmp_path / "a.jpg").open("ab") as stream:
        stream.write(b"\xff\xda\0\2" * 200)
    assert open_image(tmp_path / "a.jpg").shape == (80, 80, 4)


@pytest.mark.parametrize("function", [open_image, check_image])
def test_a_tiff_of_few_pixels_in_giant_tiles_is_refused(tmp_path: Path, function: object) -> None:
    side, data = 8_001, zlib.compress(bytes(1_000_000))
    tags = {256: 10, 257: 10, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side, 324: 0, 325: len(data)}
    tags[324] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    (tmp_path / "a.tif").write_bytes(
        b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0) + data
    )
    with pytest.raises(ImageError, match=r"a\.tif: 8001 × 8001 = 64 million pixels\. At most 64 million are opened"):
        function(tmp_path / "a.tif")  # type: ignore[operator]


@cache
def _fifty_megabytes() -> bytes:
    return zlib.compress(bytes(50_000_000), 9)


@pytest.mark.parametrize("kind", [b"zTXtkey\0\0", b"iTXtkey\0\1\0\0\0", b"iCCPkey\0\0"])
@pytest.mark.parametrize("behind", [False, True])
def test_texts_and_profiles_that_unpack_to_much_are_refused(tmp_path: Path, kind: bytes, behind: bool) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), RED).save(buffer, "PNG")
    data = buffer.getvalue()
    block = kind + _fifty_megabytes()
    chunk = struct.pack(">I", len(block) - 4) + block + struct.pack(">I", zlib.crc32(block))
    at = len(data) - 12 if behind else 33
    (tmp_path / "a.png").write_bytes(data[:at] + chunk + data[at:])
    with pytest.raises(ImageError, match=r"a\.png: .*too large"):
        open_image(tmp_path / "a.png")


@pytest.mark.parametrize("function", [open_image, check_image])
def test_a_file_of_too_many_bytes_is_refused_unread(tmp_path: Path, function: object) -> None:
    Image.new("RGB", (8, 8), RED).save(tmp_path / "a.png")
    os.truncate(tmp_path / "a.png", MAX_BYTES + 1)
    with pytest.raises(ImageError, match=r"a\.png: over 256 MB"):
        function(tmp_path / "a.png")  # type: ignore[operator]


@pytest.mark.parametrize("function", [open_image, check_image])
def test_pipes_devices_and_what_the_system_makes_up_are_refused_unopened(tmp_path: Path, function: object) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zeros.png").symlink_to("/dev/zero")
    (tmp_path / "empty.png").write_bytes(b"")  # what /proc/kmsg says that it is, which never ends
    for name, problem in {"pipe": "found something else", "zeros": "found something else", "empty": "0 bytes"}.items():
        with pytest.raises(ImageError, match=rf"{name}\.png: .*{problem}"):
            function(tmp_path / f"{name}.png")  # type: ignore[operator]
