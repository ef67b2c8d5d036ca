"""What the camera sees of an empty set, pixel by pixel: position, normal, part, texture coordinates, occlusion, edges.

This is the G-buffer of a deferred shader (Deering et al. 1988). It depends on the stand, the camera and the size only,
so it is made once per set; scenes only change materials and lights. Shadows and occlusion are sampled on a coarser grid
and brought to full size face by face, which keeps the set's edges sharp.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from jaxtyping import Float32

from clickscape.render.color import Floats
from clickscape.render.studio import geometry
from clickscape.render.studio.geometry import Camera, Codes, Cylinder, Hits, Integers, Solid, cast_rays, turned
from clickscape.render.studio.parallel_rays import free_distance
from clickscape.render.studio.stand import Stand

OCCLUSION_RAYS = 40
OCCLUSION_REACH = 1.0  # world units; what is farther away hardly darkens
_OCCLUSION_END = 4.0  # world units: a ray that gets so far is free
OCCLUSION_GRID = 160  # rows at most
SHADOW_RAYS = 8
SHADOW_GRID = 320  # rows at most
BACKDROP_PLANE = 3.2  # z at which light patterns fall on a photographed backdrop
_SUBPIXELS = (np.arange(3, dtype=np.float32) + 0.5) / 3
_LIFT = 3e-3  # shadow rays start this far above the face


@dataclass(frozen=True, slots=True)
class Edges:
    """Silhouette pixels, flat index: each is mixed with `neighbor` by `weight` (pixel, 1) to smooth the outline."""

    pixel: Integers
    neighbor: Integers
    weight: Floats


@dataclass(frozen=True, slots=True)
class GBuffer:
    """Maps of one empty set; vectors are (3, height, width) in camera coordinates, all others (height, width)."""

    camera: Camera
    solids: tuple[Solid, ...]
    part: Codes
    face: Codes  # part and orientation; what is smooth together
    position: Floats
    normal: Floats
    direction: Floats  # of the ray from the eye
    texture_u: Floats  # world units
    texture_v: Floats
    footprint: Floats  # world units that a pixel covers on the face
    ambient: Floats  # share of the sky that the point sees, 0..1
    edges: Edges


def build(stand: Stand, camera: Camera, *, walled: bool) -> GBuffer:
    """Cast one ray per pixel (and nine where outlines are) at the set of `stand`."""
    solids = stand.solids
    height, width = camera.height, camera.width
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32) + np.float32(0.5)
    view = camera.rays(columns.ravel(), rows.ravel())
    hits, direction = _cast(camera, view, solids, walled)
    eye = turned(camera.eye[:, None], camera.yaw)
    position = eye + direction * np.minimum(hits.distance, geometry.FAR)
    normal = geometry.normals_of(hits, position, direction, solids)
    part = geometry.part_of(hits, solids)
    u, v = _texture_coordinates(hits, position, solids)
    facing = np.maximum(np.abs((normal * direction).sum(0)), np.float32(0.06))
    footprint = np.minimum(hits.distance, geometry.FAR) / np.float32(camera.focal) / np.sqrt(facing)
    face = _face_codes(hits, part)
    ambient = _occlusion(position, normal, face.reshape(height, width), solids, walled)
    world = turned(position, -camera.yaw)
    sky = part == geometry.BACKDROP
    reach = (np.float32(BACKDROP_PLANE) - camera.eye[2]) / np.maximum(view[2], np.float32(1e-3))
    world[:, sky] = (camera.eye[:, None] + view * reach)[:, sky]
    shape = (height, width)
    return GBuffer(
        camera=camera,
        solids=solids,
        part=part.reshape(shape),
        face=face.reshape(shape),
        position=world.reshape(3, *shape).astype(np.float32),
        normal=turned(normal, -camera.yaw).reshape(3, *shape).astype(np.float32),
        direction=view.reshape(3, *shape),
        texture_u=u.reshape(shape),
        texture_v=v.reshape(shape),
        footprint=footprint.reshape(shape).astype(np.float32),
        ambient=ambient,
        edges=_edges(camera, face.reshape(shape), solids, walled),
    )


_EDGE_ARRAYS = ("pixel", "neighbor", "weight")
_ARRAYS = ("part", "face", "position", "normal", "direction", "texture_u", "texture_v", "footprint", "ambient")


def to_arrays(buffer: GBuffer) -> dict[str, npt.NDArray[np.generic]]:
    """Everything that `from_arrays` cannot know from the set and the camera."""
    edges = {f"edge_{name}": getattr(buffer.edges, name) for name in _EDGE_ARRAYS}
    return {name: getattr(buffer, name) for name in _ARRAYS} | edges


def from_arrays(stand: Stand, camera: Camera, arrays: Mapping[str, Any]) -> GBuffer:
    """The buffer that `build` made of the same set and camera; KeyError when an array is missing."""
    return GBuffer(
        camera=camera,
        solids=stand.solids,
        edges=Edges(**{name: arrays[f"edge_{name}"] for name in _EDGE_ARRAYS}),
        **{name: arrays[name] for name in _ARRAYS},
    )


def key_visibility(
    buffer: GBuffer, toward_light: Float32[np.ndarray, " 3"], *, softness: float
) -> Float32[np.ndarray, "height width"]:
    """Share of a key light in `toward_light` (3,) that the set itself lets through, (height, width), 0..1."""
    stride = max(1, round(buffer.part.shape[0] / SHADOW_GRID))
    face = np.ascontiguousarray(buffer.face[::stride, ::stride])
    start = turned(_flat(buffer.position, stride), buffer.camera.yaw)
    start = start + turned(_flat(buffer.normal, stride), buffer.camera.yaw) * np.float32(_LIFT)
    solid = face.ravel() != 0  # nothing falls on the backdrop
    start = np.compress(solid, start, 1)
    rng = np.random.default_rng(3)
    seen = np.zeros(start.shape[1], np.float32)
    for _ in range(SHADOW_RAYS):
        jittered = np.asarray(toward_light + rng.normal(size=3) * softness, np.float32)
        jittered /= np.linalg.norm(jittered)
        toward = turned(jittered[:, None], buffer.camera.yaw)[:, 0]
        seen += free_distance(start, toward, buffer.solids, wall=False, within=geometry.FAR) >= geometry.FAR
    coarse = np.ones(face.shape, np.float32)
    coarse.ravel()[solid] = seen / np.float32(SHADOW_RAYS)
    return _to_full_size(coarse, face, buffer.face, blur=0.8)


def _cast(camera: Camera, view: Floats, solids: tuple[Solid, ...], walled: bool) -> tuple[Hits, Floats]:
    direction = turned(view, camera.yaw)
    eye = np.broadcast_to(turned(camera.eye[:, None], camera.yaw), direction.shape)
    return cast_rays(eye, direction, solids, wall=walled), direction


def _face_codes(hits: Hits, part: Codes) -> Codes:
    """One code per smooth face: the part, the solid (modulo 4) and the axis that the normal follows."""
    codes = part * np.uint8(16) + (hits.axis % 4).astype(np.uint8) + np.uint8(4) * (hits.solid % 4).astype(np.uint8)
    return np.where(part == geometry.BACKDROP, np.uint8(0), codes).astype(np.uint8)


def _texture_coordinates(hits: Hits, position: Floats, solids: tuple[Solid, ...]) -> tuple[Floats, Floats]:
    """World units along the face met; each solid is shifted, so that neighbors do not show the same grain."""
    x, y, z = position
    u = np.where(hits.axis == 0, z, x)
    v = np.where(hits.axis == 1, z, y)
    for number, solid in enumerate(solids):
        mine = hits.solid == number
        if isinstance(solid, Cylinder):
            mantle = mine & (hits.axis == 3)
            around = np.arctan2(x - np.float32(solid.center[0]), np.float32(solid.center[1]) - z)
            u = np.where(mantle, around * np.float32(sum(solid.radii) / 2), u)
        shift = np.float32(0.37 * number)
        u, v = np.where(mine, u + shift, u), np.where(mine, v + shift * np.float32(1.7), v)
    return u.astype(np.float32), v.astype(np.float32)


def _occlusion(position: Floats, normal: Floats, face: Codes, solids: tuple[Solid, ...], walled: bool) -> Floats:
    """Ambient occlusion from cosine-spread rays whose hits count less the farther they are (Zhukov et al. 1998)."""
    height, width = face.shape
    stride = max(1, round(height / OCCLUSION_GRID))
    coarse_face = np.ascontiguousarray(face[::stride, ::stride])
    start = _flat(position.reshape(3, height, width), stride)
    up = _flat(normal.reshape(3, height, width), stride)
    start = start + up * np.float32(2e-3)
    open_share = np.ones(start.shape[1], np.float32)
    waiting = coarse_face.ravel() != 0  # the backdrop is no solid
    for axis, sign in itertools.product(range(3), (-1, 1)):
        alike = np.flatnonzero(waiting & (up[axis] == sign))
        if alike.size:
            open_share[alike] = _openness(np.take(start, alike, 1), up[:, alike[:1]], solids, walled)
            waiting[alike] = False
    if waiting.any():  # a cylinder's mantle
        open_share[waiting] = _openness(np.compress(waiting, start, 1), np.compress(waiting, up, 1), solids, walled)
    coarse = open_share.reshape(coarse_face.shape)
    return _to_full_size(coarse, coarse_face, face, blur=1.3)


def _openness(start: Floats, up: Floats, solids: tuple[Solid, ...], walled: bool) -> Floats:
    """Share of the sky (point,) over points (3, point); `up`: their normals, (3, 1) where they have one in common."""
    standing = np.abs(up[1]) < 0.5
    side = np.where(standing, np.array([[0], [1], [0]], np.float32), np.array([[1], [0], [0]], np.float32))
    other = np.stack([up[1] * side[2] - up[2] * side[1], up[2] * side[0] - up[0] * side[2],
                      up[0] * side[1] - up[1] * side[0]])  # fmt: skip
    share_open = np.zeros(start.shape[1], np.float32)
    for number in range(OCCLUSION_RAYS):
        share, turn = (number + 0.5) / OCCLUSION_RAYS, number * 2.399963
        radius = np.sqrt(share)
        across, along = np.float32(radius * np.cos(turn)), np.float32(radius * np.sin(turn))
        toward = (side * across + up * np.float32(np.sqrt(1 - share)) + other * along).astype(np.float32)
        if up.shape[1] == 1:
            reach = free_distance(start, toward[:, 0], solids, wall=walled, within=_OCCLUSION_END)
        else:
            reach = np.minimum(cast_rays(start, toward, solids, wall=walled).distance, _OCCLUSION_END)
        share_open += 1 - np.exp(reach * np.float32(-1 / OCCLUSION_REACH))
    return share_open / np.float32(OCCLUSION_RAYS)


def _flat(planes: Floats, stride: int) -> Floats:
    """(3, height, width) → every `stride`-th pixel as (3, pixel)."""
    return np.ascontiguousarray(planes[:, ::stride, ::stride]).reshape(3, -1)


def _to_full_size(coarse: Floats, coarse_face: Codes, face: Codes, *, blur: float) -> Floats:
    """Smooth and enlarge a map without leaking across faces (normalized convolution, Knutsson and Westin 1993)."""
    height, width = face.shape
    result = np.ones((height, width), np.float32)
    for code in np.unique(face):
        inside = (coarse_face == code).astype(np.float32)
        if not inside.any():
            continue
        pair = cv2.GaussianBlur(cv2.merge([coarse * inside, inside]), (0, 0), blur)
        pair = cv2.resize(pair, (width, height), interpolation=cv2.INTER_LINEAR)
        np.copyto(result, pair[..., 0] / np.maximum(pair[..., 1], np.float32(1e-4)), where=(face == code))
    return np.clip(result, 0, 1)


_AROUND = ((-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, 1), (-1, 1), (1, -1))


def _edges(camera: Camera, face: Codes, solids: tuple[Solid, ...], walled: bool) -> Edges:
    """Cast nine rays where neighbors differ; the neighbor face that most of them meet gives partner and weight."""
    height, width = face.shape
    kernel = np.ones((3, 3), np.uint8)
    rows, columns = np.nonzero(cv2.dilate(face, kernel) != cv2.erode(face, kernel))
    inner = (rows > 0) & (rows < height - 1) & (columns > 0) & (columns < width - 1)
    rows, columns = rows[inner], columns[inner]
    if not rows.size:
        return Edges(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros((0, 1), np.float32))
    right, down = (offset.ravel() for offset in np.meshgrid(_SUBPIXELS, _SUBPIXELS))
    view = camera.rays(
        (columns[:, None] + right).astype(np.float32).ravel(), (rows[:, None] + down).astype(np.float32).ravel()
    )
    hits, _ = _cast(camera, view, solids, walled)
    met = _face_codes(hits, geometry.part_of(hits, solids)).reshape(rows.size, -1)
    own = face[rows, columns]
    best = np.zeros(rows.size, np.float32)
    partner = np.zeros(rows.size, np.int32)
    for down_step, right_step in _AROUND:
        other = face[rows + down_step, columns + right_step]
        share = ((met == other[:, None]).mean(1) * (other != own)).astype(np.float32)
        better = share > best
        best = np.where(better, share, best)
        partner = np.where(better, (rows + down_step) * width + columns + right_step, partner)
    used = best > 0
    pixel = (rows * width + columns)[used]
    return Edges(pixel.astype(np.int32), partner[used].astype(np.int32), best[used, None])
