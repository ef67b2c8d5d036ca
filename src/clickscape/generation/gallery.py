"""The page that `generate` writes: every product with its cut-out, what is doubtful about that, and its ads."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from clickscape.catalog.cutout_file import DOUBTFUL, flagged
from clickscape.catalog.feed_report import Skipped
from clickscape.catalog.images import open_image
from clickscape.files import atomic_file, file_name
from clickscape.generation.creative_record import ProductRecord
from clickscape.generation.own_backdrop import MODEL_ID
from clickscape.types import Product

CUTOUTS = "previews"
"""Folder beside the page, of a small picture of every product's cut-out."""

_SIDE = 320  # pixels of its longer side
_WORDS = {
    DOUBTFUL: "doubtful cut-out: is the product whole, and nothing else?",
    "thin": "thin parts: are they all there?",
    "glass": "glass: does the old background show through?",
    "whole": "it fills its photo: is all of the picture the product?",
    "badge": "a badge over the photo was left out",
    "text": "text over the photo was left out",
}


def doubtful(products: Sequence[Product]) -> dict[str, Skipped]:
    """Return what is said of each product whose cut-out is probably not right, by its id."""
    return {
        one.product_id: Skipped(
            f"product {one.product_id!r}",
            "doubtful cut-out. Correct it with `clickscape cutout`, or draw it all the same with --keep-doubtful",
        )
        for one in flagged([product for product in products if product.image.endswith(".png")])
        if DOUBTFUL in one.flags
    }


def save_preview(product: Product, folder: Path, *, photo: str | None = None) -> None:
    """Write a small picture of the product's cut-out into the folder as a PNG, and one of the photo it was made of."""
    _save_small(product.image, folder / preview_name(product))
    if photo is not None:
        _save_small(photo, folder / _photo_name(product))


def preview_name(product: Product) -> str:
    """Name of the file with the product's small picture."""
    return f"{file_name(product.product_id)}.png"


def gallery(
    products: Sequence[Product], records: Mapping[str, ProductRecord], *, previews: Path, size: int, language: str
) -> str:
    """Return a page of HTML without scripts; the ads' pictures, of `size` pixels, lie by it, and so does `previews`.

    A product without a record is one that no ad was to be made of, because its cut-out is doubtful.
    """
    from jinja2 import Environment, PackageLoader

    on_photo = {name for name, record in records.items() if record.ads and record.ads[0].model_id == MODEL_ID}
    cut_out = [one for one in products if one.image.endswith(".png") and one.product_id not in on_photo]
    doubts = {one.product_id: one for one in flagged(cut_out)}
    rows = [
        {
            "product": product,
            "photo": f"{CUTOUTS}/{_photo_name(product)}" if (previews / _photo_name(product)).exists() else "",
            "cutout": f"{CUTOUTS}/{preview_name(product)}",
            "flags": [_WORDS.get(flag, flag) for flag in doubts[product.product_id].flags]
            if product.product_id in doubts
            else [],
            "on_photo": product.product_id in on_photo,
            "left_out": product.product_id not in records,
            "ads": records[product.product_id].ads if product.product_id in records else (),
            "failures": records[product.product_id].failures if product.product_id in records else (),
        }
        for product in products
    ]
    page = Environment(loader=PackageLoader("clickscape.generation", "."), autoescape=True)
    # what was left out comes first: somebody has to look at it
    rows.sort(key=lambda row: not row["left_out"])
    shown = sum(len(record.ads) for record in records.values())
    return page.get_template("gallery.html.j2").render(
        rows=rows, shown=shown, doubted=len(doubts), size=size, language=language
    )


def _photo_name(product: Product) -> str:
    return f"{file_name(product.product_id)}-photo.png"


def _save_small(image: str, file: Path) -> None:
    picture = Image.fromarray(open_image(image))
    picture.thumbnail((_SIDE, _SIDE))
    encoded = io.BytesIO()
    picture.save(encoded, "PNG")
    with atomic_file(file) as temporary:
        temporary.write_bytes(encoded.getvalue())
