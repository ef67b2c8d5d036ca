"""Geometry and seams, worked out by hand: one scale both ways, the studio's place, light that adds up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickscape.render.diffusion.frame import brought_back, frame, placed, widened
from clickscape.render.studio import product as products

from .conftest import disc


def test_a_window_has_the_asked_shape_and_the_models_area() -> None:
    """1200 × 300 at side 512: scale 512 / 600 gives 1024 × 256, which divides by 8 without a margin."""
    around = frame((1200, 300), side=512, multiple=8)
    assert around.window == around.model == (1024, 256)
    assert (around.left, around.top) == (0, 0)


def test_rounding_costs_a_margin_and_never_a_stretch() -> None:
    """1200 × 628 at side 512: scale 0.58979 gives 708 × 370; in multiples of 8 that is 712 × 376."""
    around = frame((1200, 628), side=512, multiple=8)
    assert around.window == (708, 370)
    assert around.model == (712, 376)
    assert (around.left, around.top) == (2, 3)


@settings(max_examples=60)
@given(width=st.integers(32, 4096), height=st.integers(32, 4096), side=st.sampled_from([64, 512, 1024]))
def test_any_size_comes_back_exactly(width: int, height: int, side: int) -> None:
    around = frame((width, height), side=side, multiple=8)
    for outer, inner in zip(around.model, around.window, strict=True):
        assert outer % 8 == 0
        assert 0 <= outer - inner < 8
    if max(around.window) > 8 * min(around.window) or max(width, height) > 600:
        return
    assert brought_back(np.zeros((around.model[1], around.model[0], 3), np.uint8), around).shape == (height, width, 3)


def test_scaling_back_cuts_the_margin_off() -> None:
    around = frame((708, 370), side=512, multiple=8)
    picture = np.zeros((around.model[1], around.model[0], 3), np.uint8)
    picture[around.top : around.top + 370, around.left : around.left + 708] = 77
    assert around.window == around.size
    assert (brought_back(picture, around) == 77).all()


def test_the_product_stands_where_the_studio_stands_it() -> None:
    cutout = disc((200, 30, 30))
    inside = products.bounds(cutout)
    box = products.placement_box((inside.height, inside.width), size=(200, 160))
    canvas = placed(cutout, size=(200, 160))
    shown = canvas[box.top : box.top + box.height, box.left : box.left + box.width]
    assert np.array_equal(shown, products.scaled(cutout, box))
    assert canvas[..., 3].sum(dtype=int) == shown[..., 3].sum(dtype=int)


def test_the_product_stands_at_the_same_place_at_the_models_size() -> None:
    """The centers of mass of the model's product and of the finished one agree to a pixel of the model's picture."""
    cutout = disc((200, 30, 30), side=400)
    around = frame((1200, 628), side=256, multiple=8)
    own = widened(placed(cutout, size=around.window), around)[..., 3].astype(float)
    back = brought_back(np.repeat(own[..., None].astype(np.uint8), 3, 2), around)[..., 0].astype(float)
    asked = placed(cutout, size=(1200, 628))[..., 3].astype(float)
    pixel = 1200 / around.window[0]
    for axis in (0, 1):
        places = np.arange(asked.shape[axis]).reshape((-1, 1) if axis == 0 else (1, -1))
        centers = [(weight * places).sum() / weight.sum() for weight in (back, asked)]
        assert abs(centers[0] - centers[1]) < pixel
    assert back.sum() == pytest.approx(asked.sum(), rel=0.02)


def test_an_edge_is_mixed_as_light() -> None:
    """White at alpha 128 over black is 50.2 % of the light: sRGB 188, where mixing display values would give 128."""
    canvas = np.array([[[255, 255, 255, 128]]], np.uint8)
    background = np.zeros((1, 1, 3), np.uint8)
    share = 128 / 255
    display = 1.055 * share ** (1 / 2.4) - 0.055
    assert products.over(background, canvas).tolist() == [[[round(255 * display)] * 3]]
    assert round(255 * display) == 188


@pytest.mark.parametrize("alpha", [0, 1, 77, 128, 254, 255])
def test_there_is_no_seam_where_product_and_background_agree(alpha: int) -> None:
    """Every gray over itself stays itself, whatever the alpha."""
    grays = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)
    canvas = np.concatenate([grays, np.full((1, 256, 1), alpha, np.uint8)], -1)
    assert np.array_equal(products.over(grays, canvas), grays)


def test_solid_and_empty_pixels_are_copied() -> None:
    rng = np.random.default_rng(0)
    canvas = rng.integers(0, 256, (40, 40, 4), dtype=np.uint8)
    canvas[..., 3] = rng.choice([0, 90, 255], (40, 40))
    background = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    picture = products.over(background, canvas)
    solid, empty = canvas[..., 3] == 255, canvas[..., 3] == 0
    assert np.array_equal(picture[solid], canvas[..., :3][solid])
    assert np.array_equal(picture[empty], background[empty])
    low = np.minimum(canvas[..., :3], background).astype(int) - 1
    high = np.maximum(canvas[..., :3], background).astype(int) + 1
    assert ((picture >= low) & (picture <= high)).all()
