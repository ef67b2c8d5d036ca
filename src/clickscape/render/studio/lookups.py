"""Where a pixel of the set looks up the product: in its shadow, in its contact map, in its mirror image.

These maps depend on the set and the light, not on the product, so a scene keeps them: a new product costs three
look-ups.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32

from clickscape.render.color import Floats
from clickscape.render.studio.gbuffer import GBuffer
from clickscape.render.studio.geometry import WALL, WALL_DISTANCE, Camera
from clickscape.render.studio.layout import Fit
from clickscape.render.studio.lights import Light
from clickscape.render.studio.product import SHADOW_BLURS, contact_shape, map_stride


@dataclass(frozen=True, slots=True)
class Mirror:
    """Where glossy ground sees the product: columns and rows, weight (height, width), blur in pixels; strided."""

    columns: Floats
    rows: Floats
    weight: Floats
    blur: float


def _fresnel(direction: Floats, gloss: Floats) -> Floats:
    """Mirrored share by the angle of view (Schlick 1994), for level faces."""
    grazing = np.clip(1 - np.abs(direction[1]), 0, 1)
    return np.asarray(gloss + (1 - gloss) * grazing**5 * np.float32(0.5) * (gloss > 0.06), np.float32)


def mirror_share(buffer: GBuffer, gloss: Float32[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width"]:
    """Share of each pixel that mirrors the surroundings, (height, width)."""
    level = buffer.normal[1] > 0.5
    return _fresnel(buffer.direction, gloss) * level * np.float32(0.42)


def mirror_map(buffer: GBuffer, normal: Floats, gloss: Floats, rough: Floats, *, plane: float) -> Mirror | None:
    """Follow the mirrored ray of each glossy level pixel to the product's plane z = `plane`."""
    stride = map_stride(buffer.part.shape[0])
    active = (gloss[::stride, ::stride] > 0.01) & (buffer.normal[1, ::stride, ::stride] > 0.5)
    seen = np.flatnonzero(active.any(1))
    if not seen.size:
        return None
    band = slice(int(seen[0]), int(seen[-1]) + 1)  # of the strided rows; nothing is mirrored outside
    few = (slice(stride * band.start, stride * (band.stop - 1) + 1, stride), slice(None, None, stride))
    result = np.zeros((3, *active.shape), np.float32)
    active, shiny = active[band], gloss[few]
    direction, bent = buffer.direction[:, *few], normal[:, *few]
    along = 2 * (direction * bent).sum(0)
    toward = direction - along * bent
    x, y, z = buffer.position[:, *few]
    reach = (np.float32(plane) - z) / np.maximum(toward[2], np.float32(1e-3))
    hit_x, hit_y = x + reach * toward[0], y + reach * toward[1]
    columns, rows = buffer.camera.project(hit_x, hit_y, np.full_like(hit_x, plane))
    fade = np.exp(-np.maximum(hit_y, 0) * (1 + 3 * rough[few]))
    weight = _fresnel(direction, shiny) * (active & (reach > 0) & (hit_y > 0)) * fade
    blur = (0.5 + float(rough[few][active].mean()) * 8 * buffer.camera.reference / 512) / stride
    scale = np.float32(1 / stride)
    result[:, band] = _strided(columns, scale), _strided(rows, scale), weight * np.float32(1.25)
    return Mirror(result[0], result[1], result[2], blur)


def _strided(at: Floats, scale: np.float32) -> Floats:
    """Picture pixels (centers at .5) → indices of a strided map, kept in the range that OpenCV can look up."""
    return np.clip(at * scale - np.float32(0.5), -1e4, 1e4).astype(np.float32)


def plane_of(fit: Fit) -> float:
    """World units along z at which a product that is seen from the front stands, leans or hangs."""
    return 0.0 if fit.gap is None else WALL_DISTANCE - fit.gap


def shadow_map(buffer: GBuffer, light: Light, ray: Floats, fit: Fit) -> tuple[Floats, Floats, Floats]:
    """Where each pixel's ray to the light crosses the product, and how blurred the product is from there.

    The product is a sheet: upright where it stands, leans or hangs, level within its thickness where it lies.
    """
    stride = map_stride(buffer.part.shape[0])
    camera = buffer.camera
    x, y, z = buffer.position[:, ::stride, ::stride]
    sharpness = np.float32(30 + 550 * light.softness)  # pixels at 512 over which a world unit of air blurs
    if camera.above:
        gap = np.float32(fit.gap or 0)
        reach = (gap * np.float32(_HALFWAY) - y) / np.float32(max(float(ray[1]), 0.34))
        hit_x, hit_z = x + reach * ray[0], z + reach * ray[2]
        columns, rows = camera.project(hit_x, np.zeros_like(hit_x), hit_z)
        spread = np.maximum(reach, 0) * sharpness + gap * _OWN_BLUR
        valid = reach > 0
    else:
        toward = min(float(ray[2]), -0.34)  # a flatter billboard would throw a needle of a shadow
        plane = np.float32(plane_of(fit))
        reach = (z - plane) / np.float32(-toward)
        hit_x, hit_y = x + reach * ray[0], y + reach * ray[1]
        columns, rows = camera.project(hit_x, hit_y, np.full_like(hit_x, plane))
        spread = np.maximum(reach, 0) * sharpness
        valid = (reach > 0) & (hit_y > np.float32(-0.02))
    scale = np.log(np.maximum(spread, SHADOW_BLURS[0])) - np.float32(np.log(SHADOW_BLURS[0]))
    steps = np.log(np.array(SHADOW_BLURS, np.float32) / SHADOW_BLURS[0])
    level = np.interp(scale, steps, np.arange(len(SHADOW_BLURS))).astype(np.float32)
    weights = [np.maximum(0, 1 - np.abs(level - np.float32(blur))) * valid for blur in range(len(SHADOW_BLURS))]
    inverse = np.float32(1 / stride)
    return _strided(columns, inverse), _strided(rows, inverse), np.asarray(cv2.merge(weights), np.float32)


_HALO_SHIFT = 6.0  # pixels at 512 by which the halo of what lies or hangs is moved away from the light
_HALFWAY = 0.7  # share of its thickness at which what lies throws its shadow
_OWN_BLUR = 35.0  # pixels at 512 per world unit of thickness: a rounded side throws a softer shadow than a sheet


def contact_map(buffer: GBuffer, ray: Floats, fit: Fit) -> dict[str, Floats]:
    """Where each pixel lies in the contact map, and how near it is to what the product touches."""
    camera = buffer.camera
    stride = map_stride(camera.height)
    x, y, z = buffer.position[:, ::stride, ::stride]
    if camera.above or fit.hangs:  # the map is a halo around the product, moved away from the light
        across, up = float(ray[0]), float(ray[2] if camera.above else ray[1])
        moved = np.float32(_HALO_SHIFT * camera.reference / 512 / stride / math.hypot(across, up))
        rows, columns = np.mgrid[0 : x.shape[0], 0 : x.shape[1]].astype(np.float32)
        near = np.exp(-np.abs(y) * np.float32(7)) if camera.above else buffer.part[::stride, ::stride] == WALL
        close = 1.0 if camera.above else math.exp(-6 * (fit.gap or 0))
        return {
            "contact_columns": columns + moved * np.float32(across),
            "contact_rows": rows - moved * np.float32(up),
            "contact_weight": np.asarray(near, np.float32) * np.float32(close),
        }
    unit = np.float32(camera.pixels_per_unit / stride * _nearer(camera, plane_of(fit)))
    middle = contact_shape(camera)[0] // 2
    return {
        "contact_columns": np.clip(x * unit + np.float32(camera.width / 2 / stride - 0.5), -1e4, 1e4),
        "contact_rows": np.clip((z - np.float32(plane_of(fit))) * unit + np.float32(middle), -1e4, 1e4),
        "contact_weight": np.exp(-np.abs(y) * np.float32(7)),
    }


def _nearer(camera: Camera, plane: float) -> float:
    """How much smaller than at the origin the picture shows what is at z = `plane`."""
    return camera.distance / (camera.distance + plane)


def vignette(camera: Camera, strength: float) -> Float32[np.ndarray, "height width"]:
    """Darkening toward the corners, (height, width)."""
    down, across = (
        (np.arange(pixels, dtype=np.float32) / pixels - np.float32(0.5)) ** 2
        for pixels in (camera.height, camera.width)
    )
    return np.asarray(1 - np.float32(1.1 * strength) * (across + down[:, None]), np.float32)
