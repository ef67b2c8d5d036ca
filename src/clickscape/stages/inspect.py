"""Stage `inspect`: what picture files say of their provenance, and whether they are still what they say."""

from __future__ import annotations

from pathlib import Path

from clickscape.errors import ImageError
from clickscape.render import provenance
from clickscape.render.provenance import Inspection

LARGEST_FILE = 512_000_000
"""Bytes of a picture file that is read at most."""


def inspect(path: Path) -> Inspection | None:
    """The provenance in a JPEG, PNG or WebP file, None when it is not one of ours; ImageError names the file."""
    if not path.is_file():
        raise ImageError(f"{path}: no such image. Put the file there, or correct the path.")
    try:
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise ImageError(f"a file of {size} bytes, expected at most {LARGEST_FILE}. Scale the picture down.")
        return provenance.inspect(path.read_bytes())
    except OSError as error:
        raise ImageError(f"{path}: the file cannot be read ({error.strerror}). Check its permissions.") from error
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
