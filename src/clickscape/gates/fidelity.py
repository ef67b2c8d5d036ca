"""The fidelity gate: check that an image shows the product unchanged, whole, on a surface, and that it stands out.

It reads the image and the placed cut-out alone, so it serves every renderer. The product's own pixels are compared at
full size; all else is measured with at most WORKING pixels on the shorter side. A mirrored image measures the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from jaxtyping import UInt8

from clickscape.config import FidelityConfig
from clickscape.gates.contact_shadow import measure_contact_shadow, shows_ground
from clickscape.gates.edge import edge_difference, seam_step
from clickscape.gates.extension import extension_share
from clickscape.gates.outline import Floats, unroll
from clickscape.gates.result import Failure, GateResult, Kind
from clickscape.gates.surround import Surround, measure_surround
from clickscape.render.renderer import Sides
from clickscape.render.staging import Pose

Bytes = npt.NDArray[np.uint8]

WORKING = 512  # pixels of the shorter side
_VISIBLE = 24  # alpha from which a pixel shows: less is a breath of shadow in the cut-out
_SOLID = 128  # alpha from which a pixel counts for the product's extent
_PERCENTILE = 99.0  # of ΔE2000 over the product's interior, after lossy encoding
_REMEDIES: dict[Kind, str] = {
    "altered": "the picture changes the product itself. Draw it with the studio renderer, or again with another seed.",
    "edge": "the product's edge shows a fringe (ΔE2000 from a clean one). Look at its cut-out, and give a photo with a "
    "plain background or transparency.",
    "seam": "the picture jumps in lightness around the product, as if it were pasted in. Draw again with another seed.",
    "extended": "the picture adds something to the product (share of its area). Draw it with the studio renderer, or "
    "again with another seed.",
    "floating": "the product seems to float: too little shadow where it meets the ground. Draw again with another "
    "seed, or give a photo that shows the product down to its base.",
    "out_of_frame": "the product is too near the picture's border or cut off by it (share of the side left free). Draw "
    "again with another seed, or at a wider size.",
    "too_small": "the product is too small in the picture (share of width or height). Give a photo in which it is "
    "larger, or lower `extent` under [fidelity] in clickscape.toml.",
    "blends_in": "the product has the tone of what is behind it (share of its outline). Choose another wall color, or "
    "ask for a contrasting one.",
    "clutter": "the picture is too busy beside the product (steps of color per pixel). Choose a description with fewer "
    "props, or a plainer place.",
}
_DEFAULTS = FidelityConfig()


@dataclass(frozen=True, slots=True)
class Limits:
    """What a picture may measure; the defaults are those of the settings, see docs/experiments/fidelity.md.

    `safe_zone`: shares of width and height that the product must leave free left, top, right and bottom.
    """

    edge: float = _DEFAULTS.edge
    seam: float = _DEFAULTS.seam
    extension: float = _DEFAULTS.extension
    contact_shadow: float = _DEFAULTS.contact_shadow
    extent: float = _DEFAULTS.extent
    safe_zone: tuple[float, float, float, float] = (_DEFAULTS.room,) * 4
    blending: float = _DEFAULTS.blending
    clutter: float = _DEFAULTS.clutter


@dataclass(frozen=True, slots=True)
class Measures:
    """What was measured in one picture.

    `altered`: opaque pixels that differ, or the 99th percentile of their ΔE2000; `edge`: ΔE2000 to a clean composite;
    `seam`: step in lightness, CIELAB units; `extension`: share of the product's area; `contact_shadow`: brightening
    per pixel below the product, None where it ends too near the border or the picture is too small to know; `room`: the
    smallest share of the picture's side left free beyond the safe zone; `extent`: share of width or height that the
    product fills, the larger of both; `lost`, `clutter`: see `Surround`.
    """

    altered: float
    edge: float
    seam: float
    extension: float
    contact_shadow: float | None
    room: float
    extent: float
    lost: float
    clutter: float


def check(
    image: UInt8[np.ndarray, "height width 3"],
    product: UInt8[np.ndarray, "height width 4"],
    *,
    tolerance: float = 0.0,
    limits: Limits | None = None,
    pose: Pose = "stands",
    cut_off: Sides | None = None,
) -> GateResult:
    """Check an image (height, width, 3) with its placed cut-out (height, width, 4), uint8 sRGB.

    `tolerance` 0: opaque product pixels must be bit-identical, as in a lossless file; else it is the largest 99th
    percentile of ΔE2000 after lossy encoding, one pixel off the edge. `pose`: how the renderer says that it shows the
    product, `cut_off`: see `measure`. A product of which no pixel is left is too small. ValueError for other shapes.
    """
    allowed = limits or Limits()
    _check(image, product)
    if not _has_product(product):
        return GateResult((Failure("too_small", 0.0, allowed.extent, _REMEDIES["too_small"]),))
    measured = measure(image, product, tolerance=tolerance, safe_zone=allowed.safe_zone, pose=pose, cut_off=cut_off)
    return check_measures(measured, tolerance=tolerance, limits=allowed)


def measure(
    image: UInt8[np.ndarray, "height width 3"],
    product: UInt8[np.ndarray, "height width 4"],
    *,
    tolerance: float = 0.0,
    safe_zone: tuple[float, float, float, float] = (0, 0, 0, 0),
    pose: Pose = "stands",
    cut_off: Sides | None = None,
) -> Measures:
    """Measure what `check` compares with its limits.

    What lies, leans or hangs has a shadow all around, which is no halo; what hangs need not touch the ground.
    What is shown as it was photographed has nothing around it that somebody drew; `cut_off` says of it whether the
    photo cuts it off left, top, right and bottom, and is None for anything else. ValueError for other shapes and for a
    product of which no pixel is left.
    """
    _check(image, product)
    if not _has_product(product):
        raise ValueError(f"no pixel of the placed cut-out has an alpha of {_SOLID} or more: there is no product")
    altered = float(count_differing(image, product) if tolerance == 0 else color_error(image, product))
    if cut_off is not None:
        free = room(product, safe_zone, may_touch=cut_off)
        return Measures(altered, 0.0, 0.0, 0.0, None, free, extent(product), 0.0, 0.0)
    shown, placed = at_working_size(image, product)
    large = _enlarged(shown, placed)
    outlines = unroll(shown, placed)
    shaded = pose != "stands"
    ground = shows_ground(image.shape[:2])
    surround = measure_surround(shown, placed, outlines) if ground else Surround(0.0, 0.0)
    return Measures(
        altered=altered,
        edge=edge_difference(outlines, shaded=shaded),
        seam=seam_step(outlines if large[0] is shown else unroll(*large), shaded=shaded),
        extension=extension_share(shown, placed),
        contact_shadow=measure_contact_shadow(*large) if pose != "hangs" and ground else None,
        room=room(product, safe_zone, may_touch=(False, pose == "hangs", False, False)),
        extent=extent(product),
        lost=surround.lost,
        clutter=surround.clutter,
    )


def check_measures(measured: Measures, *, tolerance: float = 0.0, limits: Limits | None = None) -> GateResult:
    """Compare measures with their limits."""
    allowed = limits or Limits()
    at_most: tuple[tuple[Kind, float, float], ...] = (
        ("altered", measured.altered, tolerance),
        ("edge", measured.edge, allowed.edge),
        ("seam", measured.seam, allowed.seam),
        ("extended", measured.extension, allowed.extension),
        ("blends_in", measured.lost, allowed.blending),
        ("clutter", measured.clutter, allowed.clutter),
    )
    at_least: tuple[tuple[Kind, float | None, float], ...] = (
        ("floating", measured.contact_shadow, allowed.contact_shadow),
        ("out_of_frame", measured.room, 0.0),
        ("too_small", measured.extent, allowed.extent),
    )
    wrong = [(kind, value, limit) for kind, value, limit in at_most if value > limit]
    wrong += [(kind, value, limit) for kind, value, limit in at_least if value is not None and value < limit]
    return GateResult(tuple(Failure(kind, value, limit, _remedy(kind, tolerance)) for kind, value, limit in wrong))


def _remedy(kind: Kind, tolerance: float) -> str:
    if kind == "altered" and tolerance:
        return "the product's colors were lost in saving (ΔE2000). Choose a placement with more bytes or fewer pixels."
    return _REMEDIES[kind]


def _check(image: Bytes, product: Bytes) -> None:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"an image is uint8 (height, width, 3), got {image.dtype} {image.shape}")
    if product.dtype != np.uint8 or product.shape != (*image.shape[:2], 4):
        raise ValueError(f"the placed cut-out is uint8 {(*image.shape[:2], 4)}, got {product.dtype} {product.shape}")


def _has_product(product: Bytes) -> bool:
    return bool((product[..., 3] >= _SOLID).any())


def count_differing(image: UInt8[np.ndarray, "height width 3"], product: UInt8[np.ndarray, "height width 4"]) -> float:
    """Opaque product pixels that are not the cut-out's own."""
    return float(((image != product[..., :3]).any(-1) & (product[..., 3] == 255)).sum())


def color_error(image: UInt8[np.ndarray, "height width 3"], product: UInt8[np.ndarray, "height width 4"]) -> float:
    """99th percentile of ΔE2000 over opaque product pixels, a pixel off the edge; 0 when there are none."""
    from skimage.color import deltaE_ciede2000, rgb2lab

    inside = cv2.erode((product[..., 3] == 255).astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1) > 0
    if not inside.any():
        return 0.0
    return float(
        np.percentile(deltaE_ciede2000(rgb2lab(image[inside]), rgb2lab(product[..., :3][inside])), _PERCENTILE)
    )


def room(
    product: UInt8[np.ndarray, "height width 4"],
    safe_zone: tuple[float, float, float, float],
    *,
    may_touch: Sides = (False,) * 4,
) -> float:
    """Smallest share of the picture's side between the product and the safe zone; negative inside the zone or border.

    A product that touches the border has no room, whatever the zone, unless it `may_touch` that side.
    """
    height, width = product.shape[:2]
    left, top, wide, tall = cv2.boundingRect((product[..., 3] >= _VISIBLE).astype(np.uint8))
    free = ((left, width), (top, height), (width - left - wide, width), (height - top - tall, height))
    spare = [
        (pixels / side if pixels else math.inf if touches else -1.0) - zone
        for (pixels, side), touches, zone in zip(free, may_touch, safe_zone, strict=True)
    ]
    return float(min(spare))


def extent(product: UInt8[np.ndarray, "height width 4"]) -> float:
    """Share of the picture's width or height that the product fills, the larger of both."""
    height, width = product.shape[:2]
    _, _, wide, tall = cv2.boundingRect((product[..., 3] >= _SOLID).astype(np.uint8))
    return float(max(tall / height, wide / width))


def _bytes(picture: tuple[Bytes, Bytes]) -> bytes:
    return picture[1].tobytes() + picture[0].tobytes()


def at_working_size(
    image: UInt8[np.ndarray, "height width 3"], product: UInt8[np.ndarray, "height width 4"]
) -> tuple[Floats, Floats]:
    """Image and cut-out, 0..1, with at most WORKING pixels on the shorter side; hidden colors do not come up.

    Of a picture and its mirror image the one whose bytes come first is taken: both are measured on the same pixels.
    """
    image, product = min((image, product), (image[:, ::-1], product[:, ::-1]), key=_bytes)
    shown, placed = (each.astype(np.float32) / np.float32(255) for each in (image, product))
    return _scaled(shown, placed, cv2.INTER_AREA) if min(image.shape[:2]) > WORKING else (shown, placed)


def _enlarged(shown: Floats, placed: Floats) -> tuple[Floats, Floats]:
    """Small pictures at WORKING pixels: a shadow is as wide as a share of the picture, a clean edge is not."""
    return _scaled(shown, placed, cv2.INTER_LINEAR) if min(shown.shape[:2]) < WORKING else (shown, placed)


def _scaled(shown: Floats, placed: Floats, method: int) -> tuple[Floats, Floats]:
    """Both with WORKING pixels on the shorter side; the cut-out's colors weigh by alpha."""
    height, width = shown.shape[:2]
    scale = WORKING / min(height, width)
    size, alpha = (round(width * scale), round(height * scale)), placed[..., 3:]
    weighed = np.dstack([placed[..., :3] * alpha, alpha])
    resized = np.asarray(cv2.resize(weighed, size, interpolation=method), np.float32)
    resized[..., :3] /= np.maximum(resized[..., 3:], np.float32(1e-4))
    return np.asarray(cv2.resize(shown, size, interpolation=method), np.float32), resized
