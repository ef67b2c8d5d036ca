"""Ads on the backdrop of the product's own photo: it goes on to the ad's format, and a light falls on it.

An outline only says where the product is, so a photo whose cut-out cannot be trusted still makes an ad, with the
photographer's own shadows. A light and neutral backdrop takes on a tint: up to an outline that is clear, or from the
frame inwards to a pool of light around one that is not. What is no backdrop but a place (a room, boards) is cropped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import UInt8

from clickscape.catalog.background import disc, reached
from clickscape.catalog.own_photo import open_own_photo
from clickscape.compute.cache import ByteCache
from clickscape.render.color import Floats
from clickscape.render.photo_backdrop import PhotoBackdrop, lab_of
from clickscape.render.renderer import NO_MARGINS, DigitalSource, Margins, Rendering, Sides, check_size
from clickscape.types import Product

TINTS: Mapping[str, str] = {
    "cream": "#f5e6cd",
    "pink": "#f6d5d6",
    "mint": "#cbe8d8",
    "blue": "#cbdff5",
    "yellow": "#fae8b4",
    "lavender": "#ddd5f3",
}
"""Tint → its sRGB color on a white backdrop."""

LIGHTS: Mapping[str, str] = {"soft": "soft light", "side": "light from the side", "window": "light from a window"}
"""Light → how a description says it."""

_OPENING = "The backdrop of its own photo"
PLACES = ("in the middle", "on the left", "on the right")

_TALL, _WIDE = 0.60, 0.70  # share of the free height or width that the product fills, at most
_CUT_OFF = 0.8  # the same along a side at which its photo cuts it off: there is no room beyond
_ASIDE = 0.08  # share of the width by which it stands off the middle
_BRIGHTER = 1.06  # times its own brightness that a tint may give a backdrop
_SAME = 0.02  # share of the width that makes no other place
_WIDEST, _FINEST = 64.0, 16.0  # pixels: the widest blur at full size, and the blur of a picture made smaller for it


@dataclass(frozen=True, slots=True)
class Backdrop:
    """What can be said of such an ad: a tint or none, the light on the backdrop, and where the product stands."""

    tint: str | None = None
    light: str = "soft"
    place: str = "in the middle"

    def __str__(self) -> str:
        """The description of the ad, which `of` reads back."""
        tint = f", tinted {self.tint}" if self.tint else ""
        return f"{_OPENING}{tint}, {LIGHTS[self.light]}, the product {self.place}"

    @classmethod
    def of(cls, description: str) -> Backdrop | None:
        """Read a description, of which phrases may be missing; None where it says anything else."""
        said: dict[str, str] = {}
        for phrase in description.split(", "):
            if phrase not in _PHRASES:
                return None
            said |= _PHRASES[phrase]
        return cls(**said)


_PHRASES: Mapping[str, Mapping[str, str]] = {
    _OPENING: {},
    **{f"tinted {name}": {"tint": name} for name in TINTS},
    **{words: {"light": name} for name, words in LIGHTS.items()},
    **{f"the product {place}": {"place": place} for place in PLACES},
}
"""Phrase → what it says."""


class PhotoRenderer:
    """Draws ads around the product's own photo (`own_photo`); descriptions are those of `Backdrop`."""

    name = "photo"
    digital_source: DigitalSource = "compositeSynthetic"

    def __init__(self) -> None:
        self.backdrops = ByteCache(2**27)

    @property
    def recipe(self) -> Mapping[str, object]:
        """Return nothing: it has no settings."""
        return {}

    def backdrop(self, product: Product) -> PhotoBackdrop:
        """Find the backdrop of a product's photo; ImageError where it has none."""
        return self.backdrops.get(product.image, lambda: PhotoBackdrop.of(open_own_photo(product.image)))

    def render(
        self,
        product: Product,
        description: str,
        *,
        size: tuple[int, int] = (1024, 1024),
        seed: int,
        margins: Margins = NO_MARGINS,
    ) -> Rendering:
        """Draw what the description says of the backdrop; a tint only where the backdrop takes it on.

        A description that is none of `Backdrop` is drawn in soft light, and `parsed` is False. ImageError for a product
        without a photo of its own.
        """
        check_size(size)
        asked, found = Backdrop.of(description), self.backdrop(product)
        said = asked or Backdrop()
        view = _view(found, said, size=size, margins=margins)
        picture, canvas = _draw(found, said, view, size=size, seed=seed)
        return Rendering(
            image=picture,
            scene=None,
            unknown=(),
            product=canvas,
            parsed=asked is not None,
            cut_off=_cut_off(found, view, size),
        )


@dataclass(frozen=True, slots=True)
class _View:
    """Where the photo lies in the picture: its scale, and its upper left corner in the picture's pixels."""

    scale: float
    left: float
    top: float

    def matrix(self, shrunk: tuple[float, float] = (1.0, 1.0)) -> Floats:
        across, down = shrunk
        return np.array([[self.scale * across, 0, self.left], [0, self.scale * down, self.top]], np.float32)


def possible_places(found: PhotoBackdrop, size: tuple[int, int]) -> tuple[str, ...]:
    """Where the product can stand in a picture of `size` (width, height), in the order of PLACES.

    A photo that leaves no choice, because of what it cuts off or of where it ends, has one of them.
    """
    views = [_view(found, Backdrop(place=place), size=size, margins=NO_MARGINS) for place in PLACES]
    different = {
        round(view.left / (_SAME * size[0])): place for view, place in reversed([*zip(views, PLACES, strict=True)])
    }
    return tuple(place for place in PLACES if place in different.values())


def _cut_off(found: PhotoBackdrop, view: _View, size: tuple[int, int]) -> Sides:
    """Left, top, right and bottom: whether the photo cuts the product off, and ends where the picture does."""
    height, width = found.photo.alpha.shape
    gaps = (view.left, view.top, view.left + view.scale * width - size[0], view.top + view.scale * height - size[1])
    left, top, right, bottom = (cut and abs(gap) < 1 for cut, gap in zip(found.touches, gaps, strict=True))
    return left, top, right, bottom


def _view(found: PhotoBackdrop, asked: Backdrop, *, size: tuple[int, int], margins: Margins) -> _View:
    height, width = found.photo.alpha.shape
    left, top, wide, tall = found.bounds
    inner = margins.inside(size)
    free = (inner[2] - inner[0], inner[3] - inner[1])
    cut = found.touches
    fill = _CUT_OFF if cut[0] or cut[2] else _WIDE, _CUT_OFF if cut[1] or cut[3] else _TALL
    scale = min(fill[0] * free[0] / wide, fill[1] * free[1] / tall)
    if not found.is_plain:
        scale = max(scale, found.covering(size))
    scale = max(scale, size[0] / width if cut[0] and cut[2] else 0, size[1] / height if cut[1] and cut[3] else 0)
    aside = {"on the left": -_ASIDE, "on the right": _ASIDE}.get(asked.place, 0.0) * free[0]
    corner = (
        (inner[0] + inner[2]) / 2 + aside - scale * (left + wide / 2),
        (inner[1] + inner[3]) / 2 - scale * (top + tall / 2),
    )
    placed = []
    for start, length, side, before, after in (
        (corner[0], scale * width, size[0], cut[0], cut[2]),
        (corner[1], scale * height, size[1], cut[1], cut[3]),
    ):
        if before or after:  # what the photo cuts off, the picture cuts off at the same place
            start = 0.0 if before else side - length
        elif length >= side:
            start = min(0.0, max(side - length, start))
        placed.append(start)
    return _View(scale, *placed)


def _draw(
    found: PhotoBackdrop, asked: Backdrop, view: _View, *, size: tuple[int, int], seed: int
) -> tuple[UInt8[np.ndarray, "height width 3"], UInt8[np.ndarray, "height width 4"]]:
    photo, alpha, inside = _placed(found, view, size)
    color = cv2.warpAffine(
        found.color,
        view.matrix(found.shrunk),
        size,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    side = min(size)
    beyond = _blurred(color, side / 24)
    color = beyond + (color - beyond) * inside[..., None]
    whole = np.maximum(inside, cv2.GaussianBlur(cv2.dilate(alpha, disc(4)), (0, 0), 5) * (inside > 0))[..., None]
    picture = color + (photo - color) * whole
    pool = _pool(alpha, side)
    strength = _strength(found, photo, color, alpha, pool)
    rng = np.random.default_rng(seed)
    apart = np.float32(1) if found.has_clear_outline else 1 - pool
    light = 1 - 0.09 * (1 - pool) - _pattern(asked.light, size, rng) * apart
    if asked.tint is not None and found.is_neutral:
        white = max(0.5, float(np.median(color)))
        tint = np.array(list(bytes.fromhex(TINTS[asked.tint][1:])), np.float32) / 255
        tint *= min(1 / white, _BRIGHTER / float(tint.max()))  # cut off channel by channel, yellow on gray turns olive
        light = light[..., None] * (1 - strength[..., None] * (1 - tint))
    else:
        light = light[..., None]
    if not (found.has_shadow or found.touches[3]):
        light = light * (1 - _shadow(alpha, side, rng) * (1.0 if found.has_clear_outline else 0.6))[..., None]
    picture = picture * (light + (1 - light) * alpha[..., None])
    grain = _grain(photo, alpha, inside)
    picture += rng.normal(0, 1, (*size[::-1], 1)).astype(np.float32) * (0.003 + grain * (1 - inside))[..., None]
    drawn, pixels = (np.clip(one * 255 + 0.5, 0, 255).astype(np.uint8) for one in (picture, photo))
    canvas = np.dstack([pixels, np.rint(alpha * 255).astype(np.uint8)])
    solid = canvas[..., 3] == 255
    drawn[solid] = pixels[solid]
    canvas[canvas[..., 3] == 0] = 0
    return drawn, canvas


def _placed(found: PhotoBackdrop, view: _View, size: tuple[int, int]) -> tuple[Floats, Floats, Floats]:
    """The photo in the picture (its border goes on), the product's alpha, and how far inside the photo, 0..1."""
    pixels, alpha = found.photo.pixels, found.photo.alpha
    height, width = alpha.shape
    moved = view
    if view.scale < 1:  # warpAffine does not average
        shape = (max(1, round(width * view.scale)), max(1, round(height * view.scale)))
        pixels, alpha = (cv2.resize(one, shape, interpolation=cv2.INTER_AREA) for one in (pixels, alpha))
        moved = replace(view, scale=1.0)
    matrix, way = moved.matrix(), cv2.INTER_CUBIC if moved.scale > 1 else cv2.INTER_LINEAR
    photo = cv2.warpAffine(pixels.astype(np.float32) / 255, matrix, size, flags=way, borderMode=cv2.BORDER_REPLICATE)
    product = cv2.warpAffine(
        alpha.astype(np.float32) / 255, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    margin = 0.08 * min(height, width) * view.scale
    sides = []
    for start, length, side in (
        (view.left, width * view.scale, size[0]),
        (view.top, height * view.scale, size[1]),
    ):
        at, far = np.arange(side, dtype=np.float32), np.full(side, np.inf, np.float32)
        before = at - start if start > 0.5 else far
        after = start + length - at if start + length < side - 0.5 else far
        sides.append(np.minimum(before, after))
    depth = np.minimum(sides[0][None], sides[1][:, None])
    inside = _smooth(depth / max(margin, 1))
    return np.clip(photo, 0, 1), np.clip(product, 0, 1) * (inside > 0), inside


def _pool(alpha: Floats, side: int) -> Floats:
    """1 at the product and close by, falling softly to 0 at the frame's corners."""
    apart = cv2.distanceTransform((alpha < 0.4).astype(np.uint8), cv2.DIST_L2, 5) / side
    return _blurred(_smooth(1 - (apart - 0.02) / 0.42), 0.03 * side)


def _shadow(alpha: Floats, side: int, rng: np.random.Generator) -> Floats:
    """Share of the light that a product takes from the paper on which it lies, or close before which it stands."""
    aside = side * 0.012 * (1 if rng.random() < 0.5 else -1)
    total = np.zeros_like(alpha)
    for shift, down, blur, depth in ((0.4, 0.012, 0.010, 0.22), (1.0, 0.030, 0.032, 0.20)):
        matrix = np.array([[1, 0, shift * aside], [0, 1, down * side]], np.float32)
        total += depth * _blurred(cv2.warpAffine(alpha, matrix, alpha.shape[1::-1]), blur * side)
    return total


def _strength(found: PhotoBackdrop, photo: Floats, color: Floats, alpha: Floats, pool: Floats) -> Floats:
    """How much of a tint each pixel takes on: all of it up to a clear outline, else only what lies off the pool."""
    if not found.has_clear_outline:
        return 1 - pool
    like = np.linalg.norm(lab_of(photo) - lab_of(color), axis=2) < 5
    flooded = reached(like, gap=0)  # what the mask kept of the backdrop, where it can be reached from outside
    return np.asarray(np.where(flooded & (alpha < 1), 1.0, 1 - alpha), np.float32)


def _pattern(light: str, size: tuple[int, int], rng: np.random.Generator) -> Floats:
    """Share of the light that is missing, (height, width): away from its side, or in the shadow of a window's bars."""
    width, height = size
    side = min(size)
    down, across = np.mgrid[0:height, 0:width].astype(np.float32) / side
    if light == "side":
        far = across * side / width
        return np.asarray(0.15 * (far if rng.random() < 0.5 else 1 - far), np.float32)
    if light == "window":
        slant = np.float32(np.tan(np.deg2rad(rng.uniform(18, 32))) * rng.choice([-1, 1]))
        along, over = across + slant * down, down - 0.35 * slant * across
        bars = np.minimum(np.abs((along * 1.4 + rng.random()) % 1 - 0.5), np.abs((over * 1.2 + rng.random()) % 1 - 0.5))
        return _blurred(0.1 * (1 - _smooth((bars - 0.04) / 0.1)), side / 40)
    return np.zeros((height, width), np.float32)


def _grain(photo: Floats, alpha: Floats, inside: Floats) -> float:
    """Standard deviation of the photo's own noise, 0..1, for the part of the backdrop that it does not show."""
    seen = (alpha < 0.01) & (inside >= 1)
    if not seen.any():
        return 0.0
    fine = photo - cv2.GaussianBlur(photo, (0, 0), 2)
    return float(min(0.012, np.median(np.abs(fine[seen])) * 1.4826))


def _blurred(picture: Floats, sigma: float) -> Floats:
    """Blur by so many pixels, in a smaller picture where that shows no more: the time goes with the pixels × sigma."""
    if sigma <= _WIDEST:
        return cv2.GaussianBlur(picture, (0, 0), sigma)
    height, width = picture.shape[:2]
    small = cv2.resize(picture, None, fx=_FINEST / sigma, fy=_FINEST / sigma, interpolation=cv2.INTER_AREA)
    return cv2.resize(cv2.GaussianBlur(small, (0, 0), _FINEST), (width, height), interpolation=cv2.INTER_CUBIC)


def _smooth(value: Floats) -> Floats:
    clipped = np.clip(value, 0, 1)
    return np.asarray(clipped * clipped * (3 - 2 * clipped), np.float32)
