"""Thin products and glass, drawn so that what they are is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from clickscape.catalog.cutout import examine
from clickscape.catalog.flags import Flags, flag, thinness


def _drawn(*, thickness: int, size: int = 300) -> np.ndarray:
    """A ring of so many pixels (−1: a disc), opaque red on nothing."""
    cutout = np.zeros((size, size, 4), np.uint8)
    cv2.circle(cutout, (size // 2, size // 2), size * 2 // 5, (200, 30, 30, 255), thickness, cv2.LINE_AA)
    return cutout


@pytest.mark.parametrize("size", [150, 300, 900])
def test_a_bangle_is_thin_at_any_size_and_a_plate_is_not(size: int) -> None:
    assert flag(_drawn(thickness=size // 75, size=size)) == Flags(thin=True)
    assert flag(_drawn(thickness=size // 8, size=size)) == Flags()
    assert flag(_drawn(thickness=-1, size=size)) == Flags()


def test_thinness_is_the_share_near_the_edge() -> None:
    # 320 × 320: all but the inner 310 × 310 lies within 5 pixels of the edge
    assert thinness(np.ones((320, 320), np.bool_)) == pytest.approx(1 - 310**2 / 320**2, abs=0.002)
    assert thinness(np.ones((4, 320), np.bool_)) == 1


def test_given_alpha_that_is_half_clear_is_glass() -> None:
    cutout = _drawn(thickness=-1)
    cutout[..., 3] = np.where(cutout[..., 3] > 0, 120, 0)
    assert flag(cutout) == Flags()  # nothing of it is solid enough to be looked at
    cutout[60:200, :, 3] = np.where(cutout[60:200, :, 3] > 0, 255, 0)
    assert flag(cutout).glass
    assert flag(cutout).names == ("glass",)


@pytest.mark.slow
@pytest.mark.parametrize("background", [(205, 180, 150), (236, 236, 236)])
def test_glass_on_a_photograph_is_flagged_and_an_opaque_product_is_not(background: tuple[int, int, int]) -> None:
    picture = np.full((320, 320, 3), background, np.uint8)
    glass = picture.copy()
    cv2.rectangle(glass, (100, 60), (220, 270), (np.array(background) * 0.96).tolist(), -1)
    cv2.rectangle(glass, (100, 60), (220, 270), (96, 104, 108), 5)
    found = examine(glass)
    assert found.pixels[160, 160, 3] == 255  # the inside is the product's
    assert found.flags.glass
    opaque = picture.copy()
    cv2.rectangle(opaque, (100, 60), (220, 270), (70, 40, 30), -1)
    assert not examine(opaque).flags.glass


def test_an_empty_cutout_has_no_flags() -> None:
    assert flag(np.zeros((20, 20, 4), np.uint8)).names == ()
