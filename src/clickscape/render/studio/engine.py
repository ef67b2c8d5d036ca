"""The studio renderer: description → scene → picture, deterministic by seed, with the product's own pixels untouched.

A picture is a stage (the scene without product, cached) × the product's shadow and contact + its mirror image, exposed,
tone mapped, with a breath of grain; then the product on top. A mirrored picture is drawn with the cut-out mirrored and
turned round at the end, so one stage serves both.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from clickscape.compute.cache import ByteCache
from clickscape.render.color import Bytes, Floats, gray, tone
from clickscape.render.language.parse import parse
from clickscape.render.physical_size import PhysicalSize
from clickscape.render.physical_size import physical_size as physical_size_of
from clickscape.render.renderer import NO_MARGINS, Box, DigitalSource, Margins, Rendering, check_size
from clickscape.render.scene import WALLED, Scene
from clickscape.render.shading import key_side
from clickscape.render.silhouette import silhouette
from clickscape.render.staging import STANDING, Staging, shown
from clickscape.render.staging import staging as staging_of
from clickscape.render.studio import product as products
from clickscape.render.studio import stage as stages
from clickscape.render.studio.geometry import Camera
from clickscape.render.studio.layout import lay_out
from clickscape.render.studio.palette import answer
from clickscape.render.studio.product import Placed
from clickscape.render.studio.props import PropLayer
from clickscape.render.studio.stage import Stage, Variation
from clickscape.types import Product

Name = tuple[int, tuple[int, ...]]
"""Checksum and shape of a cut-out."""

_SEEN = 0.004  # share of the picture from which on props count as seen
CACHE_BYTES = 2**30  # a quarter of it holds a finished scene of 1536 px and its product
_SHIFT = 0.022  # share of the width by which the product may stand off the center
_GRAIN = 1.2  # standard deviation, display levels


class StudioRenderer:
    """Draws scenes around cut-outs; keeps at most `cache_bytes` of sets, materials and scenes for the next picture.

    `kept`: folder in which sets outlive the process (see `disk`), None for none.
    Finished scenes have a quarter of that to themselves: in learning each is seen once and must not drive out the rest.
    """

    name = "studio"
    digital_source: DigitalSource = "compositeSynthetic"

    def __init__(self, *, cache_bytes: int = CACHE_BYTES, kept: Path | None = None) -> None:
        self.kept = kept
        self.parts = ByteCache(cache_bytes * 3 // 4)
        self.finished = ByteCache(cache_bytes // 4)

    @property
    def recipe(self) -> Mapping[str, object]:
        """Return nothing: the studio has no settings."""
        return {}

    def render(
        self,
        product: Product,
        description: str,
        *,
        size: tuple[int, int] = (1024, 1024),
        seed: int,
        margins: Margins = NO_MARGINS,
    ) -> Rendering:
        """Draw what `description` says around the product; words that mean nothing here come back in `unknown`."""
        from clickscape.catalog.cutout import open_cutout

        parsed = parse(description)
        scene = parsed.scene
        if parsed.wish is not None:
            scene = replace(scene, palette=answer(open_cutout(product.image), parsed.wish))
        made = self.render_scene(product, scene, size=size, seed=seed, margins=margins)
        return replace(made, unknown=parsed.unknown, parsed=parsed.is_valid)

    def render_scene(
        self, product: Product, scene: Scene, *, size: tuple[int, int], seed: int, margins: Margins = NO_MARGINS
    ) -> Rendering:
        """Draw `scene` around the product, as large in the world as its words say; `size` is (width, height)."""
        from clickscape.catalog.cutout import open_cutout

        cutout = open_cutout(product.image)
        name = _name(cutout)
        outline, key = self.parts.get(("seen", name), lambda: (silhouette(cutout), key_side(cutout)))
        return self._compose(
            cutout,
            scene,
            name=name,
            size=size,
            seed=seed,
            margins=margins,
            physical_size=physical_size_of(product),
            staging=replace(staging_of(product, outline, scene), key=key, elevation=outline.elevation),
        )

    def compose(
        self,
        cutout: UInt8[np.ndarray, "rows columns 4"],
        scene: Scene,
        *,
        size: tuple[int, int] = (1024, 1024),
        seed: int,
        margins: Margins = NO_MARGINS,
        physical_size: PhysicalSize = "usual",
        staging: Staging = STANDING,
    ) -> Rendering:
        """Draw `scene` around a cut-out (height, width, 4), sRGB + straight alpha; `size` is (width, height).

        The product keeps the `margins` free; what surrounds it fills the whole picture. `physical_size`: how large
        it is in the world, `staging`: how it is shown; `render` finds both out from its words and its outline.
        """
        return self._compose(
            cutout,
            scene,
            name=_name(cutout),
            size=size,
            seed=seed,
            margins=margins,
            physical_size=physical_size,
            staging=staging,
        )

    def _compose(
        self,
        cutout: Bytes,
        scene: Scene,
        *,
        name: Name,
        size: tuple[int, int],
        seed: int,
        margins: Margins,
        physical_size: PhysicalSize,
        staging: Staging,
    ) -> Rendering:
        """As `compose`, of a cut-out whose `name` is known: reading all its bytes for it takes time."""
        _check(cutout, size)
        variation, rng = vary(scene, seed)
        if staging.key is not None:  # the set's keys come from the left; a mirrored picture has them from the right
            variation = replace(variation, mirrored=staging.key == "right")
        bounds = self.parts.get(("bounds", name), lambda: products.bounds(cutout))
        place = lay_out(
            (bounds.height, bounds.width),
            staging,
            size=size,
            view=stages.CAMERAS[variation.camera],
            offset=_SHIFT * variation.shift,
            walled=scene.setting in WALLED,
            margins=margins,
            physical_size=physical_size,
        )
        box, camera, fit = place.box, place.camera, place.fit
        foot = staging.seen == "front" and not fit.hangs
        placed = self.finished.get(
            ("placed", name, box, size, variation.mirrored, camera, foot, staging.on_floor),
            lambda: _place(
                self.parts.get(("piece", name, box.width, box.height), lambda: products.scaled(cutout, box)),
                box,
                camera,
                mirrored=variation.mirrored,
                foot=foot,
                legs=staging.on_floor,
            ),
        )
        drawn = replace(scene, stand="floor") if staging.needs_no_stand else scene
        still = replace(variation, mirrored=False, shift=0)  # what of a variation changes the stage
        stage = self.finished.get(
            ("stage", drawn, still, camera, fit),
            lambda: stages.build(drawn, still, camera=camera, fit=fit, cache=self.parts, kept=self.kept),
        )
        picture = draw(stage, placed, grain=_grain(size, rng))
        seen = shown(scene, staging)
        if not _sees_props(stage.props, placed.canvas):
            seen = replace(seen, props=())
        canvas = placed.canvas
        if variation.mirrored:
            picture, canvas = picture[:, ::-1], canvas[:, ::-1]
        return Rendering(
            image=np.ascontiguousarray(picture),
            scene=seen,
            unknown=(),
            product=canvas.copy(),
            staging=staging,
        )


def vary(scene: Scene, seed: int) -> tuple[Variation, np.random.Generator]:
    """What the seed chooses for this scene; the same pair always gives the same choice."""
    rng = np.random.default_rng([seed, zlib.crc32(scene.to_json().encode())])
    variation = Variation(
        mirrored=bool(rng.integers(2)),
        camera=int(rng.integers(len(stages.CAMERAS))),
        view=int(rng.integers(2)),
        pattern=int(rng.integers(3)),
        layout=int(rng.integers(2)),
        jitter=int(rng.integers(-1, 2)),
        shift=int(rng.integers(-1, 2)),
    )
    return variation, rng


def draw(
    stage: Stage, placed: Placed, *, grain: Float32[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width 3"]:
    """One picture (height, width, 3) from a stage, a product and grain (height, width) in display levels."""
    height, width = placed.canvas.shape[:2]
    shadow = cv2.remap(
        placed.shadows, stage.shadow_columns, stage.shadow_rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    shadow = np.einsum("hwc,hwc->hw", shadow, stage.shadow_weights)
    occluded = cv2.remap(
        placed.contact, stage.contact_columns, stage.contact_rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT
    )
    if placed.feet is not None:
        occluded += placed.feet
    open_share = 1 - np.minimum(occluded * stage.contact_weight, np.float32(0.92))
    lit = (1 - np.minimum(shadow, 1)) * (np.float32(0.3) + np.float32(0.7) * open_share)
    lit, open_share = _enlarged(lit, width, height), _enlarged(open_share, width, height)
    light = stage.key * gray(lit)
    light += stage.fill * gray(open_share)
    light *= np.float32(stage.exposure)
    if stage.backdrop is not None:
        light += stage.backdrop
    if stage.mirror is not None:
        _mirror(light, stage, placed)
    _smooth_edges(light, stage)
    if stage.props is not None:
        _lay_props(light, stage.props, stage.exposure)
    light *= gray(stage.vignette)
    light += _bloom(light)
    display = tone(light)
    display += gray(grain)
    display += np.float32(0.5)
    return products.over(np.clip(display, 0, 255, out=display).astype(np.uint8), placed.canvas)


def _check(cutout: Bytes, size: tuple[int, int]) -> None:
    if cutout.ndim != 3 or cutout.shape[2] != 4 or cutout.dtype != np.uint8:
        raise ValueError(f"a cut-out is uint8 (height, width, 4), got {cutout.dtype} {cutout.shape}")
    check_size(size)


def _name(cutout: Bytes) -> Name:
    return zlib.crc32(np.ascontiguousarray(cutout).data), cutout.shape


def _place(piece: Bytes, box: Box, camera: Camera, *, mirrored: bool, foot: bool, legs: bool) -> Placed:
    if mirrored:
        piece, box = piece[:, ::-1], Box(camera.width - box.left - box.width, box.top, box.width, box.height)
    return products.place(piece, box, camera, foot=foot, legs=legs)


@lru_cache(maxsize=8)
def _grain_field(width: int, height: int) -> Floats:
    field = np.random.default_rng(9).normal(0, _GRAIN, (height + 64, width + 64)).astype(np.float32)
    field.setflags(write=False)
    return field


def _grain(size: tuple[int, int], rng: np.random.Generator) -> Floats:
    """A piece of one fixed noise field, (height, width): new noise for each picture costs more than it shows."""
    down, right = rng.integers(0, 64, 2)
    return _grain_field(*size)[down : down + size[1], right : right + size[0]]


def _enlarged(coarse: Floats, width: int, height: int) -> Floats:
    if coarse.shape == (height, width):
        return coarse
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _mirror(light: Floats, stage: Stage, placed: Placed) -> None:
    """Lay the product's mirror image on glossy ground; the product is shown as bright as it is, whatever the light."""
    assert stage.mirror is not None
    height, width = light.shape[:2]
    rows = np.flatnonzero(stage.mirror.weight.any(1))
    if not rows.size:
        return
    blurred = cv2.GaussianBlur(placed.mirror, (0, 0), stage.mirror.blur)
    band = slice(int(rows[0]), int(rows[-1]) + 1)
    columns, lines, weight = (each[band] for each in (stage.mirror.columns, stage.mirror.rows, stage.mirror.weight))
    image = np.zeros((*stage.mirror.weight.shape, 4), np.float32)
    image[band] = cv2.remap(blurred, columns, lines, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    image[band] *= cv2.merge((weight, weight, weight, weight))
    scale = height / len(image)
    image = _enlarged(image, width, height) if scale != 1 else image
    part = slice(int(rows[0] * scale), min(height, int((rows[-1] + 2) * scale)))
    light[part] *= gray(1 - image[part, :, 3])
    light[part] += image[part, :, :3]


def _smooth_edges(light: Floats, stage: Stage) -> None:
    flat = light.reshape(-1, 3)
    own = flat[stage.edges.pixel]
    flat[stage.edges.pixel] = own + (flat[stage.edges.neighbor] - own) * stage.edges.weight


def _lay_props(light: Floats, layer: PropLayer, exposure: float) -> None:
    tall, wide = layer.piece.shape[:2]
    under = light[layer.top : layer.top + tall, layer.left : layer.left + wide]
    under *= gray(1 - layer.piece[..., 3])
    under += layer.piece[..., :3] * np.float32(exposure)


def _sees_props(layer: PropLayer | None, canvas: Bytes) -> bool:
    """Whether enough of the props is in the picture, and not behind the product, to be seen."""
    if layer is None or not layer.piece.size:
        return False
    tall, wide = layer.piece.shape[:2]
    hidden = canvas[layer.top : layer.top + tall, layer.left : layer.left + wide, 3] * np.float32(1 / 255)
    return float((layer.piece[..., 3] * (1 - hidden)).sum()) > _SEEN * canvas.shape[0] * canvas.shape[1]


def _bloom(light: Floats) -> Floats:
    """Highlights spill a little into their surroundings."""
    height, width = light.shape[:2]
    small = cv2.resize(light, (max(4, width // 4), max(4, height // 4)), interpolation=cv2.INTER_AREA)
    small = np.clip(small - 1, 0, 3)
    small = cv2.GaussianBlur(small, (0, 0), max(0.5, small.shape[0] / 15)) * np.float32(0.3)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
