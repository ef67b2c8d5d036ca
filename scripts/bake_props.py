"""Model and bake the studio's props: two light layers each, key light from the left and dome, on transparent film.

Needs Blender's Python module in an environment of its own (it wants another NumPy than the package does):

    python3.11 -m venv bake && bake/bin/pip install bpy pillow
    bake/bin/python scripts/bake_props.py                       # all of MODELS, about fifteen CPU-seconds each
    bake/bin/python scripts/bake_props.py sunflowers --side 160 --samples 8 --out look

The key is a white sun of irradiance π (a white wall that faces it has radiance 1), the dome a white sky of radiance 1.
The ground is not in the picture, but it shades and bounces: that is what makes a prop stand. Layers are stored at half
their light, so that highlights keep their color. The seed is fixed, and one thread is enough.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import bpy
import mathutils
import numpy as np
from PIL import Image

import prop_fruits
import prop_plants
import prop_still
import prop_things

MODELS: dict[str, Callable[[np.random.Generator], None]] = {
    **prop_plants.MODELS,
    **prop_fruits.MODELS,
    **prop_things.MODELS,
    **prop_still.MODELS,
}
FOLDER = Path(__file__).resolve().parents[1] / "src" / "clickscape" / "render" / "studio" / "assets" / "props"
EYE = mathutils.Vector((0.0, -6.2, 1.05))  # where the studio's own camera stands
SUN = mathutils.Vector((-0.6, -0.6, 0.75))
SUN_WIDTH = 0.25  # radians; a large lamp, so that edges of shadows are soft
GROUND = 0.4  # what the invisible ground reflects
STORED = 0.5  # share of the light that is written
FAINT = 10  # alpha (of 255) below which a margin is empty


def bake(name: str, *, side: int, samples: int, folder: Path, quality: int) -> int:
    """Model one prop and write its two layers as name-key.webp and name-dome.webp; their bytes."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    MODELS[name](np.random.default_rng(sum(name.encode())))
    _camera()
    _ground()
    layers = {}
    for layer, light in {"key": _key, "dome": _dome}.items():
        light()
        layers[layer] = _rendered(side, samples)
    alpha = layers["key"][..., 3] * 255
    rows, columns = np.flatnonzero((alpha > FAINT).any(1)), np.flatnonzero((alpha > FAINT).any(0))
    inside = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    written = 0
    for layer, picture in layers.items():
        path = folder / f"{name.replace(' ', '-')}-{layer}.webp"
        Image.fromarray(_stored(picture[inside])).save(path, quality=quality, alpha_quality=60, method=6)
        written += path.stat().st_size
    return written


def _camera() -> None:
    """Look from EYE at the middle of everything, as close as it fits."""
    corners = _corners()
    middle = (corners.min(0) + corners.max(0)) / 2
    eye = bpy.data.objects.new("eye", bpy.data.cameras.new("eye"))
    bpy.context.collection.objects.link(eye)
    for _ in range(3):  # what is near fills more of the picture than what is far: aim again at the middle of the view
        eye.location = EYE
        aim = (mathutils.Vector(middle.tolist()) - EYE).to_track_quat("-Z", "Y")
        eye.rotation_euler = aim.to_euler()
        seen = (corners - np.array(EYE)) @ np.array(aim.to_matrix())
        slopes = seen[:, :2] / -seen[:, 2:]
        low, high = slopes.min(0), slopes.max(0)
        distance = np.linalg.norm(middle - np.array(EYE))
        middle = middle + np.array(aim.to_matrix()) @ np.append((low + high) / 2 * distance, 0)
    eye.data.angle = 2 * math.atan(1.03 * float(max(high - low)) / 2)
    bpy.context.scene.camera = eye


def _corners() -> np.ndarray:
    """Every vertex of every shape, in the world's coordinates (vertex, 3)."""
    bpy.context.view_layer.update()
    found = []
    for thing in bpy.context.scene.objects:
        if thing.type == "MESH":
            points = np.zeros(3 * len(thing.data.vertices), np.float32)
            thing.data.vertices.foreach_get("co", points)
            world = np.array(thing.matrix_world)
            found.append(points.reshape(-1, 3) @ world[:3, :3].T + world[:3, 3])
    return np.concatenate(found)


def _ground() -> None:
    mesh = bpy.data.meshes.new("ground")
    mesh.from_pydata([(-9, -9, 0), (9, -9, 0), (9, 9, 0), (-9, 9, 0)], [], [(0, 1, 2, 3)])
    material = bpy.data.materials.new("ground")
    material.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (GROUND, GROUND, GROUND, 1)
    material.node_tree.nodes["Principled BSDF"].inputs["Roughness"].default_value = 1.0
    mesh.materials.append(material)
    ground = bpy.data.objects.new("ground", mesh)
    ground.visible_camera = False
    bpy.context.collection.objects.link(ground)


def _key() -> None:
    lamp = bpy.data.lights.new("key", "SUN")
    lamp.energy, lamp.angle = math.pi, SUN_WIDTH
    sun = bpy.data.objects.new("key", lamp)
    sun.rotation_euler = (-SUN).to_track_quat("-Z", "Y").to_euler()
    bpy.context.collection.objects.link(sun)
    _sky(0.0)


def _dome() -> None:
    bpy.data.objects.remove(bpy.data.objects["key"])
    _sky(1.0)


def _sky(radiance: float) -> None:
    world = bpy.data.worlds.new("sky")
    sky = world.node_tree.nodes["Background"].inputs
    sky["Color"].default_value, sky["Strength"].default_value = (1, 1, 1, 1), radiance
    bpy.context.scene.world = world


def _rendered(side: int, samples: int) -> np.ndarray:
    """The scene as linear light × alpha and alpha, (side, side, 4), first row on top."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device, scene.cycles.samples, scene.cycles.seed = "CPU", samples, 1
    scene.cycles.use_adaptive_sampling = False
    scene.cycles.use_denoising, scene.cycles.denoiser = True, "OPENIMAGEDENOISE"
    scene.cycles.max_bounces = 5
    scene.cycles.caustics_reflective = scene.cycles.caustics_refractive = False
    scene.render.threads_mode, scene.render.threads = "FIXED", 1
    scene.render.resolution_x = scene.render.resolution_y = side
    scene.render.film_transparent = True
    scene.render.image_settings.file_format, scene.render.image_settings.color_mode = "OPEN_EXR", "RGBA"
    with tempfile.TemporaryDirectory() as folder:
        scene.render.filepath = str(Path(folder) / "layer.exr")
        bpy.ops.render.render(write_still=True)
        image = bpy.data.images.load(scene.render.filepath)
        values = np.zeros(4 * side * side, np.float32)
        image.pixels.foreach_get(values)
        bpy.data.images.remove(image)
    return values.reshape(side, side, 4)[::-1]


def _stored(picture: np.ndarray) -> np.ndarray:
    """Eight bits per channel: color without alpha at half its light in sRGB, and alpha."""
    alpha = np.clip(picture[..., 3:], 0, 1)
    light = np.clip(STORED * picture[..., :3] / np.maximum(alpha, 1e-3), 0, 1)
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * np.concatenate([curve, alpha], -1)), np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"props to bake (default: all of {', '.join(MODELS)})")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the layers")
    parser.add_argument("--side", type=int, default=340, help="longer side, pixels")
    parser.add_argument("--samples", type=int, default=20, help="samples per pixel")
    parser.add_argument("--quality", type=int, default=70, help="of the WebP files")
    asked = parser.parse_args()
    if unknown := set(asked.names) - set(MODELS):
        parser.error(f"no model of {', '.join(sorted(unknown))}; there are: {', '.join(MODELS)}")
    asked.out.mkdir(parents=True, exist_ok=True)
    for name in asked.names or MODELS:
        started = time.process_time()
        written = bake(name, side=asked.side, samples=asked.samples, folder=asked.out, quality=asked.quality)
        sys.stderr.write(f"{name}: {written / 1000:.1f} kB, {time.process_time() - started:.0f} CPU-seconds\n")


if __name__ == "__main__":
    main()
