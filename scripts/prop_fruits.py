"""Props from kitchen and windowsill: fruit, spices and potted plants, about one unit wide."""

from __future__ import annotations

import math
from collections.abc import Callable

import bpy
import numpy as np

from prop_shapes import again, ball, curve, group, leaf, pointed, put, sheet, skin, tube, turned


def pumpkins(rng: np.random.Generator) -> None:  # noqa: ARG001
    """A large orange one, a pale one and a small dark one."""
    stalk = skin("#6b5a32", "#a08d57", mottled=0.4, rough=0.85, bump=0.5)
    for at, radius, squash, ribs, turn, colors in (
        ((-0.26, 0.10, 0), 0.40, 0.74, 11, (0.0, 0.06, 0.2), ("#a8430c", "#dd6f16", "#ee8f2e")),
        ((0.34, 0.02, 0), 0.29, 0.62, 9, (0.05, 0.0, 1.0), ("#c9b48c", "#e9dcbd", "#f4ecd6")),
        ((0.03, -0.36, 0), 0.20, 0.78, 8, (0.1, -0.12, 0.5), ("#7c2e08", "#b9500f", "#d06a1c")),
    ):
        hide = skin(*colors, mottled=0.55, varied=0.2, grain=3.5, rough=0.42, bump=0.12, bump_grain=40)
        turned_by = np.linspace(0, 2 * math.pi, 30 * ribs, endpoint=False)[None]
        up = np.linspace(-math.pi / 2, math.pi / 2, 48)[:, None]
        groove = np.abs(np.cos(ribs * turned_by / 2 + 0.15 * np.sin(3 * turned_by))) ** 5
        out = np.cos(up) ** 0.85 * (1 - 0.15 * groove * np.cos(up) ** 0.4)
        out = out * (1 + 0.025 * np.sin(turned_by + 1) + 0.02 * np.sin(2 * turned_by))
        high = np.sin(up) * (1 - 0.38 * np.exp(-((out / 0.33) ** 2))) * (1 - 0.04 * groove) + 0.78
        points = np.stack([out * np.cos(turned_by), out * np.sin(turned_by), high * squash + 0 * out], -1) * radius
        body = sheet(points, hide, around=True)
        top = 1.36 * squash * radius
        bent = curve((0, 0, top - 0.05 * radius), (0.05 * radius, 0, top + 0.20 * radius),
                     (0.26 * radius, -0.05, top + 0.36 * radius), points=12)  # fmt: skip
        stem = tube(bent, radius * np.array([0.21, 0.15, 0.12, *[0.10] * 7, 0.115, 0.12]), stalk, sides=9)
        put(group([body, stem]), at, turn=turn)
    green = skin("#35501f", "#5f7d38", graded=True, varied=0.4, thin=0.15, bump=0.2)
    pointed(
        leaf(0.26, 0.24, green, bend=0.25, fold=0.2, widest=0.42, ripple=0.05),
        (-0.16, -0.30, 0.05),
        (-0.8, -0.35, 0.28),
    )
    pointed(leaf(0.2, 0.18, green, bend=0.2, fold=0.2, widest=0.42, ripple=0.05), (0.3, -0.26, 0.05), (0.7, -0.45, 0.3))


def oranges(rng: np.random.Generator) -> None:
    """Two whole ones, a half that shows its flesh, a wedge of leaves."""
    peel = skin(
        "#d9640a", "#ee8412", "#f59a2b", mottled=0.35, varied=0.3, grain=2.5, rough=0.38, bump=0.35, bump_grain=34
    )
    green = skin("#1f4a1c", "#3d7130", graded=True, mottled=0.3, varied=0.4, rough=0.4, thin=0.12)
    navel = skin("#5a6b2a", rough=0.8)
    for at, radius, turn in (((-0.34, 0.10, 0), 0.29, (0.35, 0.2, 0.3)), ((0.20, 0.24, 0), 0.28, (-0.5, 0.3, 1.0))):
        whole = ball(radius, peel, squash=0.96, uneven=0.015, rng=rng)
        knot = put(ball(0.026, navel, squash=0.5, rows=10), (0, 0, 0.955 * radius))
        put(group([whole, knot]), (at[0], at[1], 0.96 * radius), turn=turn)
    put(_half_orange(0.265, peel), (0.16, -0.20, 0.235), turn=(1.18, 0.0, 0.16))
    put(_half_orange(0.20, peel), (-0.30, -0.34, 0.105), turn=(0.42, -0.12, 0.9))
    for at, direction, roll in (
        ((-0.36, 0.04, 0.55), (-0.75, -0.25, 0.32), 0.2), ((-0.34, 0.05, 0.55), (0.55, -0.4, 0.55), -0.3),
        ((0.42, 0.02, 0.10), (0.85, -0.35, 0.30), 0.2), ((0.40, 0.04, 0.12), (0.65, 0.1, 0.75), -0.4),
    ):  # fmt: skip
        pointed(leaf(0.34, 0.145, green, bend=0.2, fold=0.35, widest=0.45), at, direction, roll=roll)


def _half_orange(radius: float, peel: bpy.types.Material) -> object:
    """Half a fruit, its cut face up at z = 0."""
    pith = skin("#f6e3b8", "#fdf3da", mottled=0.3, grain=9, rough=0.7)
    flesh = skin("#e2700a", "#f2931d", "#fbb64a", mottled=0.8, grain=26, rough=0.22, bump=0.5, bump_grain=55, thin=0.15)
    up = np.linspace(-math.pi / 2, 0, 24)
    bowl = turned(radius * np.stack([np.cos(up), np.sin(up)], 1), peel)
    rim = turned([(radius, 0.0), (0.985 * radius, 0.008), (0.95 * radius, 0.010), (0.94 * radius, 0.006)], peel)
    white = turned([(0.95 * radius, 0.007), (0.45 * radius, 0.007), (0.0, 0.007)], pith)
    parts = [bowl, rim, white]
    along, across = np.linspace(0, 1, 18)[:, None], np.linspace(-1, 1, 13)[None]
    reach = radius * (0.07 + 0.82 * along)
    half = np.tan(math.pi / 10) * reach * 0.92 * np.clip((1 - along) / 0.18, 0, 1) ** 0.5
    bulge = (
        0.008
        + 0.016 * np.sqrt(np.clip(1 - across**2, 0, 1)) * np.clip(np.minimum(along, 1 - along) / 0.12, 0, 1) ** 0.5
    )
    curved = np.sqrt(np.clip(1 - (half * across / radius) ** 2, 0, 1))
    wedge = np.stack([half * across, reach * curved, bulge], -1)
    wedges = [put(sheet(wedge, flesh), turn=(0, 0, 2 * math.pi * (number + 0.3) / 10)) for number in range(10)]
    return group([*parts, *wedges])


def cinnamon(rng: np.random.Generator) -> None:
    """A bundle of rolled sticks in twine, with star anise."""
    bark = skin("#5f2f14", "#8d4d22", "#b67337", mottled=0.5, varied=0.5, grain=5, rough=0.75, bump=0.35, bump_grain=30)
    string = skin("#b59a6c", "#dac697", varied=0.5, rough=0.9, bump=0.6, bump_grain=80)
    radius, length = 0.082, 1.0
    spots = [(-1.05, 0), (0, 0), (1.05, 0), (-0.52, 0.9), (0.53, 0.9), (0.0, 1.8)]
    parts = [
        put(_quill(radius * rng.uniform(0.88, 1.02), length * rng.uniform(0.88, 1.05), bark, rng),
            (2 * radius * x * 0.94, rng.normal() * 0.03, radius + 2 * radius * z * 0.94),
            turn=(0, rng.uniform(0, 6), rng.normal() * 0.02))
        for x, z in spots
    ]  # fmt: skip
    turn = np.linspace(0, 2 * math.pi, 60)
    hull = np.stack([0.26 * np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** 0.8,
                     0 * turn, 0.215 + 0.225 * np.sin(turn)], 1)  # fmt: skip
    hull[:, 0] *= np.where(np.sin(turn) > 0, 1 - 0.52 * np.sin(turn), 1.0)
    parts += [tube(hull + np.array([0, 0.024 * shift, 0]), 0.011, string, sides=6) for shift in range(-3, 4)]
    for way in (-1, 1):
        loop = curve((0, 0, 0), (way * 0.15, -0.05, 0.13), (way * 0.17, -0.04, -0.04), (0, 0, 0))
        parts.append(put(tube(loop, 0.011, string, sides=6), (0, 0, 0.445)))
    put(group(parts), (0.0, 0.12, 0), turn=(0, 0, -0.95))
    pod = skin("#3d1d0e", "#6d3a1b", "#8d5427", graded=True, mottled=0.3, varied=0.4, rough=0.6, bump=0.35)
    seed = skin("#6b3512", "#9a5a24", rough=0.15)
    for at, lean, size in (
        ((-0.40, -0.36, 0.11), (0.75, -0.2, 0.4), 1.0),
        ((-0.06, -0.50, 0.06), (0.35, 0.1, 0.9), 0.85),
        ((0.52, -0.20, 0.13), (0.95, 0.15, -0.3), 0.95),
    ):
        put(_anise(pod, seed, rng), at, turn=lean, scale=size)


def _quill(radius: float, length: float, bark: bpy.types.Material, rng: np.random.Generator) -> object:
    """A stick along y of bark that rolled up from both sides."""
    turn = np.linspace(0, 1, 34)
    parts = []
    for way in (-1, 1):
        angle = way * (0.06 + turn * 3.7 * math.pi / 2 + 0.0) - math.pi / 2
        away = radius * (1 - 0.52 * turn**1.4)
        middle = way * radius * 0.34 * turn**0.8
        ring = np.stack([middle + away * np.cos(angle) * (1 - 0.4 * turn), away * np.sin(angle)], 1)
        along = np.linspace(-length / 2, length / 2, 14)
        wave = 1 + 0.035 * np.sin(5 * along + rng.uniform(0, 6)) + 0.02 * np.sin(13 * along)
        end = 0.012 * np.sin(9 * turn + rng.uniform(0, 6))
        points = np.stack([wave[:, None] * ring[None, :, 0], along[:, None] * (1 + end[None]),
                           wave[:, None] * ring[None, :, 1]], -1)  # fmt: skip
        shell = sheet(points, bark)
        shell.modifiers.new("bark", "SOLIDIFY").thickness = 0.012
        parts.append(shell)
    return group(parts)


def _anise(pod: bpy.types.Material, seed: bpy.types.Material, rng: np.random.Generator) -> object:
    """A star of eight open pods that faces z, 0.2 units in radius."""
    parts = [put(ball(0.03, pod, rows=10), (0, 0, 0.0))]
    for number in range(8):
        turn = 2 * math.pi * number / 8 + rng.normal() * 0.06
        out = np.array([math.cos(turn), math.sin(turn), 0.10])
        boat = leaf(rng.uniform(0.17, 0.21), 0.082, pod, bend=-0.12, fold=1.5, widest=0.52)
        boat.modifiers.new("wall", "SOLIDIFY").thickness = 0.010
        parts.append(pointed(boat, (0, 0, 0), out))
        if number % 3:
            parts.append(put(ball(0.02, seed, squash=0.75, rows=10), out * 0.105 + [0, 0, 0.022]))
    return group(parts)


def cactus(rng: np.random.Generator) -> None:
    """A column and a globe in terracotta pots, the globe in flower."""
    clay = skin("#9c4e2c", "#bd6a42", "#cf8560", mottled=0.55, varied=0.2, grain=4, rough=0.8, bump=0.2)
    soil = skin("#2b1d14", "#4a3526", mottled=0.6, grain=30, rough=1.0, bump=1.0, bump_grain=45)
    grit = skin("#b9ab97", "#e4dac8", varied=1.0, rough=0.8)
    green = skin("#274f2e", "#3f7443", "#5c9160", mottled=0.35, varied=0.1, grain=3, rough=0.55)
    blue = skin("#3c6350", "#578470", "#7aa58f", mottled=0.35, varied=0.1, grain=3, rough=0.6)
    spine = skin("#e8dcb8", "#fff7e0", varied=0.5, rough=0.5)
    petals = skin("#c42a66", "#ea5f93", "#f9b5cd", graded=True, varied=0.3, thin=0.3)
    for at, size, body, shape, ribs in (
        ((-0.24, 0.06, 0), 1.0, green, _column(0.165, 0.62), 11),
        ((0.34, -0.08, 0), 0.80, blue, _column(0.225, 0.36), 14),
    ):
        profile = [(0.0, 0.0), (0.20, 0.0), (0.215, 0.02), (0.265, 0.27), (0.29, 0.27), (0.305, 0.285), (0.31, 0.37),
                   (0.30, 0.385), (0.28, 0.385), (0.268, 0.37), (0.26, 0.30)]  # fmt: skip
        parts = [turned(profile, clay), turned([(0.268, 0.325), (0.12, 0.345), (0.0, 0.35)], soil)]
        for _ in range(70):
            turn, away = rng.uniform(0, 2 * math.pi), rng.uniform(0.17, 0.255)
            stone = ball(rng.uniform(0.011, 0.022), grit, squash=0.7, uneven=0.15, rng=rng, rows=7)
            parts.append(put(stone, (away * math.cos(turn), away * math.sin(turn), 0.345)))
        parts += _ribbed(shape, ribs, body, spine, rng)
        top = float(shape[-1, 1])
        if body is blue:
            for number in range(14):
                turn = number * 2.4
                out = (math.cos(turn), math.sin(turn), 0.55 + 0.07 * number)
                parts.append(pointed(leaf(0.16, 0.06, petals, bend=0.25, fold=0.4), (0, 0, top - 0.035), out))
            parts.append(put(ball(0.03, skin("#f3c445", rough=0.8), squash=1.2, rows=10), (0, 0, top + 0.02)))
        put(group(parts), at, turn=(0, 0, rng.uniform(0, 3)), scale=size)


def _column(radius: float, height: float) -> np.ndarray:
    """A round-topped column from the soil up: (radius, height) pairs."""
    turn = np.linspace(0, math.pi / 2, 14)
    straight = height - 0.85 * radius
    low = [(0.80 * radius, 0.33), (0.93 * radius, 0.33 + 0.3 * straight), (radius, 0.33 + 0.7 * straight)]
    cap = [(radius * math.cos(at), 0.33 + straight + 0.85 * radius * math.sin(at)) for at in turn]
    return np.array([*low, *cap])


def _ribbed(
    shape: np.ndarray, ribs: int, body: bpy.types.Material, spine: bpy.types.Material, rng: np.random.Generator
) -> list[bpy.types.Object]:
    """A cactus about the z axis with ribs and their spines."""
    turn = np.linspace(0, 2 * math.pi, 16 * ribs, endpoint=False)
    ridge = np.abs(np.cos(ribs * turn / 2))
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(shape, axis=0), axis=1))])
    radius, height = (np.interp(np.linspace(0, length[-1], 50), length, shape[:, axis]) for axis in (0, 1))
    out = radius[:, None] * (1 - 0.20 * (1 - ridge**1.3))
    points = np.stack([out * np.cos(turn), out * np.sin(turn), height[:, None] + 0 * out], -1)
    parts = [sheet(points, body, around=True)]
    thorn = put(
        tube(np.array([[0, 0, 0], [0, 0.05, 0], [0, 0.075, 0]]), np.array([0.0042, 0.003, 0.0008]), spine, sides=4),
        (0, 0, -9),
    )
    for rib in range(ribs):
        angle = 2 * math.pi * rib / ribs
        for share in np.arange(0.06 + 0.03 * (rib % 2), 0.95, 0.075):
            at = int(share * 49)
            place = np.array([radius[at] * math.cos(angle), radius[at] * math.sin(angle), height[at]])
            for _ in range(5):
                out_ = np.array([math.cos(angle), math.sin(angle), 0.25]) + 0.75 * rng.normal(size=3)
                parts.append(pointed(again(thorn), place, out_, scale=rng.uniform(0.6, 1.1)))
    bpy.data.objects.remove(thorn)
    return parts


def lemons(rng: np.random.Generator) -> None:
    """Two whole ones, one of them with its leaf, and a half that shows its flesh."""
    peel = skin("#d8a90c", "#f0c81c", "#f7dc4e", mottled=0.4, varied=0.25, grain=3, rough=0.42, bump=0.4, bump_grain=36)
    green = skin("#1f4a1c", "#3f7a30", graded=True, mottled=0.3, varied=0.4, rough=0.45, thin=0.15)
    for at, turn, size in (
        ((-0.30, 0.10, 0.20), (0.25, 0.10, 0.5), 1.0),
        ((0.20, 0.22, 0.19), (-0.2, -0.2, -0.9), 0.94),
    ):
        put(_lemon(0.21, peel), at, turn=turn, scale=size)
    put(_half_lemon(0.19, peel), (0.20, -0.24, 0.165), turn=(1.22, 0.0, 0.22))
    for at, direction, roll in (
        ((-0.44, 0.02, 0.30), (-0.7, -0.35, 0.45), 0.2), ((-0.02, 0.2, 0.2), (-0.1, -0.5, 0.75), -0.3),
        ((0.34, 0.12, 0.22), (0.85, -0.3, 0.35), 0.2),
    ):  # fmt: skip
        pointed(
            leaf(0.32, 0.14, green, bend=0.22, fold=0.35, widest=0.45), at, direction, roll=roll + 0.1 * rng.normal()
        )


def _lemon(radius: float, peel: bpy.types.Material) -> bpy.types.Object:
    """A lemon along x, a nipple at one end."""
    along = np.linspace(-1, 1, 60)
    body = np.sqrt(np.clip(1 - np.abs(along) ** 2.3, 0, 1))
    tip = 0.17 * np.exp(-(((along - 1) / 0.10) ** 2)) + 0.12 * np.exp(-(((along + 1) / 0.08) ** 2))
    profile = np.stack([radius * (body + tip * (1 - np.abs(along) ** 30)), 1.42 * radius * along], 1)
    return group([put(turned(profile, peel), turn=(0, math.pi / 2, 0))])


def _half_lemon(radius: float, peel: bpy.types.Material) -> bpy.types.Object:
    pith = skin("#f6edc4", "#fdf8de", mottled=0.3, grain=9, rough=0.7)
    flesh = skin("#e8c73a", "#f4dc62", "#fbee9c", mottled=0.8, grain=26, rough=0.2, bump=0.5, bump_grain=55, thin=0.25)
    up = np.linspace(-math.pi / 2, 0, 24)
    parts = [turned(radius * np.stack([np.cos(up), 1.25 * np.sin(up)], 1), peel)]
    parts += [turned([(radius, 0.0), (0.98 * radius, 0.007), (0.945 * radius, 0.008)], peel)]
    parts += [turned([(0.95 * radius, 0.006), (0.45 * radius, 0.006), (0.0, 0.006)], pith)]
    along, across = np.linspace(0, 1, 18)[:, None], np.linspace(-1, 1, 13)[None]
    reach = radius * (0.07 + 0.80 * along)
    half = np.tan(math.pi / 9) * reach * 0.92 * np.clip((1 - along) / 0.18, 0, 1) ** 0.5
    bulge = 0.008 + 0.010 * np.sqrt(np.clip(1 - across**2, 0, 1)) * np.clip(np.minimum(along, 1 - along) / 0.12, 0, 1)
    curved = np.sqrt(np.clip(1 - (half * across / radius) ** 2, 0, 1))
    wedge = np.stack([half * across, reach * curved, bulge], -1)
    parts += [put(sheet(wedge, flesh), turn=(0, 0, 2 * math.pi * (number + 0.3) / 9)) for number in range(9)]
    return group(parts)


MODELS: dict[str, Callable[[np.random.Generator], None]] = {
    "pumpkins": pumpkins,
    "lemons": lemons,
    "oranges": oranges,
    "cinnamon": cinnamon,
    "cactus": cactus,
}
"""Fruit, spices and pots, by name."""
