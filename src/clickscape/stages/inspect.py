"""Stage `inspect`: what picture files say of their provenance, and whether they are still what they say."""

from __future__ import annotations

from pathlib import Path

from clickscape.errors import ImageError
from clickscape.regular_files import read_bytes
from clickscape.render import provenance
from clickscape.render.provenance import Inspection


def inspect(path: Path) -> Inspection | None:
    """The provenance in a JPEG, PNG or WebP file, None when it is not one of ours; ImageError names the file."""
    if not path.is_file():
        problem = "no regular file" if path.exists() else "no such image"
        raise ImageError(f"{path}: {problem}. Put the file there, or correct the path.")
    try:
        data = read_bytes(path, error=ImageError)
    except OSError as error:
        raise ImageError(f"{path}: the file cannot be read ({error.strerror}). Check its permissions.") from error
    try:
        return provenance.inspect(data)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
