"""The set is sharp where the product stands and blurs away from there."""

from __future__ import annotations

import numpy as np
import pytest

from clickscape.render.studio import gbuffer
from clickscape.render.studio.focus import defocused
from clickscape.render.studio.geometry import Camera
from clickscape.render.studio.stand import Stand


@pytest.mark.parametrize("side", [256, 384])
def test_blur_grows_with_the_distance_from_the_product(side: int) -> None:
    buffer = gbuffer.build(Stand("floor"), Camera(side, side), walled=True)
    noise = np.random.default_rng(0).random((side, side, 3), np.float32)
    (seen,) = defocused(buffer, noise)
    z = buffer.position[2]

    def kept(low: float, high: float) -> float:
        there = (z > low) & (z < high)
        return float(seen[there].std() / noise[there].std())

    at_product, behind, wall = kept(-0.05, 0.05), kept(0.8, 1.6), kept(2.5, 2.7)
    assert at_product > 0.9
    assert at_product > behind > wall
    assert wall < 0.7 * at_product


def test_even_light_stays_as_it_is_and_every_layer_comes_back() -> None:
    buffer = gbuffer.build(Stand("podium"), Camera(96, 64), walled=True)
    even = np.full((64, 96, 3), 0.4, np.float32)
    seen = defocused(buffer, even, 2 * even)
    np.testing.assert_allclose(seen[0], even, atol=1e-5)
    np.testing.assert_allclose(seen[1], 2 * even, atol=1e-5)
