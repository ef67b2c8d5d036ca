"""Open untrusted image files safely: shop uploads, feeds from elsewhere, user input.

The choice made here: the format is found out from the file's content and must be on a short list, the size in pixels is
checked from the header before anything is decoded, and whatever a decoder throws becomes an ImageError that names the
file.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from clickscape.errors import ImageError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
MAX_PIXELS = 64_000_000


def open_image(path: str | PathLike[str], *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """The picture as uint8 (height, width, 4), sRGB with straight alpha, upright, first frame.

    EXIF orientation and color profile are applied; palette, gray, 16-bit and CMYK pictures are converted.  ImageError
    when the file is missing, of another format, larger than ``max_pixels`` (refused before decoding), truncated or
    damaged.
    """
    path = Path(path)
    with _opened(path, max_pixels) as image:
        try:
            image.seek(0)
            image.load()
            profile = image.info.get("icc_profile")
            color, alpha = _split_alpha(_upright(image))
            rgb = np.asarray(_to_srgb(color, profile))
        except Exception as error:  # decoders of damaged files throw nearly anything
            raise ImageError(
                f"{path}: the picture is truncated or damaged ({_short(error)}). Export or download it again."
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


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    """The file with its header read, format and size checked; Pillow's own warnings about odd files are silenced."""
    if not path.exists():
        raise ImageError(f"{path}: no such image. Put the file there, or correct the path.")
    if not path.is_file():
        raise ImageError(f"{path}: expected an image file, found something else. Name the picture itself.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(path, formats=FORMATS)
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise ImageError(f"{path}: {_short(error)}. {_size_remedy(max_pixels)}") from error
        except UnidentifiedImageError as error:
            raise ImageError(
                f"{path}: not an image of a known format. Save it as one of {', '.join(FORMATS)}."
            ) from error
        except Exception as error:
            raise ImageError(f"{path}: the image cannot be read ({_short(error)}). Export it again.") from error
        with image:
            if image.width * image.height > max_pixels:
                raise ImageError(
                    f"{path}: {image.width} × {image.height} = {image.width * image.height / 1e6:.0f} million pixels. "
                    f"{_size_remedy(max_pixels)}"
                )
            yield image


def _size_remedy(max_pixels: int) -> str:
    return f"At most {max_pixels / 1e6:g} million are opened; scale the picture down."


def _short(error: BaseException) -> str:
    """First line of an error, at most 120 characters, so that a hostile file cannot fill the terminal."""
    return (str(error).splitlines() or [type(error).__name__])[0][:120]


def _upright(image: Image.Image) -> Image.Image:
    """The picture turned as EXIF says; EXIF data that cannot be read says nothing."""
    try:
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
    """Gray values 0..255 of deeper ones; the range is told from the type, or else from the values."""
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
