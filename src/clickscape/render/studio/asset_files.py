"""Decode the pictures that the studio ships: panoramas and props."""

from __future__ import annotations

from importlib import resources

import cv2
import numpy as np
import numpy.typing as npt

from clickscape.errors import RenderError


def read_picture(name: str, *, flags: int) -> npt.NDArray[np.generic]:
    """Return a file below `assets/` as OpenCV decodes it; RenderError where it cannot write the copy that it reads."""
    data = resources.files(__package__).joinpath(f"assets/{name}").read_bytes()
    try:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        reason = str(error).strip().splitlines()[0].rpartition(") ")[2]
        raise RenderError(
            f"assets/{name} of the studio cannot be decoded ({reason}). OpenCV decodes from a temporary file: free "
            "space for temporary files, or raise the limit of file sizes (`ulimit -f unlimited`)."
        ) from None
    if picture is None:
        raise RenderError(f"assets/{name} of the studio is damaged. Install clickscape again.")
    return picture
