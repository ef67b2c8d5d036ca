"""Draw docs/pictures/props.webp: every prop beside a product in a plain studio, in soft light and at golden hour."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from clickscape.catalog import sample
from clickscape.render.scene import PROPS, Scene
from clickscape.render.studio.engine import StudioRenderer

TARGET = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "props.webp"
PRODUCT = "face_serum"
LIGHTS = ("soft", "golden hour")
COLUMNS = 8


def sheet(props: list[str], light: str, *, side: int) -> np.ndarray:
    """One square picture per prop, row by row in the order of `props`: (height, width, 3)."""
    studio = StudioRenderer()
    product = next(item.product_id for item in sample.products() if item.product_id.startswith(PRODUCT))
    cutout = sample.cutout(product, max(320, side))
    rows = -(-len(props) // COLUMNS)
    page = np.full((rows * side, min(COLUMNS, len(props)) * side, 3), 255, np.uint8)
    for number, prop in enumerate(props):
        scene = Scene("studio", "white marble", light, "podium", "cream", (prop,))
        top, left = (side * place for place in divmod(number, COLUMNS))
        page[top : top + side, left : left + side] = studio.compose(cutout, scene, size=(side, side), seed=0).image
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("props", nargs="*", help="props to show (default: all)")
    parser.add_argument("--side", type=int, default=160, help="side of one picture, pixels")
    parser.add_argument("--out", type=Path, default=TARGET)
    asked = parser.parse_args()
    pages = [sheet(asked.props or list(PROPS), light, side=asked.side) for light in LIGHTS]
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(pages)).save(asked.out, quality=80, method=6)
    print(f"made {asked.out}: {asked.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
