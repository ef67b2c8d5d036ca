"""The backdrop of a product's photo: its color without the product, and what may be done with it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Float32

from clickscape.catalog.background import cleaned, disc
from clickscape.catalog.own_photo import OwnPhoto
from clickscape.render.color import Floats
from clickscape.render.renderer import Sides

_FITTED_SIDE = 160  # longest side, pixels, on which a backdrop is found
_CROPPED = 0.92  # share of the frame that it may fill where the photo is only cropped
_PALE, _GRAY = 76.0, 9.0  # CIELAB lightness from which, and chroma up to which a backdrop takes on a tint
_PLAIN = 9.0  # ΔE that 99.5 % of the border stay below after smoothing, or it is a place
_SEEN = 2.0  # ΔE to a backdrop without noise from which a pixel of the cut-out says where the product is
_LOOKED_SIDE = 480  # longest side, pixels, on which what a cut-out holds of it is looked for
_KEPT, _KEPT_SHARE = 4.0, 0.0008  # ΔE to the backdrop up to which it is that, and the share of a cut-out that may be
_BELOW, _DARKER = 0.03, 1.5  # share of the side below a product, and how much darker (L*) a shadow makes it there
_FAINT_EDGE, _FAINT_SHARE = 14.0, 0.05  # ΔE to the backdrop, and the share of the outline that may have less


@dataclass(frozen=True)
class PhotoBackdrop:
    """A product's photo, and what its backdrop is: its color without the product, sRGB 0..1, at most 160 pixels."""

    photo: OwnPhoto
    color: Float32[np.ndarray, "rows columns 3"]

    @classmethod
    def of(cls, photo: OwnPhoto) -> PhotoBackdrop:
        """Find the backdrop of a photo: a smooth surface, and what strays from it slowly."""
        return cls(photo, _color(photo))

    @cached_property
    def is_neutral(self) -> bool:
        """Whether it is pale and gray enough to take on a tint, and plain."""
        seen = lab_of(self.color)
        return bool(
            self.is_plain
            and np.median(seen[..., 0]) > _PALE
            and np.median(np.hypot(seen[..., 1], seen[..., 2])) < _GRAY
        )

    @cached_property
    def is_plain(self) -> bool:
        """Whether it can go on beyond the photo's border: nothing but slow changes there."""
        seen, product = self._small
        height, width = product.shape
        near = cv2.dilate(product.astype(np.uint8), disc(6)).astype(bool)
        without = np.where(near[..., None], lab_of(self.color), seen)
        slow = cv2.GaussianBlur(without, (0, 0), 0.05 * max(height, width))
        stray = np.linalg.norm(without - slow, axis=2)
        ring = np.ones_like(product)
        rim = max(2, round(0.1 * min(height, width)))
        ring[rim:-rim, rim:-rim] = False
        ring &= ~near
        return bool(ring.any()) and float(np.quantile(stray[ring], 0.995)) < _PLAIN

    @cached_property
    def has_clear_outline(self) -> bool:
        """Whether the product stands out from the backdrop all around, its cut-out is sure, and holds none of that."""
        if self.photo.is_doubtful or self._holds_backdrop:
            return False
        seen, product = self._small
        solid = product.astype(np.uint8)
        apart = np.linalg.norm(seen - lab_of(self.color), axis=2)
        inner = cv2.erode(solid, disc(1)) & (1 - cv2.erode(solid, disc(3)))
        faint = apart[inner > 0] < _FAINT_EDGE
        return bool(faint.size) and float(faint.mean()) < _FAINT_SHARE

    @cached_property
    def _holds_backdrop(self) -> bool:
        """Whether the cut-out holds some: in a strap's loop, below an arm; nobody can tell it from white print."""
        height, width = self.photo.alpha.shape
        scale = min(1.0, _LOOKED_SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels, alpha = (
            cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in (self.photo.pixels, self.photo.alpha)
        )
        color = lab_of(cv2.resize(self.color, size, interpolation=cv2.INTER_LINEAR))
        product = alpha > 127
        kept = ((np.linalg.norm(lab_of(pixels) - color, axis=2) < _KEPT) & product).astype(np.uint8)
        kept = cv2.morphologyEx(kept, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
        return bool(kept.sum() > _KEPT_SHARE * product.sum())

    @cached_property
    def has_shadow(self) -> bool:
        """Whether the photo shows a shadow of the product: its backdrop darkens below it."""
        seen, product = self._small
        solid = product.astype(np.uint8)
        size = max(2, round(_BELOW * max(solid.shape)))
        below = np.roll(cv2.dilate(solid, disc(size)), size, axis=0) & (1 - cv2.dilate(solid, disc(1)))
        below[: int(np.flatnonzero(product.any(1))[-1]) - 2 * size] = 0
        darker = (lab_of(self.color) - seen)[..., 0][below > 0]
        return bool(darker.size) and float(np.quantile(darker, 0.7)) > _DARKER

    @cached_property
    def _small(self) -> tuple[Floats, np.ndarray]:
        """The photo in CIELAB and the product's mask, at the backdrop's size."""
        size = self.color.shape[1::-1]
        small = cv2.resize(self.photo.pixels, size, interpolation=cv2.INTER_AREA)
        product = cv2.resize(self.photo.alpha, size, interpolation=cv2.INTER_AREA) > 127
        if not product.any():  # wires, which cover less than half of a pixel of this size
            product = cv2.resize(self.photo.alpha.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
        return lab_of(small), product

    @cached_property
    def _seen(self) -> np.ndarray:
        """Where the product stands out from the backdrop (height, width), as far as it is cut out: no mere mask."""
        seen, product = self._small
        apart = np.linalg.norm(seen - lab_of(self.color), axis=2)
        beside = ~cv2.dilate(product.astype(np.uint8), disc(4)).astype(bool)
        noise = float(np.quantile(apart[beside], 0.95)) if beside.any() else 0.0
        strays = (apart > max(_SEEN, 2 * min(noise, _FAINT_EDGE))) & product
        return cleaned(strays) if strays.any() else product

    @cached_property
    def touches(self) -> Sides:
        """Whether the photo cuts the product off left, top, right and bottom."""
        edges = (self._seen[:, 0], self._seen[0], self._seen[:, -1], self._seen[-1])
        left, top, right, bottom = (int(edge.sum()) >= 2 for edge in edges)
        return left, top, right, bottom

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, width and height of what stands out, in pixels of the photo."""
        across, down = self.shrunk
        left, top, width, height = cv2.boundingRect(self._seen.astype(np.uint8))
        return left * across, top * down, width * across, height * down

    @property
    def shrunk(self) -> tuple[float, float]:
        """Pixels of the photo for one of the backdrop, across and down."""
        (height, width), (rows, columns) = self.photo.alpha.shape, self.color.shape[:2]
        return width / columns, height / rows

    def can_be_drawn(self, size: tuple[int, int]) -> bool:
        """Whether the backdrop fills a picture of `size` (width, height): it is plain, or the photo can be cropped."""
        if self.is_plain:
            return True
        _, _, wide, tall = self.bounds
        scale = self.covering(size)
        fits = scale * wide <= _CROPPED * size[0] and scale * tall <= _CROPPED * size[1]
        return fits and not any(self.touches)

    def covering(self, size: tuple[int, int]) -> float:
        """Return the least scale at which the photo covers a picture of `size` (width, height)."""
        height, width = self.photo.alpha.shape
        return max(size[0] / width, size[1] / height)


def _color(photo: OwnPhoto) -> Floats:
    height, width = photo.alpha.shape
    scale = min(1.0, _FITTED_SIDE / max(height, width))
    size = (max(8, round(width * scale)), max(8, round(height * scale)))
    small = cv2.resize(photo.pixels, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    covered = cv2.resize((photo.alpha > 8).astype(np.float32), size, interpolation=cv2.INTER_AREA)
    beside = cv2.dilate((covered > 0.02).astype(np.uint8), disc(4)) == 0
    if beside.sum() < 32:
        beside = covered <= max(0.02, float(covered.min()))
    down, across = np.mgrid[-1 : 1 : size[1] * 1j, -1 : 1 : size[0] * 1j].astype(np.float32)
    terms = np.stack([np.ones_like(down), across, down, across * across, across * down, down * down], -1)
    chosen = beside
    for _ in range(4):
        surface = terms @ np.linalg.lstsq(terms[chosen], small[chosen], rcond=None)[0].astype(np.float32)
        stray = np.linalg.norm(small - surface, axis=2)
        chosen = beside & (stray < 3 * max(0.008, 1.4826 * float(np.median(stray[beside]))))
    blur = max(size) / 14
    weight = cv2.GaussianBlur(chosen.astype(np.float32), (0, 0), blur)[..., None]
    slow = cv2.GaussianBlur(np.where(chosen[..., None], small - surface, 0), (0, 0), blur)
    return np.asarray(np.clip(surface + slow / np.maximum(weight, 0.05), 0, 1), np.float32)


def lab_of(picture: np.ndarray) -> Floats:
    """Return a picture (height, width, 3), sRGB as uint8 or 0..1, in CIELAB."""
    display = picture.astype(np.float32) / 255 if picture.dtype == np.uint8 else picture
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(display, np.float32), cv2.COLOR_RGB2LAB), np.float32)
