"""What a small file of many pixels costs a cut-out, for benchmarks/cutouts.py: before and now, each in its own process.

Four files of 62 million pixels: one color as WebP, a product on white as PNG with a palette and as JPEG, and a
progressive JPEG whose last scan, 92 bytes, stands there 40 times.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

from PIL import Image

from _revision import ROOT, unpack

SIDE = 7_900
_MEASURE = """
import json, sys, time
from clickscape.catalog.cutout import examine
from clickscape.catalog.images import open_image
from clickscape.errors import ImageError
def peak():  # of this process alone; getrusage's begins with that of whoever started it
    return int(open("/proc/self/status").read().partition("VmHWM:")[2].split()[0]) / 1024
memory, start = peak(), time.process_time()
try:
    examine(open_image(sys.argv[1]))
except ImageError:
    pass
print(json.dumps({"cpu s": round(time.process_time() - start, 2), "peak MiB": round(peak() - memory)}))
"""


def measure(revision: str, *, folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """CPU seconds of one thread, and MiB added to the process at the peak, of each file at a revision and now."""
    before = unpack(revision, folder / "before")
    return {
        file.name: {
            "bytes": {"of the file": file.stat().st_size},
            "before": _cost(file, before),
            "now": _cost(file, ROOT / "src"),
        }
        for file in _files(folder)
    }


def _files(folder: Path) -> list[Path]:
    plain = Image.new("P", (SIDE, SIDE), 1)
    plain.putpalette([200, 30, 40, 255, 255, 255])
    product = plain.copy()
    product.paste(0, (2_000, 2_000, 5_000, 6_000))
    plain.convert("RGB").save(folder / "color.webp", lossless=True, method=0)
    product.save(folder / "palette.png")
    product.convert("RGB").save(folder / "baseline.jpg")
    gray = io.BytesIO()
    Image.new("L", (SIDE, SIDE), 200).save(gray, "JPEG", progressive=True)
    data = gray.getvalue()
    last = data.rindex(b"\xff\xda")
    (folder / "scans.jpg").write_bytes(data[:last] + data[last:-2] * 40 + b"\xff\xd9")
    return [folder / name for name in ("color.webp", "palette.png", "baseline.jpg", "scans.jpg")]


def _cost(file: Path, source: Path) -> dict[str, float]:
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(file)], env=environment, capture_output=True, check=True, text=True
    )
    return json.loads(done.stdout)
