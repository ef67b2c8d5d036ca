"""Pictures of every kind and every kind of damage: pixels worked out by hand, and one clear error for the rest."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from clickscape.catalog.images import check_image, open_image
from clickscape.errors import ImageError


def _save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "bmp", "tiff"])
def test_every_format_gives_rgba_of_the_same_color(tmp_path: Path, suffix: str) -> None:
    path = _save(tmp_path / f"a.{suffix}", Image.new("RGB", (20, 10), (200, 40, 60)))
    pixels = open_image(path)
    assert pixels.shape == (10, 20, 4)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels[5, 5].astype(int) - (200, 40, 60, 255)).max() <= 4
    assert check_image(path) == (20, 10)


def test_the_content_counts_not_the_file_name(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.jpg", Image.new("RGBA", (4, 4), (1, 2, 3, 128)), format="PNG")
    assert open_image(path)[0, 0].tolist() == [1, 2, 3, 128]


def test_a_format_that_is_not_on_the_list_is_refused(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.png", Image.new("RGB", (4, 4)), format="PPM")
    with pytest.raises(ImageError, match=r"a\.png: not an image of a known format\. Save it as one of PNG, JPEG"):
        open_image(path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((24, 16, 3), np.uint8)
    upright[:8, :8] = (255, 0, 0)  # red block in the upper left corner
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "a.png"
    Image.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
    assert (open_image(path)[..., :3] == upright).all()


def test_a_transparent_palette_color_becomes_alpha(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putdata([0, 1])
    pixels = open_image(_save(tmp_path / "a.png", image, transparency=1))
    assert pixels[0].tolist() == [[255, 0, 0, 255], [0, 255, 0, 0]]


@pytest.mark.parametrize(("mode", "value", "expected"), [("L", 100, 100), ("1", 1, 255), ("LA", (70, 9), 70)])
def test_gray_pictures_become_rgba(tmp_path: Path, mode: str, value: int, expected: int) -> None:
    pixels = open_image(_save(tmp_path / "a.png", Image.new(mode, (3, 3), value)))
    assert pixels[0, 0].tolist() == [expected] * 3 + [9 if mode == "LA" else 255]


def test_sixteen_bit_gray_is_scaled_not_clipped(tmp_path: Path) -> None:
    deep = np.array([[0, 32768, 65535]], np.uint16)
    assert open_image(_save(tmp_path / "a.png", Image.fromarray(deep)))[0, :, 0].tolist() == [0, 128, 255]
    floats = np.array([[0.0, 0.5, 1.0]], np.float32)
    assert open_image(_save(tmp_path / "a.tiff", Image.fromarray(floats)))[0, :, 0].tolist() == [0, 128, 255]


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.tiff", Image.new("CMYK", (4, 4), (0, 255, 255, 0)))
    assert open_image(path)[0, 0].tolist() == [255, 0, 0, 255]


@pytest.mark.parametrize(
    ("inks", "expected"),
    [((0, 255, 255, 0), (255, 0, 0)), ((0, 0, 0, 0), (255, 255, 255)), ((0, 0, 0, 255), (0, 0, 0))],
)
def test_cmyk_jpeg_as_adobe_writes_it_inverted(
    tmp_path: Path, inks: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    path = _save(tmp_path / "a.jpg", Image.new("CMYK", (16, 16), inks), quality=100)
    assert b"Adobe" in path.read_bytes()  # the marker that says the inks are stored inverted
    assert np.abs(open_image(path)[8, 8, :3].astype(int) - expected).max() <= 3


def test_per_color_palette_transparency_becomes_alpha(tmp_path: Path) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    pixels = open_image(_save(tmp_path / "a.png", image, transparency=bytes([255, 128, 0])))
    assert pixels[0].tolist() == [[255, 0, 0, 255], [0, 255, 0, 128], [0, 0, 255, 0]]


def test_a_single_transparent_value_becomes_alpha(tmp_path: Path) -> None:
    gray = Image.fromarray(np.array([[10, 200]], np.uint8))
    assert open_image(_save(tmp_path / "a.png", gray, transparency=200))[0].tolist() == [
        [10] * 3 + [255],
        [200] * 3 + [0],
    ]
    color = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    pixels = open_image(_save(tmp_path / "b.png", color, transparency=(4, 5, 6)))
    assert pixels[0].tolist() == [[1, 2, 3, 255], [4, 5, 6, 0]]


def _png(path: Path, *, depth: int, kind: int, interlaced: bool, rows: list[bytes]) -> Path:
    """A PNG of 4 × 1 or 2 × 2 pixels written by hand, rows with their filter bytes, as no encoder at hand makes it."""
    side = (2, 2) if interlaced else (4, 1)
    header = b"IHDR" + struct.pack(">IIBBBBB", *side, depth, kind, 0, 0, int(interlaced))
    blocks = [header, b"IDAT" + zlib.compress(b"".join(rows)), b"IEND"]
    data = [struct.pack(">I", len(block) - 4) + block + struct.pack(">I", zlib.crc32(block)) for block in blocks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(data))
    return path


def test_interlaced_png_is_read(tmp_path: Path) -> None:
    # Adam7 of 2 × 2 pixels: pass 1 is the upper left, pass 6 the upper right, pass 7 the lower row
    rows = [b"\0" + bytes([10, 0, 0]), b"\0" + bytes([20, 0, 0]), b"\0" + bytes([30, 0, 0, 40, 0, 0])]
    path = _png(tmp_path / "a.png", depth=8, kind=2, interlaced=True, rows=rows)
    assert open_image(path)[..., 0].tolist() == [[10, 20], [30, 40]]


def test_sixteen_bit_color_keeps_its_alpha(tmp_path: Path) -> None:
    pixels = [(65535, 0, 32768, 65535), (0, 65535, 0, 32768), (256, 256, 256, 0), (0, 0, 0, 65535)]
    row = b"\0" + b"".join(struct.pack(">4H", *pixel) for pixel in pixels)
    opened = open_image(_png(tmp_path / "a.png", depth=16, kind=6, interlaced=False, rows=[row]))
    assert (
        np.abs(opened[0].astype(int) - [[255, 0, 128, 255], [0, 255, 0, 128], [1, 1, 1, 0], [0, 0, 0, 255]]).max() <= 1
    )


@pytest.mark.parametrize("suffix", ["png", "webp", "gif"])
def test_only_the_first_frame_of_an_animation_is_read(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (6, 6), color) for color in ("red", "blue", "lime")]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
    with Image.open(tmp_path / f"a.{suffix}") as file:
        assert getattr(file, "n_frames", 1) == 3
    assert open_image(tmp_path / f"a.{suffix}")[3, 3].tolist() == [255, 0, 0, 255]


def test_a_wide_gamut_profile_is_converted_as_its_primaries_say(tmp_path: Path) -> None:
    """Display P3: sRGB's curve, wider primaries (columns: XYZ of red, green and blue under D50)."""
    wide = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
    usual = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for number in range(int.from_bytes(profile[128:132], "big")):
        tag, at, _ = struct.unpack(">4sII", profile[132 + 12 * number : 144 + 12 * number])
        if tag in (b"rXYZ", b"gXYZ", b"bXYZ"):
            column = wide[:, b"rgb".index(tag[:1])]
            profile[at + 8 : at + 20] = struct.pack(">3i", *(round(value * 65536) for value in column))
    color = np.array([190, 120, 70])
    value = color / 255
    linear = np.linalg.inv(usual) @ wide @ np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    expected = 255 * (1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(expected - color).max() > 5  # the profile matters for this color
    path = _save(tmp_path / "a.png", Image.new("RGB", (4, 4), tuple(color.tolist())), icc_profile=bytes(profile))
    assert np.abs(open_image(path)[0, 0, :3] - expected).max() <= 1.5


def _matrix_profile(red_and_green_swapped: bool) -> bytes:
    """The bytes of an sRGB profile, with its red and green primaries exchanged if asked: a profile that shows."""
    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return (
        data.replace(b"rXYZ", b"tmpX").replace(b"gXYZ", b"rXYZ").replace(b"tmpX", b"gXYZ")
        if red_and_green_swapped
        else data
    )


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_color_profiles_are_converted_to_srgb(tmp_path: Path, mode: str) -> None:
    color = (200, 40, 60, 77)[: len(mode)]
    plain = _save(tmp_path / "a.png", Image.new(mode, (4, 4), color), icc_profile=_matrix_profile(False))
    assert np.abs(open_image(plain)[0, 0, :3].astype(int) - (200, 40, 60)).max() <= 1
    swapped = _save(tmp_path / "b.png", Image.new(mode, (4, 4), color), icc_profile=_matrix_profile(True))
    pixel = open_image(swapped)[0, 0].astype(int)
    assert np.abs(pixel[:3] - (40, 200, 60)).max() <= 2
    assert pixel[3] == (77 if mode == "RGBA" else 255)


def test_a_broken_profile_is_ignored(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.png", Image.new("RGB", (4, 4), (9, 8, 7)), icc_profile=b"not a profile")
    assert open_image(path)[0, 0].tolist() == [9, 8, 7, 255]


def _bomb(path: Path, width: int, height: int) -> Path:
    """A PNG whose header promises width × height pixels and whose data never comes: decoding it would be an error."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    idat = b"IDAT" + zlib.compress(b"\0" * 100)
    blocks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (chunk, idat, b"IEND")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(blocks))
    return path


@pytest.mark.parametrize(
    "side", [8_001, 9_800, 14_000, 60_000]
)  # below and above the limits at which Pillow itself acts
@pytest.mark.parametrize("function", [open_image, check_image])
def test_a_decompression_bomb_is_refused_before_decoding(tmp_path: Path, side: int, function: object) -> None:
    path = _bomb(tmp_path / "bomb.png", side, side)
    with pytest.raises(ImageError, match=r"bomb\.png: .*pixels.*At most 64 million are opened; scale the picture down"):
        function(path)  # type: ignore[operator]


def test_another_limit_of_pixels_can_be_given(tmp_path: Path) -> None:
    path = _save(tmp_path / "a.png", Image.new("RGB", (100, 101)))
    assert open_image(path, max_pixels=10_100).shape == (101, 100, 4)
    with pytest.raises(ImageError, match=r"At most 0\.01 million"):
        open_image(path, max_pixels=10_000)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "bmp", "tiff"])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3)).astype(np.uint8)
    path = _save(tmp_path / f"a.{suffix}", Image.fromarray(noise))
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    with pytest.raises(ImageError, match=rf"a\.{suffix}: .*(truncated or damaged|known format|cannot be read)"):
        open_image(path)


def test_missing_files_folders_and_text_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no\.png: no such image\. Put the file there, or correct the path"):
        open_image(tmp_path / "no.png")
    with pytest.raises(ImageError, match="expected an image file, found something else"):
        open_image(tmp_path)
    (tmp_path / "a.png").write_text("<html>404</html>")
    with pytest.raises(ImageError, match="not an image of a known format"):
        open_image(tmp_path / "a.png")


_SEEDS = {
    suffix: (options, np.random.default_rng(3).integers(0, 255, (24, 24, 3)).astype(np.uint8))
    for suffix, options in {
        "PNG": {},
        "JPEG": {},
        "WEBP": {},
        "GIF": {},
        "BMP": {},
        "TIFF": {"compression": "lzw"},
    }.items()
}


@given(data=st.data(), suffix=st.sampled_from(sorted(_SEEDS)))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_bytes_give_a_picture_or_an_image_error(tmp_path: Path, data: st.DataObject, suffix: str) -> None:
    path = tmp_path / "a.bin"
    options, pixels = _SEEDS[suffix]
    Image.fromarray(pixels).save(path, format=suffix, **options)
    damaged = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged)
    opened, message = None, ""
    try:
        opened = open_image(path, max_pixels=1_000_000)
    except ImageError as error:
        message = str(error)
    if opened is None:
        assert message.startswith(f"{path}: ")
        assert "\n" not in message
    else:
        assert opened.dtype == np.uint8
        assert opened.shape[2] == 4
