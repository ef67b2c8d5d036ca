"""Add one product to the catalog: its photo is cut out, and the others stay as they are."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

from clickscape.catalog.split import split_by_hash
from clickscape.errors import ImageError
from clickscape.files import write_text
from clickscape.regular_files import read_bytes
from clickscape.stages import split
from clickscape.stages.load_feed import load_cut_out
from clickscape.stages.progress import Stage
from clickscape.types import Product
from clickscape.workspace import Workspace, replace_catalog

_STAGING = ".staging-product-"


def add_product(workspace: Workspace, product: Product, *, workers: int = 2) -> Stage[Product]:
    """Cut a product out of its photo (`product.image`, a file) and add it, or put it in the place of one of its id.

    Returns the product with its cut-out. The photo is opened in a worker process of its own, with limits on memory and
    time, as `ingest` opens those of a feed; raises what that raises, and the catalog then stays as it was.
    """
    configured = workspace.settings.ingest.matting
    matting = workspace.path / configured if configured else None
    staging = Path(tempfile.mkdtemp(prefix=_STAGING, dir=workspace.path))
    try:
        photo = staging / f"photo{Path(product.image).suffix.lower()}"
        photo.write_bytes(read_bytes(Path(product.image), error=ImageError))
        row = {"product_id": product.product_id, "title": product.title, "category": list(product.category),
               "attributes": dict(product.attributes), "tags": list(product.tags), "price": product.price,
               "currency": product.currency, "image": photo.name}  # fmt: skip
        feed = staging / "product.jsonl"
        write_text(feed, json.dumps({name: value for name, value in row.items() if value}) + "\n")
        loaded = yield from load_cut_out(
            feed, cache=staging / "remote", folder=staging / "cutouts", matting=matting, workers=workers
        )
        with workspace.lock():
            held = workspace.products() if workspace.products_path.exists() else []
            kept = [one for one in held if one.product_id != product.product_id]
            moved = replace_catalog(workspace, [*kept, *loaded.products])
            split.write(workspace, split_by_hash(moved, config=workspace.settings.split))
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return next(one for one in moved if one.product_id == product.product_id)
