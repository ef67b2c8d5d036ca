"""Props that were made or washed ashore: books, shells, wool, toys, balls and gears, about one unit wide."""

from __future__ import annotations

import math
from collections.abc import Callable

import bpy
import numpy as np

from prop_shapes import ball, box, curve, extruded, group, put, sheet, skin, tube, turned


def books(rng: np.random.Generator) -> None:
    """A stack of five in linen covers, backs and pages to the front by turns."""
    height = 0.0
    for number, (width, depth, thick, color, turn) in enumerate((
        (1.00, 0.72, 0.150, "#2f4a5c", 0.06), (0.94, 0.68, 0.110, "#b4533a", -0.10),
        (0.88, 0.64, 0.135, "#d8c7a5", 0.14), (0.80, 0.58, 0.090, "#5f7358", -0.05),
        (0.70, 0.50, 0.105, "#c9973f", 0.22),
    )):  # fmt: skip
        back = number != 2
        thing = _book(width, depth, thick, color, rng)
        put(thing, (rng.normal() * 0.02, 0, height), turn=(0, 0, turn + (0 if back else math.pi)))
        height += thick


def _book(width: float, depth: float, thick: float, color: str, rng: np.random.Generator) -> object:
    """A closed book that lies on z = 0, its rounded back to −y, with a title on it."""
    dark = "#" + "".join(f"{int(int(color[at : at + 2], 16) * 0.72):02x}" for at in (1, 3, 5))
    cloth = skin(dark, color, mottled=0.35, varied=0.0, grain=7, rough=0.85, bump=0.5, bump_grain=120, fuzz=0.2)
    paper = skin("#d9cba9", "#f3ead2", varied=1.0, rough=0.9)
    foil = skin("#d8b25a", rough=0.35, metal=0.6)
    board = 0.014
    parts = [put(box((width, depth, board), cloth, bevel=0.005), (0, 0, at)) for at in (0.0, thick - board)]
    leaves = 22
    for number in range(leaves):  # gatherings of pages, no two quite flush
        inset = 0.018 + rng.uniform(0, 0.007)
        step = (thick - 2 * board) / leaves
        block = box((width - 2 * inset, depth - inset, step * 0.93), paper, bevel=0.001)
        parts.append(put(block, (0, -0.5 * inset, board + number * step)))
    turn = np.linspace(-math.pi / 2, math.pi / 2, 15)
    outline = np.stack([0.035 * np.cos(turn), thick / 2 * (1 + np.sin(turn))], 1)
    ends = np.linspace(-width / 2, width / 2, 9)
    spine = np.stack([np.broadcast_to(ends[:, None], (9, 15)), np.broadcast_to(-depth / 2 - outline[:, 0], (9, 15)),
                      np.broadcast_to(outline[:, 1], (9, 15))], -1)  # fmt: skip
    parts.append(sheet(spine, cloth))
    for at, wide, share in ((0.0, 0.34 * width, 0.16), (-0.40 * width, 0.016, 0.62), (0.40 * width, 0.016, 0.62),
                            (-0.365 * width, 0.008, 0.62), (0.365 * width, 0.008, 0.62)):  # fmt: skip
        bar = box((wide, 0.008, share * thick), foil, bevel=0.001)
        parts.append(put(bar, (at, -depth / 2 - 0.0325, thick * (0.5 - share / 2))))
    return group(parts)


def seashells(rng: np.random.Generator) -> None:  # noqa: ARG001
    """Two scallops, a whelk, a starfish and two pearls."""
    rose = skin("#f4dccb", "#e8a58d", "#c96f5c", graded=True, mottled=0.35, varied=0.2, grain=9, rough=0.4)
    sandy = skin("#fbf1e2", "#ecd3ac", "#c79a66", graded=True, mottled=0.35, varied=0.2, grain=9, rough=0.4)
    put(_scallop(0.50, rose), (-0.24, 0.14, 0.0), turn=(1.12, 0, 0.16))
    put(_scallop(0.36, sandy), (0.30, 0.18, 0.0), turn=(1.0, 0, -0.30))
    put(_whelk(), (0.44, -0.22, 0.125), turn=(0.1, 1.38, -0.55), scale=0.9)
    put(_starfish(), (-0.16, -0.30, 0.10), turn=(0.62, 0.10, 0.35))
    pearl = skin("#efe6dc", "#fdf8f2", mottled=0.4, grain=2, rough=0.18)
    for at, radius in (((0.14, -0.42, 0.055), 0.055), ((0.26, -0.47, 0.036), 0.036), ((-0.58, -0.10, 0.045), 0.045)):
        put(ball(radius, pearl, rows=20), at)


def _scallop(size: float, material: bpy.types.Material) -> object:
    """Half a scallop: hinge at the origin, fan along y, its ribbed back up z."""
    angle, along = np.linspace(-1.12, 1.12, 241)[None], np.linspace(0.0, 1, 40)[:, None]
    ribs = np.cos(angle / 1.12 * math.pi * 11)
    reach = along * (1 - 0.10 * (angle / 1.12) ** 2 + 0.018 * ribs * along**3)
    arch = np.sin(math.pi * along**0.62) * np.cos(angle / 1.12 * math.pi / 2) ** 0.55
    arch = 0.30 * arch + 0.020 * ribs * along * (1.02 - np.abs(angle) / 1.12) ** 0.4 + 0.004 * np.sin(46 * along)
    shell = sheet(size * np.stack([reach * np.sin(angle), reach * np.cos(angle), arch], -1), material)
    shell.modifiers.new("wall", "SOLIDIFY").thickness = 0.014
    ears = extruded(size * np.array([(-0.24, 0.0), (0.24, 0.0), (0.20, 0.17), (-0.20, 0.17)]), 0.022, material)
    return group([shell, put(ears, (0, 0.0, 0.03 * size), turn=(-math.pi / 2 + 0.25, 0, 0), scale=1.0)])


def _whelk() -> object:
    """A turret of whorls along z, its tip up, 0.62 units long."""
    shell = skin("#8a5a38", "#d9b48b", "#f5e6cf", mottled=0.55, varied=0.0, grain=11, rough=0.35)
    turns = np.linspace(0, 7.5 * 2 * math.pi, 420)
    size = 0.155 * 0.74 ** (turns / (2 * math.pi))
    height = 0.62 * (1 - size / size[0])
    path = np.stack([0.62 * size * np.cos(turns), 0.62 * size * np.sin(turns), height - 0.05], 1)
    knobs = 1 + 0.05 * np.sin(11 * turns)
    return group([tube(path, size * 0.80 * knobs, shell, sides=22)])


def _starfish() -> object:
    """A starfish about the z axis, 0.32 units in radius, with pale knobs along its arms."""
    hide = skin("#b8431f", "#dd6b36", "#ee8f55", mottled=0.5, varied=0.0, grain=12, rough=0.75, bump=0.7, bump_grain=60)
    knob = skin("#f3c79b", "#fbe3c4", varied=0.6, rough=0.7)
    turn, rise = np.linspace(0, 2 * math.pi, 240, endpoint=False)[None], np.linspace(1, 0, 20)[:, None]
    reach = 0.32 * (0.30 + 0.70 * np.abs(np.cos(2.5 * turn)) ** 2.2)
    high = (
        0.085
        * np.sqrt(1 - (rise * 0.985) ** 2)
        * (0.55 + 0.45 * np.abs(np.cos(2.5 * turn)) * (1 - rise) + 0.25 * (1 - rise))
    )
    body = sheet(np.stack([rise * reach * np.cos(turn), rise * reach * np.sin(turn), high], -1), hide, around=True)
    parts = [body]
    for arm in range(5):
        angle = 2 * math.pi * arm / 5
        for share in np.linspace(0.06, 0.88, 11):
            at = share * 0.30
            tall = 0.085 * math.sqrt(1 - (share * 0.985) ** 2) * (0.55 + 0.45 * (1 - share) + 0.25 * (1 - share))
            dot = ball(0.011 * (1.15 - 0.6 * share), knob, rows=8)
            parts.append(put(dot, (at * math.cos(angle), at * math.sin(angle), tall)))
    return group(parts)


def yarn(rng: np.random.Generator) -> None:
    """Three balls of wool with a loose end and wooden needles."""
    for at, radius, colors in (
        ((-0.30, 0.08, 0.31), 0.31, ("#a8575c", "#c97b7c", "#dc9a98")),
        ((0.34, 0.14, 0.26), 0.26, ("#c9b695", "#e2d3b7", "#efe5d0")),
        ((0.10, -0.26, 0.20), 0.20, ("#3f6670", "#5b8791", "#7ba3ab")),
    ):
        wool = skin(*colors, mottled=0.3, varied=0.6, grain=14, rough=0.95, bump=0.8, bump_grain=90, fuzz=0.5)
        put(_clew(radius, wool, rng), at, turn=rng.uniform(0, 6, 3))
        if radius == 0.20:
            end = curve(
                (0.14, -0.40, 0.015), (0.36, -0.52, 0.015), (0.50, -0.30, 0.015), (0.78, -0.38, 0.015), points=40
            )
            tube(end, 0.0125, wool)
    wood = skin("#a97642", "#d3a56c", mottled=0.3, grain=4, rough=0.5)
    for foot, top in (((-0.02, 0.16, 0.22), (-0.52, 0.22, 0.92)), ((-0.20, 0.18, 0.2), (0.22, 0.26, 0.94))):
        tube(np.array([foot, top]), 0.017, wood, sides=12)
        put(ball(0.040, wood, rows=14), top)


def _clew(radius: float, wool: bpy.types.Material, rng: np.random.Generator) -> object:
    """Wool wound to a ball: bands of turns about many axes."""
    turn = np.linspace(0, 2 * math.pi, 56)
    parts = [ball(radius * 0.94, wool, rows=20)]
    thread = 0.0125
    for band in range(15):
        axis = rng.normal(size=3)
        axis /= np.linalg.norm(axis)
        side = np.cross(axis, rng.normal(size=3))
        side /= np.linalg.norm(side)
        other = np.cross(axis, side)
        middle = rng.uniform(-0.35, 0.35) * radius
        reach = radius * (0.955 + 0.003 * band)
        for number in range(9):
            off = middle + (number - 4) * thread * 1.9
            round_ = math.sqrt(max(reach**2 - off**2, 0.0))
            tilt = 0.03 * radius * np.sin(turn + band)[:, None] * axis
            path = off * axis + round_ * (np.cos(turn)[:, None] * side + np.sin(turn)[:, None] * other) + tilt
            parts.append(tube(path, thread, wool, sides=6))
    return group(parts)


def toy_bricks(rng: np.random.Generator) -> None:  # noqa: ARG001
    """Painted wooden bricks: a small tower, a gate and a dowel."""

    def paint(*colors: str) -> bpy.types.Material:
        return skin(*colors, mottled=0.25, varied=0.0, grain=6, rough=0.38, bump=0.12, bump_grain=24)

    red, yellow, blue, green = (paint("#a81f1c", "#c93a2f"), paint("#d9a013", "#efbd3a"), paint("#1d5591", "#3575b3"),
                                paint("#2f7a4c", "#4c9a66"))  # fmt: skip
    beech, orange = skin("#c99c66", "#e3c08f", mottled=0.6, grain=5, rough=0.6), paint("#cf5f1a", "#e67f35")
    side = 0.30
    put(box((side, side, side), red, bevel=0.014), (-0.46, 0.06, 0), turn=(0, 0, 0.22))
    put(box((side, side, side), yellow, bevel=0.014), (-0.45, 0.06, side), turn=(0, 0, -0.28))
    roof = extruded(np.array([(-0.19, 0.0), (0.19, 0.0), (0.0, 0.19)]), side, blue, bevel=0.012)
    put(roof, (-0.455, 0.06, 2 * side), turn=(0, 0, -0.10))
    turn = np.linspace(0, math.pi, 25)
    gate = np.concatenate([np.stack([-0.165 * np.cos(turn), 0.165 * np.sin(turn)], 1),
                           [(0.30, 0.0), (0.30, 0.30), (-0.30, 0.30), (-0.30, 0.0)]])  # fmt: skip
    put(extruded(gate, 0.24, green, bevel=0.010), (0.22, 0.08, 0), turn=(0, 0, -0.10))
    put(box((0.60, 0.24, 0.15), beech, bevel=0.012), (0.22, 0.08, 0.30), turn=(0, 0, -0.02))
    dowel = turned([(0, 0), (0.105, 0.0), (0.12, 0.015), (0.12, 0.225), (0.105, 0.24), (0, 0.24)], orange)
    put(dowel, (0.10, 0.08, 0.45))
    put(box((0.15, 0.15, 0.15), blue, bevel=0.010), (0.36, 0.07, 0.45), turn=(0, 0, 0.5))
    lying = turned([(0, -0.16), (0.085, -0.16), (0.10, -0.145), (0.10, 0.145), (0.085, 0.16), (0, 0.16)], yellow)
    put(lying, (0.52, -0.30, 0.10), turn=(0, math.pi / 2, 0.5))
    put(box((0.19, 0.19, 0.19), beech, bevel=0.012), (-0.10, -0.26, 0), turn=(0, 0, 0.65))
    put(ball(0.075, red, rows=24), (0.15, -0.40, 0.075))


def balloons(rng: np.random.Generator) -> None:
    """Six balloons on strings that meet in a little weight."""
    string = skin("#d8cdbb", rough=0.8)
    weight = skin("#b9a06a", "#d6c08c", mottled=0.3, rough=0.4)
    put(box((0.11, 0.11, 0.10), weight, bevel=0.012), (0, 0, 0), turn=(0, 0, 0.5))
    for at, radius, colors in (
        ((-0.31, 0.06, 1.16), 0.215, ("#c7453e", "#dd665a")), ((0.03, 0.16, 1.40), 0.225, ("#e9c9b2", "#f6e2d2")),
        ((0.33, 0.08, 1.14), 0.210, ("#2f7f97", "#4fa3b8")), ((-0.12, -0.10, 0.98), 0.195, ("#e2a92f", "#f2c65a")),
        ((0.20, -0.14, 0.86), 0.170, ("#e58a86", "#f2aba5")), ((-0.42, -0.04, 0.80), 0.150, ("#8fb7a0", "#b2d2bf")),
    ):  # fmt: skip
        rubber = skin(*colors, mottled=0.2, varied=0.2, grain=2, rough=0.22, thin=0.22)
        down = np.linspace(0, math.pi, 40)
        wide = np.sin(down) * (1 - 0.10 * (1 - np.cos(down)) / 2)
        high = np.cos(down) * np.where(down > math.pi / 2, 1.22, 1.04)
        body = turned(radius * np.stack([wide, high], 1), rubber)
        low = -1.20 * radius
        knot = turned(
            [(0.0, low - 0.03), (0.024, low - 0.035), (0.008, low - 0.01), (0.016, low + 0.01), (0.0, low + 0.02)],
            rubber,
        )
        x, y, z = at
        put(group([body, knot]), at, turn=(0.5 * y, 0.225 * x, rng.uniform(0, 6)))  # each leans away from the others
        tail = (x - 0.3 * radius * x, y, z + low - 0.02)
        tube(curve(tail, (0.45 * x, 0.45 * y, 0.5 * z - 0.02), (0, 0, 0.1)), 0.0045, string, sides=5)


def tennis_balls(rng: np.random.Generator) -> None:
    """Four in a little pyramid and one that rolled away."""
    felt = skin(
        "#93a81c",
        "#b9cd2f",
        "#cfe04e",
        mottled=0.4,
        varied=0.25,
        grain=16,
        rough=1.0,
        bump=1.0,
        bump_grain=70,
        fuzz=0.9,
    )
    seam = skin("#e9ebe0", rough=0.8)
    radius = 0.225
    high = radius * (1 + math.sqrt(8 / 3))
    for at in (
        (-0.46, 0.10, radius),
        (0.0, 0.10, radius),
        (-0.23, -0.29, radius),
        (-0.23, -0.02, high),
        (0.46, -0.14, radius),
    ):
        turn = np.linspace(0, 2 * math.pi, 120)
        line = np.stack([0.75 * np.cos(turn) + 0.25 * np.cos(3 * turn), 0.75 * np.sin(turn) - 0.25 * np.sin(3 * turn),
                         math.sqrt(0.75) * np.sin(2 * turn)], 1)  # fmt: skip
        put(group([ball(radius, felt, rows=48), tube(radius * line, 0.0125, seam)]), at, turn=rng.uniform(0, 6, 3))


def gears(rng: np.random.Generator) -> None:  # noqa: ARG001
    """Three cogwheels that lean on each other, with a bolt and nuts."""
    steel = skin(
        "#5c6066",
        "#8a8f96",
        "#a9adb2",
        mottled=0.4,
        varied=0.3,
        grain=6,
        rough=0.38,
        bump=0.15,
        bump_grain=70,
        metal=0.85,
    )
    brass = skin(
        "#7a5a24",
        "#b28a42",
        "#cfae66",
        mottled=0.4,
        varied=0.2,
        grain=6,
        rough=0.36,
        bump=0.12,
        bump_grain=70,
        metal=0.8,
    )
    black = skin("#2a2c30", "#44474c", mottled=0.4, varied=0.3, grain=6, rough=0.5, metal=0.6)
    put(_gear(0.40, 22, 5, steel), (-0.26, 0.20, 0.41), turn=(1.32, 0, 0.12))
    put(_gear(0.28, 15, 4, brass), (0.32, 0.06, 0.285), turn=(1.24, 0.16, -0.22))
    put(_gear(0.19, 12, 0, black), (-0.10, -0.22, 0.12), turn=(0.62, 0.05, 0.2))
    angle = np.linspace(0, 2 * math.pi, 6, endpoint=False)
    hexagon = np.stack([np.cos(angle), np.sin(angle)], 1)
    put(_nut(0.085, steel), (0.30, -0.36, 0.0), turn=(0, 0, 0.3))
    put(_nut(0.065, brass), (-0.46, -0.26, 0.0), turn=(0, 0, 0.9))
    spiral = np.linspace(0, 26 * math.pi, 500)
    bolt = [
        put(extruded(0.085 * hexagon, 0.075, steel, bevel=0.008), (0, 0, 0)),
        tube(np.array([[0, 0, 0], [0, 0.36, 0]]), 0.038, steel, sides=20),
        tube(
            np.stack([0.039 * np.cos(spiral), 0.12 + 0.24 * spiral / spiral[-1], 0.039 * np.sin(spiral)], 1),
            0.008,
            steel,
            sides=5,
        ),
    ]
    put(group(bolt), (0.52, -0.26, 0.075), turn=(0, 0, 0.95))


def _gear(radius: float, teeth: int, holes: int, material: bpy.types.Material) -> object:
    """A cogwheel about the z axis, with `holes` arms."""
    turn = np.linspace(0, 2 * math.pi, 12 * teeth, endpoint=False)
    tooth = np.clip(2.2 * np.cos(teeth * turn), -1, 1) * 0.5 + 0.5
    outer, thick = radius * (0.86 + 0.14 * tooth), 0.26 * radius
    hub, rim = 0.13 * radius, (0.66 if holes else 0.13) * radius

    def ring(inside: float, outside: np.ndarray | float, half: float) -> bpy.types.Object:
        loops = [(inside, -half), (outside, -half), (outside, half), (inside, half), (inside, -half)]
        rows = [np.stack([away * np.cos(turn), away * np.sin(turn), high + 0 * turn], 1) for away, high in loops]
        thing = sheet(np.stack(rows), material, around=True)
        thing.data.shade_flat()
        rounding = thing.modifiers.new("edges", "BEVEL")
        rounding.width, rounding.segments, rounding.limit_method = 0.006, 2, "ANGLE"
        return thing

    parts = [ring(rim, outer, thick / 2)]
    if holes:
        parts.append(ring(hub, 0.27 * radius, 0.62 * thick))
        for number in range(holes):
            arm = box((0.11 * radius, 0.52 * radius, 0.6 * thick), material, bevel=0.008)
            angle = 2 * math.pi * number / holes
            away = 0.46 * radius
            put(arm, (-away * math.sin(angle), away * math.cos(angle), -0.3 * thick), turn=(0, 0, angle))
            parts.append(arm)
    return group(parts)


def _nut(radius: float, material: bpy.types.Material) -> object:
    """A hexagonal nut that lies on z = 0."""
    turn = np.linspace(0, 2 * math.pi, 72, endpoint=False)
    flat = math.cos(math.pi / 6) / np.cos((turn % (math.pi / 3)) - math.pi / 6)
    loops = [(0.52 + 0 * flat, 0.0), (flat, 0.0), (flat, 0.8), (0.52 + 0 * flat, 0.8), (0.52 + 0 * flat, 0.0)]
    rows = [radius * np.stack([away * np.cos(turn), away * np.sin(turn), high + 0 * turn], 1) for away, high in loops]
    thing = sheet(np.stack(rows), material, around=True)
    thing.data.shade_flat()
    return group([thing])


MODELS: dict[str, Callable[[np.random.Generator], None]] = {
    "books": books,
    "seashells": seashells,
    "yarn": yarn,
    "toy bricks": toy_bricks,
    "balloons": balloons,
    "tennis balls": tennis_balls,
    "gears": gears,
}
"""What was made or washed ashore, by name."""
