"""What does the demo cost?  CPU and wall seconds of every stage, from an empty folder and an empty cache.

    python benchmarks/demo.py [--scale full] [--workers 2] [--seed 0] [--page docs/experiments/studio.md]

Appends one JSON row to benchmarks/results/demo.jsonl. CPU time is that of all processes and hardly depends on what else
the machine does. Wall time does: read it only where the load that is printed is about the number of workers.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from _results import append_row, write_part
from clickscape import demo
from clickscape.render.studio import disk
from clickscape.stages.report import TIMINGS


def measure(*, scale: str, workers: int, seed: int) -> dict[str, dict[str, float]]:
    """Run the demo in a folder that is removed afterwards; CPU and wall seconds by stage, the last row is the whole."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[disk.VARIABLE] = f"{folder}/cache"
        out = Path(folder, "demo")
        wall, cpu = time.monotonic(), sum(os.times()[:4])
        for _ in demo.demo(out, world="harmony", seed=seed, scale=demo.SCALES[scale], workers=workers):
            pass
        whole = {"cpu": sum(os.times()[:4]) - cpu, "wall": time.monotonic() - wall}
        stages = json.loads((out / "runs" / TIMINGS).read_text(encoding="utf-8"))
    return {**stages, "whole": whole}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--scale", choices=demo.SCALES, default="full")
    arguments.add_argument("--workers", type=int, default=2)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--page", type=Path, help="also write the table into this Markdown file")
    asked = arguments.parse_args()
    stages = measure(scale=asked.scale, workers=asked.workers, seed=asked.seed)
    load = os.getloadavg()[1]
    versions = f"Python {platform.python_version()}, NumPy {np.__version__}, OpenCV {cv2.__version__}"
    lines = ["| stage of the demo | CPU-seconds | wall seconds |", "| --- | --- | --- |"]
    lines += [f"| {name} | {spent['cpu']:,.0f} | {spent['wall']:,.0f} |" for name, spent in stages.items()]
    lines += ["", f"`--scale {asked.scale}`, {asked.workers} workers, mean load of the machine {load:.1f}. {versions}."]
    print("\n".join(lines))
    if asked.page:
        write_part(asked.page, "\n".join(lines), by="demo")
    settings = {"scale": asked.scale, "workers": asked.workers, "seed": asked.seed}
    append_row({**settings, "versions": versions, "load": round(load, 1), "seconds": stages}, by="demo")


if __name__ == "__main__":
    main()
