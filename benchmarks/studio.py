"""What does a studio image cost?  CPU time by size: known scene, new scene of a known set, first of a set, and where.

    python benchmarks/studio.py [--sizes 128 512 1024 1536] [--scenes 60] [--page docs/experiments/studio.md]

The first picture of a set is timed twice: with nothing on disk, and as a new process finds the set there. A profile
says where the time of new scenes goes. Prints tables and appends one JSON row to benchmarks/results/studio.jsonl. CPU
time of this process, one thread.
"""

from __future__ import annotations

import argparse
import cProfile
import platform
import pstats
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from _results import append_row, write_part
from clickscape.render import scene as scenes
from clickscape.render.scene import Scene
from clickscape.render.studio.engine import StudioRenderer, vary

CASES = ("known scene, new product", "new scene, known set", "first of a set, from disk", "first of a set")
PROFILED = 512  # pixels of the pictures that are profiled


def bottle(hue: int, *, side: int = 640) -> np.ndarray:
    """A drawn bottle with alpha, (side, side, 4)."""
    picture = np.zeros((side, side, 4), np.uint8)
    color = (60 + hue % 190, 90 + 3 * hue % 150, 200 - hue % 180, 255)
    cv2.rectangle(picture, (220, 200), (420, 610), color, -1, cv2.LINE_AA)
    cv2.rectangle(picture, (280, 60), (360, 210), (40, 40, 44, 255), -1, cv2.LINE_AA)
    cv2.rectangle(picture, (235, 320), (405, 500), (250, 248, 244, 255), -1, cv2.LINE_AA)
    return picture


def random_scene(rng: np.random.Generator, *, stand: str | None = None) -> Scene:
    """Any scene, or any scene on a given stand."""
    setting = str(rng.choice(scenes.SETTINGS))
    return Scene(
        setting=setting,
        surface=str(rng.choice(scenes.SURFACES)),
        light=str(rng.choice(scenes.LIGHTS)),
        stand=stand or str(rng.choice(scenes.STANDS)),
        palette=str(rng.choice(scenes.PALETTES)) if setting in scenes.WALLED else None,
        props=tuple(str(prop) for prop in rng.permutation(scenes.PROPS)[: rng.integers(0, 3)]),
    )


def cpu_seconds(renderer: StudioRenderer, cutout: np.ndarray, scene: Scene, *, side: int, seed: int) -> float:
    start = time.process_time()
    renderer.compose(cutout, scene, size=(side, side), seed=seed)
    return time.process_time() - start


def _seed_of_same_camera(other: Scene, scene: Scene, seed: int) -> int:
    """A seed that shows `other` from where `seed` shows `scene`: then the set is known and nothing else is."""
    camera = vary(scene, seed)[0].camera
    return next(trial for trial in range(1000) if vary(other, trial)[0].camera == camera)


def measure(side: int, *, count: int) -> dict[str, list[float]]:
    """CPU-seconds of each image, by case."""
    rng = np.random.default_rng(0)
    drawn = [random_scene(rng) for _ in range(count)]
    renderer = StudioRenderer()
    first: list[float] = []
    again: list[float] = []
    for stand in scenes.STANDS:
        scene = random_scene(rng, stand=stand)
        with tempfile.TemporaryDirectory() as folder:
            for costs in (first, again):
                empty = StudioRenderer(kept=Path(folder))
                costs.append(cpu_seconds(empty, bottle(1), scene, side=side, seed=0))
    new, known = [], []
    for number, scene in enumerate(drawn):
        other = replace(random_scene(rng, stand=scene.stand), setting=scene.setting, palette=scene.palette)
        cpu_seconds(renderer, bottle(0), other, side=side, seed=_seed_of_same_camera(other, scene, number))
        new.append(cpu_seconds(renderer, bottle(0), scene, side=side, seed=number))
        known.append(cpu_seconds(renderer, bottle(number + 1), scene, side=side, seed=number))
    return dict(zip(CASES, (known, new, again, first), strict=True))


def profile(*, count: int) -> list[tuple[str, float]]:
    """Function and its share of the time of `count` new scenes, its callees not counted, largest first."""
    rng = np.random.default_rng(1)
    renderer, profiler = StudioRenderer(), cProfile.Profile(time.process_time)
    for number in range(count):
        scene = random_scene(rng)
        profiler.runcall(renderer.compose, bottle(number), scene, size=(PROFILED, PROFILED), seed=number)
    rows = pstats.Stats(profiler).stats.items()  # type: ignore[attr-defined]
    own = {f"{Path(file).name}:{name}" if line else name: times[2] for (file, line, name), times in rows}
    total = sum(own.values())
    return sorted(((name, seconds / total) for name, seconds in own.items()), key=lambda row: -row[1])[:12]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--sizes", type=int, nargs="+", default=[128, 512, 1024, 1536])
    arguments.add_argument("--scenes", type=int, default=60)
    arguments.add_argument("--page", type=Path, help="also write the tables into this Markdown file")
    asked = arguments.parse_args()
    row: dict[str, object] = {
        "versions": f"Python {platform.python_version()}, NumPy {np.__version__}, OpenCV {cv2.__version__}",
        "scenes": asked.scenes,
    }
    lines = ["| CPU-milliseconds per picture | median | mean | 90 % |", "| --- | --- | --- | --- |"]
    for side in asked.sizes:
        count = asked.scenes if side <= 512 else max(6, asked.scenes // 4)
        for case, seconds in measure(side, count=count).items():
            values = np.array(seconds) * 1000
            figures = [float(np.median(values)), float(values.mean()), float(np.percentile(values, 90))]
            row[f"{side} px, {case}"] = [round(value, 1) for value in figures]
            lines.append(f"| {side} px, {case} | " + " | ".join(f"{value:,.0f}" for value in figures) + " |")
    shares = profile(count=asked.scenes)
    lines += ["", f"| where the time of new scenes at {PROFILED} px goes | own time, sets included |", "| --- | --- |"]
    lines += [f"| `{name}` | {share:.1%} |" for name, share in shares]
    row["profile"] = {name: round(share, 4) for name, share in shares}
    row["peak memory, MB"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    lines += ["", f"Peak memory of the process: {row['peak memory, MB']:,} MB. {row['versions']}."]
    print("\n".join(lines))
    if asked.page:
        write_part(asked.page, "\n".join(lines), by="studio")
    append_row(row, by="studio")


if __name__ == "__main__":
    main()
