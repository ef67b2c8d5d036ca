"""Pictures made wrong on purpose, one function per defect, from a right picture and the same set without its product.

A defect that nobody could see is none: `spoil` draws again until the change is visible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from clickscape.catalog import sample
from clickscape.gates.contact_shadow import feet
from clickscape.render.studio.product import SHARES

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

VISIBLE = 8.0  # CIELAB distance by which a changed pixel must differ to count as seen
_SPECK_ALPHA = 48  # from which the studio counts a pixel as product when it seeks the bounds of a cut-out
_SPECK = (128, 128, 128, _SPECK_ALPHA)
_FEWEST = {"edge": 0.006, "seam": 0.02, "extended": 0.02}  # share of the product's area that must have changed visibly
_TRIES = 12


@dataclass(frozen=True, slots=True)
class Picture:
    """An image (height, width, 3) and the placed cut-out (height, width, 4) that is said to stand in it, sRGB."""

    image: Bytes
    product: Bytes

    @property
    def both(self) -> tuple[Bytes, Bytes]:
        return self.image, self.product


@dataclass(frozen=True, slots=True)
class Right:
    """A right picture, and what the same set looks like otherwise.

    `plate`: with nothing on it, (height, width, 3); `raised`: with the product held above its shadow.
    """

    picture: Picture
    plate: Bytes
    raised: Picture

    @property
    def alpha(self) -> Floats:
        return self.picture.product[..., 3].astype(np.float32) / 255


def ghost(cutout: Bytes) -> Bytes:
    """A cut-out of the same bounds with nothing in it but two faint specks: drawn, it leaves the set empty."""
    solid = cutout[..., 3] >= _SPECK_ALPHA
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    empty = np.zeros_like(cutout)
    empty[rows[0], columns[0]] = empty[rows[-1], columns[-1]] = _SPECK
    return empty


def raised(cutout: Bytes, share: float) -> Bytes:
    """The cut-out above a gap, so that the studio lets it float by about `share` of the picture's height.

    Only what is solid throws contact shadow, so that stays on the ground, as do cast shadow and reflection.
    """
    height, width = cutout.shape[:2]
    gap = max(2, round(share / min(SHARES["usual"][0] / height, SHARES["usual"][1] / width)))
    frame = np.zeros((height + gap, width, 4), np.uint8)
    frame[:height] = cutout
    frame[-1, 0] = frame[-1, -1] = _SPECK
    return frame


def without_specks(picture: Picture) -> Picture:
    """The picture with a placed cut-out that says nothing of the specks."""
    product = picture.product.copy()
    product[product[..., 3] <= _SPECK_ALPHA] = 0
    return Picture(picture.image, product)


def composite(product: Bytes, background: npt.ArrayLike) -> Bytes:
    """The product over a background, as the studio does it: opaque pixels are exact."""
    alpha = product[..., 3:].astype(np.float32) / 255
    mixed = product[..., :3] * alpha + np.asarray(background, np.float32) * (1 - alpha)
    return np.clip(mixed + 0.5, 0, 255).astype(np.uint8)


def lab(image: npt.ArrayLike) -> Floats:
    return np.asarray(cv2.cvtColor(np.asarray(image, np.float32) / 255, cv2.COLOR_RGB2LAB), np.float32)


def altered(right: Right, rng: np.random.Generator) -> Picture:
    """One to two hundred opaque pixels changed by one to forty levels."""
    image = right.picture.image.copy()
    inside = np.argwhere(right.picture.product[..., 3] == 255)
    chosen = inside[rng.choice(len(inside), int(rng.integers(1, 201)), replace=False)]
    change = int(rng.integers(1, 41))
    old = image[chosen[:, 0], chosen[:, 1]].astype(int)
    image[chosen[:, 0], chosen[:, 1]] = np.where(old > 127, old - change, old + change)
    return Picture(image, right.picture.product)


def recolored(right: Right, rng: np.random.Generator) -> Picture:
    """The whole product warmer, cooler, lighter or darker, as a diffusion model or a filter leaves it."""
    image = right.picture.image.astype(np.float32)
    gain = 1 + rng.uniform(0.06, 0.25) * rng.choice([-1, 1]) * rng.dirichlet([1, 1, 1]) * 2
    other = image * gain.astype(np.float32) + np.float32(rng.uniform(-12, 12))
    alpha = right.alpha[..., None]
    return Picture(np.clip(image * (1 - alpha) + other * alpha + 0.5, 0, 255).astype(np.uint8), right.picture.product)


def halo(right: Right, rng: np.random.Generator) -> Picture:
    """A rim of another color along the whole outline: bright, dark, or left over from the photo's own background."""
    alpha, picture = right.alpha, right.picture
    reach = int(rng.integers(1, 4))
    rim = np.clip(cv2.dilate(alpha, _disc(reach)) - alpha, 0, 1)
    rim = cv2.GaussianBlur(rim, (0, 0), float(rng.uniform(0.4, 1.2))) * (alpha < 1)
    colors = ((255, 255, 255), (12, 12, 12), tuple(rng.integers(0, 256, 3)))
    color = np.array(colors[int(rng.integers(3))], np.float32)
    share = (rim * rng.uniform(0.5, 1.0)).clip(0, 1)[..., None]
    return Picture(_kept(picture.image * (1 - share) + color * share, picture), picture.product)


def line(right: Right, rng: np.random.Generator) -> Picture:
    """A bright or dark line along 35 to 80 % of the outline."""
    alpha, picture = right.alpha, right.picture
    solid = (alpha > 0).astype(np.uint8)
    height, width = alpha.shape
    beside = (cv2.dilate(solid, _disc(int(rng.integers(1, 3)))) > 0) & (alpha < 1)
    rows, columns = np.nonzero(solid)
    angle = np.arctan2(np.arange(height)[:, None] - rows.mean(), np.arange(width)[None] - columns.mean())
    beside &= (angle - rng.uniform(-np.pi, np.pi)) % (2 * np.pi) < rng.uniform(0.35, 0.8) * 2 * np.pi
    share = np.float32(rng.uniform(0.4, 0.9)) * beside[..., None]
    return Picture(
        _kept(picture.image * (1 - share) + np.float32(rng.choice([0, 255])) * share, picture), picture.product
    )


def patch(right: Right, rng: np.random.Generator) -> Picture:
    """A background that is brighter or darker around the product and ends with a step a little way off."""
    picture = right.picture
    solid = (right.alpha > 0).astype(np.uint8)
    share = cv2.dilate(solid, _disc(int(rng.integers(6, 19)))).astype(np.float32)
    share = cv2.GaussianBlur(share, (0, 0), float(rng.uniform(0.4, 1.0)))[..., None]
    gain, offset = 1 + rng.choice([-1, 1]) * rng.uniform(0.15, 0.4), rng.uniform(-6, 6)
    other = picture.image * np.float32(gain) + np.float32(offset)
    return Picture(_kept(picture.image * (1 - share) + other * share, picture), picture.product)


def pasted(right: Right, rng: np.random.Generator) -> Picture:
    """The product laid on the empty set, at its place or raised, without any trace of it on the ground."""
    rise = round(rng.uniform(0, 0.12) * len(right.plate))
    product = np.zeros_like(right.picture.product)
    product[: len(product) - rise] = right.picture.product[rise:]
    return Picture(composite(product, right.plate), product)


def out_of_frame(right: Right, rng: np.random.Generator) -> Picture:
    """A narrower crop, whose border touches the product or cuts up to a quarter of it off."""
    picture = right.picture
    rows, columns = np.nonzero(picture.product[..., 3] >= 128)
    cut = rng.uniform(0, 0.25)
    top, left, (bottom, right_end) = 0, 0, picture.image.shape[:2]
    side = int(rng.integers(3))
    if side == 0:
        top = int(rows.min() + cut * np.ptp(rows))
    elif side == 1:
        left = int(columns.min() + cut * np.ptp(columns))
    else:
        right_end = int(columns.max() - cut * np.ptp(columns)) + 1
    window = (slice(top, bottom), slice(left, right_end))
    return Picture(np.ascontiguousarray(picture.image[window]), np.ascontiguousarray(picture.product[window]))


def too_small(right: Right, rng: np.random.Generator) -> Picture:
    """The product at 20 to 42 % of its size, on the same ground."""
    scale = float(rng.uniform(0.2, 0.42))
    rows, columns = np.nonzero(right.picture.product[..., 3] >= 128)
    middle, foot = float(columns.mean()), float(rows.max())
    matrix = np.array([[scale, 0, middle * (1 - scale)], [0, scale, foot * (1 - scale)]], np.float32)
    product = _warped(right.picture.product, matrix)
    return Picture(composite(product, right.plate), product)


def bare_foot(right: Right, rng: np.random.Generator) -> Picture | None:
    """One of several feet with nothing below it but the bare ground; None for a product that stands on one alone."""
    picture = right.picture
    found = feet(picture.product[..., 3] >= 128)
    if not found:
        return None
    foot = found[int(rng.integers(len(found)))]
    rows = np.flatnonzero((picture.product[:, foot, 3] >= 128).any(1))
    where = (slice(int(rows[-1]) - 6, int(rows[-1]) + 40), slice(max(0, int(foot[0]) - 14), int(foot[-1]) + 15))
    image = picture.image.copy()
    image[where] = np.where(picture.product[where][..., 3:] == 0, right.plate[where], image[where])
    return Picture(image, picture.product)


def same_tone(right: Right, rng: np.random.Generator) -> Picture:
    """A background that takes on the colors of the product's rim toward it, with its own texture left a little."""
    picture, alpha = right.picture, right.alpha
    nearest = cv2.distanceTransformWithLabels((alpha < 0.9).astype(np.uint8), cv2.DIST_L2, 5)
    color_of = np.zeros((int(nearest[1].max()) + 1, 3), np.float32)
    color_of[nearest[1][alpha >= 0.9]] = picture.product[alpha >= 0.9][:, :3]
    color = cv2.GaussianBlur(color_of[nearest[1]], (0, 0), 3)
    share = (np.clip(rng.uniform(1.2, 2.0) - nearest[0] / 100, 0, 1) * rng.uniform(0.93, 1.0))[..., None]
    return Picture(_kept(picture.image * (1 - share) + color * share, picture), picture.product)


def cluttered(right: Right, rng: np.random.Generator) -> Picture:
    """A dozen other things of all colors close around the product, some half behind it."""
    picture = right.picture
    rows, columns = np.nonzero(picture.product[..., 3] >= 128)
    size = float(np.sqrt(np.ptp(rows) * np.ptp(columns)))
    image, objects = picture.image.astype(np.float32), sample.objects()
    for turn in range(int(rng.integers(10, 17))):
        one = objects[int(rng.integers(len(objects)))]
        thing = sample.cutout(f"{one.object_id}-{sample.VARIANTS[turn % len(sample.VARIANTS)]}", 256)
        scale, angle = size * rng.uniform(0.3, 0.5) / max(thing.shape[:2]), rng.uniform(-40, 40)
        side = rng.choice([-1, 1])
        middle = (
            columns.mean() + side * np.ptp(columns) * rng.uniform(0.4, 0.7),
            rows.min() + np.ptp(rows) * rng.uniform(-0.1, 0.9),
        )
        matrix = cv2.getRotationMatrix2D((thing.shape[1] / 2, thing.shape[0] / 2), angle, scale)
        matrix[:, 2] += np.array(middle) - (thing.shape[1] / 2, thing.shape[0] / 2)
        laid = cv2.warpAffine(thing, matrix, image.shape[1::-1], flags=cv2.INTER_AREA).astype(np.float32)
        image += (laid[..., :3] - image) * laid[..., 3:] / 255
    return Picture(_kept(image, picture), picture.product)


DEFECTS: dict[str, tuple[str, Callable[[Right, np.random.Generator], Picture | None]]] = {
    "altered pixels": ("altered", altered),
    "recolored product": ("altered", recolored),
    "halo": ("edge", halo),
    "line along the edge": ("edge", line),
    "patch around the product": ("seam", patch),
    "extension: mirror image": ("extended", lambda right, rng: _behind(right, rng, _mirror_image)),
    "extension: smear": ("extended", lambda right, rng: _behind(right, rng, _smear)),
    "extension: second copy": ("extended", lambda right, rng: _behind(right, rng, _copy)),
    "extension: blob": ("extended", lambda right, rng: _behind(right, rng, _blob)),
    "lifted off its shadow": ("floating", lambda right, _: right.raised),
    "pasted without shadow": ("floating", pasted),
    "one foot without shadow": ("floating", bare_foot),
    "out of frame": ("out_of_frame", out_of_frame),
    "too small": ("too_small", too_small),
    "background in the product's tone": ("blends_in", same_tone),
    "clutter around the product": ("clutter", cluttered),
}
"""Name → the kind of failure that the gate should report, and what spoils a picture so."""


def spoil(name: str, right: Right, *, seed: int) -> Picture | None:
    """The right picture with that defect; None when no try made a change that can be seen."""
    rng = np.random.default_rng(seed)
    kind, defect = DEFECTS[name]
    for _ in range(_TRIES):
        made = defect(right, rng)
        if made is not None and (kind not in _FEWEST or _seen(made, right.picture, fewest=_FEWEST[kind])):
            return made
    return None


def _seen(made: Picture, right: Picture, *, fewest: float) -> bool:
    """Whether at least `fewest` (share of the product's area) of the picture looks clearly different."""
    changed = (made.image != right.image).any(-1)
    distance = np.linalg.norm(lab(made.image)[changed] - lab(right.image)[changed], axis=-1)
    product = float((right.product[..., 3] >= 128).sum())
    return bool((distance > VISIBLE).sum() >= fewest * product)


def _behind(
    right: Right, rng: np.random.Generator, layer: Callable[[Bytes, np.random.Generator], tuple[Floats, Floats]]
) -> Picture:
    """Lay something in product colors behind the product: upward, leftward or rightward of it."""
    turns = int(rng.integers(3))  # the layers know only upward; the picture is turned for the others
    turn = (0, 1, 3)[turns]
    product = np.ascontiguousarray(np.rot90(right.picture.product, -turn))
    color, share = layer(product, rng)
    color, share = np.rot90(color, turn), np.rot90(share, turn)[..., None]
    behind = right.picture.image * (1 - share) + color * share
    return Picture(_kept(behind, right.picture), right.picture.product)


def _kept(image: npt.ArrayLike, picture: Picture) -> Bytes:
    """The image with the product's own pixels on top of it, the soft ones in their share."""
    changed = np.asarray(image, np.float32)
    alpha = picture.product[..., 3:].astype(np.float32) / 255
    soft = picture.image + (1 - alpha) * (changed - picture.image)
    mixed = np.where((alpha > 0) & (alpha < 1), 0.5 * soft + 0.5 * changed, soft)
    return np.clip(np.where(alpha == 1, picture.image, mixed) + 0.5, 0, 255).astype(np.uint8)


def _strip(product: Bytes, rng: np.random.Generator) -> tuple[slice, int]:
    """A range of columns around the product's top, and how far the product goes on past it, pixels."""
    solid = product[..., 3] >= 128
    columns = np.flatnonzero(solid.any(0))
    tall = float(np.ptp(np.flatnonzero(solid.any(1)))) + 1
    size = float(np.sqrt(tall * columns.size))
    width = max(6, round(rng.uniform(0.2, 0.7) * columns.size))
    tops = np.argmax(solid, 0)[columns]
    peak = int(columns[np.argmin(tops)]) if rng.random() < 0.5 else int(rng.choice(columns))
    start = int(np.clip(peak - rng.uniform(0.2, 0.8) * width, columns[0], max(columns[0], columns[-1] - width)))
    return slice(start, min(start + width, columns[-1] + 1)), max(5, round(rng.uniform(0.06, 0.22) * size))


def _tops(product: Bytes, where: slice) -> npt.NDArray[np.intp]:
    """First opaque row of each column in `where`, −1 where the column has none."""
    solid = product[:, where, 3] >= 250
    return np.where(solid.any(0), np.argmax(solid, 0), -1)


def _mirror_image(product: Bytes, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """The product continued past its outline by its own mirror image, upward or to a side."""
    where, reach = _strip(product, rng)
    color, share = product[..., :3].astype(np.float32), np.zeros(product.shape[:2], np.float32)
    for column, top in zip(range(where.start, where.stop), _tops(product, where), strict=True):
        if top < 0:
            continue
        count = min(reach, top, len(product) - top - 1)
        source = product[top : top + count, column]
        opaque = np.argmin(np.append(source[:, 3] >= 250, False))  # no farther than the product itself goes
        color[top - opaque : top, column] = source[:opaque][::-1, :3]
        share[top - opaque : top + 2, column] = 1
    return color, cv2.GaussianBlur(share, (0, 0), 0.7)


def _smear(product: Bytes, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """The outermost product pixels drawn outward, as if by a wet brush."""
    where, reach = _strip(product, rng)
    color, share = product[..., :3].astype(np.float32), np.zeros(product.shape[:2], np.float32)
    wobble = cv2.GaussianBlur(rng.normal(0, 1, (1, where.stop - where.start)).astype(np.float32), (0, 0), 5)[0] * 2
    for column, top, more in zip(range(where.start, where.stop), _tops(product, where), wobble, strict=True):
        if top < 0:
            continue
        length = min(top, max(2, round(reach * (1 + 0.5 * float(more)))))
        color[top - length : top + 2, column] = product[min(top + 2, len(product) - 1), column, :3]
        share[top - length : top + 2, column] = 1
    return cv2.GaussianBlur(color, (0, 0), 1.0), cv2.GaussianBlur(share, (0, 0), 1.5)


def _copy(product: Bytes, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """A smaller second copy of the product that grows out from behind it: the bottle's second neck."""
    _, reach = _strip(product, rng)
    scale = float(rng.uniform(0.4, 0.9))
    rows, columns = np.nonzero(product[..., 3] >= 128)
    middle, top = float(columns.mean()), float(rows.min())
    shift = rng.uniform(-0.25, 0.25) * np.ptp(columns)
    matrix = np.array([[scale, 0, middle * (1 - scale) + shift], [0, scale, top * (1 - scale) - reach]], np.float32)
    moved = _warped(product, matrix).astype(np.float32)
    return moved[..., :3], moved[..., 3] / 255


def _warped(product: Bytes, matrix: Floats) -> Bytes:
    """The placed cut-out moved and scaled; colors weigh by alpha."""
    alpha = product[..., 3:].astype(np.float32) / 255
    size = (product.shape[1], product.shape[0])
    moved = cv2.warpAffine(np.dstack([product[..., :3] * alpha, alpha]), matrix, size, flags=cv2.INTER_AREA)
    color = moved[..., :3] / np.maximum(moved[..., 3:], 1e-3)
    return np.clip(np.dstack([color, moved[..., 3:] * 255]) + 0.5, 0, 255).astype(np.uint8)


def _blob(product: Bytes, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """A soft shape in the product's colors that clings to its outline, as inpainting models leave it."""
    where, reach = _strip(product, rng)
    tops = _tops(product, where)
    height, width = product.shape[:2]
    found = np.flatnonzero(tops >= 0)
    column = int(found[len(found) // 2]) if found.size else 0
    top = int(tops[column])
    share = np.zeros((height, width), np.float32)
    half = max(5, (where.stop - where.start) // 2)
    cv2.ellipse(share, (where.start + column, top), (half, reach), 0, 0, 360, 1.0, -1, cv2.LINE_AA)
    alpha = product[..., 3].astype(np.float32) / 255
    spread = max(2.0, reach / 2)
    weight = cv2.GaussianBlur(alpha, (0, 0), spread)[..., None]
    color = cv2.GaussianBlur(product[..., :3] * alpha[..., None], (0, 0), spread) / np.maximum(weight, 1e-3)
    cloud = cv2.GaussianBlur(rng.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 4)[..., None] * 80
    color = color * np.float32(rng.uniform(0.92, 1.08)) + cloud
    return np.clip(color, 0, 255), cv2.GaussianBlur(share, (0, 0), 1.5)


def _disc(radius: int) -> Bytes:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)).astype(np.uint8)
