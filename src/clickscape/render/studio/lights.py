"""The ten lights: where the key light comes from, its color, what it shines through, and how dark the rest stays.

All keys come from the left; a mirrored picture has them from the right. Three directions in all, so that shadow maps of
a set are shared. Exposure is that of a white card on the set, never of the picture's mean: a black table stays black.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Float32

from clickscape.render.color import Floats, hex_to_linear
from clickscape.render.studio.gbuffer import GBuffer
from clickscape.render.studio.geometry import WALL, Camera
from clickscape.render.studio.layout import Fit

Pattern = Literal["spot", "window", "leaves", "blinds"]
_HIGH = (-0.45, 0.84, -0.42)
_SIDE = (-0.70, 0.66, -0.50)
_LOW = (-0.86, 0.42, -0.36)
PATTERN_SIDE = 384


@dataclass(frozen=True, slots=True)
class Light:
    """Colors are sRGB codes; `softness` is the penumbra; `white` is how bright a lit white card gets."""

    direction: tuple[float, float, float]
    key: str
    power: float
    ambient: str
    fill: float
    softness: float = 0.05
    white: float = 1.15
    pattern: Pattern | None = None
    leak: float = 0.0  # share of the key where the pattern is closed
    pool: float = 2.6  # world units over which the key fades from its center
    edge: float = 0.45  # share of the key far from its center
    rim: str | None = None  # color of a second light from the other side
    rim_power: float = 0.0
    backdrop: str = "#ffffff"  # what photographed backdrops are multiplied with
    backdrop_gain: float = 1.0
    haze: float = 0.0  # share of white air before photographed backdrops
    vignette: float = 0.35


LIGHTS: dict[str, Light] = {
    "soft": Light(_HIGH, "#fffaf4", 1.25, "#f1f3f7", 1.05, softness=0.16, white=1.22, edge=0.75,
                  backdrop_gain=1.05, haze=0.13, vignette=0.18),
    "golden hour": Light(_LOW, "#ffbf88", 3.4, "#c6c2d4", 0.70, white=1.15, edge=0.55, pool=2.2,
                         backdrop="#ffdcb8", backdrop_gain=1.25, vignette=0.45),
    "noon": Light(_HIGH, "#fff8ea", 4.0, "#a9ccff", 0.50, softness=0.02, white=1.75, edge=0.9,
                  backdrop="#fffdf6", backdrop_gain=1.35, vignette=0.10),
    "spotlight": Light(_HIGH, "#ffe0b0", 4.2, "#5a6688", 0.13, white=1.05, pattern="spot", leak=0.02, edge=0.9,
                       backdrop="#666c80", backdrop_gain=0.75, vignette=0.8),
    "neon": Light(_SIDE, "#ff3fa6", 2.6, "#6d68c4", 0.52, white=0.98, pool=1.3, edge=0.08, rim="#22c8ff",
                  rim_power=2.6, backdrop="#a884dc", backdrop_gain=0.75, vignette=0.5),
    "window": Light(_SIDE, "#fff3e3", 3.6, "#b9cbe4", 0.46, white=1.20, pattern="window", leak=0.05, edge=0.85),
    "leafy": Light(_SIDE, "#fffcf0", 3.2, "#dde5d3", 0.52, white=1.15, pattern="leaves", leak=0.06, edge=0.85,
                   backdrop="#f8fff3"),
    "blinds": Light(_LOW, "#ffd9a0", 3.8, "#c3b7c9", 0.44, white=1.18, pattern="blinds", leak=0.04, edge=0.85,
                    backdrop="#ffeccf", vignette=0.40),
    "blue hour": Light(_SIDE, "#b4c6f2", 1.7, "#8fa0cf", 0.85, softness=0.12, white=0.86, edge=0.55, pool=2.0,
                       rim="#ffb46e", rim_power=1.6, backdrop="#c3cdec", backdrop_gain=0.62, vignette=0.45),
    "candlelight": Light(_SIDE, "#ff9a3d", 2.7, "#7a4a30", 0.30, softness=0.10, white=0.98, pool=1.05, edge=0.12,
                         backdrop="#ffb877", backdrop_gain=0.55, vignette=0.65),
}  # fmt: skip


def toward(light: Light) -> Float32[np.ndarray, " 3"]:
    """Unit vector (3,) to the key light."""
    direction = np.asarray(light.direction, np.float32)
    return direction / np.linalg.norm(direction)


def from_upper_left(ray: Float32[np.ndarray, " 3"]) -> Float32[np.ndarray, " 3"]:
    """The key of a set that is seen from above: as high as `ray` (3,), from the upper left of the picture."""
    level = float(np.hypot(ray[0], ray[2])) * np.sqrt(0.5)
    return np.array([-level, ray[1], level], np.float32)


def pattern_tile(light: Light, variant: int) -> Floats | None:
    """Transmission 0..1 of what stands in the light, (PATTERN_SIDE, PATTERN_SIDE), seamless; None without a tile."""
    if light.pattern == "window":
        return _window()
    if light.pattern == "leaves":
        return _leaves(np.random.default_rng(77 + variant))
    if light.pattern == "blinds":
        return _blinds()
    return None


def _window() -> Floats:
    tile = np.zeros((PATTERN_SIDE, PATTERN_SIDE), np.float32)
    unit = PATTERN_SIDE / 100
    for column in range(2):
        for row in range(3):
            left, top = 10 + column * 41, 6 + row * 30
            cv2.rectangle(tile, (int(left * unit), int(top * unit)),
                          (int((left + 36) * unit), int((top + 26) * unit)), 1.0, -1)  # fmt: skip
    return _blurred(tile, 2.6)


def _blinds() -> Floats:
    """Slats of a Venetian blind with the tapes that hold them."""
    tile = np.zeros((PATTERN_SIDE, PATTERN_SIDE), np.float32)
    slats = 12
    for slat in range(slats):
        top = round((slat + 0.25) * PATTERN_SIDE / slats)
        cv2.rectangle(tile, (0, top), (PATTERN_SIDE, top + round(0.5 * PATTERN_SIDE / slats)), 1.0, -1)
    for tape in (0.25, 0.75):
        left = round(tape * PATTERN_SIDE)
        cv2.rectangle(tile, (left - 4, 0), (left + 4, PATTERN_SIDE), 0.0, -1)
    return _blurred(tile, 2.2)


def _leaves(rng: np.random.Generator) -> Floats:
    """Twigs with leaves, drawn three times three so that the tile repeats, blurred as by a sun of some size."""
    shade = np.zeros((PATTERN_SIDE, PATTERN_SIDE), np.float32)
    for _ in range(5):
        x, y, lean = rng.random() * PATTERN_SIDE, rng.random() * PATTERN_SIDE, rng.random() * 2 * np.pi
        for number in range(9):
            along = number / 9
            length = rng.uniform(52, 84) * (1 - along * 0.35)
            angle = lean + (1 if number % 2 else -1) * rng.uniform(0.5, 1.1)
            start = (x + np.cos(lean) * along * 170, y + np.sin(lean) * along * 170)
            outline = _leaf(start, length, angle)
            for right in (-PATTERN_SIDE, 0, PATTERN_SIDE):
                for down in (-PATTERN_SIDE, 0, PATTERN_SIDE):
                    cv2.fillPoly(shade, [(outline + np.array([right, down])).astype(np.int32)], 1.0, cv2.LINE_AA)
    return np.asarray(1 - (_blurred(shade, 2.5) + _blurred(shade, 6)) / 2, np.float32)


def _leaf(start: tuple[float, float], length: float, angle: float) -> Floats:
    along = np.linspace(0, 1, 20)
    half = np.sin(np.pi * along**0.8) * 0.24 * length
    bend = 0.12 * np.sin(np.pi * along) * length
    x = np.concatenate([along, along[::-1]]) * length
    y = np.concatenate([bend + half, (bend - half)[::-1]])
    turned_x, turned_y = np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y
    return np.stack([start[0] + turned_x, start[1] + turned_y], 1).astype(np.float32)


def _blurred(tile: Floats, sigma: float) -> Floats:
    margin = 32
    wrapped = cv2.copyMakeBorder(tile, margin, margin, margin, margin, cv2.BORDER_WRAP)
    return np.ascontiguousarray(cv2.GaussianBlur(wrapped, (0, 0), sigma)[margin:-margin, margin:-margin])


_PATTERN_WIDTH = {"window": 2.5, "leaves": 3.0, "blinds": 2.6}  # world units of one tile


def transmission(light: Light, tile: Floats | None, x: Floats, y: Floats, z: Floats) -> Floats:
    """Share of the key that passes at the given points; patterns fall through the world, so they bend over the set."""
    if light.pattern == "spot" or tile is None:
        passed = _spots(x, y, z)
    else:
        ray = toward(light)
        across = np.cross(np.array([0, 1, 0], np.float32), ray)
        across /= np.linalg.norm(across)
        upward = np.cross(ray, across)
        side = np.float32(PATTERN_SIDE)
        scale = np.float32(PATTERN_SIDE / _PATTERN_WIDTH[str(light.pattern)])
        center = np.array([0.35, 1.15, 2.6], np.float32)  # a tile's middle falls on the wall above the product
        columns = (x * across[0] + y * across[1] + z * across[2] - across @ center) * scale + side / 2
        rows = (x * upward[0] + y * upward[1] + z * upward[2] - upward @ center) * -scale + side / 2
        passed = cv2.remap(tile, columns % side, rows % side, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(passed * np.float32(1 - light.leak) + np.float32(light.leak), np.float32)


_OPEN = 0.34  # world units around a product that no pattern of light reaches
_OPEN_TO, _OPEN_FROM = 0.75, 1.4  # where the oval that stays open begins to close and has closed, in its half axes


def open_light(camera: Camera, fit: Fit) -> Float32[np.ndarray, "height width"]:
    """Share of the key, 0..1, that no pattern takes from around a product that lies or hangs.

    What falls around it would fall on it as well, and its pixels stay as they are.
    """
    unit = camera.pixels_per_unit
    rows, columns = np.ogrid[0 : camera.height, 0 : camera.width]
    across = (columns - camera.width / 2) / (unit * (fit.half + _OPEN))
    down = (rows - fit.row * camera.height) / (unit * (fit.tall + _OPEN))
    ramp = np.clip((_OPEN_FROM - np.hypot(across, down)) / (_OPEN_FROM - _OPEN_TO), 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp), np.float32)


def _spots(x: Floats, y: Floats, z: Floats) -> Floats:
    """Two lamps with hard rims: one draws a disc on what is behind the product, one on the stand."""
    behind = np.hypot(x - np.float32(0.1), y - np.float32(0.95)) / np.float32(1.22)
    below = np.hypot(x, z * np.float32(0.9)) / np.float32(1.05)
    distance = np.where(z > 1.9, behind, below)
    ramp = np.clip((np.float32(1.08) - distance) / np.float32(0.22), 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp), np.float32)


def key_falloff(light: Light, x: Floats, y: Floats) -> Floats:
    """Share of the key by distance from its pool, which lies toward the light."""
    ray = toward(light)
    squared = (x - np.float32(0.9 * ray[0])) ** 2 + (y - np.float32(0.8)) ** 2
    return np.asarray(light.edge + (1.25 - light.edge) * np.exp(squared * np.float32(-0.5 / light.pool**2)), np.float32)


def rim_light(
    light: Light, normal: Float32[np.ndarray, "3 height width"], x: Float32[np.ndarray, "height width"]
) -> Float32[np.ndarray, "height width"]:
    """The second light from the other side, (height, width), times its color still to be taken."""
    ray = toward(light)
    direction = np.array([-ray[0], 0.45, -0.45], np.float32)
    direction /= np.linalg.norm(direction)
    facing = np.maximum(normal[0] * direction[0] + normal[1] * direction[1] + normal[2] * direction[2], 0)
    pool = np.exp((x - np.float32(1.5)) ** 2 * np.float32(-0.5 / 1.3**2))
    return np.asarray(facing * pool * np.float32(light.rim_power), np.float32)


_COLORED = 1.6  # strongest channel by weakest, linear, from which a light casts its color on things
_BALANCE, _STRONGEST = 0.65, 3.0  # share of the cast that is taken away around the product, and the largest gain


def balance(color: Float32[np.ndarray, " 3"], camera: Camera, fit: Fit) -> Float32[np.ndarray, "height width 3"] | None:
    """Gains that bring light of `color` (3,) nearer to gray around the product; None where it hardly has a color.

    The product's pixels do not take the cast of the set's light, so where they meet the set it must not be strong.
    """
    if color.max() < _COLORED * color.min():
        return None
    gray = float(color @ np.array([0.2126, 0.7152, 0.0722], np.float32))
    gain = np.clip(gray / np.maximum(color, np.float32(1e-4)), 1 / _STRONGEST, _STRONGEST)
    unit = camera.pixels_per_unit
    middle = camera.base_row - 0.5 * unit if fit.gap is None else fit.row * camera.height
    across = (np.arange(camera.width) - camera.width / 2) / (unit * (fit.half + 0.5))
    down = (np.arange(camera.height) - middle) / (unit * (max(fit.tall, 0.5) + 0.5))
    fades = [np.exp(-0.5 * axis * axis).astype(np.float32) for axis in (down, across)]
    row = fades[1][:, None] * (np.float32(_BALANCE) * (gain - 1)).astype(np.float32)
    return np.asarray(1 + fades[0][:, None, None] * row, np.float32)


def exposure(light: Light, key: Floats, ambient: Floats, buffer: GBuffer, *, on_wall: bool = False) -> float:
    """Factor that brings a white card, where the set is well lit, to `light.white`.

    `on_wall`: nearer to that of a card on the wall, before which the product hangs.
    """
    weights = np.array([0.2126, 0.7152, 0.0722], np.float32)
    key_weight = float(hex_to_linear(light.key) @ weights) * light.power
    fill_weight = float(hex_to_linear(light.ambient) @ weights) * light.fill
    stride = max(1, key.shape[0] // 48)
    lit = (key * np.float32(key_weight) + ambient * np.float32(fill_weight))[::stride, ::stride]
    x, _, z = buffer.position[:, ::stride, ::stride]
    part = buffer.part[::stride, ::stride]
    near = (part > 0) & (z < 3.0) & (np.abs(x) < 1.5)  # the same in pictures of any shape
    level = float(np.percentile(lit[near], 72)) if near.any() else 1.0
    if on_wall and (wall := near & (part == WALL)).any():
        level = level**0.3 * float(np.percentile(lit[wall], 72)) ** 0.7
    return float(np.clip(light.white / max(level, 1e-3), 0.2, 3.0))
