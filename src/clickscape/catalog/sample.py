"""The sample catalog: 110 objects in ten departments, each in twelve colors, with titles written for this project.

The split is by object: a held-out object is seen by no shipped model in any color.  Pictures are drawn from Microsoft's
Fluent Emoji (MIT) and from products baked for this project; scripts/build_sample_catalog.py makes them again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clickscape.catalog.recolor import Color, recolor
from clickscape.files import atomic_file
from clickscape.types import Product

ORIGINAL = "original"
TARGETS: Mapping[str, Color] = {
    "crimson": (200, 24, 58),
    "coral": (255, 122, 98),
    "amber": (246, 166, 20),
    "lemon": (250, 228, 60),
    "emerald": (18, 158, 88),
    "teal": (12, 140, 140),
    "sky": (96, 184, 244),
    "navy": (34, 52, 118),
    "violet": (124, 70, 206),
    "magenta": (222, 44, 172),
    "charcoal": (74, 76, 82),
}
VARIANTS = (ORIGINAL, *TARGETS)

_FOLDER = Path(__file__).parent / "sample"


@dataclass(frozen=True, slots=True)
class SampleObject:
    """One object of the sample catalog; ``title`` has places for {color} and {detail}; ``hero_rgb``: its main color."""

    object_id: str
    source: str
    noun: str
    title: str
    details: tuple[str, ...]
    department: str
    subcategory: str
    attributes: Mapping[str, str]
    tags: tuple[str, ...]
    price: float
    hero_color: str
    hero_rgb: Color
    held_out: bool


@lru_cache(maxsize=1)
def objects() -> tuple[SampleObject, ...]:
    """All objects, department by department."""
    rows = json.loads((_FOLDER / "objects.json").read_text(encoding="utf-8"))
    return tuple(
        SampleObject(
            **row
            | {
                "details": tuple(row["details"]),
                "tags": tuple(row["tags"]),
                "hero_rgb": tuple(bytes.fromhex(row["hero_rgb"].removeprefix("#"))),
            }
        )
        for row in rows
    )


def products() -> list[Product]:
    """Every object in every color; ``image`` is empty, because `cutout` draws it and `write` saves it."""
    return [_product(item, number) for item in objects() for number in range(len(VARIANTS))]


def object_of(product_id: str) -> SampleObject:
    """The object of which the product is a color variant."""
    return _split(product_id)[0]


def is_held_out(product_id: str) -> bool:
    """Whether the product's object is kept away from everything that trains a shipped model."""
    return object_of(product_id).held_out


def cutout(product_id: str, longest: int = 400) -> NDArray[np.uint8]:
    """The product's picture (height, width, 4), sRGB with straight alpha, its longer side ``longest`` pixels."""
    item, variant = _split(product_id)
    picture = _picture(item.object_id, longest)
    if variant == ORIGINAL:
        return picture.copy()
    return recolor(picture, source=item.hero_rgb, target=TARGETS[variant])


def write(folder: Path | str, longest: int = 400, *, product_ids: Collection[str] | None = None) -> list[Product]:
    """Save cutouts/<product_id>.png below ``folder`` and return the products with the paths of their images.

    ``product_ids`` limits the work to these products.
    """
    return list(write_each(folder, longest, product_ids=product_ids))


def write_each(
    folder: Path | str, longest: int = 400, *, product_ids: Collection[str] | None = None
) -> Iterator[Product]:
    """As `write`, one product after the other, for a progress bar."""
    target = Path(folder) / "cutouts"
    wanted = None if product_ids is None else frozenset(product_ids)
    for item in objects():
        for number, variant in enumerate(VARIANTS):
            product_id = f"{item.object_id}-{variant}"
            if wanted is not None and product_id not in wanted:
                continue
            path = target / f"{product_id}.png"
            with atomic_file(path, flush=False) as temporary:
                Image.fromarray(cutout(product_id, longest)).save(temporary, compress_level=1)
            yield _product(item, number, image=str(path))


def _product(item: SampleObject, number: int, image: str = "") -> Product:
    variant = VARIANTS[number]
    color = item.hero_color if variant == ORIGINAL else variant.title()
    return Product(
        product_id=f"{item.object_id}-{variant}",
        title=item.title.format(color=color, detail=item.details[number % len(item.details)]),
        category=(item.department, item.subcategory),
        attributes={**item.attributes, "color": color.lower()},
        tags=item.tags,
        price=item.price,
        currency="USD",
        image=image,
    )


@lru_cache(maxsize=1)
def _by_id() -> dict[str, SampleObject]:
    return {item.object_id: item for item in objects()}


def _split(product_id: str) -> tuple[SampleObject, str]:
    object_id, _, variant = product_id.rpartition("-")
    item = _by_id().get(object_id)
    if item is None or variant not in VARIANTS:
        raise KeyError(f"no product {product_id!r} in the sample catalog; expected <object_id>-<one of {VARIANTS}>")
    return item, variant


@lru_cache(maxsize=16)
def _picture(object_id: str, longest: int) -> NDArray[np.uint8]:
    """The object in its own color, scaled; do not write into it."""
    with Image.open(_FOLDER / "objects" / f"{object_id}.webp") as file:
        image = file.convert("RGBA")
    scale = longest / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS))
