"""Draws everything that the studio knows, value by value, and writes docs/gallery.md; `make docs` runs this.

    python scripts/build_gallery.py

One sheet per slot of a scene: products of the sample catalog take turns, each in a scene in which the value shows well.
One more for docs/concepts/publishable.md: an ad that one would publish, and each defect of the rubric made on purpose.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from clickscape.catalog import sample
from clickscape.render.language.lexicon import DEFAULTS, PHRASES
from clickscape.render.language.parse import parse
from clickscape.render.renderer import Margins
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
    defects = _defects(renderer)
    Image.fromarray(_sheet(list(defects.values()), tuple(defects))).save(
        DOCS / "pictures" / "publishable.webp", quality=84, method=6
    )
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


def _defects(renderer: StudioRenderer) -> dict[str, np.ndarray]:
    """Name → picture: one that is publishable, then one per defect of the rubric."""

    def ad(product: str | np.ndarray, description: str, *, seed: int = 3, **how: Any) -> np.ndarray:
        cutout = sample.cutout(f"{product}-original", 400) if isinstance(product, str) else product
        return renderer.compose(cutout, parse(description).scene, size=(SIDE, SIDE), seed=seed, **how).image

    teapot = sample.cutout("teapot-original", 400)
    calm = "oak slab, soft light, studio, cream wall, no props"
    return {
        "publishable": ad("teapot", calm),
        "cut-out": ad(_fringed(teapot), "black marble slab, soft light, studio, charcoal wall, no props"),
        "floating": ad(_raised(teapot), calm),
        "pose": ad("t_shirt", "white marble podium, soft light, studio, cream wall, no props"),
        "perspective": ad(_turned(teapot, 14), calm),
        "scene": ad("computer_mouse", "still water, steps, snowy forest, soft light, no props"),
        "props": ad("headphones", "oak slab, soft light, studio, cream wall, pumpkins"),
        "artificial": _drawn_backdrop(renderer),
        "light": ad("teapot", "white marble slab, neon light, studio, pink wall, no props"),
        "scale": ad("teapot", calm, margins=Margins(top=0.5, right=0.35, left=0.35)),
        "clutter": ad("potted_plant", "grass, leafy light, forest, palm leaves"),
    }


def _fringed(cutout: np.ndarray) -> np.ndarray:
    """The cut-out with a white rim, as of a photo on white, and a piece missing."""
    frame = cv2.copyMakeBorder(cutout, 8, 8, 8, 8, cv2.BORDER_CONSTANT)
    solid = (frame[..., 3] >= 128).astype(np.uint8)
    rim = cv2.dilate(solid, np.ones((9, 9), np.uint8)) > solid
    frame[rim] = (244, 244, 240, 255)
    height, width = solid.shape
    frame[: height // 2, : width // 4] = 0
    return frame


def _raised(cutout: np.ndarray) -> np.ndarray:
    """The cut-out above two faint specks: what stands on the ground is they, so it hangs above its shadow."""
    frame = cv2.copyMakeBorder(cutout, 0, len(cutout) // 4, 0, 0, cv2.BORDER_CONSTANT)
    columns = np.flatnonzero(cutout[..., 3].max(0) >= 128)
    frame[-2:, columns[0] : columns[-1]] = (90, 80, 70, 60)
    return frame


def _turned(cutout: np.ndarray, degrees: float) -> np.ndarray:
    height, width = cutout.shape[:2]
    frame = cv2.copyMakeBorder(cutout, height // 3, height // 3, width // 6, width // 6, cv2.BORDER_CONSTANT)
    middle = (frame.shape[1] / 2, frame.shape[0] / 2)
    return cv2.warpAffine(frame, cv2.getRotationMatrix2D(middle, degrees, 1), frame.shape[1::-1])


def _drawn_backdrop(renderer: StudioRenderer) -> np.ndarray:
    """A product before a wall that is drawn with a ruler."""
    made = renderer.compose(
        sample.cutout("coffee_mug-original", 400), parse("oak table, soft light, studio, cream wall, no props").scene,
        size=(SIDE, SIDE), seed=3,
    )  # fmt: skip
    wall = Image.fromarray(made.image)
    pen = ImageDraw.Draw(wall)
    for left, color in ((20, "#7fa8c9"), (140, "#c98f7f")):
        pen.rectangle((left, 24, left + 72, 96), fill=color, outline="#5b4a3a", width=4)
        pen.line((left + 36, 24, left + 36, 96), fill="#5b4a3a", width=3)
    for shelf, color in enumerate(("#d9b44a", "#6f9d6b", "#b5553f", "#4d6a8a")):
        pen.rectangle((16 + 54 * shelf, 116, 44 + 54 * shelf, 150), fill=color)
    alpha = made.product[..., 3:].astype(np.float32) / 255
    return (made.product[..., :3] * alpha + np.asarray(wall) * (1 - alpha)).astype(np.uint8)


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
