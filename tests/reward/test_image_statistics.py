"""How pictures look: figures of pictures that are known, whatever their size."""

from __future__ import annotations

import numpy as np
import pytest

from clickscape.reward.image_statistics import STATISTICS, image_statistics

BRIGHTNESS, CONTRAST, COLORFULNESS, DETAIL, PROMINENCE = range(len(STATISTICS))


def _plain(level: int, side: int = 96) -> np.ndarray:
    return np.full((side, side, 3), level, np.uint8)


def test_a_plain_picture_is_as_bright_as_it_is_and_nothing_else() -> None:
    black, white = image_statistics([_plain(0), _plain(255)])
    assert black[BRIGHTNESS] == pytest.approx(0, abs=0.01)
    assert white[BRIGHTNESS] == pytest.approx(100, abs=0.01)
    for figure in (CONTRAST, DETAIL, COLORFULNESS, PROMINENCE):
        assert black[figure] == pytest.approx(0, abs=0.05)
        assert white[figure] == pytest.approx(0, abs=0.05)


def test_a_middle_that_stands_out_is_prominent() -> None:
    picture = _plain(255, 100)
    picture[30:70, 30:70] = 0
    assert image_statistics([picture])[0, PROMINENCE] == pytest.approx(100, abs=5)
    aside = _plain(255, 100)
    aside[:40, :40] = 0
    assert image_statistics([aside])[0, PROMINENCE] < 25


def test_colorfulness_and_detail_are_measured() -> None:
    generator = np.random.default_rng(0)
    colored = _plain(128)
    colored[:, :48], colored[:, 48:] = (255, 0, 0), (0, 200, 255)
    noisy = np.repeat(generator.integers(0, 256, (96, 96, 1), dtype=np.uint8), 3, axis=2)
    found = image_statistics([_plain(128), colored, noisy])
    assert found[1, COLORFULNESS] > 100 > found[0, COLORFULNESS]
    assert found[2, DETAIL] > 10 * found[0, DETAIL] + 1


def test_resolution_does_not_count_and_any_shape_is_measured() -> None:
    generator = np.random.default_rng(1)
    small = generator.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    large = small.repeat(4, axis=0).repeat(4, axis=1)
    assert np.allclose(*image_statistics([small, large]), atol=0.01)
    assert np.isfinite(image_statistics([small[:1], small[:, :1], small[:20]])).all()
    assert image_statistics([]).shape == (0, len(STATISTICS))
