"""What the faces of a set are made of: the stand wears the scene's surface, ground and wall follow the setting."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np

from clickscape.compute.cache import ByteCache
from clickscape.render.color import Floats, filtered, hex_to_linear
from clickscape.render.scene import WALLED, Scene
from clickscape.render.studio import disk, geometry, materials
from clickscape.render.studio.gbuffer import GBuffer
from clickscape.render.studio.palette import PALETTE_COLORS

_WALL_MATERIAL = {"studio": "paint", "bathroom": "ceramic", "loft": "concrete"}
_GROUND = {"kitchen": "oak", "living room": "oak", "terrace": "pavement", "forest": "forest floor", "meadow": "grass",
           "beach": "sand", "desert": "red sand", "city": "pavement", "workshop": "concrete",
           "cafe": "walnut", "snow": "snow", "night city": "asphalt", "festive": "walnut", "pool": "water"}  # fmt: skip
_PALE = "#e9e4dc"


def _part_materials(scene: Scene) -> dict[int, tuple[str, Floats | None]]:
    """Material and tint of every part: the stand wears the surface, the ground is painted or the place's own."""
    walled = scene.setting in WALLED
    tint = hex_to_linear(PALETTE_COLORS[scene.palette]) if scene.palette else hex_to_linear(_PALE)
    if scene.setting == "loft":
        tint = tint * np.float32(0.84) + np.float32(0.10 * tint.mean())  # stained concrete
    surface: tuple[str, Floats | None] = (scene.surface, None)
    if scene.stand == "floor":
        ground = surface
    elif walled:
        ground = ("concrete" if scene.setting == "loft" else "paint", tint)
    else:
        name = _GROUND[scene.setting]
        ground = (name, hex_to_linear("#8d8c84") if materials.MATERIALS[name].gain != 1 else None)
    if scene.stand == "table" and walled:
        ground = ("paint", tint * np.float32(0.55))
    parts = {geometry.GROUND: ground, geometry.STAND: surface, geometry.SIDE: surface}
    if walled:
        parts[geometry.WALL] = (_WALL_MATERIAL[scene.setting], tint)
    return parts


def look_up(
    scene: Scene, buffer: GBuffer, *, where: tuple[object, ...], moved: float, cache: ByteCache, kept: Path | None
) -> tuple[Floats, Floats, Floats, Floats]:
    """Albedo (height, width, 3), bent normals (3, height, width), gloss and roughness (height, width).

    `where`: what the buffer was built of; `moved`: tiles by which the materials are shifted.
    """
    height, width = buffer.part.shape
    albedo = np.zeros((height, width, 3), np.float32)
    normal = buffer.normal.copy()
    gloss_of, rough_of = np.zeros(8, np.float32), np.ones(8, np.float32)
    for part, (name, tint) in _part_materials(scene).items():
        seen = cache.get(
            ("sample", part, name, moved, *where), partial(_sampled, buffer, part, name, moved, cache, kept)
        )
        if seen is None:
            continue
        rows = slice(seen.top, seen.bottom)
        mine = buffer.part[rows] == part
        shown = seen.albedo if tint is None else _painted(seen.albedo, tint)
        cv2.copyTo(shown, mine.astype(np.uint8), albedo[rows])
        if seen.gradient is not None:
            _bend(normal[:, rows], seen.gradient, mine)
        material = materials.MATERIALS[name]
        gloss_of[part], rough_of[part] = material.gloss, material.rough
    return albedo, normal, gloss_of[buffer.part], rough_of[buffer.part]


def _painted(albedo: Floats, tint: Floats) -> Floats:
    """A neutral tile in a color; what is far brighter than its mean (joints between tiles) stays pale."""
    painted = filtered(albedo, tint)
    painted += np.maximum(albedo - np.float32(1.35), 0)
    return painted


def _sampled(
    buffer: GBuffer, part: int, name: str, moved: float, cache: ByteCache, kept: Path | None
) -> materials.Sample | None:
    sheet = cache.get(("atlas", name), partial(_atlas, name, kept))
    return materials.sample(buffer, part, name, sheet, moved=moved)


def _bend(normal: Floats, gradient: Floats, mine: np.typing.NDArray[np.bool_]) -> None:
    """Tilt normals against the slope of the height map: in x and z on level faces, in x and y on standing ones."""
    right, up = (plane * mine for plane in cv2.split(gradient))
    level = np.abs(normal[1]) > 0.5
    normal[0] -= right
    normal[2] -= up * level
    normal[1] -= up * ~level
    length = np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2)
    normal /= np.maximum(length, np.float32(1e-6))


def _atlas(name: str, kept: Path | None) -> materials.Atlas:
    def make() -> disk.Arrays:
        return materials.to_arrays(materials.atlas(name))

    return materials.from_arrays(disk.keep(("atlas", name), make, where=kept))
