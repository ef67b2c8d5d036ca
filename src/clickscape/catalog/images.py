"""Open untrusted image files safely: shop uploads, feeds from elsewhere, user input.

The choice made here: the format is found out from the file's content and must be on a short list, the size in pixels is
checked from the header before anything is decoded, and whatever a decoder throws becomes an ImageError that names the
file.  A file of a few bytes may hold millions of pixels, so a picture is scaled down to `MAX_SIDE` as it is decoded:
whatever is done with it afterwards works on a bounded number of pixels.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, ImageOps, JpegImagePlugin, TiffImagePlugin, UnidentifiedImageError

from clickscape.errors import ImageError, first_line

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 64_000_000
MAX_WEBP_PIXELS = MAX_PIXELS // 2  # its decoder cannot scale down, and holds the whole picture four times
MAX_BYTES = 4 * MAX_PIXELS  # of a file; as many as its pixels may take
MAX_SIDE = 2560  # longest side, pixels, of a picture as it is handed on; no placement asks for more
_MAX_SCANS = 64  # of a JPEG, each of which costs a pass over all pixels; a progressive one has about ten
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")  # begins a segment that says its own length
_BAND = 4_000_000  # pixels that are converted at once when a picture is scaled down


def open_image(path: str | PathLike[str], *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The picture as uint8 (height, width, 4), sRGB with straight alpha, upright, first frame.

    EXIF orientation and color profile are applied; palette, gray, 16-bit and CMYK pictures are converted, and those
    with a side over ``MAX_SIDE`` scaled down to it.  ImageError when the file is missing, of another format, larger
    than ``max_pixels`` or as a WebP than ``MAX_WEBP_PIXELS`` (refused before decoding), truncated or damaged.
    """
    path = Path(path)
    with _opened(path, max_pixels) as image:
        try:
            image.seek(0)
            size = _bounded(image.size)
            _check_scans(path, image)
            if size != image.size:
                image.draft(None, size)  # a JPEG is decoded at a half, a quarter or an eighth of its size
            image.load()
            profile = image.info.get("icc_profile")
            color, alpha = _split_alpha(_upright(_scaled(image, size), as_says=image))
            rgb = np.asarray(_to_srgb(color, profile))
        except (ImageError, MemoryError):
            raise
        except Exception as error:  # decoders of damaged files throw nearly anything
            raise ImageError(
                f"{path}: the picture is truncated or damaged ({first_line(error)}). Export or download it again."
            ) from error
    height, width = rgb.shape[:2]
    pixels = np.empty((height, width, 4), np.uint8)
    pixels[..., :3] = rgb
    pixels[..., 3] = 255 if alpha is None else np.asarray(alpha)
    return pixels


def check_image(path: str | PathLike[str], *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Width and height as the header states them, without decoding; ImageError as `open_image` where it shows there."""
    with _opened(Path(path), max_pixels) as image:
        return image.size


def image_format(path: str | PathLike[str]) -> str:
    """The usual ending of a picture's format by its content, such as ".jpg"; ImageError as `check_image`."""
    with _opened(Path(path), MAX_PIXELS) as image:
        return ".jpg" if image.format == "JPEG" else f".{str(image.format).lower()}"


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    """The file with its header read, format and size checked; Pillow's own warnings about odd files are silenced."""
    if path == Path():
        raise ImageError(
            "no picture is named, so there is nothing to open. Ingest the product, or the ad, with its picture."
        )
    if not path.exists():
        raise ImageError(f"{path}: no such image. Put the file there, or correct the path.")
    if not path.is_file():
        raise ImageError(f"{path}: expected an image file, found something else. Name the picture itself.")
    size = path.stat().st_size
    if not size:  # also what the system makes up as it is read, such as /proc/kmsg, which never ends
        raise ImageError(f"{path}: 0 bytes, not an image of a known format. Save it as one of {', '.join(FORMATS)}.")
    if size > MAX_BYTES:
        raise ImageError(f"{path}: over {MAX_BYTES / 1e6:g} MB. {_size_remedy(max_pixels)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(path, formats=FORMATS)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise ImageError(f"{path}: {first_line(error)}. {_size_remedy(max_pixels)}") from error
        except UnidentifiedImageError as error:
            raise ImageError(
                f"{path}: not an image of a known format. Save it as one of {', '.join(FORMATS)}."
            ) from error
        except Exception as error:
            raise ImageError(f"{path}: the image cannot be read ({first_line(error)}). Export it again.") from error
        most = min(max_pixels, MAX_WEBP_PIXELS) if image.format == "WEBP" else max_pixels
        with image:
            for width, height in (image.size, _tile(image)):
                if width * height > most:
                    raise ImageError(
                        f"{path}: {width} × {height} = {width * height / 1e6:.0f} million pixels. {_size_remedy(most)}"
                    )
            yield image


def _tile(image: Image.Image) -> tuple[int, int]:
    """Width and height of the tiles in which a TIFF is decoded; they may be far larger than its picture."""
    tags = image.tag_v2 if isinstance(image, TiffImagePlugin.TiffImageFile) else {}
    width, height = tags.get(TiffImagePlugin.TILEWIDTH, 0), tags.get(TiffImagePlugin.TILELENGTH, 0)
    return (width, height) if isinstance(width, int) and isinstance(height, int) else (0, 0)


def _check_scans(path: Path, image: Image.Image) -> None:
    """ImageError for a JPEG of many scans: a few bytes each, so that a small file would take hours to decode."""
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        return
    data, at, scans = path.read_bytes(), 2, 0
    while (found := _MARKER.search(data, at)) and found[1] != b"\xd9":
        scans += found[1] == b"\xda"
        if scans > _MAX_SCANS:
            raise ImageError(f"{path}: a JPEG of over {_MAX_SCANS} scans. Save it as a baseline JPEG.")
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")


def _size_remedy(max_pixels: int) -> str:
    return f"At most {max_pixels / 1e6:g} million are opened; scale the picture down."


def _bounded(size: tuple[int, int]) -> tuple[int, int]:
    """The size of the same proportions whose longer side is at most ``MAX_SIDE`` pixels."""
    scale = min(1.0, MAX_SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _scaled(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture at a size not above its own; colors weigh by alpha.

    Band by band: a palette or a mode that cannot be averaged is converted first, which takes several times the memory.
    """
    if image.size == size:
        return image
    width, height = image.size
    factor = min(width // size[0], height // size[1])
    rows = max(1, _BAND // width // factor) * factor
    bands = [
        _averageable(image.crop((0, top, width, min(height, top + rows)))).reduce(factor)
        for top in range(0, height, rows)
    ]
    whole = Image.new(bands[0].mode, (bands[0].width, sum(band.height for band in bands)))
    for number, band in enumerate(bands):
        whole.paste(band, (0, number * bands[0].height))
    return whole.resize(size, Image.Resampling.BICUBIC, box=(0, 0, width / factor, height / factor))


def _averageable(image: Image.Image) -> Image.Image:
    """The picture in a mode whose neighboring pixels can be averaged."""
    if image.mode in ("P", "PA") or "transparency" in image.info:
        return image.convert("RGBA")
    if image.mode.startswith("I;16"):
        return Image.fromarray(_to_8_bit(np.asarray(image)))
    return image.convert("L") if image.mode == "1" else image


def _upright(image: Image.Image, *, as_says: Image.Image) -> Image.Image:
    """The picture turned as the EXIF data of the file says; what cannot be read says nothing."""
    try:
        image.getexif()[ExifTags.Base.Orientation] = as_says.getexif().get(ExifTags.Base.Orientation, 1)
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Color (mode L, RGB, CMYK or LAB, as its profile expects it) and alpha, if the picture has any."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return Image.fromarray(_to_8_bit(np.asarray(image))), None
    if image.mode in ("1", "L") and "transparency" not in image.info:
        return image.convert("L"), None
    if image.mode in ("RGB", "CMYK", "LAB") and "transparency" not in image.info:
        return image, None
    if image.mode in ("LA", "La"):
        image = image.convert("LA")
        return image.getchannel("L"), image.getchannel("A")
    image = image.convert("RGBA")
    return image.convert("RGB"), image.getchannel("A")


def _to_8_bit(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Gray values 0..255 of deeper ones; the range is recognized by the type, or else from the values."""
    numbers = np.nan_to_num(values.astype(np.float64), posinf=0, neginf=0)
    highest = float(numbers.max(initial=0))
    if values.dtype == np.uint16:
        white = 65535.0
    elif values.dtype.kind == "f":
        white = 1.0 if highest <= 1 else 255.0 if highest <= 255 else 65535.0
    else:
        white = 255.0 if highest <= 255 else 65535.0 if highest <= 65535 else highest
    return np.clip(np.rint(numbers * (255 / white)), 0, 255).astype(np.uint8)


def _to_srgb(color: Image.Image, profile: bytes | None) -> Image.Image:
    """RGB picture in sRGB; without a profile, or with one that does not fit, the numbers are taken as sRGB."""
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(color, source, target, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            return color.convert("RGB")
        if converted is not None:
            return converted
    return color.convert("RGB")
