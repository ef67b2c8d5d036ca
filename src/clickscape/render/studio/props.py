"""Props: sprites that were rendered once in two light layers (key from the left, dome); the scene's light colors them.

Each prop stands on a spot of its stand, beside the product and behind its plane, a little out of focus: what the
product hides of it is behind. What of the set stands before a prop hides it; the picture's border cuts none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import cv2
import numpy as np

from clickscape.render.color import Floats, linear_of_byte
from clickscape.render.physical_size import PhysicalSize
from clickscape.render.studio.asset_files import read_picture
from clickscape.render.studio.gbuffer import GBuffer
from clickscape.render.studio.geometry import STAND, Camera
from clickscape.render.studio.stand import Stand

TALL = ("eucalyptus", "palm", "blossom", "bubbles",
        "sunflowers", "lavender sprigs", "wheat", "cotton", "balloons")  # fmt: skip
_ANCHOR = 0.93  # share of a sprite's height at which it touches the ground
_LARGEST = {  # world units: width and height that a sprite may have
    "eucalyptus": (1.15, 1.40),
    "palm": (1.25, 1.60),
    "blossom": (0.95, 1.45),
    "lemons": (0.90, 0.56),
    "berries": (0.80, 0.50),
    "bubbles": (1.00, 1.30),
    "candle": (0.95, 0.88),
    "gift": (0.96, 0.78),
    "baubles": (1.00, 0.70),
    "pebbles": (0.80, 0.62),
    "log": (1.15, 0.63),
    "coffee beans": (0.96, 0.50),
    "ice": (1.02, 0.70),
    "pine cones": (1.24, 0.70),
    "autumn leaves": (1.15, 0.56),
    "sunflowers": (1.05, 1.50),
    "lavender sprigs": (0.85, 1.20),
    "wheat": (1.05, 1.35),
    "cotton": (1.00, 1.45),
    "pumpkins": (1.05, 0.66),
    "oranges": (1.02, 0.64),
    "cinnamon": (1.02, 0.56),
    "cactus": (0.98, 0.92),
    "books": (0.86, 0.60),
    "seashells": (1.10, 0.54),
    "yarn": (1.02, 0.78),
    "toy bricks": (1.04, 0.76),
    "balloons": (1.10, 1.60),
    "tennis balls": (0.96, 0.54),
    "gears": (1.06, 0.74),
}
_USUAL = (1.00, 0.70)

_PROP_SCALE: dict[PhysicalSize, float] = {"small": 1.1, "usual": 1.0, "large": 0.62}  # lemons are small beside a sofa
_HIDDEN = 0.42  # share of a prop's width that may disappear behind the product
_MORE_HIDDEN = {"log": 0.52}  # low and wide: one of its pieces shown large says more than both shown small
_CLEAR = 0.02  # share of the picture's width that stays free between a prop and the border
_SMALLEST = 0.52  # share of its size below which no prop is made smaller to fit: more of it hides then
_APART = 0.02  # world units by which a stand must be higher than a prop's foot to hide it
_APERTURE = 11.0  # sigma of the blur of what is endlessly far behind the product, pixels at 512
_OUTLINE = 0.7  # pixels over which the outline of a stand before a prop is smooth


@dataclass(frozen=True, slots=True)
class Sprite:
    """A prop without its light: linear color × alpha under a white key and under a white dome, and alpha."""

    key: Floats
    dome: Floats
    alpha: Floats


@dataclass(frozen=True, slots=True)
class Standing:
    """One sprite in the set: the point where it stands, its scale, and whether it is turned round."""

    prop: str
    x: float
    y: float
    z: float
    scale: float
    flipped: bool


def sprite(name: str) -> Sprite:
    """Read a prop's two layers."""
    key, dome = (_layer(f"{name.replace(' ', '-')}-{layer}.webp") for layer in ("key", "dome"))
    alpha = key[..., 3] * np.float32(1 / 255)
    light = linear_of_byte()
    weight = (np.float32(2) * alpha)[..., None]  # layers are stored at half their light
    return Sprite(light[key[..., :3]] * weight, light[dome[..., :3]] * weight, alpha)


def _layer(file: str) -> np.typing.NDArray[np.uint8]:
    picture = read_picture(f"props/{file}", flags=cv2.IMREAD_UNCHANGED)
    return np.ascontiguousarray(picture[..., [2, 1, 0, 3]], np.uint8)


def arrange(
    props: tuple[str, ...],
    stand: Stand,
    *,
    layout: int,
    jitter: int,
    spread: int,
    physical_size: PhysicalSize = "usual",
) -> list[Standing]:
    """Stand the props beside the product, farthest first: two left and right, one on the left alone, the rest is empty.

    Layout 1 puts a single prop to the right, and a smaller, farther one of a tall kind to the left of the product.
    `jitter` (−1, 0, 1) shifts them a little, `spread` (see `stand.spread_of`) moves them to a slim or away from a wide
    product.
    """
    found: list[Standing] = []
    shift = 0.05 * jitter + (-0.08, 0.0, 0.07, 0.12)[spread + 1]
    usual = _PROP_SCALE[physical_size]

    def stand_at(prop: str, side: int, scale: float, back: float = 0.0) -> None:
        x, y, z = stand.spot(tall=prop in TALL)
        found.append(Standing(prop, side * (x + shift), y, z + back, scale * usual, side > 0))

    if len(props) == 1:
        (prop,) = props
        stand_at(prop, 1 if layout else -1, 1.0)
        if layout and prop in TALL:
            stand_at(prop, -1, 0.75, back=0.35)
    elif len(props) == 2:
        stand_at(props[0], -1, 1.12 if layout else 1.0)
        stand_at(props[1], 1, 0.92 if layout else 1.0)
    return sorted(found, key=lambda each: -each.z)


def inside(standings: list[Standing], shapes: list[tuple[int, int]], camera: Camera, *, half: float) -> list[Standing]:
    """The same props, moved and made smaller so that the picture's border cuts none and the product hides few of each.

    `shapes`: (height, width) of their sprites; `half`: pixels that the product reaches left and right of the center.
    """
    moved = []
    clear = _CLEAR * camera.width
    for standing, shape in zip(standings, shapes, strict=True):
        width = pixel_size(standing, shape, camera).width
        shown = 1 - _MORE_HIDDEN.get(standing.prop, _HIDDEN)
        fits = float(np.clip((camera.width / 2 - clear - half) / shown / width, _SMALLEST, 1))
        depth = _depth(standing, camera)
        column = camera.width / 2 + standing.x * camera.focal / depth
        reach = fits * width / 2 + clear
        column = min(max(column, reach), camera.width - reach)
        x = (column - camera.width / 2) * depth / camera.focal
        moved.append(replace(standing, x=float(x), scale=standing.scale * fits))
    return moved


def _depth(standing: Standing, camera: Camera) -> float:
    """How far before the eye a prop stands, world units along the view."""
    cosine, sine = np.cos(camera.pitch), np.sin(camera.pitch)
    return float((standing.y - camera.eye_level) * sine + (standing.z + camera.distance) * cosine)


@dataclass(frozen=True, slots=True)
class PixelSize:
    """Size of a sprite in the picture."""

    width: int
    height: int


def largest(prop: str) -> tuple[float, float]:
    """Width and height that a prop's sprite may have, world units."""
    return _LARGEST.get(prop, _USUAL)


def pixel_size(standing: Standing, shape: tuple[int, int], camera: Camera) -> PixelSize:
    """How large the sprite of `shape` (height, width) is in the picture, by its distance."""
    most_wide, most_tall = largest(standing.prop)
    per_unit = min(most_tall / shape[0], most_wide / shape[1]) * standing.scale
    scale = per_unit * camera.focal / _depth(standing, camera)
    return PixelSize(max(2, round(shape[1] * scale)), max(2, round(shape[0] * scale)))


def resized(source: Sprite, size: PixelSize, *, flipped: bool) -> Sprite:
    """The sprite at its size in the picture."""
    shrinks = size.height < source.alpha.shape[0]

    def fit(layer: Floats) -> Floats:
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        small = cv2.resize(layer, (size.width, size.height), interpolation=method)
        return np.ascontiguousarray(small[:, ::-1] if flipped else small, np.float32)

    return Sprite(fit(source.key), fit(source.dome), fit(source.alpha))


@dataclass(frozen=True, slots=True)
class PropLayer:
    """All props of a scene: color × alpha and alpha (row, column, 4) from `top`, `left`; `shade`: light they leave."""

    top: int
    left: int
    piece: Floats
    shade: Floats  # (height, width)


def draw(
    standings: list[Standing],
    sprites: list[Sprite],
    buffer: GBuffer,
    *,
    key: Floats,
    ambient: Floats,
    ray: Floats,
    focus: float = 0.0,
) -> PropLayer:
    """Light the sprites with `key` and `ambient` (3,) and lay them over each other; darken the ground under them.

    `focus`: z of the product's plane, on which the lens is focused.
    """
    height, width = buffer.part.shape
    canvas = np.zeros((height, width, 4), np.float32)
    shade = np.ones((height, width), np.float32)
    for standing, sharp in zip(standings, sprites, strict=True):
        piece, margin = _out_of_focus(sharp, standing, buffer.camera, focus)
        point = [np.array([value], np.float32) for value in (standing.x, standing.y, standing.z)]
        column, row = (float(value[0]) for value in buffer.camera.project(*point))
        tall, wide = piece.alpha.shape
        left, top = round(column - wide / 2), round(row - _ANCHOR * (tall - 2 * margin)) - margin
        x0, y0, x1, y1 = max(0, left), max(0, top), min(width, left + wide), min(height, top + tall)
        if x1 <= x0 or y1 <= y0:
            continue
        window = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
        color = piece.key[window] * key + piece.dome[window] * ambient
        shown = 1 - _hidden(buffer, standing, rows=slice(y0, y1), columns=slice(x0, x1))[..., None]
        alpha = piece.alpha[window][..., None] * shown
        under = canvas[y0:y1, x0:x1]
        under *= 1 - alpha
        under[..., :3] += color * shown
        under[..., 3:] += alpha
        if standing.prop != "bubbles":
            depth = (standing.z + buffer.camera.distance) / buffer.camera.focal
            half, high = (wide - 2 * margin) * depth / 2, (tall - 2 * margin) * depth
            _darken(shade, buffer, standing, half=half, tall=high, ray=ray)
    left, top, wide, tall = cv2.boundingRect((canvas[..., 3] != 0).astype(np.uint8))
    return PropLayer(top, left, np.ascontiguousarray(canvas[top : top + tall, left : left + wide]), shade)


def _out_of_focus(piece: Sprite, standing: Standing, camera: Camera, focus: float) -> tuple[Sprite, int]:
    """The sprite as blurred as its distance from the plane in focus asks, and the margin that it got for that."""
    away = abs(standing.z - focus) / (standing.z + camera.distance)
    sigma = _APERTURE * away * camera.reference / 512
    if sigma < 0.3:
        return piece, 0
    margin = math.ceil(2.5 * sigma)

    def blurred(layer: Floats) -> Floats:
        wide = cv2.copyMakeBorder(layer, margin, margin, margin, margin, cv2.BORDER_CONSTANT)
        return np.asarray(cv2.GaussianBlur(wide, (0, 0), sigma), np.float32)

    return Sprite(blurred(piece.key), blurred(piece.dome), blurred(piece.alpha)), margin


def _hidden(buffer: GBuffer, standing: Standing, *, rows: slice, columns: slice) -> Floats:
    """Share of each pixel (row, column), 0..1, in which the stand hides what stands beside it, on lower ground."""
    part, height = buffer.part[rows, columns], buffer.position[1, rows, columns]
    before = (part == STAND) & (height > standing.y + _APART) & (standing.z > 0)
    return np.asarray(cv2.GaussianBlur(before.astype(np.float32), (0, 0), _OUTLINE), np.float32)


def _darken(shade: Floats, buffer: GBuffer, standing: Standing, *, half: float, tall: float, ray: Floats) -> None:
    """Contact and cast shadow of a sprite: two soft ellipses on the ground, the second drawn out from the light."""
    near = np.flatnonzero((np.abs(buffer.position[1] - standing.y) < 0.12).any(1))
    if not near.size:
        return
    rows = slice(int(near[0]), int(near[-1]) + 1)
    x, y, z = (buffer.position[axis, rows] - np.float32(at)
               for axis, at in enumerate((standing.x, standing.y, standing.z)))  # fmt: skip
    level = np.exp(-((y / np.float32(0.08)) ** 2))
    across, deep = 0.62 * half, max(0.10, 0.40 * half)
    contact = np.exp(-((x / np.float32(across)) ** 2) - ((z / np.float32(deep)) ** 2))
    reach = min(0.5 * tall, 0.45)
    along = (-ray[[0, 2]] / max(float(ray[1]), 0.35) * reach).astype(np.float32)
    cast_x, cast_z = x - along[0], z - along[1]
    drawn = float(np.hypot(*along)) + 1e-3
    forward = (cast_x * along[0] + cast_z * along[1]) / np.float32(drawn)
    sideways = (cast_x * along[1] - cast_z * along[0]) / np.float32(drawn)
    thrown = np.exp(-((forward / np.float32(0.6 * half + drawn)) ** 2) - ((sideways / np.float32(0.55 * half)) ** 2))
    shade[rows] *= 1 - level * np.maximum(np.float32(0.72) * contact, np.float32(0.5) * thrown)
