"""Procedural materials as seamless square tiles: oak, marble, sand and the like are drawn once from noise.

Each painter returns the albedo, linear (SIDE, SIDE, 3), and a height map (SIDE, SIDE) that bends the light. Those for
walls and paint return tiles of mean 1, which the scene's palette multiplies.
"""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import numpy.typing as npt

from clickscape.render.color import Floats, hex_to_linear

SIDE = 512
Tile = tuple[Floats, Floats]


def noise(
    rng: np.random.Generator,
    *,
    slope: float,
    stretch: tuple[float, float] = (1.0, 1.0),
    lowest: float = 0,
    side: int = SIDE,
) -> Floats:
    """Seamless noise with spectrum 1/f^slope in power, zero mean, unit variance; `stretch` widens grain along x, y."""
    down = np.fft.fftfreq(side)[:, None] * side * stretch[1]
    across = np.fft.rfftfreq(side)[None] * side * stretch[0]
    frequency = np.hypot(across, down)
    frequency[0, 0] = 1
    amplitude = frequency ** (-slope / 2)
    amplitude[0, 0] = 0
    amplitude[frequency < lowest] = 0
    phase = rng.random(amplitude.shape) * 2 * np.pi
    field = np.fft.irfft2(amplitude * np.exp(1j * phase), s=(side, side))
    field -= field.mean()
    return (field / (field.std() + 1e-9)).astype(np.float32)


def step(low: float, high: float, value: Floats) -> Floats:
    """Smooth step from 0 at `low` to 1 at `high`."""
    ramp = np.clip((value - low) / (high - low), 0, 1)
    return (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)


def mix(first: Floats, second: Floats, share: npt.NDArray[np.floating]) -> Floats:
    """Colors between `first` and `second`, (…, 3); share (…)."""
    return (first + (second - first) * share[..., None]).astype(np.float32)


def _grid(side: int = SIDE) -> tuple[Floats, Floats]:
    rows, columns = np.mgrid[0:side, 0:side].astype(np.float32) / np.float32(side)
    return columns, rows


def warped(field: Floats, right: Floats, down: Floats) -> Floats:
    """A square field looked up `right` and `down` texels away, over its seams."""
    side = len(field)
    columns, rows = _grid(side)
    return cv2.remap(
        field,
        (columns * side + right) % side,
        (rows * side + down) % side,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    )


def level(color: str, side: int = SIDE) -> Floats:
    """A tile of one color, sRGB code → linear (side, side, 3)."""
    return np.broadcast_to(hex_to_linear(color), (side, side, 3)).astype(np.float32)


def flat(side: int = SIDE) -> Floats:
    """The height map of a polished face."""
    return np.zeros((side, side), np.float32)


LARGE = 1024


def wood(rng: np.random.Generator, *, light: str, dark: str, planks: int) -> Tile:
    """Planks along x, two boards each: year rings bent along the grain, fibers, pores, tints, and fine joints."""
    columns, rows = _grid(LARGE)
    ends = np.sort((rng.random((planks, 1)) + rng.uniform(0.35, 0.65, (planks, 2)) * (0, 1)) % 1, 1)
    plank = np.minimum((rows * planks).astype(np.int32), planks - 1)
    second = (columns >= ends[plank, 0]) & (columns < ends[plank, 1])
    board = 2 * plank + second
    right, down = rng.integers(0, LARGE, (2, 2 * planks))
    where = ((np.arange(LARGE)[:, None] + down[board]) % LARGE, (np.arange(LARGE)[None] + right[board]) % LARGE)

    def grain(slope: float, fine: float) -> Floats:
        return noise(rng, slope=slope, stretch=(1.0, fine), side=LARGE)[where]

    across = (rows * planks) % 1 - rng.uniform(-0.2, 1.2, 2 * planks)[board]
    rings = rng.uniform(2.5, 7.0, 2 * planks)[board] * np.abs(across) + 0.55 * grain(3.4, 0.22)
    ring = (0.5 + 0.5 * np.sin(rings * 2 * np.pi)) ** 2 * (0.6 + 0.25 * grain(2.0, 0.1))
    fiber, pore = grain(1.0, 0.02), step(1.7, 2.6, grain(0.7, 0.045))
    share = np.clip(0.30 + 0.34 * ring + 0.13 * grain(2.2, 0.05) + 0.07 * fiber, 0, 1)
    tint = (1 + rng.normal(size=2 * planks) * 0.07)[board] * (1 - 0.22 * pore)
    edge = np.minimum(np.abs((rows * planks + 0.5) % 1 - 0.5) / planks, np.abs(columns - ends[plank, 0]))
    joint = 1 - step(0.0006, 0.0022, np.minimum(edge, np.abs(columns - ends[plank, 1])).astype(np.float32))
    albedo = mix(level(light, LARGE), level(dark, LARGE), share) * (tint * (1 - 0.6 * joint))[..., None]
    height = -0.10 * share - 0.15 * pore - 0.7 * joint
    return np.clip(albedo, 0.003, 1).astype(np.float32), height.astype(np.float32)


def sand(rng: np.random.Generator, *, color: str) -> Tile:
    """Wind ripples with grain."""
    columns, rows = _grid()
    bend = noise(rng, slope=3.4) * 0.16 + 0.35 * np.sin(columns * 2 * np.pi)
    ripple = (np.sin((rows * 9 + bend) * 2 * np.pi) * 0.5 + 0.5) ** 1.4
    grain = noise(rng, slope=0.2)
    shade = 0.86 + 0.20 * ripple + 0.07 * grain
    return (hex_to_linear(color) * np.clip(shade, 0.1, 2)[..., None]).astype(np.float32), (
        0.9 * ripple + 0.06 * grain
    ).astype(np.float32)


def linen(rng: np.random.Generator, *, color: str, threads: int) -> Tile:
    """A plain weave of uneven threads, with soft creases."""
    columns, rows = _grid(LARGE)
    slub_x, slub_y = (noise(rng, slope=1.6, stretch=way, side=LARGE) for way in ((0.04, 1.0), (1.0, 0.04)))
    phase_x = (columns * threads + 0.10 * noise(rng, slope=2.6, side=LARGE)) * np.pi
    phase_y = (rows * threads + 0.10 * noise(rng, slope=2.6, side=LARGE)) * np.pi
    warp, weft = np.sin(phase_x) ** 2, np.sin(phase_y) ** 2
    over = 0.5 + 0.5 * np.tanh(4 * np.cos(phase_x) * np.cos(phase_y))
    weave = over * warp * (1 + 0.25 * slub_x) + (1 - over) * weft * (1 + 0.25 * slub_y)
    fold = noise(rng, slope=3.8, stretch=(1.0, 0.6), side=LARGE)
    crease = np.exp(-np.abs(noise(rng, slope=3.6, stretch=(0.5, 1.0), side=LARGE)) * 9)
    shade = 0.86 + 0.22 * weave + 0.045 * (slub_x + slub_y) + 0.02 * fold
    albedo = level(color, LARGE) * np.clip(shade, 0.4, 1.3)[..., None]
    height = 0.10 * weave + 0.05 * (slub_x + slub_y) + 2.2 * fold + 0.5 * crease
    return np.clip(albedo, 0.01, 1).astype(np.float32), height.astype(np.float32)


def grass(rng: np.random.Generator, *, soil: str, low: str, high: str) -> Tile:
    """Blades drawn from dark to light, six times as long as wide apart: the ground is seen nearly along its level."""
    clumps = noise(rng, slope=2.6)
    margin = 16  # lines that OpenCV clips shift by part of a texel
    canvas = np.ascontiguousarray(level(soil, SIDE + 2 * margin))
    blades = 7000
    place = rng.random((blades, 2)) * SIDE
    length = rng.uniform(30, 105, blades) * (1 + 0.2 * clumps[place[:, 1].astype(int), place[:, 0].astype(int)])
    across = rng.normal(size=blades) * 9
    light = np.clip(np.arange(blades) / blades * 0.7 + rng.normal(size=blades) * 0.16, 0, 1)[:, None]
    colors = (hex_to_linear(low) * (1 - light) + hex_to_linear(high) * light) * (0.6 + 0.6 * rng.random((blades, 1)))
    colors = np.where(rng.random((blades, 1)) < 0.05, hex_to_linear("#b7a867"), colors)  # a dry one here and there
    for (x, y), tall, aside, color, wide in zip(place, length, across, colors, rng.integers(1, 4, blades), strict=True):
        reach = abs(aside) + margin
        rights = [right for right in (-SIDE, 0, SIDE) if -reach < x + right < SIDE + reach]
        downs = [down for down in (-SIDE, 0, SIDE) if -margin < y + down < SIDE + tall + margin]
        for right, down in itertools.product(rights, downs):
            root = np.array([x + right, y + down]) + margin
            stem = root + np.array([[0, 0], [0.3 * aside, -0.6 * tall], [aside, -tall]])
            points = [np.rint(stem * 8).astype(np.int32)]
            cv2.polylines(canvas, points, False, [float(value) for value in color], int(wide), cv2.LINE_AA, 3)
    canvas = np.ascontiguousarray(canvas[margin:-margin, margin:-margin])
    return canvas, (cv2.GaussianBlur(canvas[..., 1], (0, 0), 1) * 2).astype(np.float32)


def water(rng: np.random.Generator, *, deep: str, bright: str) -> Tile:
    """Ripples, with the bright net of light that they throw on the bottom of a pool."""
    wave = noise(rng, slope=5.0, stretch=(0.6, 1.5), lowest=4) + 0.25 * noise(rng, slope=4.0, lowest=12)
    first, second = noise(rng, slope=3.6, lowest=5), noise(rng, slope=3.6, lowest=5)
    net = np.clip(np.exp(-np.abs(first) * 4.5) + np.exp(-np.abs(second) * 4.5), 0, 1)
    return mix(level(deep), level(bright), (0.85 * net).astype(np.float32)), (wave * 2.0).astype(np.float32)


def snow(rng: np.random.Generator, *, color: str) -> Tile:
    """Wind-blown snow: soft drifts, bluish in the hollows, with crystals that glitter."""
    drift, grain = noise(rng, slope=4.0, stretch=(1.4, 0.8)), noise(rng, slope=0.6)
    hollow = step(0.2, 1.6, -drift)
    albedo = mix(level(color), level("#c3d6ec"), (0.5 * hollow).astype(np.float32))
    glitter = step(2.6, 3.2, noise(rng, slope=0.0))
    return np.clip(albedo * (1 + 0.02 * grain + 0.25 * glitter)[..., None], 0, 1).astype(np.float32), (
        2.2 * drift + 0.10 * grain
    ).astype(np.float32)


def asphalt(rng: np.random.Generator, *, color: str) -> Tile:
    """A street after rain: dark binder, pale stones, and films of water that are smooth."""
    stones, film = noise(rng, slope=0.3), step(-0.4, 0.9, noise(rng, slope=3.4))
    shade = 1 + (0.22 * stones + 0.5 * step(1.7, 2.4, stones)) * (1 - 0.7 * film) - 0.25 * film
    return (hex_to_linear(color) * np.clip(shade, 0.2, 2)[..., None]).astype(np.float32), (
        0.35 * stones * (1 - film)
    ).astype(np.float32)


def paint(rng: np.random.Generator) -> Tile:
    """A smooth painted wall or block; mean 1."""
    broad, fine = noise(rng, slope=3.0), noise(rng, slope=1.3)
    return np.repeat((1 + 0.012 * broad + 0.006 * fine)[..., None], 3, 2).astype(np.float32), (0.05 * fine).astype(
        np.float32
    )


def concrete(rng: np.random.Generator) -> Tile:
    """Cast panels: clouds, pores, seams and the holes of the formwork's ties; mean about 1."""
    columns, rows = _grid()
    cloud, fine = noise(rng, slope=2.4), noise(rng, slope=1.0)
    pore = step(2.1, 2.8, noise(rng, slope=1.2, lowest=18))
    seam = step(0.982, 0.994, (2 * np.maximum(np.abs(columns - 0.5), np.abs(rows - 0.5))).astype(np.float32))
    hole = flat()
    for right in (0.18, 0.82):
        for down in (0.18, 0.82):
            hole = np.maximum(hole, 1 - step(0.012, 0.018, np.hypot(columns - right, rows - down)))
    shade = (1 + 0.12 * cloud + 0.05 * fine) * (1 - 0.45 * pore) * (1 - 0.62 * seam) * (1 - 0.75 * hole)
    height = 0.05 * cloud + 0.05 * fine - 0.6 * pore - 1.5 * seam - 2 * hole
    return np.repeat(np.clip(shade, 0.05, 2)[..., None], 3, 2).astype(np.float32), height.astype(np.float32)


def ceramic(rng: np.random.Generator, *, count: int) -> Tile:
    """Square glazed tiles with narrow joints, each a little different and not quite level; mean about 1."""
    columns, rows = _grid(LARGE)
    across, down = columns * count, rows * count
    rim = (np.maximum(np.abs(across % 1 - 0.5), np.abs(down % 1 - 0.5)) * 2).astype(np.float32)
    tint, tilt_x, tilt_y = rng.normal(size=(3, count, count)).astype(np.float32)[
        :, down.astype(np.int32), across.astype(np.int32)
    ]
    cloud = noise(rng, slope=2.6, side=LARGE, lowest=4)
    shade = np.repeat((1 + 0.045 * tint + 0.015 * cloud)[..., None], 3, 2)
    shade = mix(shade, np.full(3, 1.45, np.float32), 0.8 * step(0.945, 0.965, rim))
    level_face = 0.5 * (tilt_x * (across % 1) + tilt_y * (down % 1)) + 0.12 * cloud
    return shade, (level_face * (1 - step(0.90, 0.95, rim)) - 1.4 * step(0.90, 0.97, rim)).astype(np.float32)


def earth(rng: np.random.Generator, *, color: str) -> Tile:
    """Bare ground, paving or leaf litter: coarse mottled stone."""
    coarse, fine = noise(rng, slope=2.0), noise(rng, slope=0.8)
    return np.clip(hex_to_linear(color) * (1 + 0.16 * coarse + 0.12 * fine)[..., None], 0.01, 1).astype(np.float32), (
        0.35 * coarse + 0.15 * fine
    ).astype(np.float32)
