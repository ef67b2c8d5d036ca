"""Materials repeat without a seam, stone shows nothing twice, and grain runs along the boards."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from clickscape.render.studio.materials import MATERIALS

LOOKED_AT = ("white marble", "black marble", "oak", "walnut")  # by other tests below too: each takes a second to paint
LARGE = (
    *LOOKED_AT,
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("terrazzo", "slate", "linen", "ceramic")),
)


@cache
def albedo(name: str) -> np.ndarray:
    """The mean of the three channels, (row, column)."""
    return np.asarray(MATERIALS[name].paint(np.random.default_rng(5))[0].mean(-1))


@pytest.mark.slow
@pytest.mark.parametrize("name", MATERIALS)
def test_a_tile_goes_on_over_its_border(name: str) -> None:
    """The step over the border is one of those inside: no larger than the largest few."""
    picture = albedo(name)
    assert picture.shape[0] == picture.shape[1]
    for axis in (0, 1):
        steps = np.abs(np.diff(picture, axis=axis, append=np.take(picture, [0], axis))).mean(1 - axis)
        assert steps[-1] <= np.percentile(steps[:-1], 99.9) * 1.05


@pytest.mark.parametrize("name", LARGE)
def test_large_tiles_have_texels_for_a_whole_picture(name: str) -> None:
    assert len(albedo(name)) == 1024
    assert MATERIALS[name].scale >= 2


@pytest.mark.parametrize(("name", "veins_are"), [("white marble", -1), ("black marble", 1)])
def test_veins_are_few_and_none_comes_twice(name: str, veins_are: int) -> None:
    picture = albedo(name)
    apart = veins_are * (picture - np.median(picture))
    veins = apart > 0.35 * apart.max()
    assert 0.002 < veins.mean() < 0.08
    # a shifted copy of the pattern would correlate; away from a shift of nothing no two places look alike
    spectrum = np.fft.rfft2(veins - veins.mean())
    likeness = np.fft.irfft2(np.abs(spectrum) ** 2) / (veins.var() * veins.size)
    shift = np.minimum(np.arange(1024), 1024 - np.arange(1024))
    far = np.maximum(shift[:, None], shift) > 60
    assert likeness[far].max() < 0.25


@pytest.mark.parametrize("name", ["oak", "walnut"])
def test_grain_runs_along_the_boards(name: str) -> None:
    """Boards lie along x: brightness changes faster from row to row than from column to column."""
    picture = albedo(name)
    along, across = (np.abs(np.diff(picture, axis=axis)).mean() for axis in (1, 0))
    assert across > 1.8 * along
