"""Pictures of a workspace as data: URIs, opened safely, made small and re-encoded."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image

from clickscape.catalog.images import open_image
from clickscape.errors import WorkspaceError
from clickscape.regular_files import real_path

_QUALITY = 82


def data_uri(path: str, *, folder: Path, side: int) -> str:
    """The picture at `path` (relative to `folder`) as WebP of at most `side` × `side` pixels, in a data: URI.

    Raises WorkspaceError for a path that leaves the folder, ImageError for a picture that is missing or unreadable.
    """
    root = folder.resolve()
    file = real_path(root / path)
    if file is None or not file.is_relative_to(root):
        raise WorkspaceError(f"report: the picture {path!r} lies outside {folder}. Name one inside it.")
    pixels = open_image(file)
    opaque = bool((pixels[..., 3] == 255).all())
    small = Image.fromarray(pixels[..., :3] if opaque else pixels)
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
