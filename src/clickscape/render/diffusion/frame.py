"""Sizes and seams: the size at which the model draws, where the product stands in it, and the way back.

The model draws about as many pixels as it learned from, whatever size is asked, so a preview and the finished picture
show the same scene. The asked shape lies as a window in the model's picture, at one scale in both directions: rounding
to the model's multiple costs a margin that is cut off, never a stretch. The product goes on top at the asked size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

from clickscape.render.physical_size import PhysicalSize
from clickscape.render.renderer import NO_MARGINS, Margins
from clickscape.render.studio import product as products


@dataclass(frozen=True, slots=True)
class Frame:
    """What is asked (`size`), the `window` that shows it and the `model`'s picture around that, (width, height) each.

    `left` and `top` are the window's corner in the model's picture, pixels.
    """

    size: tuple[int, int]
    window: tuple[int, int]
    model: tuple[int, int]
    left: int
    top: int
    margins: Margins = NO_MARGINS


def frame(size: tuple[int, int], *, side: int, multiple: int, margins: Margins = NO_MARGINS) -> Frame:
    """The window of about side² pixels in the shape of `size` (width, height), in whole multiples of `multiple`.

    The product keeps the `margins` free.
    """
    scale = side / math.sqrt(size[0] * size[1])
    width, height = (max(multiple, round(length * scale)) for length in size)
    model = (multiple * math.ceil(width / multiple), multiple * math.ceil(height / multiple))
    return Frame(size, (width, height), model, (model[0] - width) // 2, (model[1] - height) // 2, margins)


def placed(
    cutout: UInt8[np.ndarray, "rows columns 4"],
    *,
    size: tuple[int, int],
    margins: Margins = NO_MARGINS,
    physical_size: PhysicalSize = "usual",
) -> UInt8[np.ndarray, "height width 4"]:
    """The cut-out where the studio would stand it in a picture of `size` (width, height): (height, width, 4)."""
    around = products.bounds(cutout)
    box = products.placement_box((around.height, around.width), size=size, margins=margins, physical_size=physical_size)
    return products.on_canvas(products.scaled(cutout, box), box, size)


def widened(
    canvas: UInt8[np.ndarray, "height width 4"], around: Frame
) -> UInt8[np.ndarray, "model_height model_width 4"]:
    """A canvas of the window's size with the model's margin around it."""
    (width, height), (wide, tall) = around.window, around.model
    below, right = tall - height - around.top, wide - width - around.left
    return np.pad(canvas, ((around.top, below), (around.left, right), (0, 0)))


def brought_back(
    picture: UInt8[np.ndarray, "model_height model_width 3"], around: Frame
) -> UInt8[np.ndarray, "height width 3"]:
    """The model's picture (height, width, 3) cut to its window and brought to the asked size."""
    width, height = around.window
    window = picture[around.top : around.top + height, around.left : around.left + width]
    if around.window == around.size:
        return np.ascontiguousarray(window)
    method = cv2.INTER_AREA if around.size[0] < width else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(window, around.size, interpolation=method), np.uint8)
