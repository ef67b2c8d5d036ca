"""Backgrounds whose surface is known, because the test made it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from clickscape.catalog.background import cleaned, fit, reached


def _fitted(lab: np.ndarray):
    lab = lab.astype(np.float32)
    return fit(lab, cv2.GaussianBlur(lab, (0, 0), 0.8), product=np.zeros(lab.shape[:2], np.bool_))


def _surface(side: int = 200) -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    return np.dstack([80 + 6 * x - 4 * y - 5 * x * x + 3 * x * y, 2 + x, -1 + 0.5 * y * y])


def test_a_quadratic_surface_is_found_beneath_a_product() -> None:
    lab = _surface()
    with_product = lab.copy()
    with_product[60:150, 50:140] = (30, 40, 20)
    ground = _fitted(with_product)
    assert np.abs(ground.color - lab).max() < 0.5
    assert ground.spread < 0.5


def test_a_plain_background_gets_a_constant() -> None:
    lab = np.full((90, 160, 3), (92, 1, -2), np.float64)
    lab[30:60, 0:50] = (20, 10, 10)  # touches an edge
    ground = _fitted(lab)
    assert (ground.color == ground.color[0, 0]).all()
    assert ground.color[0, 0] == pytest.approx((92, 1, -2), abs=1e-3)


def test_noise_is_that_of_the_background_and_not_of_a_product_on_the_edge() -> None:
    rng = np.random.default_rng(0)
    quiet, loud = (np.full((200, 200, 3), 70.0) + rng.normal(0, sd, (200, 200, 3)) for sd in (0.5, 2.0))
    assert 3 < _fitted(loud).noise / _fitted(quiet).noise < 5
    touched = quiet.copy()
    touched[80:120, :60] = 10
    assert _fitted(touched).noise == pytest.approx(_fitted(quiet).noise, rel=0.2)


def test_a_busy_background_has_a_wide_spread() -> None:
    busy = np.random.default_rng(0).uniform(0, 100, (12, 12, 3)).astype(np.float32)
    assert _fitted(cv2.resize(busy, (200, 200), interpolation=cv2.INTER_NEAREST)).spread > 20


def test_a_flood_stops_at_narrow_passages_only_when_asked() -> None:
    passable = np.ones((40, 40), np.bool_)
    passable[10:30, 10] = passable[10:30, 29] = passable[10, 10:30] = passable[29, 10:30] = False
    passable[10, 18:22] = True  # a door of 4 pixels
    assert reached(passable, gap=0)[20, 20]
    assert not reached(passable, gap=3)[20, 20]
    assert reached(passable, gap=3)[2, 2]


def test_specks_go_and_beads_that_nearly_touch_stay() -> None:
    mask = np.zeros((400, 400), np.bool_)
    mask[100:200, 100:200] = True
    mask[350:353, 350:353] = True  # a speck far away
    mask[196:201, 204:208] = True  # a bead beside
    kept = cleaned(mask)
    assert not kept[351, 351]
    assert kept[198, 206]
    assert kept[150, 150]
