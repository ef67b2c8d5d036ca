"""A scene without its product: everything that is the same for all products, ready to be multiplied and added up."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from clickscape.compute.cache import ByteCache
from clickscape.render.color import Floats, filtered, gray, hex_to_linear, tinted
from clickscape.render.scene import WALLED, Scene
from clickscape.render.studio import backdrop, disk, gbuffer, geometry, lights, props, surfaces
from clickscape.render.studio.focus import defocused
from clickscape.render.studio.gbuffer import GBuffer
from clickscape.render.studio.geometry import Camera
from clickscape.render.studio.layout import Fit
from clickscape.render.studio.lookups import (
    Mirror,
    contact_map,
    mirror_map,
    mirror_share,
    plane_of,
    shadow_map,
    vignette,
)
from clickscape.render.studio.lying_props import LYING, lie
from clickscape.render.studio.product import map_stride
from clickscape.render.studio.props import PropLayer
from clickscape.render.studio.stand import Stand, spread_of, stand_for

CAMERAS = ((1.05, 0.0), (0.86, -0.09), (1.26, 0.11))  # eye height, yaw in radians
_ON_PROPS = 0.78  # share of the key that props get
_TO_WALL = 1.5  # world units by which props stand farther back beside what hangs on a wall
_POOL = 0.5  # world units by which the key's pool lies above the middle of what is seen from above
_MUCH_BEFORE = 0.75  # share of the height: a product that stands higher has so much before it that a table fills it
_SOFTLY = 0.45  # share of the key that patterns leave where they are closed, on what is seen from above
_LOOKED_UP = 30_000  # points in one look-up: OpenCV's maps have fewer than 32,767 rows


@dataclass(frozen=True, slots=True)
class Variation:
    """What the seed chooses: mirrored or not, camera, piece of the panorama, pattern, place of props and product."""

    mirrored: bool = False
    camera: int = 0
    view: int = 0
    pattern: int = 0
    layout: int = 0
    jitter: int = 0
    shift: int = 0  # −1, 0, 1: the product's offset from the center


@dataclass(frozen=True, slots=True)
class Stage:
    """Light on an empty set, (height, width[, 3]) linear; strided maps are half size in large pictures.

    A pixel is key × shadow + fill × contact + constant × contact + backdrop, all times the exposure.
    """

    key: Floats  # (…, 3) albedo × key light, with sheen
    fill: Floats  # (…, 3) albedo × ambient light, bounce and rim
    backdrop: Floats | None  # (…, 3), exposed
    edges: gbuffer.Edges
    exposure: float
    vignette: Floats
    shadow_columns: Floats  # strided: where the light ray meets the product's plane
    shadow_rows: Floats
    shadow_weights: Floats  # strided (…, 4): share of each blur
    contact_columns: Floats
    contact_rows: Floats
    contact_weight: Floats
    mirror: Mirror | None
    props: PropLayer | None


def build(
    scene: Scene, variation: Variation, *, camera: Camera, fit: Fit, cache: ByteCache, kept: Path | None = None
) -> Stage:
    """Put a scene together from cached parts, to the measure of the product.

    `kept`: folder in which sets outlive the process.
    """
    walled = scene.setting in WALLED and not camera.above
    deep = camera.base_row < _MUCH_BEFORE * camera.height
    stand = stand_for(scene.stand, half=fit.half, physical_size=fit.physical_size, deep=deep)
    where = (stand, walled, camera)
    buffer = cache.get(("buffer", *where), partial(_buffer, stand, camera, walled=walled, kept=kept))
    light = lights.LIGHTS[scene.light]
    ray = lights.toward(light)
    if camera.above:
        ray = lights.from_upper_left(ray)
    key_color = hex_to_linear(light.key) * np.float32(light.power)
    fill_color = hex_to_linear(light.ambient) * np.float32(light.fill)

    moved = 0.5 * variation.view if camera.above else 0.0  # another piece of the surface
    albedo, normal, gloss, rough = surfaces.look_up(scene, buffer, where=where, moved=moved, cache=cache, kept=kept)
    cast = ("visible", *ray.tolist(), light.softness, *where)
    visible = cache.get(cast, partial(_visibility, cast, buffer, ray, softness=light.softness, kept=kept))
    x, y, z = buffer.position
    visible = visible * lights.key_falloff(light, x, z + np.float32(_POOL) if camera.above else y)
    tile = None
    if light.pattern is not None:
        tile = cache.get(
            ("pattern", light.pattern, variation.pattern), lambda: lights.pattern_tile(light, variation.pattern)
        )
        passed = _patterned(light, tile, buffer)
        if fit.gap is not None:
            passed = np.maximum(passed, lights.open_light(camera, fit))
        if camera.above:  # a flat lay is softly lit
            passed = passed + np.float32(_SOFTLY) * (1 - passed)
        visible *= passed
    facing = np.maximum(normal[0] * ray[0] + normal[1] * ray[1] + normal[2] * ray[2], 0)
    key = facing * visible
    ambient = buffer.ambient
    exposure = lights.exposure(light, key, ambient, buffer, on_wall=walled and fit.hangs)

    layer = None
    if scene.props and not camera.above:
        layer = _props(scene, variation, buffer, stand, fit, key_color, fill_color, ray, cache)
    elif scene.props:
        laid = {prop: cache.get(("sprite", prop), partial(props.sprite, prop)) for prop in scene.props if prop in LYING}
        light_on = key_color * np.float32(_ON_PROPS)
        layer = lie(scene.props, laid, camera, fit, layout=variation.layout, key=light_on, ambient=fill_color)
    if layer is not None:
        key = key * layer.shade
        ambient = ambient * (np.float32(0.35) + np.float32(0.65) * layer.shade)
    set_mean = _mean_color(albedo, buffer)
    fill = tinted(ambient, fill_color)
    fill += tinted((1 - buffer.ambient) * np.float32(0.25), set_mean * key_color)
    if light.rim is not None:
        fill += tinted(lights.rim_light(light, normal, x), hex_to_linear(light.rim))
    fill *= albedo
    key_light = albedo * tinted(key, key_color)
    if gloss.any():
        key_light += tinted(_sheen(buffer, normal, ray, gloss, rough) * visible, key_color)
    for part, color in ((key_light, key_color), (fill, fill_color)):
        if (gain := lights.balance(color, camera, fit)) is not None:
            part *= gain

    picture, cover = (
        (None, None) if walled or camera.above else _backdrop(scene, variation, light, tile, buffer, fit, cache)
    )
    mirror = None
    if gloss.any():
        around = _surrounding(picture, albedo, buffer, key_color, fill_color, exposure)
        share = mirror_share(buffer, gloss)
        rest = gray(1 - share)
        key_light *= rest
        fill *= rest
        share *= ambient
        fill += tinted(share, around) if around.ndim == 1 else around * gray(share)
        mirror = None if camera.above else mirror_map(buffer, normal, gloss, rough, plane=plane_of(fit))
    if picture is not None and cover is not None:
        picture *= cover
        np.subtract(1, cover, out=cover)
        key_light *= cover
        fill *= cover
    columns, rows, weights = shadow_map(buffer, light, ray, fit)
    if not camera.above:  # from above all is as far away as the product
        key_light, fill = defocused(buffer, key_light, fill, focus=plane_of(fit))
    return Stage(
        key=key_light,
        fill=fill,
        backdrop=picture,
        edges=buffer.edges,
        exposure=exposure,
        vignette=vignette(camera, light.vignette),
        shadow_columns=columns,
        shadow_rows=rows,
        shadow_weights=weights,
        **contact_map(buffer, ray, fit),
        mirror=mirror,
        props=layer,
    )


def _buffer(stand: Stand, camera: Camera, *, walled: bool, kept: Path | None) -> GBuffer:
    def make() -> disk.Arrays:
        return gbuffer.to_arrays(gbuffer.build(stand, camera, walled=walled))

    return gbuffer.from_arrays(stand, camera, disk.keep((stand, walled, camera), make, where=kept))


def _visibility(key: tuple[object, ...], buffer: GBuffer, ray: Floats, *, softness: float, kept: Path | None) -> Floats:
    def make() -> disk.Arrays:
        return {"visible": gbuffer.key_visibility(buffer, ray, softness=softness)}

    return np.asarray(disk.keep(key, make, where=kept)["visible"], np.float32)


def _patterned(light: lights.Light, tile: Floats | None, buffer: GBuffer) -> Floats:
    stride = map_stride(buffer.part.shape[0])
    passed = lights.transmission(light, tile, *buffer.position[:, ::stride, ::stride])
    if stride == 1:
        return passed
    passed = _full(passed, buffer)
    around = np.ones((2 * stride + 1, 2 * stride + 1), np.uint8)
    border = cv2.dilate(buffer.face, around) != cv2.erode(buffer.face, around)
    if not border.any():
        return passed
    # enlarging mixes the light of two faces, which draws dots along the outline of the nearer one
    points = buffer.position[:, border]
    parts = np.array_split(points, max(1, math.ceil(points.shape[1] / _LOOKED_UP)), axis=1)
    passed[border] = np.concatenate([lights.transmission(light, tile, *part[..., None])[:, 0] for part in parts])
    return passed


def _full(coarse: Floats, buffer: GBuffer) -> Floats:
    height, width = buffer.part.shape
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _props(
    scene: Scene,
    variation: Variation,
    buffer: GBuffer,
    stand: Stand,
    fit: Fit,
    key: Floats,
    fill: Floats,
    ray: Floats,
    cache: ByteCache,
) -> PropLayer:
    standings = props.arrange(
        scene.props,
        stand,
        layout=variation.layout,
        jitter=variation.jitter,
        spread=spread_of(fit.half),
        physical_size=fit.physical_size,
    )
    if fit.hangs:  # the product is at the wall, and so are they
        standings = [replace(each, x=1.12 * each.x, z=each.z + _TO_WALL) for each in standings]
    sources = {each.prop: cache.get(("sprite", each.prop), partial(props.sprite, each.prop)) for each in standings}
    standings = props.inside(
        standings,
        [sources[each.prop].alpha.shape[:2] for each in standings],
        buffer.camera,
        half=fit.half * buffer.camera.pixels_per_unit,
    )
    sprites = []
    for each in standings:
        source = sources[each.prop]
        size = props.pixel_size(each, source.alpha.shape, buffer.camera)
        key_of_sprite = ("sprite", each.prop, size, each.flipped)
        sprites.append(cache.get(key_of_sprite, partial(props.resized, source, size, flipped=each.flipped)))
    return props.draw(
        standings, sprites, buffer, key=key * np.float32(_ON_PROPS), ambient=fill, ray=ray, focus=plane_of(fit)
    )


def _mean_color(albedo: Floats, buffer: GBuffer) -> Floats:
    stride = max(1, albedo.shape[0] // 32)
    shown = buffer.part[::stride, ::stride] > 0
    return np.asarray(albedo[::stride, ::stride][shown].mean(0), np.float32)


def _sheen(buffer: GBuffer, normal: Floats, ray: Floats, gloss: Floats, rough: Floats) -> Floats:
    """Blinn–Phong highlight of the key light (Blinn 1977), zero where nothing is glossy; something is."""
    rows = np.flatnonzero(gloss.any(1))
    sheen = np.zeros_like(gloss)
    part = slice(int(rows[0]), int(rows[-1]) + 1)
    half = ray[:, None, None] - buffer.direction[:, part]
    half /= np.sqrt((half * half).sum(0))
    along = np.clip((normal[:, part] * half).sum(0), 0, 1)
    sheen[part] = along ** (8 + 80 * (1 - rough[part])) * gloss[part] * np.float32(1.3)
    return sheen


def _backdrop(
    scene: Scene,
    variation: Variation,
    light: lights.Light,
    tile: Floats | None,
    buffer: GBuffer,
    fit: Fit,
    cache: ByteCache,
) -> tuple[Floats, Floats]:
    """The photographed backdrop in the scene's light, and its share of each pixel and channel: far ground fades."""
    view = backdrop.VIEWS[scene.setting]
    source = cache.get(("panorama", view.panorama), lambda: backdrop.panorama(view.panorama))
    picture = cache.get(
        ("photograph", scene.setting, variation.view, buffer.camera),
        lambda: backdrop.photograph(buffer, view, variation.view, source),
    )
    picture = filtered(picture, hex_to_linear(light.backdrop) * np.float32(light.backdrop_gain * (1 - light.haze)))
    if (gain := lights.balance(hex_to_linear(light.backdrop), buffer.camera, fit)) is not None:
        picture *= gain
    picture += np.float32(light.haze)
    if light.pattern is not None:
        picture *= gray(_backdrop_light(light, tile, buffer))
    if light.rim is not None:
        picture *= _neon(light, buffer)
    distance = np.clip((buffer.position[2] - np.float32(1.6)) / np.float32(6.0), 0, 1)
    cover = np.where(buffer.part == geometry.BACKDROP, np.float32(1), distance * distance * (3 - 2 * distance))
    return picture, gray(cover)


def _backdrop_light(light: lights.Light, tile: Floats | None, buffer: GBuffer) -> Floats:
    """Patterns also fall on a photographed backdrop, faintly: it is deep, and no screen behind the set."""
    stride = map_stride(buffer.part.shape[0])
    direction = buffer.direction[:, ::stride, ::stride]
    reach = np.float32(geometry.WALL_DISTANCE + buffer.camera.distance) / np.maximum(direction[2], np.float32(1e-3))
    x, y = direction[0] * reach, direction[1] * reach + np.float32(buffer.camera.eye_level)
    passed = lights.transmission(light, tile, x, y, np.full_like(x, geometry.WALL_DISTANCE))
    gain = 0.5 + 2.6 * passed if light.pattern == "spot" else 0.80 + 0.25 * passed
    return _full(gain.astype(np.float32), buffer)


def _neon(light: lights.Light, buffer: GBuffer) -> Floats:
    """Two colors from left and right on the backdrop."""
    assert light.rim is not None
    across = buffer.direction[0] / np.float32(np.abs(buffer.direction[0]).max()) * np.float32(0.5) + np.float32(0.5)
    first, second = hex_to_linear(light.key), hex_to_linear(light.rim)
    return np.asarray((first + (second - first) * across[..., None]) * np.float32(1.5), np.float32)


def _surrounding(
    picture: Floats | None, albedo: Floats, buffer: GBuffer, key: Floats, fill: Floats, exposure: float
) -> Floats:
    """What glossy faces mirror besides the product: the wall's mean color, or the backdrop upside down; (…, 3)."""
    height, width = buffer.part.shape
    if picture is None:
        stride = max(1, height // 32)
        wall = buffer.part[::stride, ::stride] == geometry.WALL
        color = albedo[::stride, ::stride][wall].mean(0) if wall.any() else np.float32(0.5)
        return np.asarray(color * (key * np.float32(0.35) + fill * np.float32(0.8)), np.float32)
    band = picture[int(height * 0.05) : int(height * 0.55)]
    few = cv2.resize(band, (6, 3), interpolation=cv2.INTER_AREA)
    smooth = cv2.resize(few, (width, height), interpolation=cv2.INTER_LINEAR)[::-1]
    return np.asarray(smooth / np.float32(exposure), np.float32)
