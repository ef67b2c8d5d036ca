"""Draws docs/pictures/placements.webp: four products, re-rendered for twelve placements, each within its safe zone.

Run it after the placements or the studio's camera changed: python scripts/build_placements_sheet.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from clickscape.catalog import sample
from clickscape.catalog.cutout import open_cutout
from clickscape.render import placements
from clickscape.render.encode import encode
from clickscape.render.scene import Scene
from clickscape.render.studio.engine import StudioRenderer

TARGET = Path(__file__).parents[1] / "docs/pictures/placements.webp"
SHOWN = {  # product → its scene and seed
    "running_shoe-original": (Scene("city", "black marble", "neon", "blocks"), 3),
    "wine_bottle-original": (Scene("studio", "terrazzo", "soft", "podium", "mint", ("eucalyptus",)), 10),
    "giant_die-original": (Scene("beach", "sand", "golden hour", "slab", None, ("palm",)), 2),
    "sofa-original": (Scene("living room", "walnut", "soft", "floor", None, ("candle",)), 4),
}
UPRIGHT = ("google-pmax-square", "meta-feed", "meta-stories", "meta-reels", "google-display-300x600",
           "google-display-160x600", "google-display-120x600")  # fmt: skip
LYING = ("google-pmax-landscape", "google-display-970x250", "google-display-728x90", "google-display-320x100",
         "google-display-320x50")  # fmt: skip
TALL, WIDE, GAP = 232, 340, 6  # pixels: height of an upright tile, width of a lying one


def main() -> None:
    """Draw every tile at its real size (at most 700 pixels), shrink it, and put the four products side by side."""
    studio = StudioRenderer()
    with tempfile.TemporaryDirectory() as folder:
        products = sample.write(Path(folder), 512, product_ids=list(SHOWN))
        bands = [_band(studio, open_cutout(product.image), *SHOWN[product.product_id]) for product in products]
    width = max(band.shape[1] for band in bands)
    sheet = np.concatenate([_padded(band, width) for band in bands])
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_bytes(encode(sheet, max_bytes=250_000, formats=("webp",)).data)
    print(f"made {TARGET} ({TARGET.stat().st_size:,} bytes, {sheet.shape[1]} x {sheet.shape[0]})")


def _band(studio: StudioRenderer, cutout: np.ndarray, scene: Scene, seed: int) -> np.ndarray:
    """One product: upright placements in a row, lying ones in a column beside them."""
    upright = [_tile(studio, cutout, scene, seed, place, height=TALL) for place in placements.find(*UPRIGHT)]
    lying = [_tile(studio, cutout, scene, seed, place, width=WIDE) for place in placements.find(*LYING)]
    columns = [np.concatenate([_padded(one, WIDE) for one in part]) for part in (lying[:1], lying[1:])]
    parts = [*upright, *columns]
    height = max(part.shape[0] for part in parts)
    return np.concatenate([_padded(part, part.shape[1] + GAP, height + GAP) for part in parts], axis=1)


def _tile(
    studio: StudioRenderer,
    cutout: np.ndarray,
    scene: Scene,
    seed: int,
    place: placements.Placement,
    *,
    height: int | None = None,
    width: int | None = None,
) -> np.ndarray:
    scale = min(1.0, 700 / max(place.size))
    drawn_size = (round(place.width * scale), round(place.height * scale))
    drawn = studio.compose(cutout, scene, size=drawn_size, seed=seed, margins=place.margins)
    shrink = (height / drawn_size[1]) if height is not None else (width or drawn_size[0]) / drawn_size[0]
    size = (round(drawn_size[0] * shrink), round(drawn_size[1] * shrink))
    return np.asarray(Image.fromarray(drawn.image).resize(size, Image.Resampling.LANCZOS))


def _padded(tile: np.ndarray, width: int, height: int | None = None) -> np.ndarray:
    canvas = np.full((height or tile.shape[0] + GAP, width, 3), 255, np.uint8)
    canvas[: tile.shape[0], : tile.shape[1]] = tile
    return canvas


if __name__ == "__main__":
    main()
