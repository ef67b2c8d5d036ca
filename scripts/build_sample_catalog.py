"""Draw the pictures of the sample catalog from the icons that they come from (needs `pip install resvg_py`).

    npm pack fluentui-emoji && tar xf fluentui-emoji-*.tgz
    python scripts/build_sample_catalog.py package --baked folder-of-baked-products

Every object of objects.json names its source: "fluent/<icon>" is icons/modern/<icon>.svg of the npm package, drawn at
640 px; "baked/<name>" is <name>.webp of the folder of baked products (without --baked those pictures stay as they are).
Pictures are trimmed and saved as WebP, color at quality 90 and alpha without loss.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image

CATALOG = Path(__file__).resolve().parents[1] / "src" / "clickscape" / "catalog" / "sample"
SIZE = 640  # pixels on each side before trimming
FAINT = 24  # alpha below this is leftover glow: it would make the product float above its stand


def draw_icon(svg: Path) -> Image.Image:
    """One icon as an RGBA image of SIZE × SIZE pixels."""
    png = bytes(resvg_py.svg_to_bytes(svg_string=svg.read_text(encoding="utf-8"), width=SIZE, height=SIZE))
    return Image.open(io.BytesIO(png)).convert("RGBA")


def trim(image: Image.Image) -> Image.Image:
    """Cut away the margin in which nothing is clearly visible."""
    alpha = np.asarray(image.getchannel("A"))
    rows, columns = np.flatnonzero((alpha > FAINT).any(1)), np.flatnonzero((alpha > FAINT).any(0))
    return image.crop((int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="unpacked npm package fluentui-emoji")
    parser.add_argument("--baked", type=Path, help="folder of the baked product pictures")
    arguments = parser.parse_args()
    folder = CATALOG / "objects"
    folder.mkdir(parents=True, exist_ok=True)
    total = 0
    for item in json.loads((CATALOG / "objects.json").read_text(encoding="utf-8")):
        kind, name = item["source"].split("/")
        target = folder / f"{item['object_id']}.webp"
        if kind == "fluent":
            image = draw_icon(arguments.package / "icons" / "modern" / f"{name}.svg")
        elif arguments.baked:
            image = Image.open(arguments.baked / f"{name}.webp").convert("RGBA")
        else:
            total += target.stat().st_size
            continue
        trim(image).save(target, quality=90, alpha_quality=100, method=6)
        total += target.stat().st_size
    sys.stdout.write(f"{folder}: {total / 1e6:.2f} MB\n")


if __name__ == "__main__":
    main()
