"""What a product stands on, built to its measure: as wide as its foot needs, and low under furniture.

Every stand has its place for the product on the level y = 0; the ground lies below. Props have their spots beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from clickscape.render.physical_size import PhysicalSize
from clickscape.render.studio.geometry import GROUND, SIDE, STAND, Box, Cylinder, Plane, Solid

Spot = tuple[float, float, float]

_USUAL = 0.74  # how far a stand reaches left and right under a product of usual width, world units
_HALVES = ((0.36, 0.56), (0.60, _USUAL), (0.96, 1.08), (math.inf, 1.24))
"""Half the width of a product up to which a stand reaches half so far to each side, world units."""

_RISE: dict[PhysicalSize, float] = {"small": 1.2, "usual": 1.0, "large": 0.45}
"""A plinth of one height is tall beside a ring and low beside a sofa."""

_DEEP = -5.0  # z to which a deep table comes
_ON_TOP = 1.0  # a stand that reaches farther than this leaves props no ground in the picture: they stand on it


@dataclass(frozen=True, slots=True)
class Stand:
    """A kind of stand; `half`: how far its top reaches left and right, `rise`: its height, both of the usual's.

    `deep`: a table comes all the way to the camera, so that a tall picture does not end in its edge and a dark floor.
    """

    kind: str
    half: float = _USUAL
    rise: float = 1.0
    deep: bool = False

    @property
    def solids(self) -> tuple[Solid, ...]:
        """What rays meet; boxes and cylinders in world units, the first is always the ground."""
        half, rise = self.half, self.rise
        if self.kind == "floor":
            return (Plane(GROUND, 0.0),)
        if self.kind == "podium":
            radius = half + 0.16
            return (
                Plane(GROUND, -0.31 * rise),
                Cylinder(STAND, (0.0, 0.0), (radius, min(radius, 0.92)), -0.31 * rise, 0.0),
            )
        if self.kind == "blocks":
            ground = -0.33 * rise
            return (
                Plane(GROUND, ground),
                Box(STAND, (-half - 0.02, ground, -0.60), (half + 0.02, 0.0, 0.75)),
                Box(SIDE, (half - 0.12, ground, 0.85), (half + 0.72, 0.86 * rise, 1.65)),
                Box(SIDE, (-half - 0.88, ground, 0.70), (0.02 - half, 0.38 * rise, 1.50)),
            )
        if self.kind == "steps":
            ground, edge = -0.45 * rise, half - 0.02
            treads = enumerate((0.0, 0.3, 0.6))
            return (
                Plane(GROUND, ground),
                *(
                    Box(STAND, (-edge - out, ground, -0.36 - out), (edge + out, -0.15 * rise * number, 1.0))
                    for number, out in treads
                ),
            )
        if self.kind == "slab":
            ground = -0.13 * rise
            return (Plane(GROUND, ground), Box(STAND, (-half - 0.26, ground, -0.72), (half + 0.26, 0.0, 0.72)))
        if rise < 1:  # nobody puts a sofa on a table: a deck of the table's wood
            return (Plane(GROUND, -0.14), Box(STAND, (-9.0, -0.14, _DEEP if self.deep else -1.05), (9.0, 0.0, 1.15)))
        return (Plane(GROUND, -1.3), Box(STAND, (-9.0, -0.24, _DEEP if self.deep else -0.92), (9.0, 0.0, 1.15)))

    def spot(self, *, tall: bool) -> Spot:
        """Where a low or a tall prop stands to the right of the product; mirrored on the left."""
        x, y, z = _SPOTS[self.kind][tall]
        if self.half > _ON_TOP and self.kind not in ("floor", "table"):
            return (0.16 + 0.8 * self.half, 0.0, 0.55 if tall else 0.35)
        if y < 0 and self.half < _USUAL:  # the foot comes nearer, and what stood before it would hide its face
            x, z = x - 0.7 * (_USUAL - self.half), max(z, 0.40)
        return (x, y * self.rise, z)


_SPOTS: dict[str, tuple[Spot, Spot]] = {  # for low and for tall props beside a stand of the usual width, all behind
    "floor": ((0.88, 0.0, 0.42), (0.98, 0.0, 0.80)),
    "podium": ((0.96, -0.31, 0.45), (0.98, -0.31, 0.70)),
    "blocks": ((0.96, -0.33, 0.30), (1.00, -0.33, 0.42)),
    "steps": ((0.98, -0.15, 0.45), (1.00, -0.15, 0.62)),
    "slab": ((0.84, 0.0, 0.42), (1.00, -0.13, 0.95)),
    "table": ((0.88, 0.0, 0.45), (0.98, 0.0, 0.75)),
}


def stand_for(kind: str, *, half: float, physical_size: PhysicalSize, deep: bool = False) -> Stand:
    """The stand of that kind for a product that reaches `half` world units left and right; `deep` counts for tables."""
    if kind == "floor":
        return Stand(kind)
    if kind == "table":
        return Stand(kind, rise=_RISE["large"] if physical_size == "large" else 1.0, deep=deep)
    return Stand(kind, next(reach for most, reach in _HALVES if half <= most), _RISE[physical_size])


def spread_of(half: float) -> int:
    """−1 for a slim product, 0 for a usual one, 1 for a wide and 2 for a very wide one; `half` in world units."""
    return next(number for number, (most, _) in enumerate(_HALVES) if half <= most) - 1
