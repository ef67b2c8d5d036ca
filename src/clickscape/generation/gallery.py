"""The page that `generate` writes: every product with its cut-out, what is doubtful about that, and its ads."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from clickscape.catalog.cutout_file import flagged
from clickscape.catalog.images import open_image
from clickscape.files import atomic_file, file_name
from clickscape.generation.creative_record import ProductRecord
from clickscape.types import Product

CUTOUTS = "previews"
"""Folder beside the page, of a small picture of every product's cut-out."""

_SIDE = 320  # pixels of its longer side
_WORDS = {
    "doubtful": "doubtful cut-out: is the product whole, and nothing else?",
    "thin": "thin parts: are they all there?",
    "glass": "glass: does the old background show through?",
}


def save_preview(product: Product, folder: Path) -> None:
    """Write the small picture of the product's cut-out into the folder, as a PNG."""
    picture = Image.fromarray(open_image(product.image))
    picture.thumbnail((_SIDE, _SIDE))
    encoded = io.BytesIO()
    picture.save(encoded, "PNG")
    with atomic_file(folder / preview_name(product)) as temporary:
        temporary.write_bytes(encoded.getvalue())


def preview_name(product: Product) -> str:
    """Name of the file with the product's small picture."""
    return f"{file_name(product.product_id)}.png"


def gallery(products: Sequence[Product], records: Mapping[str, ProductRecord], *, size: int, language: str) -> str:
    """Return a page of HTML without scripts; the ads' pictures, of `size` pixels, and the folder CUTOUTS lie by it."""
    from jinja2 import Environment, PackageLoader

    doubts = {one.product_id: one for one in flagged([one for one in products if one.image.endswith(".png")])}
    rows = [
        {
            "product": product,
            "cutout": f"{CUTOUTS}/{preview_name(product)}",
            "flags": [_WORDS.get(flag, flag) for flag in doubts[product.product_id].flags]
            if product.product_id in doubts
            else [],
            "ads": records[product.product_id].shown,
            "failures": records[product.product_id].failures,
        }
        for product in products
    ]
    page = Environment(loader=PackageLoader("clickscape.generation", "."), autoescape=True)
    shown = sum(len(record.shown) for record in records.values())
    return page.get_template("gallery.html.j2").render(
        rows=rows, shown=shown, doubted=len(doubts), size=size, language=language
    )
