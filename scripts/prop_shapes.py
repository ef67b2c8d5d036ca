"""Shapes and skins of which props are modeled, for `bake_props.py` (needs Blender's Python module).

Every shape is a grid of points made with NumPy; x points right, y away from the camera, z up, and the ground is z = 0.
A skin blends its colors by noise, by an own shift of every object and, where asked, from a shape's root to its tip:
nothing that grew or was made by hand has one color.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import bpy
import mathutils
import numpy as np

Color = tuple[float, float, float]
GOLDEN = math.pi * (3 - math.sqrt(5))
"""The angle between one leaf and the next on a stem."""


def skin(
    *colors: str,
    rough: float = 0.6,
    grain: float = 5.0,
    mottled: float = 0.5,
    varied: float = 0.3,
    graded: bool = False,
    bump: float = 0.0,
    bump_grain: float | None = None,
    thin: float = 0.0,
    metal: float = 0.0,
    fuzz: float = 0.0,
) -> bpy.types.Material:
    """A material that blends `colors` (#rrggbb).

    grain: waves of noise per unit.  mottled, varied: share of the blend that noise and the object decide.  graded: the
    first color is the root's, the last the tip's.  thin: share of light that shines through.  fuzz: of a felt's sheen.
    """
    material = bpy.data.materials.new("skin")
    nodes, links = material.node_tree.nodes, material.node_tree.links
    body = nodes["Principled BSDF"]
    place, noise = nodes.new("ShaderNodeTexCoord"), nodes.new("ShaderNodeTexNoise")
    links.new(place.outputs["Object"], noise.inputs["Vector"])
    noise.inputs["Scale"].default_value, noise.inputs["Detail"].default_value = grain, 5.0
    own = nodes.new("ShaderNodeObjectInfo")
    blend = _sum(nodes, links, (noise.outputs["Fac"], 2 * mottled), (own.outputs["Random"], varied),
                 base=-mottled - varied / 2 + (0 if graded else 0.5))  # fmt: skip
    if graded:
        apart = nodes.new("ShaderNodeSeparateXYZ")
        links.new(place.outputs["UV"], apart.inputs[0])
        blend = _sum(nodes, links, (blend, 1.0), (apart.outputs["X"], 1.0), base=0.0)
    ramp = nodes.new("ShaderNodeValToRGB")
    stops = ramp.color_ramp.elements
    for number, color in enumerate(colors):
        at = number / max(1, len(colors) - 1)
        stop = stops[number] if number < 2 else stops.new(at)
        stop.position, stop.color = at, (*_linear(color), 1)
    if len(colors) == 1:
        stops[1].color = stops[0].color
    links.new(blend, ramp.inputs[0])
    links.new(ramp.outputs[0], body.inputs["Base Color"])
    uneven = _sum(nodes, links, (noise.outputs["Fac"], 0.3), base=rough - 0.15)
    links.new(uneven, body.inputs["Roughness"])
    body.inputs["Metallic"].default_value = metal
    body.inputs["Sheen Weight"].default_value = fuzz
    if bump:
        fine, slope = nodes.new("ShaderNodeTexNoise"), nodes.new("ShaderNodeBump")
        links.new(place.outputs["Object"], fine.inputs["Vector"])
        fine.inputs["Scale"].default_value = bump_grain or 4 * grain
        slope.inputs["Strength"].default_value, slope.inputs["Distance"].default_value = bump, 0.02
        links.new(fine.outputs["Fac"], slope.inputs["Height"])
        links.new(slope.outputs[0], body.inputs["Normal"])
    if thin:
        through, mix = nodes.new("ShaderNodeBsdfTranslucent"), nodes.new("ShaderNodeMixShader")
        links.new(ramp.outputs[0], through.inputs["Color"])
        mix.inputs[0].default_value = thin
        links.new(body.outputs[0], mix.inputs[1])
        links.new(through.outputs[0], mix.inputs[2])
        links.new(mix.outputs[0], nodes["Material Output"].inputs["Surface"])
    return material


def sheet(points: np.ndarray, material: bpy.types.Material, *, around: bool = False) -> bpy.types.Object:
    """A smooth surface through points (row, column, 3), rows from root to tip; `around` closes it over the columns."""
    rows, columns, _ = points.shape
    row, column = np.mgrid[: rows - 1, : columns if around else columns - 1]
    after = (column + 1) % columns
    corners = [row * columns + column, row * columns + after, (row + 1) * columns + after, (row + 1) * columns + column]
    mesh = bpy.data.meshes.new("sheet")
    mesh.from_pydata(points.reshape(-1, 3).tolist(), [], np.stack(corners, -1).reshape(-1, 4).tolist())
    mesh.shade_smooth()
    steps = np.repeat(np.linspace(0, 1, rows), columns)
    loops = np.zeros(len(mesh.loops), np.int32)
    mesh.loops.foreach_get("vertex_index", loops)
    mesh.uv_layers.new().uv.foreach_set("vector", np.stack([steps[loops], np.zeros(len(loops))], 1).ravel())
    mesh.materials.append(material)
    return _shown(mesh)


def tube(
    path: np.ndarray, radius: float | np.ndarray, material: bpy.types.Material, *, sides: int = 8
) -> bpy.types.Object:
    """A round rod along points (point, 3), closed at both ends; radius: one, or one per point."""
    path = np.asarray(path, float)
    radii = np.broadcast_to(np.asarray(radius, float), len(path))
    path = np.concatenate([path[:1], path, path[-1:]])
    radii = np.concatenate([[0.0], radii, [0.0]])
    ahead = np.gradient(path, axis=0)
    ahead /= np.linalg.norm(ahead, axis=1, keepdims=True) + 1e-9
    side = np.zeros_like(ahead)
    last = np.array([0.0, 0.0, 1.0]) if abs(ahead[1][2]) < 0.9 else np.array([1.0, 0.0, 0.0])
    for number, direction in enumerate(ahead):  # carried along, so that the rod is never wrung
        last = last - direction * (last @ direction)
        last /= np.linalg.norm(last) + 1e-9
        side[number] = last
    other = np.cross(ahead, side)
    turn = np.linspace(0, 2 * math.pi, sides, endpoint=False)[:, None]
    rings = np.cos(turn) * side[:, None] + np.sin(turn) * other[:, None]
    return sheet(path[:, None] + radii[:, None, None] * rings, material, around=True)


def turned(
    profile: Sequence[tuple[float, float]] | np.ndarray, material: bpy.types.Material, *, sides: int = 64
) -> bpy.types.Object:
    """A body of revolution about the z axis through (radius, height) pairs."""
    radius, height = np.asarray(profile, float).T
    turn = np.linspace(0, 2 * math.pi, sides, endpoint=False)
    points = np.stack([radius[:, None] * np.cos(turn), radius[:, None] * np.sin(turn),
                       np.broadcast_to(height[:, None], (len(height), sides))], -1)  # fmt: skip
    return sheet(points, material, around=True)


def ball(
    radius: float, material: bpy.types.Material, *, squash: float = 1.0, uneven: float = 0.0,
    rng: np.random.Generator | None = None, rows: int = 40,
) -> bpy.types.Object:  # fmt: skip
    """A ball about the origin, `squash` times as high as wide; `uneven`: its dents, as a share of the radius."""
    up = np.linspace(-math.pi / 2, math.pi / 2, rows)[:, None]
    turn = np.linspace(0, 2 * math.pi, 2 * rows, endpoint=False)[None]
    points = np.stack([np.cos(up) * np.cos(turn), np.cos(up) * np.sin(turn), np.sin(up) + 0 * turn], -1)
    points *= radius if rng is None else radius * (1 + uneven * dents(points, rng))[..., None]
    points[..., 2] *= squash
    return sheet(points, material, around=True)


def dents(points: np.ndarray, rng: np.random.Generator, *, waves: float = 2.0) -> np.ndarray:
    """Smooth noise within about ±1 over points (…, 3): a sum of a few random plane waves."""
    total = np.zeros(points.shape[:-1])
    for _ in range(6):
        total += np.sin(points @ rng.normal(size=3) * waves + rng.uniform(0, 2 * math.pi))
    return np.asarray(total / 3)


def leaf(
    length: float, width: float, material: bpy.types.Material, *, bend: float = 0.2, fold: float = 0.25,
    widest: float = 0.45, ripple: float = 0.0, blunt: float = 1.0,
) -> bpy.types.Object:  # fmt: skip
    """A leaf or petal from the origin along y: `bend` droops its tip, `fold` lifts its edges, `widest` is where."""
    along, across = np.linspace(0, 1, 15)[:, None], np.linspace(-1, 1, 9)[None]
    half = width / 2 * np.sin(math.pi * along ** (math.log(0.5) / math.log(widest))) ** blunt
    drop = -bend * length * along**2 + fold * half * np.abs(across) ** 1.5
    drop = drop + ripple * width * np.sin(9 * along + 2 * np.sign(across)) * np.abs(across)
    return sheet(np.stack([half * across, length * along + 0 * across, drop], -1), material)


def box(size: tuple[float, float, float], material: bpy.types.Material, *, bevel: float = 0.01) -> bpy.types.Object:
    """A box that stands on z = 0 about the origin, with rounded edges."""
    corners = [(x, y, z) for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (0, 1)]
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return prism(np.array(corners) * size, faces, material, bevel=bevel)


def prism(
    corners: np.ndarray, faces: Sequence[Sequence[int]], material: bpy.types.Material, *, bevel: float = 0.01
) -> bpy.types.Object:
    """A body of flat faces with rounded edges."""
    mesh = bpy.data.meshes.new("prism")
    mesh.from_pydata(np.asarray(corners).tolist(), [], [list(face) for face in faces])
    mesh.materials.append(material)
    thing = _shown(mesh)
    rounding = thing.modifiers.new("edges", "BEVEL")
    rounding.width, rounding.segments, rounding.limit_method = bevel, 3, "ANGLE"
    mesh.shade_smooth()
    thing.modifiers.new("normals", "WEIGHTED_NORMAL").keep_sharp = True
    return thing


def extruded(
    outline: np.ndarray, depth: float, material: bpy.types.Material, *, bevel: float = 0.01
) -> bpy.types.Object:
    """A flat outline (point, 2) in x and z, counterclockwise, drawn out over y from −depth/2 to depth/2."""
    count = len(outline)
    near, far = (np.insert(outline, 1, side * depth / 2, axis=1) for side in (-1, 1))
    corners = np.concatenate([near, far])
    sides = [((at + 1) % count, at, at + count, (at + 1) % count + count) for at in range(count)]
    return prism(corners, [range(count), range(2 * count - 1, count - 1, -1), *sides], material, bevel=bevel)


def put(
    thing: bpy.types.Object, at: Sequence[float] = (0, 0, 0), *, turn: Sequence[float] = (0, 0, 0), scale: float = 1.0
) -> bpy.types.Object:
    """Move, turn (radians about x, then y, then z) and scale a thing; the thing."""
    thing.location, thing.rotation_euler = [float(value) for value in at], [float(value) for value in turn]
    thing.scale = (scale, scale, scale)
    return thing


def again(thing: bpy.types.Object) -> bpy.types.Object:
    """Another thing of the same shape."""
    other = thing.copy()
    bpy.context.collection.objects.link(other)
    return other


def group(things: Sequence[bpy.types.Object]) -> bpy.types.Object:
    """Things that move together from now on."""
    holder = bpy.data.objects.new("group", None)
    bpy.context.collection.objects.link(holder)
    for thing in things:
        if thing.parent is None:
            thing.parent = holder
    return holder


def pointed(thing: bpy.types.Object, at: Sequence[float], direction: Sequence[float], *, roll: float = 0.0,
            scale: float = 1.0) -> bpy.types.Object:  # fmt: skip
    """Put a thing so that its y axis points in a direction, turned by `roll` about it."""
    aim = mathutils.Vector([float(value) for value in direction]).to_track_quat("Y", "Z")
    put(thing, at, scale=scale)
    thing.rotation_euler = (aim @ mathutils.Quaternion((0, 1, 0), roll)).to_euler()
    return thing


def curve(*knots: Sequence[float], points: int = 24) -> np.ndarray:
    """A smooth path (point, 3) through two to four knots: the Lagrange polynomial."""
    anchors, at = np.array(knots, float), np.linspace(0, 1, points)
    times = np.linspace(0, 1, len(knots))
    path = np.zeros((points, 3))
    for number, time in enumerate(times):
        others = np.delete(times, number)
        path += np.prod((at[:, None] - others) / (time - others), axis=1)[:, None] * anchors[number]
    return path


def _sum(
    nodes: bpy.types.Nodes, links: bpy.types.NodeLinks, *terms: tuple[bpy.types.NodeSocket, float], base: float
) -> bpy.types.NodeSocket:
    """The socket of base + Σ value × weight."""
    total: bpy.types.NodeSocket | float = base
    for value, weight in terms:
        node = nodes.new("ShaderNodeMath")
        node.operation = "MULTIPLY_ADD"
        links.new(value, node.inputs[0])
        node.inputs[1].default_value = weight
        if isinstance(total, float | int):
            node.inputs[2].default_value = total
        else:
            links.new(total, node.inputs[2])
        total = node.outputs[0]
    return total


def _linear(color: str) -> Color:
    """Linear light of #rrggbb."""
    shares = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return red, green, blue


def _shown(mesh: bpy.types.Mesh) -> bpy.types.Object:
    thing = bpy.data.objects.new(mesh.name, mesh)
    bpy.context.collection.objects.link(thing)
    return thing
