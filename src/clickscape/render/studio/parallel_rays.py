"""Rays of one direction from many points: how far they get before something of the set stands in their way.

Shadow rays, and the occlusion rays of all points on faces that look the same way, are parallel. So a direction is three
numbers: which side of a box a ray enters is known from their signs, and what no ray can reach is left out at once.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float32

from clickscape.render.color import Floats
from clickscape.render.studio.geometry import NEAREST, WALL_DISTANCE, Box, Cylinder, Plane, Solid, meet_cylinder

_FLAT = 1e-9  # least size of a direction's component: a ray along a face never crosses it


def free_distance(
    start: Float32[np.ndarray, "3 point"],
    toward: Float32[np.ndarray, " 3"],
    solids: tuple[Solid, ...],
    *,
    wall: bool,
    within: float,
) -> Float32[np.ndarray, " point"]:
    """World units from each point to the nearest solid `toward` a unit direction, `within` where there is none nearer.

    All in set coordinates; `wall`: whether there is one at z = WALL_DISTANCE.
    """
    distance = np.full(start.shape[1], within, np.float32)
    toward = np.where(np.abs(toward) < _FLAT, np.copysign(np.float32(_FLAT), toward), toward).astype(np.float32)
    low, high = start.min(1), start.max(1)
    end = toward * np.float32(within)
    reach = np.minimum(low, low + end), np.maximum(high, high + end)
    inverse = np.asarray(np.float32(1) / toward, np.float32)

    def put(candidate: Floats, valid: Bool[np.ndarray, " point"]) -> None:
        valid &= candidate > NEAREST
        valid &= candidate < distance
        np.copyto(distance, candidate, where=valid)

    if wall and toward[2] > 1e-4 and reach[1][2] >= WALL_DISTANCE:
        candidate = (np.float32(WALL_DISTANCE) - start[2]) * inverse[2]
        put(candidate, np.ones(candidate.shape, np.bool_))
    for solid in solids:
        if isinstance(solid, Plane):
            if toward[1] < -1e-5 and reach[0][1] <= solid.height:
                candidate = (np.float32(solid.height) - start[1]) * inverse[1]
                put(candidate, np.ones(candidate.shape, np.bool_))
        elif isinstance(solid, Box):
            if _meets(reach, solid.low, solid.high):
                put(*_meet_box(start, inverse, solid))
        elif _meets(reach, *_bounds(solid)):
            with np.errstate(over="ignore"):
                for candidate, valid in meet_cylinder(start, toward[:, None], inverse[:, None], solid):
                    put(candidate, valid)
    return distance


def _bounds(solid: Cylinder) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    (x, z), (wide, deep) = solid.center, solid.radii
    return (x - wide, solid.low, z - deep), (x + wide, solid.high, z + deep)


def _meets(reach: tuple[Floats, Floats], low: tuple[float, float, float], high: tuple[float, float, float]) -> bool:
    return bool((reach[0] <= high).all() and (reach[1] >= low).all())


def _meet_box(start: Floats, inverse: Floats, box: Box) -> tuple[Floats, Bool[np.ndarray, " point"]]:
    """Slab method (Kay and Kajiya 1986): where each ray enters, and whether it does before it has left."""
    enter = leave = np.empty(0, np.float32)
    for along in range(3):
        sides = (box.low[along], box.high[along])
        near, far = sides if inverse[along] > 0 else sides[::-1]
        first = (np.float32(near) - start[along]) * inverse[along]
        last = (np.float32(far) - start[along]) * inverse[along]
        enter = np.maximum(enter, first, out=first) if along else first
        leave = np.minimum(leave, last, out=last) if along else last
    return enter, enter < leave
