"""Props that grew: each function models one, arranged as a stylist would, about one unit wide or 1.4 units tall."""

from __future__ import annotations

import math
from collections.abc import Callable

import bpy
import numpy as np

from prop_shapes import (
    GOLDEN,
    again,
    ball,
    curve,
    dents,
    group,
    leaf,
    pointed,
    put,
    sheet,
    skin,
    tube,
    turned,
)


def pine_cones(rng: np.random.Generator) -> None:
    """Two open cones and a closed one on sprigs of fir."""
    scale_skin = skin("#2e1b10", "#5d3a20", "#b8935f", graded=True, mottled=0.15, varied=0.25, rough=0.75, bump=0.3)
    core = skin("#2e1d13", rough=0.9)
    for at, turn, size, open_ in (
        ((-0.34, -0.05, 0.0), (0.06, 0.05, 0.4), 1.0, 1.0),
        ((0.10, -0.22, 0.19), (-1.15, 0.0, 0.75), 0.9, 0.9),
        ((0.52, -0.02, 0.15), (-1.25, 0.0, -0.9), 0.72, 0.6),
    ):
        put(_cone(scale_skin, core, rng, open_), at, turn=turn, scale=size)
    needle_skin = skin("#16351f", "#2f5a33", "#5d8350", graded=True, mottled=0.1, varied=0.4, rough=0.5)
    twig = skin("#4b3320", rough=0.85)
    for start, middle, end in (
        ((-0.15, 0.16, 0.10), (-0.5, 0.22, 0.34), (-0.85, 0.18, 0.36)),
        ((0.0, 0.16, 0.10), (0.05, 0.30, 0.45), (0.22, 0.30, 0.72)),
        ((0.1, 0.16, 0.08), (0.5, 0.25, 0.30), (0.92, 0.20, 0.30)),
        ((-0.1, 0.2, 0.1), (-0.30, 0.34, 0.42), (-0.42, 0.34, 0.68)),
    ):
        fir(curve(start, middle, end), needle_skin, twig, rng)


def _cone(scales: bpy.types.Material, core: bpy.types.Material, rng: np.random.Generator, opened: float) -> object:
    """A cone that stands on z = 0, 0.62 units tall: scales in a golden spiral, wide open at its foot."""
    parts = [turned([(0.0, 0.0), (0.10, 0.06), (0.12, 0.25), (0.07, 0.45), (0.0, 0.56)], core, sides=20)]
    shape = put(leaf(0.20, 0.155, scales, bend=-0.16, fold=0.4, widest=0.72, blunt=0.8), (0, 0, -9))
    for number in range(96):
        up = number / 95
        lift = math.radians(-12 + 88 * up**0.9 + 14 * (1 - opened))
        turn = number * GOLDEN + rng.normal() * 0.06
        reach = 0.055 * (1 - up)
        size = (0.55 + 0.65 * math.sin(math.pi * min(1.0, 0.22 + 0.78 * up)) ** 0.9) * rng.uniform(0.93, 1.07)
        away = np.array([math.cos(turn), math.sin(turn)])
        direction = (*(away * math.cos(lift)), math.sin(lift))
        parts.append(pointed(again(shape), (*(away * reach), 0.05 + 0.44 * up), direction, scale=size))
    bpy.data.objects.remove(shape)
    return group(parts)


def fir(
    path: np.ndarray,
    needles: bpy.types.Material,
    twig: bpy.types.Material,
    rng: np.random.Generator,
    *,
    count: int = 190,
) -> None:
    tube(path, np.linspace(0.014, 0.006, len(path)), twig)
    line = np.array([[0, 0, 0], [0, 0.07, 0], [0, 0.15, 0], [0, 0.17, 0]])
    shape = tube(line, np.array([0.006, 0.0075, 0.006, 0.001]), needles, sides=5)
    for number in range(count):
        share = number / (count - 1)
        place = share * (len(path) - 1)
        low = min(int(place), len(path) - 2)
        at = path[low] + (place - low) * (path[low + 1] - path[low])
        ahead = path[low + 1] - path[low]
        ahead /= np.linalg.norm(ahead)
        side = np.cross(ahead, rng.normal(size=3))
        side /= np.linalg.norm(side)
        side[2] += 0.25  # needles reach for the light
        pointed(
            again(shape), at, ahead * rng.uniform(0.6, 0.95) + side, scale=rng.uniform(0.75, 1.05) * (1 - 0.25 * share)
        )
    bpy.data.objects.remove(shape)


def autumn_leaves(rng: np.random.Generator) -> None:
    """A drift of maple leaves, some leaning, with acorns before it."""
    skins = [
        skin("#5e1410", "#a3261a", "#c9482a", graded=True, mottled=0.35, varied=0.35, thin=0.2, bump=0.15),
        skin("#8a3410", "#d0671b", "#eda03a", graded=True, mottled=0.35, varied=0.4, thin=0.2, bump=0.15),
        skin("#9a6a14", "#dba32c", "#efcf63", graded=True, mottled=0.4, varied=0.4, thin=0.2, bump=0.15),
        skin("#4a2a14", "#86502a", "#b07c43", graded=True, mottled=0.4, varied=0.4, thin=0.15, bump=0.15),
    ]
    stalk = skin("#6b3a1c", rough=0.7)
    vein = skin("#f0c890", "#b06a34", rough=0.7)
    places = [(x, 0.26, 0.0, 1.0) for x in (-0.55, -0.22, 0.12, 0.48)]
    places += [(x, 0.05, 0.02, 0.62) for x in (-0.72, -0.40, -0.05, 0.30, 0.68)]
    places += [(x, -0.2, 0.03, 0.22) for x in (-0.52, -0.1, 0.30, 0.6)]
    for number, (x, y, z, rise) in enumerate(places):
        size = rng.uniform(0.36, 0.44)
        lean = rise * 1.25 + rng.normal() * 0.10
        shape = _maple(size, skins[(number * 7 + number // 4) % 4], stalk, vein, rng)
        height = z + size * 0.75 * math.sin(max(lean, 0.1)) * 0.95
        put(shape, (x + rng.normal() * 0.04, y, height), turn=(lean, rng.normal() * 0.28, rng.normal() * 0.45))
    cap = skin("#5a4128", "#8a6a45", rough=0.9, bump=0.8, bump_grain=60)
    nut = skin("#6e3d16", "#a8692a", "#c99248", graded=True, mottled=0.2, rough=0.3)
    for at, turn in (((-0.26, -0.42, 0.085), (1.3, 0, 0.9)), ((0.02, -0.46, 0.085), (1.45, 0, -0.5))):
        body = turned(
            [(0, -0.02), (0.075, 0.0), (0.085, 0.06), (0.075, 0.13), (0.035, 0.18), (0.008, 0.2), (0, 0.215)], nut
        )
        hat = turned([(0.01, -0.11), (0.012, -0.055), (0.06, -0.045), (0.095, 0.0), (0.092, 0.025), (0.07, 0.02)], cap)
        put(group([body, hat]), at, turn=turn)


def _maple(
    size: float,
    material: bpy.types.Material,
    stalk: bpy.types.Material,
    vein: bpy.types.Material,
    rng: np.random.Generator,
) -> object:
    """A maple leaf about its own middle, tip towards y: five lobes with teeth, cupped, with veins and a stalk."""
    turn = np.linspace(-math.pi, math.pi, 241)
    lobes = ((0, 1.0, 0.30), (0.85, 0.92, 0.27), (-0.85, 0.92, 0.27), (1.75, 0.66, 0.26), (-1.75, 0.66, 0.26))
    reach = 0.34 + 0 * turn
    for at, far, wide in lobes:
        away = np.abs(turn - at)
        reach = np.maximum(reach, far * np.clip(1 - away / wide * 0.52, 0, 1) ** 0.72)
    reach *= 1 + 0.07 * np.abs(((turn * 5.1) % 1) - 0.5) * 4 - 0.07
    reach *= np.clip((math.pi - np.abs(turn)) / 0.25, 0.25, 1)
    rise = np.linspace(0, 1, 9)[:, None]
    flat = np.stack([np.sin(turn) * reach * rise, np.cos(turn) * reach * rise], -1)
    cup, twist = rng.uniform(0.08, 0.28), rng.normal() * 0.18
    height = cup * (flat**2).sum(-1) + twist * flat[..., 0] * flat[..., 1] + 0.05 * dents(
        np.dstack([flat, 0 * flat[..., :1]]), rng, waves=3)  # fmt: skip
    parts = [sheet(size * np.dstack([flat, height]), material)]
    for at, far, _ in lobes:
        line = np.linspace(0, 0.86 * far, 9)
        x, y = np.sin(at) * line, np.cos(at) * line
        z = cup * (x**2 + y**2) + twist * x * y + 0.035
        parts.append(tube(size * np.stack([x, y, z], 1), size * np.linspace(0.016, 0.004, 9), vein, sides=5))
    parts.append(
        tube(size * curve((0, 0, 0), (0.03, -0.4, -0.02), (0.12, -0.8, 0.1), points=10), 0.016 * size, stalk, sides=6)
    )
    return group(parts)


def sunflowers(rng: np.random.Generator) -> None:
    """Three heads of different height that face the light, with heart-shaped leaves."""
    petals = skin("#d07c06", "#f4b212", "#fdd23c", graded=True, mottled=0.2, varied=0.35, rough=0.55, thin=0.25)
    seeds = [skin("#20120a", "#3b2312", mottled=0.4, rough=0.8), skin("#5d3912", "#93631f", mottled=0.4, rough=0.8)]
    green = skin("#2c4a1a", "#4f7a2c", "#7ba043", graded=True, mottled=0.3, varied=0.3, rough=0.55, thin=0.15, bump=0.2)
    stem = skin("#4c6b2b", "#6f8f3e", rough=0.65)
    for foot, top, face, size in (
        ((-0.06, 0.06, 0), (-0.22, 0.05, 1.32), (-0.25, -1.0, 0.32), 1.0),
        ((-0.02, -0.02, 0), (0.34, -0.03, 0.98), (0.30, -1.0, 0.30), 0.86),
        ((-0.04, -0.06, 0), (-0.42, -0.10, 0.72), (-0.42, -1.0, 0.38), 0.74),
    ):
        neck = np.array(top) - 0.05 * np.array(face)
        path = curve(foot, (np.array(foot) + neck) / 2 + [0.05 * np.sign(top[0]), 0.03, 0], neck)
        tube(path, 0.022, stem)
        pointed(_sunflower(petals, seeds, green, rng), top, face, scale=size)
        for share, way in ((0.38, 1), (0.58, -1)):
            at = path[int(share * len(path))]
            pointed(leaf(0.36, 0.25, green, bend=0.3, fold=0.2, widest=0.36, ripple=0.03), at,
                    (way * 0.9, -0.35, 0.35), roll=way * 0.35, scale=size)  # fmt: skip


def _sunflower(
    petals: bpy.types.Material, seeds: list[bpy.types.Material], green: bpy.types.Material, rng: np.random.Generator
) -> object:
    """A head of radius 0.36 that faces y: two rings of petals and a disc of seeds in a golden spiral."""
    parts = []
    for ring, (count, length) in enumerate(((19, 0.245), (17, 0.215), (15, 0.17))):
        for number in range(count):
            turn = 2 * math.pi * (number + 0.5 * ring) / count + rng.normal() * 0.06
            out = np.array([math.cos(turn), 0.10 + 0.22 * ring + rng.normal() * 0.10, math.sin(turn)])
            shape = leaf(
                length * rng.uniform(0.88, 1.1), 0.098, petals, bend=rng.uniform(-0.1, 0.22), fold=0.35, widest=0.45
            )
            at = np.array([math.cos(turn) * 0.125, 0.008 * ring, math.sin(turn) * 0.125])
            parts.append(pointed(shape, at, out, roll=turn - math.pi / 2))
    parts.append(put(ball(0.15, seeds[0], squash=0.35), turn=(math.pi / 2, 0, 0)))
    kernels = [put(ball(0.012, each, squash=1.5, rows=6), (0, 9, 0)) for each in seeds]
    for number in range(300):
        share = math.sqrt((number + 0.5) / 300)
        turn, away = number * GOLDEN, 0.146 * share
        height = 0.052 * math.sqrt(max(0.0, 1 - share**2)) + 0.004
        at = (away * math.cos(turn), height, away * math.sin(turn))
        rim = share > 0.72 or (share < 0.30 and rng.random() < 0.8)
        parts.append(put(again(kernels[int(rim)]), at, turn=(math.pi / 2, 0, 0), scale=0.8 + 0.4 * share))
    for each in kernels:
        bpy.data.objects.remove(each)
    for number in range(11):
        turn = 2 * math.pi * number / 11
        out = np.array([math.cos(turn), -0.35, math.sin(turn)])
        parts.append(pointed(leaf(0.2, 0.1, green, widest=0.35), (0, -0.02, 0), out, roll=turn - math.pi / 2))
    return group(parts)


def lavender(rng: np.random.Generator) -> None:
    """A standing bunch, tied with twine."""
    stem = skin("#6f8a5f", "#94a97f", varied=0.6, rough=0.7)
    leaves = skin("#7f9678", "#a9b99f", varied=0.6, rough=0.7, thin=0.15)
    flowers = skin("#463383", "#6d55b0", "#9a83d1", mottled=0.3, varied=0.9, rough=0.7, thin=0.15)
    floret = put(ball(0.021, flowers, squash=1.5, uneven=0.18, rng=rng, rows=8), (0, 9, 0))
    slim = put(leaf(0.20, 0.022, leaves, bend=0.15, widest=0.4), (0, 9, 0))
    tie = np.array([0, 0, 0.42])
    for number in range(21):
        turn, spread = number * GOLDEN, 0.36 * math.sqrt((number + 0.5) / 21)
        away = np.array([math.cos(turn), 0.6 * math.sin(turn), 0])
        top = tie + away * spread * 1.25 + [0, 0, rng.uniform(0.72, 0.98) - 0.35 * spread]
        foot = -away * spread * 0.42 + [0, 0, 0.0]
        knot = tie + away * 0.06 * spread / 0.36
        path = curve(foot, knot, top, points=60)
        tube(path, 0.0075, stem, sides=5)
        for whorl in range(10):
            at = path[59 - round(whorl * 1.3 + (2.2 if whorl > 7 else 0))]
            for petal in range(6):
                round_ = petal * math.pi / 3 + whorl * 0.5
                side = np.array([math.cos(round_), math.sin(round_), 0.0])
                size = rng.uniform(0.8, 1.15) * (0.55 + 0.5 * min(1, whorl / 3)) * (0.8 if whorl > 7 else 1)
                put(again(floret), at + side * 0.019 * size,
                    turn=(-0.5 * side[1], 0.5 * side[0], rng.uniform(0, 3)), scale=size)  # fmt: skip
        for _ in range(3):
            at = path[int(rng.integers(22, 38))]
            pointed(again(slim), at, (rng.normal(), rng.normal() * 0.7, 1.4), scale=rng.uniform(0.7, 1.1))
    bpy.data.objects.remove(floret)
    bpy.data.objects.remove(slim)
    _twine(tie, 0.082, rng)


def _twine(at: np.ndarray, radius: float, rng: np.random.Generator, *, turns: int = 5) -> None:
    """Turns of twine around a bunch, with a bow in front."""
    string = skin("#9a7b4f", "#c9ad7c", varied=0.5, rough=0.9, bump=0.6, bump_grain=80)
    around = np.linspace(0, 2 * math.pi * turns, 40 * turns)
    winding = np.stack([radius * np.cos(around), radius * 0.85 * np.sin(around),
                        0.016 * (around / (2 * math.pi) - turns / 2)], 1)  # fmt: skip
    tube(at + winding, 0.0085, string, sides=6)
    front = at + np.array([0, -0.85 * radius - 0.01, 0])
    for way in (-1, 1):
        loop = curve((0, 0, 0), (way * 0.13, -0.03, 0.075), (way * 0.13, -0.03, -0.055), (0, 0, 0))
        tube(front + loop, 0.0085, string, sides=6)
        tail = curve((0, 0, 0), (way * 0.05, -0.03, -0.10), (way * (0.07 + 0.02 * rng.random()), -0.02, -0.21))
        tube(front + tail, 0.0085, string, sides=6)


def wheat(rng: np.random.Generator) -> None:
    """A sheaf of ripe ears, tied with twine."""
    straw = skin("#b58a3c", "#d9b566", varied=0.7, rough=0.55)
    grains = skin("#a06a20", "#d39a3c", "#ecc673", graded=True, mottled=0.15, varied=0.5, rough=0.5)
    kernel = put(ball(0.026, grains, squash=1.9, rows=10), (0, 9, 0))
    awn = put(
        tube(np.array([[0, 0, 0], [0, 0, 0.10], [0, 0, 0.21]]), np.array([0.0032, 0.0028, 0.001]), straw, sides=4),
        (0, 9, 0),
    )
    tie = np.array([0, 0, 0.46])
    for number in range(19):
        turn, spread = number * GOLDEN, 0.40 * math.sqrt((number + 0.5) / 19)
        away = np.array([math.cos(turn), 0.55 * math.sin(turn), 0])
        top = tie + away * spread * 1.3 + [0, 0, rng.uniform(0.62, 0.86) - 0.35 * spread]
        path = curve(-away * spread * 0.5, tie + away * 0.07 * spread / 0.4, top, points=40)
        tube(path, 0.0095, straw, sides=6)
        droop = path[-1] - path[-3] + away * 0.008 + [0, 0, -0.004]
        ahead = droop / np.linalg.norm(droop)
        side = np.cross(ahead, [rng.normal(), rng.normal(), 0.2])
        side /= np.linalg.norm(side)
        other = np.cross(ahead, side)
        for row in range(9):
            at = path[-1] + ahead * (0.034 * row - 0.03)
            for column in range(3 if row < 8 else 1):
                sideways = (side, -side, other)[column] if row % 2 else (side, -side, -other)[column]
                size = rng.uniform(0.9, 1.05) * (1 - 0.035 * row)
                lean = ahead + 0.34 * sideways
                _standing(again(kernel), at + sideways * 0.023, lean, size)
                if row % 2 or column < 2:
                    _standing(
                        again(awn), at + sideways * 0.03 + ahead * 0.03, ahead + 0.22 * sideways, rng.uniform(0.8, 1.1)
                    )
    for thing in (kernel, awn):
        bpy.data.objects.remove(thing)
    _twine(tie, 0.098, rng)


def _standing(thing: bpy.types.Object, at: np.ndarray, up: np.ndarray, scale: float) -> None:
    """Put a thing so that its z axis points up along a direction."""
    import mathutils

    put(thing, at, scale=scale)
    thing.rotation_euler = mathutils.Vector(up.tolist()).to_track_quat("Z", "Y").to_euler()


def cotton(rng: np.random.Generator) -> None:
    """Two dry branches with open bolls."""
    twig = skin("#4a3220", "#6d4c30", varied=0.4, rough=0.85, bump=0.4)
    husk = skin("#4d311c", "#7f5733", "#a88155", graded=True, mottled=0.2, varied=0.3, rough=0.8)
    fluff = skin("#f4efe4", "#fffdf8", mottled=0.4, rough=1.0, bump=0.9, bump_grain=26, fuzz=0.6)
    for foot, middle, top, bolls in (
        (
            (-0.05, 0.05, 0),
            (-0.06, 0.06, 0.6),
            (-0.34, 0.04, 1.25),
            ((1.0, -0.2), (0.82, 1.0), (0.64, -1.0), (0.48, 0.9), (0.34, -0.8)),
        ),
        ((0.06, -0.03, 0), (0.10, 0.0, 0.5), (0.36, -0.02, 1.05), ((1.0, 0.2), (0.8, -0.9), (0.62, 1.0), (0.42, -0.3))),
    ):
        path = curve(foot, middle, top, points=50)
        tube(path, np.linspace(0.017, 0.008, 50), twig)
        for share, way in bolls:
            at = path[round(share * 49)]
            end = at + np.array([0.13 * way, rng.uniform(-0.10, 0.02), 0.09])
            if share < 1:
                tube(curve(at, (at + end) / 2 + [0, 0, -0.015], end, points=8), 0.008, twig, sides=6)
            else:
                end = at
            boll = _boll(fluff, husk, rng)
            put(boll, end, turn=(rng.uniform(0.1, 0.6), 0.45 * way + rng.normal() * 0.1, rng.uniform(0, 6)),
                scale=rng.uniform(0.88, 1.1))  # fmt: skip


def _boll(fluff: bpy.types.Material, husk: bpy.types.Material, rng: np.random.Generator) -> object:
    """Four or five locks of cotton in an open husk, 0.2 units wide."""
    parts = []
    for number in range(5):
        turn = 2 * math.pi * number / 5
        lock = ball(0.067, fluff, squash=1.12, uneven=0.13, rng=rng, rows=18)
        parts.append(put(lock, (0.056 * math.cos(turn), 0.056 * math.sin(turn), 0.085)))
        out = np.array([math.cos(turn + 0.63), math.sin(turn + 0.63), 0.32])
        parts.append(pointed(leaf(0.155, 0.075, husk, bend=-0.10, fold=0.4, widest=0.4), (0, 0, 0.0), out))
    parts.append(put(ball(0.062, fluff, uneven=0.13, rng=rng, rows=18), (0, 0, 0.13)))
    return group(parts)


MODELS: dict[str, Callable[[np.random.Generator], None]] = {
    "pine cones": pine_cones,
    "autumn leaves": autumn_leaves,
    "sunflowers": sunflowers,
    "lavender sprigs": lavender,
    "wheat": wheat,
    "cotton": cotton,
}
"""What grew, by name."""
