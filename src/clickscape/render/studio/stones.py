"""Marble, slate and terrazzo as seamless tiles, larger than what a flat lay shows, so that nothing in it comes twice.

Veins are cracks that healed: they run one way, bend little, thin out and fork at sharp angles. Zero lines of noise
close to rings and zigzag like lightning; here every vein is walked step by step.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from clickscape.render.color import Floats, hex_to_linear
from clickscape.render.studio.tiles import Tile, flat, level, mix, noise, step, warped

SIDE = 1024
Doubles = npt.NDArray[np.floating]
_FINE = 2  # veins and chips are drawn so many times larger, for smooth outlines


@dataclass(frozen=True, slots=True)
class _Veins:
    """A family of veins: how many, how wide and long in texels, how often they fork, radians around their direction."""

    count: int
    width: tuple[float, float]
    length: tuple[float, float]
    forks: float
    spread: float


_STEP = 5.0  # texels from one point of a vein to the next
_SPLIT = (0.18, 0.55)  # radians between a vein and its fork


def marble(
    rng: np.random.Generator, *, base: str, vein: str, shade: str, cloud: float, strength: float, sparse: float = 1.0
) -> Tile:
    """Clouds along one direction, a few long veins with haze beside them, and hairlines.

    `shade`: color of the clouds; `sparse`: share of the usual number of veins.
    """
    direction = rng.uniform(0.55, 0.85)
    broad = _walked(rng, direction, _Veins(round(7 * sparse), (2.2, 6.0), (500, 1100), 0.016, 0.22))
    thin = _walked(rng, direction, _Veins(round(16 * sparse), (0.9, 2.0), (150, 600), 0.012, 0.45))
    hair = _walked(rng, direction + 0.9, _Veins(round(22 * sparse), (0.5, 0.9), (60, 300), 0.006, 0.7))
    bend = [noise(rng, slope=3.2, side=SIDE, lowest=3) * 5 for _ in range(2)]
    broad, thin, hair = (warped(layer, *bend) for layer in (broad, thin, hair))
    patchy = step(-1.6, 1.2, noise(rng, slope=2.4, side=SIDE, lowest=4))
    grain = noise(rng, slope=1.6, side=SIDE, lowest=20)
    veins = np.clip(broad * (0.35 + 0.65 * patchy) + 0.75 * thin * patchy + 0.5 * hair, 0, 1)
    haze = np.clip(_blurred(broad, 9) * 1.6 + _blurred(broad, 34) * 2.2 + _blurred(thin, 6), 0, 1)
    drift = _along(noise(rng, slope=3.4, side=SIDE), noise(rng, slope=3.0, side=SIDE, lowest=2))
    albedo = mix(level(base, SIDE), level(shade, SIDE), np.clip(cloud * (0.55 * drift + 0.8 * haze), 0, 1))
    albedo *= (1 + 0.012 * grain)[..., None]
    share = np.clip(strength * veins * (0.9 + 0.12 * grain), 0, 0.92)
    return mix(albedo, level(vein, SIDE), share), flat(SIDE)


def slate(rng: np.random.Generator, *, color: str, pale: str) -> Tile:
    """Honed slate: layers split off here and there in low steps, clouds of dust, fine grain."""
    layer = noise(rng, slope=2.9, stretch=(1.0, 0.7), side=SIDE, lowest=2) + 0.3 * noise(
        rng, slope=2.0, side=SIDE, lowest=9
    )
    terrace = sum(step(edge, edge + 0.16, layer) for edge in (-1.3, -0.4, 0.7, 1.5)) / 4
    cloud, grain = noise(rng, slope=2.3, side=SIDE, lowest=2), noise(rng, slope=0.9, side=SIDE, lowest=30)
    streak = noise(rng, slope=1.5, stretch=(1.0, 0.12), side=SIDE, lowest=6)
    shade = 1 + 0.07 * terrace + 0.06 * cloud + 0.045 * grain + 0.03 * streak
    albedo = mix(level(color, SIDE), level(pale, SIDE), 0.35 * step(0.2, 2.6, cloud + 0.5 * streak))
    height = 0.55 * terrace + 0.030 * grain + 0.03 * cloud
    return np.clip(albedo * shade[..., None], 0.01, 1).astype(np.float32), np.asarray(height, np.float32)


def terrazzo(rng: np.random.Generator, *, base: str, chips: tuple[str, ...]) -> Tile:
    """Broken stone of all sizes in cement, ground flat: large chips first, none over another."""
    side = SIDE * _FINE
    canvas = np.ascontiguousarray(level(base, side))
    taken = np.zeros((side, side), np.uint8)
    colors = [hex_to_linear(chip) for chip in chips]
    radii = np.sort(np.minimum(rng.lognormal(1.75, 0.7, 5200), 26))[::-1] * _FINE
    for radius in radii:
        middle = rng.random(2) * side
        outline = middle + _chip(rng, radius)
        color = colors[rng.integers(len(colors))] * rng.uniform(0.8, 1.15)
        low, high = np.floor(outline.min(0)).astype(int) - 3, np.ceil(outline.max(0)).astype(int) + 4
        rows, columns = (np.arange(low[axis], high[axis]) % side for axis in (1, 0))
        shape = np.zeros((len(rows), len(columns)), np.uint8)
        cv2.fillPoly(shape, [np.rint(outline - low).astype(np.int32)], 255)
        where = np.ix_(rows, columns)
        if (taken[where][cv2.dilate(shape, np.ones((3, 3), np.uint8)) > 0] > 0).any():
            continue
        taken[where] |= shape
        canvas[where] = np.where((shape > 0)[..., None], color, canvas[where])
    small = cv2.resize(canvas, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    small = _blurred(small, 0.6)
    mottled = 1 + 0.035 * noise(rng, slope=1.8, side=SIDE, lowest=8) + 0.02 * noise(rng, slope=0.8, side=SIDE)
    return np.clip(small * mottled[..., None], 0.01, 1).astype(np.float32), flat(SIDE)


def _chip(rng: np.random.Generator, radius: float) -> Floats:
    """Outline of a broken stone around (0, 0), (point, 2): convex, longer than wide, its corners a little worn."""
    corners = rng.integers(5, 9)
    angle = (np.arange(corners) + rng.uniform(0.1, 0.9, corners)) / corners * 2 * np.pi
    reach = radius * rng.uniform(0.65, 1.1, corners)
    points = np.stack([np.cos(angle) * reach * rng.uniform(1.0, 1.5), np.sin(angle) * reach], 1)
    turn = rng.uniform(0, np.pi)
    points = points @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    before, after = np.roll(points, 1, 0), np.roll(points, -1, 0)
    worn = np.stack([points + 0.22 * (before - points), points + 0.07 * (before + after - 2 * points),
                     points + 0.22 * (after - points)], 1)  # fmt: skip
    return worn.reshape(-1, 2).astype(np.float32)


def _walked(rng: np.random.Generator, direction: float, kind: _Veins) -> Floats:
    """Coverage 0..1 of a family of veins along `direction` (radians), (SIDE, SIDE)."""
    canvas = np.zeros((SIDE * _FINE, SIDE * _FINE), np.float32)
    waiting = [
        (rng.random(2) * SIDE, direction + rng.normal() * kind.spread, rng.uniform(*kind.length),
         float(np.exp(rng.uniform(*np.log(kind.width)))), rng.uniform(0.45, 1.0))
        for _ in range(kind.count)
    ]  # fmt: skip
    while waiting:
        place, course, length, width, depth = waiting.pop()
        steps = max(4, int(length / _STEP))
        along = np.linspace(0, 1, steps)
        ends = np.minimum(1, np.minimum(along, 1 - along) * 6) ** 0.7
        swell = np.exp(0.35 * _wandering(rng, steps, 14) + 0.2 * _wandering(rng, steps, 4))
        fade = np.clip(0.75 + 0.35 * _wandering(rng, steps, 10), 0.15, 1)
        heading = course + 0.16 * _wandering(rng, steps, 30) + 0.22 * _wandering(rng, steps, 7)
        points = place + np.cumsum(_STEP * np.stack([np.cos(heading), np.sin(heading)], 1), 0)
        _stroke(canvas, points, width * swell * (0.3 + 0.7 * ends), depth * fade * ends)
        for number in np.flatnonzero(rng.random(steps) < kind.forks):
            rest = length * (1 - along[number]) * rng.uniform(0.3, 0.9)
            if rest > 8 * _STEP and width > 0.7:
                turn = rng.choice((-1, 1)) * rng.uniform(*_SPLIT)
                waiting.append((points[number], heading[number] + turn, rest, width * 0.5, depth * 0.8))
    return cv2.resize(canvas, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def _wandering(rng: np.random.Generator, count: int, reach: int) -> Floats:
    """Smooth noise (count,) of unit variance that changes over `reach` points."""
    white = cv2.GaussianBlur(rng.normal(size=(1, count + 6 * reach)).astype(np.float32), (0, 0), reach)[0]
    white = white[3 * reach : 3 * reach + count]
    return np.asarray(white * np.float32(np.sqrt(2 * reach * np.sqrt(np.pi))), np.float32)


def _stroke(canvas: Floats, points: Doubles, width: Doubles, depth: Doubles) -> None:
    """Draw a line of changing width (texels) and depth over the seams of the tile."""
    side = len(canvas)
    fine = points * _FINE
    shift = np.floor(fine.min(0) / side).astype(int)
    for right in range(shift[0], int(fine[:, 0].max() // side) + 1):
        for down in range(shift[1], int(fine[:, 1].max() // side) + 1):
            own = np.rint((fine - np.array([right, down]) * side) * 8).astype(np.int32)
            for number in range(len(own) - 1):
                wide = width[number] * _FINE
                shown = float(depth[number] * min(1.0, wide))
                first, second = own[number].tolist(), own[number + 1].tolist()
                cv2.line(canvas, first, second, shown, max(1, round(wide)), cv2.LINE_AA, 3)


def _along(first: Floats, second: Floats) -> Floats:
    """Clouds 0..1 that lie in bands: one noise bent by another."""
    return step(-1.2, 1.8, warped(first, second * 40, second * -40))


def _blurred(layer: Floats, sigma: float) -> Floats:
    margin = int(3 * sigma) + 1
    wrapped = cv2.copyMakeBorder(layer, margin, margin, margin, margin, cv2.BORDER_WRAP)
    return np.ascontiguousarray(cv2.GaussianBlur(wrapped, (0, 0), sigma)[margin:-margin, margin:-margin])
