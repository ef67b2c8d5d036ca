"""The set as solids, the camera that looks at it, and the rays between them.

World coordinates are the camera's: x to the right, y up, z away from the camera; the product stands on the origin, in
the plane z = 0, and is about 1.4 units tall. A set is turned about the y axis by the camera's yaw, so rays are cast in
the set's own coordinates, where every box is aligned with the axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from jaxtyping import Float32

from clickscape.render.color import Floats

Integers = npt.NDArray[np.int32]
Codes = npt.NDArray[np.uint8]

BACKDROP, GROUND, STAND, SIDE, WALL = 0, 1, 2, 3, 4  # parts of a set; the first is no solid
FAR = 60.0  # rays that meet nothing nearer see the backdrop
WALL_DISTANCE = 2.6  # z of the wall, behind the product
NEAREST = 1e-3  # world units below which a ray still touches the face that it leaves
_NEVER = np.float32(1e9)
_RADIAL = 3  # axis code of a cylinder's mantle, after x, y and z


@dataclass(frozen=True, slots=True)
class Plane:
    """An endless horizontal plane at `height`, seen from above."""

    part: int
    height: float


@dataclass(frozen=True, slots=True)
class Box:
    """A box aligned with the axes, from corner `low` to corner `high`."""

    part: int
    low: tuple[float, float, float]
    high: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Cylinder:
    """A standing cylinder with a lid; `radii`: along x and z, its base is an ellipse."""

    part: int
    center: tuple[float, float]
    radii: tuple[float, float]
    low: float
    high: float


Solid = Plane | Box | Cylinder


@dataclass(frozen=True)
class Camera:
    """A level-standing pinhole camera before the product, pitched so that the origin falls on `base_row`.

    It stands 6.2 units away, and `eye_height` above the product's foot. For banners and skyscrapers it steps back and
    takes a longer `lens`, which would otherwise see half of the room, bent. `lowest`: share of the height below which
    the product's foot may not come. `above`: it hangs over the product instead and looks straight down, the picture's
    upper border away from it; the origin falls on `middle`, a share of the height.
    """

    width: int
    height: int
    eye_height: float = 1.05
    yaw: float = 0.0
    lowest: float = 1.0
    above: bool = False
    middle: float = 0.5

    DISTANCE = 6.2
    FIELD = 24.0  # degrees that `reference` pixels span from there

    @cached_property
    def reference(self) -> float:
        """Pixels that stand for the side of a square picture: the height, less if narrow, more in a banner."""
        return min(self.height * (1 + 0.35 * self.banner), 1.25 * self.width)

    @cached_property
    def banner(self) -> float:
        """How far the picture is on its way from a landscape (2.2 : 1) to a banner (4.7 : 1), 0 to 1."""
        return min(1.0, max(0.0, (self.width / self.height - 2.2) / 2.5))

    @cached_property
    def skyscraper(self) -> float:
        """How far the picture is on its way from a half page (1 : 2) to a skyscraper (1 : 3.5), 0 to 1."""
        return min(1.0, max(0.0, (self.height / self.width - 2) / 1.5))

    @cached_property
    def lens(self) -> float:
        """Focal length, and with it the distance, as a multiple of that for a square picture."""
        return 1 + 1.4 * self.banner + self.skyscraper

    @cached_property
    def distance(self) -> float:
        """World units along z from the eye to the product, along y where it looks down."""
        return self.DISTANCE * self.lens

    @cached_property
    def eye_level(self) -> float:
        """World units from the product's foot up to the eye; a banner has no room for what a higher eye would see."""
        return self.eye_height * (1 + self.skyscraper)

    @cached_property
    def focal(self) -> float:
        return float(self.reference / 2 / np.tan(np.radians(self.FIELD) / 2) * self.lens)

    @cached_property
    def base_row(self) -> float:
        """Row on which the product stands, in pixels: higher in narrow pictures, where less hangs in the air above."""
        narrow = min(1.0, max(0.0, (self.height / self.width - 1) / 0.8))
        return min(0.80 - 0.07 * narrow + 0.06 * self.banner, self.lowest) * self.height

    @cached_property
    def pitch(self) -> float:
        if self.above:
            return -np.pi / 2
        down = np.arctan2(-self.eye_level, self.distance)
        return float(down + np.arctan((self.base_row - self.height / 2) / self.focal))

    @cached_property
    def pixels_per_unit(self) -> float:
        """Picture pixels per world unit at the product."""
        return self.focal / (self.distance if self.above else float(np.hypot(self.distance, self.eye_level)))

    def rays(
        self, columns: Float32[np.ndarray, " pixel"], rows: Float32[np.ndarray, " pixel"]
    ) -> Float32[np.ndarray, "3 pixel"]:
        """Unit directions (3, pixel) through the points at `columns`, `rows` (pixels; centers are at .5)."""
        across = (columns - self.width / 2) / self.focal
        upward = -(rows - self.height / 2) / self.focal
        cosine, sine = np.float32(np.cos(self.pitch)), np.float32(np.sin(self.pitch))
        direction = np.stack([across, upward * cosine + sine, -upward * sine + cosine]).astype(np.float32)
        direction /= np.sqrt((direction * direction).sum(0))
        return direction

    @property
    def eye(self) -> Floats:
        if self.above:  # over the product, and as far behind the origin as brings that to `middle`
            return np.array([0.0, self.distance, (self.middle - 0.5) * self.height / self.pixels_per_unit], np.float32)
        return np.array([0.0, self.eye_level, -self.distance], np.float32)

    def project(self, x: Floats, y: Floats, z: Floats) -> tuple[Floats, Floats]:
        """World points → picture columns and rows; points behind the camera land far outside."""
        cosine, sine = np.float32(np.cos(self.pitch)), np.float32(np.sin(self.pitch))
        _, eye_y, eye_z = self.eye
        above, away = y - eye_y, z - eye_z
        depth = np.maximum(above * sine + away * cosine, np.float32(1e-3))
        focal = np.float32(self.focal)
        columns = x * focal / depth + np.float32(self.width / 2)
        rows = (away * sine - above * cosine) * focal / depth + np.float32(self.height / 2)
        return np.asarray(columns, np.float32), np.asarray(rows, np.float32)


def turned(vectors: Floats, yaw: float) -> Floats:
    """Vectors (3, …) turned about the y axis by `yaw` radians: from camera to set coordinates; back with −yaw."""
    cosine, sine = np.float32(np.cos(yaw)), np.float32(np.sin(yaw))
    x, y, z = vectors
    return np.stack([x * cosine + z * sine, np.broadcast_to(y, x.shape), z * cosine - x * sine])


@dataclass(frozen=True, slots=True)
class Hits:
    """Where rays meet the set: distance (ray,), index of the solid (−1 none, −2 the wall), axis of the face met."""

    distance: Floats
    solid: npt.NDArray[np.int8]
    axis: npt.NDArray[np.int8]


def cast_rays(
    origin: Floats,
    direction: Floats,
    solids: tuple[Solid, ...],
    *,
    wall: bool,
) -> Hits:
    """Nearest solid along each ray; origin and direction are (3, ray) in set coordinates, wall at z = WALL_DISTANCE."""
    count = direction.shape[1]
    distance = np.full(count, _NEVER, np.float32)
    index = np.full(count, -1, np.int8)
    axis = np.full(count, 1, np.int8)

    def put(candidate: Floats, valid: npt.NDArray[np.bool_], number: int, face: int | npt.NDArray[np.int8]) -> None:
        nearer = valid & (candidate > NEAREST) & (candidate < distance)
        np.copyto(distance, candidate, where=nearer)
        np.copyto(index, np.int8(number), where=nearer)
        np.copyto(axis, np.asarray(face, np.int8), where=nearer)

    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        inverse = np.float32(1) / direction
        if wall:
            put((np.float32(WALL_DISTANCE) - origin[2]) * inverse[2], direction[2] > 1e-4, -2, 2)
        for number, solid in enumerate(solids):
            if isinstance(solid, Plane):
                put((np.float32(solid.height) - origin[1]) * inverse[1], direction[1] < -1e-5, number, 1)
            elif isinstance(solid, Box):
                put(*_meet_box(origin, inverse, solid, number))
            else:
                for (candidate, valid), face in zip(
                    meet_cylinder(origin, direction, inverse, solid), (_RADIAL, 1), strict=True
                ):
                    put(candidate, valid, number, face)
    return Hits(distance, index, axis)


_Meeting = tuple[Floats, "npt.NDArray[np.bool_]", int, "int | npt.NDArray[np.int8]"]


def _meet_box(origin: Floats, inverse: Floats, box: Box, number: int) -> _Meeting:
    """Slab method (Kay and Kajiya 1986)."""
    near: list[Floats] = []
    far: list[Floats] = []
    for along in range(3):
        first = (np.float32(box.low[along]) - origin[along]) * inverse[along]
        second = (np.float32(box.high[along]) - origin[along]) * inverse[along]
        near.append(np.minimum(first, second))
        far.append(np.maximum(first, second))
    enter = np.maximum(np.maximum(near[0], near[1]), near[2])
    leave = np.minimum(np.minimum(far[0], far[1]), far[2])
    face = np.where(near[1] >= enter, np.int8(1), np.where(near[2] >= enter, np.int8(2), np.int8(0)))
    return enter, enter < leave, number, face.astype(np.int8)


_Crossing = tuple[Floats, npt.NDArray[np.bool_]]


def meet_cylinder(
    origin: Floats, direction: Floats, inverse: Floats, cylinder: Cylinder
) -> tuple[_Crossing, _Crossing]:
    """Distance along each ray (3, ray) to the mantle and to the lid, and whether it meets them."""
    wide, deep = np.float32(1 / cylinder.radii[0]), np.float32(1 / cylinder.radii[1])  # as if it were a unit circle
    x, z = (origin[0] - np.float32(cylinder.center[0])) * wide, (origin[2] - np.float32(cylinder.center[1])) * deep
    along_x, along_z = direction[0] * wide, direction[2] * deep
    a = along_x**2 + along_z**2
    b = x * along_x + z * along_z
    inside = b * b - a * (x * x + z * z - 1)
    mantle = (-b - np.sqrt(np.maximum(inside, 0))) / a
    height = origin[1] + mantle * direction[1]
    lid = (np.float32(cylinder.high) - origin[1]) * inverse[1]
    lid_x, lid_z = x + lid * along_x, z + lid * along_z
    return (
        (mantle, (inside > 0) & (height > cylinder.low) & (height < cylinder.high)),
        (lid, lid_x * lid_x + lid_z * lid_z < 1),
    )


def part_of(hits: Hits, solids: tuple[Solid, ...]) -> Codes:
    """Part of the set (BACKDROP … WALL) that each ray meets."""
    parts = np.array([*(solid.part for solid in solids), WALL, BACKDROP], np.uint8)  # −2 and −1 wrap to the last two
    return np.where(hits.distance > FAR, np.uint8(BACKDROP), parts[hits.solid]).astype(np.uint8)


def normals_of(
    hits: Hits,
    position: Floats,
    direction: Floats,
    solids: tuple[Solid, ...],
) -> Floats:
    """Unit normals (3, ray) in set coordinates of the faces met at `position`."""
    normal = np.zeros_like(position)
    for along in range(3):
        normal[along] = np.where(hits.axis == along, -np.sign(direction[along]), 0)
    for number, solid in enumerate(solids):
        if isinstance(solid, Cylinder):
            mantle = (hits.solid == number) & (hits.axis == _RADIAL)
            x = (position[0][mantle] - solid.center[0]) / solid.radii[0] ** 2
            z = (position[2][mantle] - solid.center[1]) / solid.radii[1] ** 2
            length = np.maximum(np.hypot(x, z), np.float32(1e-6))
            normal[0][mantle], normal[2][mantle] = x / length, z / length
    return normal
