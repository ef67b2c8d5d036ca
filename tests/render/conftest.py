"""What tests of the studio share: a renderer, a product to draw, and any scene that the studio can draw."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import strategies as st

from clickscape.render import scene
from clickscape.render.scene import Scene
from clickscape.render.studio.engine import StudioRenderer

scenes = st.builds(
    Scene,
    setting=st.sampled_from(scene.SETTINGS),
    surface=st.sampled_from(scene.SURFACES),
    light=st.sampled_from(scene.LIGHTS),
    stand=st.sampled_from(scene.STANDS),
    palette=st.sampled_from(scene.PALETTES),
    props=st.lists(st.sampled_from(scene.PROPS), max_size=2, unique=True).map(tuple),
)


def bottle(*, height: int = 360, width: int = 150) -> np.ndarray:
    """A blue bottle with a yellow neck and a soft outline in a larger empty picture."""
    picture = np.zeros((480, 480, 4), np.uint8)
    left, top = 240 - width // 2, 440 - height
    cv2.rectangle(picture, (left, top + height // 4), (left + width - 1, 439), (40, 90, 190, 255), -1)
    cv2.rectangle(picture, (220, top), (259, top + height // 3), (230, 200, 60, 255), -1)
    picture[..., 3] = cv2.GaussianBlur(picture[..., 3], (0, 0), 1.0)
    return picture


@pytest.fixture(scope="module")
def studio() -> StudioRenderer:
    return StudioRenderer()
