"""Props of a still life: berries, blossom, fronds, presents and baubles, at the scale of a bottle of 1.4 units."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import bpy
import numpy as np

from prop_plants import fir
from prop_shapes import again, ball, box, curve, group, leaf, pointed, put, sheet, skin, tube, turned


def berries(rng: np.random.Generator) -> None:
    """A handful of blueberries and raspberries, as small as they are, with two leaves."""
    bloom = skin("#1d2440", "#343f66", "#7f8db4", mottled=0.75, varied=0.35, grain=9, rough=0.62, bump=0.15)
    crown = skin("#10131f", "#2a2f45", mottled=0.4, rough=0.85)
    flesh = skin("#8f0f26", "#bd1c38", "#d94a5c", mottled=0.3, varied=0.25, grain=6, rough=0.34, bump=0.05, thin=0.22)
    hair = skin("#e0b48c", rough=0.7)
    green = skin("#20481d", "#3f7131", "#5c8a43", graded=True, mottled=0.4, varied=0.4, rough=0.6, thin=0.15, bump=0.3)
    blue, red = _blueberry(bloom, crown, rng), _raspberry(flesh, hair, rng)
    spots = [(x + rng.normal() * 0.012, y + rng.normal() * 0.012, 0.0)
             for y in (-0.26, -0.13, 0.0, 0.13, 0.26) for x in np.arange(-0.42, 0.43, 0.142)
             if (x / 0.48) ** 2 + (y / 0.32) ** 2 < 1]  # fmt: skip
    spots += [(x + rng.normal() * 0.012, y, 0.105) for y in (-0.08, 0.06, 0.17) for x in np.arange(-0.25, 0.26, 0.142)]
    spots += [(x, 0.06, 0.205) for x in (-0.08, 0.07)]
    for number, (x, y, z) in enumerate(spots):
        lean = (rng.uniform(-0.8, 0.8), rng.uniform(-0.8, 0.8), rng.uniform(0, 6))
        if number % 5 in (1, 3):
            put(again(red), (x, y, z + 0.075), turn=(lean[0] + 1.2 * (number % 2), lean[1], lean[2]),
                scale=rng.uniform(0.92, 1.1))  # fmt: skip
        else:
            put(again(blue), (x, y, z + 0.066), turn=lean, scale=rng.uniform(0.85, 1.08))
    for thing in (blue, red):
        put(thing, (0, 0.9, -9))
        bpy.data.objects.remove(thing)
    for at, direction, roll in (
        ((-0.36, -0.05, 0.10), (-0.8, -0.5, 0.2), 0.2),
        ((0.26, 0.1, 0.2), (0.75, -0.2, 0.5), -0.3),
    ):
        pointed(leaf(0.26, 0.17, green, bend=0.3, fold=0.25, widest=0.45, ripple=0.04), at, direction, roll=roll)


def _joined(parts: list[bpy.types.Object]) -> bpy.types.Object:
    """One mesh of several, so that it can be shown again and again."""
    bpy.context.view_layer.update()
    bpy.ops.object.select_all(action="DESELECT")
    for part in parts:
        part.select_set(True)
    bpy.context.view_layer.objects.active = parts[0]
    bpy.ops.object.join()
    return parts[0]


def _blueberry(bloom: bpy.types.Material, crown: bpy.types.Material, rng: np.random.Generator) -> bpy.types.Object:
    parts = [ball(0.068, bloom, squash=0.88, uneven=0.02, rng=rng, rows=24)]
    parts.append(turned([(0.0, 0.052), (0.018, 0.053), (0.024, 0.058)], crown, sides=20))
    for number in range(5):
        turn = 2 * math.pi * number / 5
        out = (math.cos(turn), math.sin(turn), 0.9)
        parts.append(
            pointed(leaf(0.026, 0.024, bloom, bend=-0.1, fold=0.2), (0.02 * out[0], 0.02 * out[1], 0.054), out)
        )
    return _joined(parts)


def _raspberry(flesh: bpy.types.Material, hair: bpy.types.Material, rng: np.random.Generator) -> bpy.types.Object:
    """A blunt cone of drupelets about its middle, along z."""
    parts = []
    for ring, (height, radius, count) in enumerate(
        (
            (-0.055, 0.060, 13),
            (-0.025, 0.064, 13),
            (0.006, 0.060, 12),
            (0.036, 0.050, 10),
            (0.062, 0.034, 7),
            (0.080, 0.012, 3),
        )
    ):
        for number in range(count):
            turn = 2 * math.pi * (number + 0.5 * (ring % 2)) / count + rng.normal() * 0.05
            size = rng.uniform(0.0165, 0.0195)
            out = np.array([math.cos(turn), math.sin(turn), 0.25 + 0.2 * ring])
            at = np.array([radius * math.cos(turn), radius * math.sin(turn), height])
            parts.append(put(ball(size, flesh, rows=12), at))
            if number % 2:
                tip = at + out / np.linalg.norm(out) * (size + 0.016)
                parts.append(tube(np.linspace(at, tip, 3), np.array([0.0012, 0.0012, 0.0006]), hair, sides=3))
    parts.append(turned([(0.0, -0.06), (0.045, -0.055), (0.055, 0.0), (0.035, 0.05), (0.0, 0.07)], flesh, sides=24))
    return _joined(parts)


def coffee_beans(rng: np.random.Generator) -> None:
    """A loose heap of roasted beans."""
    roast = skin(
        "#1c0d07", "#3a1d10", "#5a3320", mottled=0.5, varied=0.5, grain=7, rough=0.42, bump=0.25, bump_grain=30
    )
    chaff = skin("#6d4a30", "#94714f", varied=0.4, rough=0.9)
    bean = _joined(_bean(roast, chaff))
    for number in range(200):
        away = abs(rng.normal()) * 0.22 if number < 188 else rng.uniform(0.36, 0.46)
        turn = rng.uniform(0, 2 * math.pi)
        x, y = 1.15 * away * math.cos(turn), 0.62 * away * math.sin(turn)
        top = 0.32 * math.exp(-((x / 0.32) ** 2) - (y / 0.24) ** 2)
        z = 0.035 + (rng.uniform(0.1, 1.0) * top if number < 188 else 0)
        lean = (rng.uniform(-1.2, 1.2), rng.uniform(-0.5, 0.5), rng.uniform(0, 6)) if z > 0.05 else (
            3.1 * rng.integers(0, 2), rng.uniform(-0.1, 0.1), rng.uniform(0, 6))  # fmt: skip
        put(again(bean), (x, y, z), turn=lean, scale=rng.uniform(0.88, 1.1))
    bpy.data.objects.remove(bean)


def _bean(roast: bpy.types.Material, chaff: bpy.types.Material) -> list[bpy.types.Object]:
    """A bean of 0.13 units along x, its crease up."""
    up, turn = (
        np.linspace(-math.pi / 2, math.pi / 2, 26)[:, None],
        np.linspace(0, 2 * math.pi, 48, endpoint=False)[None],
    )
    x, y, z = np.cos(up) * np.cos(turn), np.cos(up) * np.sin(turn), np.sin(up) + 0 * turn
    flat = np.where(z > 0, 0.42 * z, 0.95 * z)
    crease = np.exp(-(((y + 0.06 * np.sin(4 * x)) / 0.09) ** 2)) * (z > 0)
    points = np.stack([0.068 * x, 0.047 * y, 0.040 * (flat - 0.42 * crease)], -1)
    along = np.linspace(-0.052, 0.052, 9)
    seam = np.stack([along, -0.003 * np.sin(4 * along / 0.068), 0.003 - 2.2 * along**2], 1)
    return [sheet(points, roast, around=True), tube(seam, 0.0035, chaff, sides=4)]


def blossom(rng: np.random.Generator) -> None:
    """A branch of cherry in flower that leans to the right, with a side twig."""
    bark = skin("#3c2a22", "#5d463a", "#7d6658", mottled=0.6, varied=0.3, grain=14, rough=0.85, bump=0.6)
    petal = skin("#eaa0b4", "#f6cdd8", "#fdeef1", graded=True, mottled=0.25, varied=0.35, rough=0.7, thin=0.45)
    stamen = skin("#f3e6b0", "#d9a441", varied=0.6, rough=0.7)
    green = skin("#4e6b2a", "#86a04c", graded=True, varied=0.4, rough=0.6, thin=0.3)
    heads = [_flower(petal, stamen, rng, opened) for opened in (1.0, 0.8, 0.35)]
    branches = (
        (curve((-0.25, 0, 0), (-0.16, 0.03, 0.5), (0.08, 0, 0.95), (0.24, -0.05, 1.38), points=60), 0.020, 26),
        (curve((-0.13, 0.0, 0.62), (-0.28, -0.06, 0.85), (-0.32, -0.10, 1.16), points=40), 0.011, 13),
        (curve((0.03, 0.0, 0.86), (0.22, -0.05, 0.95), (0.40, -0.08, 1.06), points=40), 0.009, 9),
    )
    for path, thick, count in branches:
        tube(path + rng.normal(size=path.shape) * 0.002, np.linspace(thick, 0.4 * thick, len(path)), bark)
        for number in range(count):
            share = 0.30 + 0.68 * (number + rng.uniform(-0.3, 0.3)) / count
            at = path[min(len(path) - 1, int(share * len(path)))]
            way = rng.normal(size=3) * (1, 0.8, 0.7) + (0, -0.5, 0.25)
            way /= np.linalg.norm(way)
            end = at + way * rng.uniform(0.05, 0.10)
            tube(np.linspace(at, end, 4), 0.0035, green, sides=5)
            kind = heads[int(rng.choice([0, 0, 0, 1, 1, 2]))]
            pointed(
                again(kind), end, way + rng.normal(size=3) * 0.2, roll=rng.uniform(0, 6), scale=rng.uniform(0.85, 1.1)
            )
        for _ in range(3):
            at = path[int(rng.uniform(0.5, 0.98) * len(path))]
            pointed(leaf(0.13, 0.055, green, bend=0.2, fold=0.4), at, (rng.normal(), -0.4, 0.9))
    for head in heads:
        bpy.data.objects.remove(head)


def _flower(
    petal: bpy.types.Material, stamen: bpy.types.Material, rng: np.random.Generator, opened: float
) -> bpy.types.Object:
    """A flower of 0.2 units that faces y."""
    parts = []
    for layer, (count, length) in enumerate(((6, 0.105), (5, 0.085))):
        for number in range(count):
            turn = 2 * math.pi * (number + 0.5 * layer) / count + rng.normal() * 0.12
            out = np.array([math.cos(turn), (1.6 - 1.35 * opened) + 0.25 * layer + rng.normal() * 0.08, math.sin(turn)])
            shape = leaf(length, 0.095, petal, bend=-0.22, fold=0.32, widest=0.60, ripple=0.05, blunt=0.65)
            parts.append(pointed(shape, (0, 0, 0), out, roll=rng.normal() * 0.15 + math.pi))
    for _ in range(12):
        tip = np.array([rng.normal() * 0.020, 0.055, rng.normal() * 0.020])
        parts.append(tube(np.linspace((0, 0, 0), tip, 3), 0.0012, stamen, sides=3))
        parts.append(put(ball(0.0042, stamen, rows=6), tip))
    return _joined(parts)


def palm(rng: np.random.Generator) -> None:
    """Three fronds in an arc, narrow leaflets that shine through and droop at their tips."""
    green = skin(
        "#1d4a22", "#357436", "#6ba04a", graded=True, mottled=0.35, varied=0.45, rough=0.42, thin=0.35, bump=0.15
    )
    rib = skin("#5a7a34", "#93a95a", varied=0.3, rough=0.55)
    for foot, middle, top, facing in (
        ((-0.04, 0.05, 0), (-0.20, 0.10, 0.75), (-0.48, 0.02, 1.38), -0.2),
        ((0.0, 0.0, 0), (0.06, 0.06, 0.80), (0.16, -0.05, 1.52), 0.1),
        ((0.05, -0.03, 0), (0.26, -0.08, 0.55), (0.60, -0.22, 0.98), 0.4),
    ):
        path = curve(foot, middle, top, points=80)
        tube(path, np.linspace(0.016, 0.004, 80), rib, sides=8)
        for number in range(30):
            share = 0.26 + 0.73 * number / 29
            at, ahead = path[int(share * 79)], np.gradient(path, axis=0)[int(share * 79)]
            ahead = ahead / np.linalg.norm(ahead)
            length = 0.50 * math.sin(math.pi * (0.10 + 0.86 * number / 29)) ** 0.7 * rng.uniform(0.9, 1.06)
            across = np.cross(ahead, (0.3 * facing, -1.0, 0.1))
            across /= np.linalg.norm(across)
            for way in (-1, 1):
                direction = way * across + ahead * (0.55 + 0.5 * share) + rng.normal(size=3) * 0.07
                blade = leaf(length, 0.040, green, bend=0.30 + rng.uniform(0, 0.15), fold=0.5, widest=0.35)
                pointed(blade, at, direction, roll=way * 0.5 + rng.normal() * 0.2)


def gift(rng: np.random.Generator) -> None:
    """Two boxes in matte paper with satin ribbons, the smaller one before the larger."""
    for at, size, turn, papers, satins, bow in (
        ((-0.08, 0.12, 0), (0.56, 0.46, 0.36), 0.22, ("#8d2c2a", "#a83a36"), ("#e7d6b4", "#f5ead2"), 1.0),
        ((0.26, -0.22, 0), (0.32, 0.30, 0.22), -0.35, ("#d9c7a5", "#e9dcc2"), ("#7d2624", "#a33a34"), 0.7),
    ):
        paper = skin(*papers, mottled=0.4, varied=0.0, grain=3, rough=0.72, bump=0.25, bump_grain=9)
        satin = skin(*satins, mottled=0.5, grain=5, rough=0.28, bump=0.1)
        wide, deep, high = size
        band = 0.055 * bow
        parts = [
            box(size, paper, bevel=0.008),
            put(box((wide * 1.02, deep * 1.02, 0.085), paper, bevel=0.006), (0, 0, high - 0.08)),
        ]
        for horizontal in (True, False):
            across = (wide * 1.03, band, high + 0.010) if horizontal else (band, deep * 1.03, high + 0.010)
            parts.append(box(across, satin, bevel=0.003))
        parts += [put(each, (0, 0, high + 0.012)) for each in _bow(bow, satin, rng)]
        put(group(parts), at, turn=(0, 0, turn))


def _bow(size: float, satin: bpy.types.Material, rng: np.random.Generator) -> list[bpy.types.Object]:
    """Loops and tails of a flat ribbon about the origin."""
    parts = [ball(0.034 * size, satin, squash=0.8, rows=16)]
    for turn, reach, rise in ((0.35, 0.20, 0.12), (2.75, 0.20, 0.12), (1.6, 0.16, 0.15), (-1.4, 0.15, 0.11)):
        along = np.linspace(0, 1, 40)
        out = reach * size * np.sin(math.pi * along) ** 0.8
        high = rise * size * (1 - np.cos(2 * math.pi * along)) / 2 * np.where(along < 0.5, 1, 0.55) + 0.01
        across = np.linspace(-0.5, 0.5, 7) * 0.062 * size
        width = 0.35 + 0.65 * np.sin(math.pi * along) ** 0.5
        side = width[:, None] * across[None] + 0.02 * np.sin(5 * along)[:, None]
        points = np.stack([np.repeat(out[:, None], 7, 1), side,
                           high[:, None] + 0.004 * np.cos(across / (0.02 * size))[None]], -1)  # fmt: skip
        loop = sheet(points, satin)
        loop.modifiers.new("thick", "SOLIDIFY").thickness = 0.003
        parts.append(put(loop, turn=(0, 0, turn)))
    for turn in (-0.6, -2.4):
        along = np.linspace(0, 1, 20)[:, None]
        across = np.linspace(-0.5, 0.5, 5)[None] * 0.055 * size
        points = np.stack([0.24 * size * along + 0 * across, across + 0.02 * np.sin(4 * along + rng.uniform(0, 3)),
                           0.012 + 0.03 * np.sin(7 * along) * (1 - along) + 0 * across], -1)  # fmt: skip
        tail = sheet(points, satin)
        tail.modifiers.new("thick", "SOLIDIFY").thickness = 0.003
        parts.append(put(tail, turn=(0, 0, turn)))
    return parts


def baubles(rng: np.random.Generator) -> None:
    """Satin glass balls in red and old gold among twigs of fir."""
    needles = skin("#122c1b", "#28502f", "#4d7547", graded=True, mottled=0.15, varied=0.4, rough=0.5)
    twig = skin("#4b3320", rough=0.85)
    for knots in (
        ((0.0, 0.18, 0.06), (-0.35, 0.20, 0.20), (-0.62, 0.10, 0.22)),
        ((0.05, 0.2, 0.06), (0.36, 0.22, 0.20), (0.66, 0.12, 0.20)),
        ((0.0, 0.22, 0.1), (-0.2, 0.30, 0.32), (-0.36, 0.28, 0.52)),
        ((0.05, 0.22, 0.1), (0.2, 0.30, 0.34), (0.34, 0.28, 0.56)),
        ((0.0, 0.1, 0.03), (-0.3, -0.12, 0.07), (-0.5, -0.25, 0.05)),
        ((0.1, 0.1, 0.03), (0.4, -0.10, 0.07), (0.56, -0.22, 0.05)),
    ):
        path = curve(*knots)
        fir(path, needles, twig, rng, count=150)
    cap = skin("#9a7d3c", "#c9ab62", mottled=0.4, rough=0.35, metal=1.0)
    for at, radius, colors, lean in (
        ((-0.18, 0.0, 0.20), 0.20, ("#6d0d14", "#8f1720"), (0.5, 0.25, 0)),
        ((0.20, -0.08, 0.16), 0.16, ("#a07a34", "#c39a4d"), (0.9, -0.5, 0)),
        ((0.02, -0.30, 0.11), 0.11, ("#6d0d14", "#8f1720"), (1.2, 0.7, 0)),
        ((-0.46, -0.16, 0.10), 0.10, ("#d9d2c4", "#efeae0"), (0.9, 0.4, 0)),
    ):
        glass = skin(*colors, mottled=0.3, grain=2, rough=0.42, metal=0.35)
        top = turned([(0.0, radius * 1.16), (0.13 * radius, radius * 1.16), (0.2 * radius, radius * 1.10),
                      (0.2 * radius, radius * 0.95)], cap, sides=24)  # fmt: skip
        turn = np.linspace(0, 2 * math.pi, 20)
        ring = tube(
            np.stack([0.10 * radius * np.cos(turn), 0 * turn, radius * (1.24 + 0.10 * np.sin(turn))], 1), 0.006, cap
        )
        put(group([ball(radius, glass), top, ring]), at, turn=lean)


def eucalyptus(rng: np.random.Generator) -> None:
    """Three sprigs of silver dollar eucalyptus: round leaves in pairs, pale, some seen from the edge."""
    silver = skin("#4f6f62", "#7d9a8a", "#a9bfb0", graded=True, mottled=0.5, varied=0.5, grain=6, rough=0.7, thin=0.25,
                  bump=0.1)  # fmt: skip
    stem = skin("#6b5a4a", "#8e7b62", varied=0.4, rough=0.8)
    for foot, middle, top, pairs in (
        ((0.0, 0.03, 0), (-0.05, 0.05, 0.70), (0.06, -0.04, 1.38), 13),
        ((-0.03, 0.0, 0), (-0.26, 0.0, 0.48), (-0.44, -0.10, 1.02), 10),
        ((0.03, -0.02, 0), (0.22, -0.08, 0.42), (0.47, -0.20, 0.82), 8),
    ):
        path = curve(foot, middle, top, points=70)
        tube(path, np.linspace(0.013, 0.004, 70), stem, sides=7)
        for number in range(pairs):
            share = 0.24 + 0.74 * number / (pairs - 1)
            at, ahead = path[int(share * 69)], np.gradient(path, axis=0)[int(share * 69)]
            ahead = ahead / np.linalg.norm(ahead)
            spin = 1.45 * number + rng.normal() * 0.35
            across = np.cross(ahead, (math.cos(spin), math.sin(spin), 0.2))
            across /= np.linalg.norm(across)
            for way in (-1, 1):
                size = (0.19 - 0.10 * share) * rng.uniform(0.9, 1.12)
                direction = way * across + 0.45 * ahead + rng.normal(size=3) * 0.12
                shape = leaf(
                    size, 0.98 * size, silver, bend=0.12 + rng.uniform(-0.1, 0.12), fold=0.22, widest=0.52, blunt=0.55
                )
                pointed(shape, at, direction, roll=rng.normal() * 0.45)


def pebbles(rng: np.random.Generator) -> None:
    """Three flat stones from a river on each other, a small one beside them."""
    for at, radius, squash, colors, lean in (
        ((-0.03, 0.05, 0.125), 0.40, 0.34, ("#55565a", "#77787a", "#989896"), (0.03, 0.04, 0.4)),
        ((0.01, 0.03, 0.335), 0.29, 0.34, ("#84807a", "#a39e95", "#bdb8ad"), (-0.05, 0.06, 1.9)),
        ((-0.01, 0.02, 0.495), 0.18, 0.40, ("#3d3f43", "#56585c", "#707174"), (0.06, -0.05, 0.9)),
        ((0.40, -0.24, 0.07), 0.13, 0.55, ("#8d857a", "#b3aa9d", "#cbc4b8"), (0.0, 0.1, 0.2)),
    ):
        stone = skin(*colors, mottled=0.9, varied=0.1, grain=24, rough=0.82, bump=0.35, bump_grain=60)
        put(ball(radius, stone, squash=squash, uneven=0.055, rng=rng, rows=60), at, turn=lean)


def log(rng: np.random.Generator) -> None:
    """Two slices of a trunk with their rings and their bark, a lower one before a higher."""
    bark = skin("#3a2a1f", "#5f4733", "#8a6d52", mottled=0.9, grain=11, rough=0.95, bump=1.0, bump_grain=16)
    pale = skin("#c49a68", "#d8b283", mottled=0.6, grain=9, rough=0.75, bump=0.15)
    dark = skin("#a1733f", "#b98a55", mottled=0.6, grain=9, rough=0.8, bump=0.15)
    for at, radius, height in (((-0.26, -0.04, 0), 0.36, 0.16), ((0.34, 0.14, 0), 0.26, 0.30)):
        turn = np.linspace(0, 2 * math.pi, 120, endpoint=False)
        shape = 1 + 0.035 * np.sin(2 * turn + rng.uniform(0, 6)) + 0.02 * np.sin(5 * turn + rng.uniform(0, 6))
        rough = shape + 0.018 * np.sin(23 * turn) + 0.012 * rng.normal(size=turn.size)
        ring = np.stack([np.cos(turn), np.sin(turn)], -1)
        levels = np.linspace(0, height, 8)
        mantle = []
        for level in levels:
            crags = radius * (rough + 0.01 * rng.normal(size=turn.size))
            mantle.append(np.concatenate([crags[:, None] * ring, np.full((120, 1), level)], 1))
        parts = [sheet(np.stack(mantle), bark, around=True)]
        edges = np.concatenate([[0.0], np.sort(rng.uniform(0.06, 0.93, 15)), [0.95, 1.0]])
        for number, (inner, outer) in enumerate(itertools.pairwise(edges)):
            rows = [np.concatenate([radius * share * (shape if share < 0.97 else rough)[:, None] * ring,
                                    np.full((120, 1), height + 0.0005)], 1)
                    for share in np.linspace(inner, outer, 3)]  # fmt: skip
            material = bark if number == len(edges) - 2 else (pale, dark)[number % 2]
            parts.append(sheet(np.stack(rows), material, around=True))
        put(group(parts), at, turn=(0, 0, rng.uniform(0, 6)))


MODELS: dict[str, Callable[[np.random.Generator], None]] = {
    "berries": berries,
    "coffee beans": coffee_beans,
    "blossom": blossom,
    "palm": palm,
    "gift": gift,
    "baubles": baubles,
    "eucalyptus": eucalyptus,
    "pebbles": pebbles,
    "log": log,
}
"""Still lifes, by name."""
