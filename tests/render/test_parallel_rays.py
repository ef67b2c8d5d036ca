"""Rays of one direction: what they meet is what rays with a direction of their own each meet."""

from __future__ import annotations

import numpy as np
import pytest

from clickscape.render.studio.geometry import Camera, cast_rays
from clickscape.render.studio.parallel_rays import free_distance
from clickscape.render.studio.stand import Stand

FACES = ((0, 1, 0), (0, -1, 0), (0, 0, -1), (1, 0, 0), (-1, 0, 0))


@pytest.mark.parametrize("kind", ["floor", "podium", "blocks", "steps", "slab", "table"])
@pytest.mark.parametrize("wall", [True, False])
def test_parallel_rays_meet_what_single_rays_meet(kind: str, wall: bool) -> None:
    rng = np.random.default_rng(7)
    solids = Stand(kind).solids
    start = rng.uniform((-2, -1, -2), (2, 1.2, 2.5), (400, 3)).T.astype(np.float32)
    met = 0
    for ray in (*FACES, *rng.normal(size=(40, 3))):
        toward = (ray / np.linalg.norm(ray)).astype(np.float32)
        found = free_distance(start, toward, solids, wall=wall, within=4.0)
        each = cast_rays(start, np.repeat(toward[:, None], 400, 1), solids, wall=wall).distance
        assert np.allclose(found, np.minimum(each, 4), rtol=1e-5, atol=1e-5)
        met += int((found < 4).sum())
    assert met > 400


def test_what_a_camera_derives_is_not_part_of_what_it_is() -> None:
    """A set is kept by its camera: one that has been used is the same key as a new one, also on disk."""
    used, new = Camera(128, 96, 0.9), Camera(128, 96, 0.9)
    assert used.pitch < 0
    assert used.pixels_per_unit > 0
    assert (used, hash(used), repr(used)) == (new, hash(new), repr(new))
