"""Decode the pictures that the studio ships: panoramas and props."""

from __future__ import annotations

from importlib import resources

import cv2
import numpy as np
import numpy.typing as npt

from clickscape.errors import RenderError


def read_picture(name: str, *, flags: int) -> npt.NDArray[np.generic]:
    """Return a file below `assets/` as OpenCV decodes it; RenderError for one that is damaged."""
    data = resources.files(__package__).joinpath(f"assets/{name}").read_bytes()
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if picture is None:
        raise RenderError(f"assets/{name} of the studio is damaged. Install clickscape again.")
    return picture
