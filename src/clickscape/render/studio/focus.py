"""Depth of field: the lens is focused on the product, so the set blurs before and behind it as the backdrop does.

The set's light is blurred once per scene, before any product is known, by two strengths between which each pixel takes
its own. The circle of confusion of a thin lens grows with |z − focus| / (z + distance) (Potmesil and Chakravarty 1981).
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32

from clickscape.render.color import Floats, gray
from clickscape.render.studio.gbuffer import GBuffer

_APERTURE = 9.0  # radius of the circle of confusion at an endless distance, pixels at 512
_STEPS = (1.2, 4.0)  # sigmas of the blurs between which a pixel takes its own, pixels at 512
_SIGMA = 0.5  # sigma of the Gaussian that stands for a disc of radius 1


def defocused(
    buffer: GBuffer, *layers: Float32[np.ndarray, "height width 3"], focus: float = 0.0
) -> list[Float32[np.ndarray, "height width 3"]]:
    """Layers of light on the empty set as a lens focused on z = `focus` sees them."""
    height, width = buffer.part.shape
    unit = buffer.camera.reference / 512
    z = buffer.position[2]
    away = np.maximum(z + np.float32(buffer.camera.distance), np.float32(0.5))
    sigma = np.abs(z - np.float32(focus)) / away * np.float32(_APERTURE * _SIGMA)
    first = gray(np.minimum(sigma / np.float32(_STEPS[0]), 1))
    second = gray(np.clip((sigma - np.float32(_STEPS[0])) / np.float32(_STEPS[1] - _STEPS[0]), 0, 1))
    made = []
    for light in layers:
        soft = cv2.GaussianBlur(light, (0, 0), _STEPS[0] * unit, borderType=cv2.BORDER_REFLECT)
        small = cv2.resize(light, (max(8, width // 2), max(8, height // 2)), interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), _STEPS[1] * unit / 2, borderType=cv2.BORDER_REFLECT)
        softer = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
        made.append(_between(light, _between(soft, softer, second), first))
    return made


def _between(first: Floats, second: Floats, share: Floats) -> Floats:
    """`first` + (`second` − `first`) × `share`, which takes the place of `second`."""
    second -= first
    second *= share
    second += first
    return second
