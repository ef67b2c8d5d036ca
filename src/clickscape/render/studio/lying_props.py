"""Props around a product that is seen from above: sprigs lie beside it, cut by the border as in a flat lay.

What was baked standing would lie on its side here, so only what looks the same lying is drawn; the rest is left out.
"""

from __future__ import annotations

import cv2
import numpy as np

from clickscape.render.color import Floats
from clickscape.render.studio.geometry import Camera
from clickscape.render.studio.layout import Fit
from clickscape.render.studio.props import PropLayer, Sprite, largest

LYING = ("eucalyptus", "palm", "blossom", "autumn leaves", "pine cones", "sunflowers", "lavender sprigs", "wheat",
         "cotton", "cinnamon", "seashells")  # fmt: skip
"""Props that look from above as they look from the front when they lie."""

_SCALE = 0.92
_PLACES = ((-1, 0.66, 24.0), (1, 0.34, 156.0))  # side, row as share of the height, degrees that a sprig turns
_BESIDE = 0.40  # share of its width by which a prop's middle lies beside the product's outline
_SHADOW, _REACH, _BLUR = 0.55, 9.0, 5.0  # strength, and pixels at 512 that it falls to the lower right and blurs


def lie(
    props: tuple[str, ...],
    sprites: dict[str, Sprite],
    camera: Camera,
    fit: Fit,
    *,
    layout: int,
    key: Floats,
    ambient: Floats,
) -> PropLayer | None:
    """Light the sprites with `key` and `ambient` (3,) and lay them beside the product; None when none can lie."""
    height, width = camera.height, camera.width
    unit = camera.pixels_per_unit
    canvas = np.zeros((height, width, 4), np.float32)
    places = _PLACES[::-1] if layout else _PLACES
    for prop, (side, row, turn) in zip([name for name in props if name in LYING], places, strict=False):
        source = sprites[prop]
        tall, wide = source.alpha.shape
        most_wide, most_tall = largest(prop)
        scale = min(most_tall / tall, most_wide / wide) * _SCALE * unit
        column = width / 2 + side * (fit.half * unit + _BESIDE * wide * scale)
        column = min(max(column, 0.04 * width), 0.96 * width)
        spin = turn if turn < 90 else turn - 180  # never upside down: the light stays where it is
        matrix = cv2.getRotationMatrix2D((wide / 2, tall / 2), spin, scale)
        matrix[:, 2] += (column - wide / 2, row * height - tall / 2)
        color = np.dstack([source.key * key + source.dome * ambient, source.alpha])
        laid = cv2.warpAffine(_averaged(color, scale), matrix, (width, height), flags=cv2.INTER_LINEAR)
        canvas = laid + canvas * (1 - laid[..., 3:])
    if not canvas[..., 3].any():
        return None
    shift = round(_REACH * camera.reference / 512)
    moved = np.zeros((height, width), np.float32)
    moved[shift:, shift:] = canvas[: height - shift, : width - shift, 3]
    shade = 1 - np.float32(_SHADOW) * cv2.GaussianBlur(moved, (0, 0), max(0.6, _BLUR * camera.reference / 512))
    left, top, across, down = cv2.boundingRect((canvas[..., 3] != 0).astype(np.uint8))
    piece = np.ascontiguousarray(canvas[top : top + down, left : left + across])
    return PropLayer(top, left, piece, np.asarray(shade, np.float32))


def _averaged(picture: Floats, scale: float) -> Floats:
    """Blurred before it is made smaller, which would leave jagged edges otherwise."""
    return picture if scale > 0.8 else np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.45 / scale), np.float32)
