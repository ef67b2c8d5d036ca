"""What the model sees: an outline for every color of product, a mask as soft as its alpha, a start without a hole."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from clickscape.render.diffusion import conditions
from clickscape.render.diffusion.frame import placed

from .conftest import disc

SIZE = (160, 160)


def canvas_of(color: tuple[int, int, int]) -> np.ndarray:
    return placed(disc(color), size=SIZE)


def outline(alpha: np.ndarray) -> np.ndarray:
    """The solid pixels that touch the outside."""
    solid = (alpha >= 128).astype(np.uint8)
    return (solid > 0) & (cv2.erode(solid, np.ones((3, 3), np.uint8)) == 0)


def covered(alpha: np.ndarray, edges: np.ndarray) -> float:
    """Share of the outline with an edge at most two pixels away."""
    near = cv2.dilate(edges, np.ones((5, 5), np.uint8)) > 0
    return float(near[outline(alpha)].mean())


COLORS = {
    "black": (0, 0, 0),
    "white": (255, 255, 255),
    "mid-gray": (128, 128, 128),
    "red": (210, 20, 30),
    "yellow": (250, 240, 20),
}


@pytest.mark.parametrize("color", COLORS)
def test_a_product_of_any_color_has_its_whole_outline_and_nothing_else(color: str) -> None:
    canvas = canvas_of(COLORS[color])
    found = conditions.edges(canvas)
    assert found.shape == (160, 160, 3)
    assert set(np.unique(found)) == {0, 255}
    assert covered(canvas[..., 3], found[..., 0]) > 0.97
    near = cv2.dilate((canvas[..., 3] > 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert not found[~near].any()


def test_the_gray_keeps_its_distance_from_the_rim() -> None:
    assert conditions.neutral_gray(canvas_of((0, 0, 0))) == 255
    assert conditions.neutral_gray(canvas_of((255, 255, 255))) == 0
    assert conditions.neutral_gray(canvas_of((100, 100, 100))) == 255
    half = canvas_of((0, 0, 0))
    half[:, :80, :3] = 255
    assert conditions.neutral_gray(half) in (127, 128)
    assert covered(half[..., 3], conditions.edges(half)[..., 0]) > 0.97


def test_a_strong_pattern_does_not_hide_the_outline() -> None:
    canvas = canvas_of((128, 128, 128))
    stripes = (np.arange(160) // 3 % 2 * 255).astype(np.uint8)
    inner = cv2.erode(canvas[..., 3], np.ones((13, 13), np.uint8)) == 255
    canvas[inner, :3] = np.repeat(np.broadcast_to(stripes, (160, 160))[inner][:, None], 3, 1)
    assert covered(canvas[..., 3], conditions.edges(canvas, quantiles=(0.6, 0.95))[..., 0]) > 0.97


def test_edges_inside_the_product_are_kept() -> None:
    canvas = canvas_of((40, 40, 40))
    canvas[:, 80:, :3] = 200
    column = conditions.edges(canvas, quantiles=(0.3, 0.6))[80:120, 77:84, 0]
    assert column.any(1).mean() > 0.9


def test_without_a_product_there_are_no_edges() -> None:
    assert not conditions.edges(np.zeros((40, 40, 4), np.uint8)).any()


def test_a_mask_without_rim_and_blur_is_the_alpha_turned_round() -> None:
    alpha = canvas_of((9, 9, 9))[..., 3]
    assert np.array_equal(conditions.mask(alpha, erode=0, blur=0), 255 - alpha)
    assert ((alpha > 0) & (alpha < 255)).any(), "the test needs a soft edge"


def test_a_rim_of_the_product_is_drawn_anew() -> None:
    """A square of 20 px eroded by 2 keeps 16 × 16."""
    alpha = np.zeros((60, 60), np.uint8)
    alpha[20:40, 20:40] = 255
    drawn = conditions.mask(alpha, erode=2, blur=0)
    assert (drawn == 0).sum() == 16 * 16
    soft = conditions.mask(alpha, erode=2, blur=1.5)
    assert ((soft > 0) & (soft < 255)).sum() > 60
    assert (soft[alpha == 0] == 255).all()


def test_the_start_shows_the_product_on_gray_or_on_its_own_colors() -> None:
    canvas = canvas_of((200, 40, 40))
    solid, empty = canvas[..., 3] == 255, canvas[..., 3] == 0
    for fill in ("neutral", "blurred"):
        picture = conditions.start(canvas, fill=fill)  # type: ignore[arg-type]
        assert np.array_equal(picture[solid], canvas[..., :3][solid])
    assert (conditions.start(canvas, fill="neutral")[empty] == 128).all()
    blurred = conditions.start(canvas, fill="blurred")[empty].astype(int)
    assert np.abs(blurred - (200, 40, 40)).max() <= 2, "a product of one color starts on that color"


def test_two_colors_are_spread_each_to_its_own_side() -> None:
    canvas = canvas_of((220, 30, 30))
    canvas[:, 80:, :3] = (30, 30, 220)
    blurred = conditions.start(canvas, fill="blurred").astype(int)
    assert blurred[5, 5, 0] > blurred[5, 5, 2]
    assert blurred[5, -5, 2] > blurred[5, -5, 0]
