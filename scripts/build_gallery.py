"""Draws everything that the studio knows, value by value, and writes docs/gallery.md; `make docs` runs this.

    python scripts/build_gallery.py

One sheet per slot of a scene: products of the sample catalog take turns, each in a scene in which the value shows well.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from clickscape.catalog import sample
from clickscape.render.language.lexicon import DEFAULTS, PHRASES
from clickscape.render.scene import NO_PROP, SLOTS, Scene
from clickscape.render.studio import disk
from clickscape.render.studio.engine import StudioRenderer

DOCS = Path(__file__).parent.parent / "docs"
SIDE, COLUMNS, MARGIN, LABEL = 240, 6, 8, 26  # pixels; pictures per row
INK, PAPER = (40, 40, 44), (252, 252, 251)
PRODUCTS = ("perfume", "coffee_mug", "handbag", "lipstick", "potted_plant", "camera", "teapot", "running_shoe")
BASES = {
    "setting": {},
    "surface": {"setting": "studio", "light": "window", "stand": "slab", "palette": "cream", "prop": NO_PROP},
    "light": {"setting": "studio", "surface": "oak", "stand": "podium", "palette": "mint", "prop": NO_PROP},
    "stand": {"setting": "studio", "surface": "white marble", "light": "window", "palette": "pink", "prop": NO_PROP},
    "palette": {"setting": "studio", "surface": "terrazzo", "light": "soft", "stand": "podium", "prop": NO_PROP},
    "prop": {"setting": "studio", "surface": "oak", "light": "soft", "stand": "slab", "palette": "cream"},
}
"""Slot → the rest of the scene in which its values are shown; a setting brings its own."""


def main() -> None:
    renderer = StudioRenderer(kept=disk.folder())
    (DOCS / "pictures").mkdir(exist_ok=True)
    parts = [HEADER]
    for slot, values in SLOTS.items():
        scenes = [_scene(slot, value) for value in values]
        pictures = [_picture(renderer, scene, number) for number, scene in enumerate(scenes)]
        file = DOCS / "pictures" / f"studio-{slot}.webp"
        Image.fromarray(_sheet(pictures, values)).save(file, quality=84, method=6)
        rows = [f"| {value} | {', '.join(PHRASES[slot][value])} |" for value in values]
        parts.append(f"## {slot.capitalize()}: {len(values)}\n\n![{', '.join(values)}](pictures/{file.name})\n")
        parts.append("\n".join(["| value | words that lead to it |", "| --- | --- |", *rows, ""]))
    (DOCS / "gallery.md").write_text("\n".join(parts), encoding="utf-8")


HEADER = """# What the studio draws

Every value of every slot of a scene, and the words of a description that lead to it. Written by
`python scripts/build_gallery.py`. A wall may also be asked to answer to the product: *harmonious*, *matching*, *tone on
tone*, or *contrasting*, *complementary*. A word that is not here changes nothing and is reported with the nearest one.
"""


def _scene(slot: str, value: str) -> Scene:
    if slot == "setting":
        return Scene(setting=value, light="soft", palette=None, **DEFAULTS[value])
    return Scene.from_slots({**BASES[slot], slot: value})


def _picture(renderer: StudioRenderer, scene: Scene, number: int) -> np.ndarray:
    cutout = sample.cutout(f"{PRODUCTS[number % len(PRODUCTS)]}-original", 400)
    return renderer.compose(cutout, scene, size=(SIDE, SIDE), seed=number).image


def _sheet(pictures: list[np.ndarray], labels: tuple[str, ...]) -> np.ndarray:
    """The pictures in rows, (height, width, 3), each with its label below."""
    rows = -(-len(pictures) // COLUMNS)
    wide, tall = SIDE + MARGIN, SIDE + LABEL + MARGIN
    sheet = Image.new("RGB", (COLUMNS * wide + MARGIN, rows * tall + MARGIN), PAPER)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(17)
    for number, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        row, column = divmod(number, COLUMNS)
        left, top = MARGIN + column * wide, MARGIN + row * tall
        sheet.paste(Image.fromarray(picture), (left, top))
        pen.text((left + 2, top + SIDE + 3), label, fill=INK, font=font)
    return np.asarray(sheet)


if __name__ == "__main__":
    main()
