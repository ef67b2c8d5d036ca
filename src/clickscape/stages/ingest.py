"""Stage `ingest`: a catalog file moves into the workspace, cut out and split, whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from clickscape.catalog.choose import choose
from clickscape.catalog.cutout import examine, trim
from clickscape.catalog.images import open_image
from clickscape.compute.shards import map_shards
from clickscape.errors import ImageError, ModelError
from clickscape.stages import split
from clickscape.stages.gather import FeedOptions, Gathered, gather
from clickscape.stages.progress import Progress, Stage
from clickscape.types import Product
from clickscape.workspace import Noted, Workspace, ingesting, notes_of

STAGE = "ingest"

_WAY, _CONFIDENCE, _FLAGS = "clickscape:way", "clickscape:confidence", "clickscape:flags"


def ingest(
    workspace: Workspace,
    feed: Path,
    *,
    workers: int = 1,
    options: FeedOptions | None = None,
    matting: Path | None = None,
) -> Stage[Gathered]:
    """Read `feed`, cut out every product and replace the workspace's catalog.

    `matting`: an ONNX model for photographs without alpha. Of several photos of a product the best cut-out is taken.
    Returns the products as they lie there, and what the feed's rows lacked. Raises FeedError, ImageError and
    ModelError; the workspace then stays as it was, but for images that were fetched.
    """
    with workspace.lock():
        gathered = yield from gather(feed, cache=workspace.remote, options=options)
        products = yield from _best_photos(gathered.products, matting=matting, workers=workers)
        steps = ingesting(
            workspace,
            products,
            cut_out=partial(clean_cutout, matting=matting),
            mapping=partial(map_shards, workers=workers),
            way="" if matting is None else f"-{_digest(matting)}",
        )
        while True:
            try:
                done, total = next(steps)
            except StopIteration as stop:
                moved: list[Product] = stop.value
                break
            yield Progress(STAGE, done, total, "cutting out products")
        split.write(workspace, split.by_hash(moved))
    return Gathered(moved, gathered.report)


def _best_photos(products: Sequence[Product], *, matting: Path | None, workers: int) -> Stage[list[Product]]:
    """The products, each with the photo first of which the best cut-out can be made; the others stay as they are."""
    several = [product for product in products if product.more_images]
    best: dict[str, Product] = {}
    for product in map_shards(partial(_best_photo, matting=matting), several, workers=workers):
        best[product.product_id] = product
        yield Progress(STAGE, len(best), len(several), "choosing photos")
    return [best.get(product.product_id, product) for product in products]


def _best_photo(product: Product, *, matting: Path | None) -> Product:
    """The product with its best photo first; one that cannot be cut out does not count, and ties keep their order."""
    photos, cutouts = [], []
    for photo in (product.image, *product.more_images):
        with suppress(ImageError):
            cutouts.append(examine(open_image(photo), matting=matting))
            photos.append(photo)
    if not photos:
        return product  # cutting it out says what is wrong
    image = photos[choose(cutouts).index]
    others = tuple(photo for photo in (product.image, *product.more_images) if photo != image)
    return replace(product, image=image, more_images=others)


def clean_cutout(path: Path, *, matting: Path | None = None) -> Noted:
    """The product of an image file without its background and empty border, noting what is doubtful about it."""
    picture = open_image(path)
    try:
        cutout = examine(picture, matting=matting)
        pixels = trim(cutout.pixels)
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error
    flags = (*(("doubtful",) if cutout.doubtful else ()), *cutout.flags.names)
    notes = {_WAY: cutout.way, _FLAGS: " ".join(flags)}
    if cutout.confidence is not None:
        notes[_CONFIDENCE] = f"{cutout.confidence:.3f}"
    return Noted(pixels, notes)


def flagged(products: Sequence[Product]) -> Mapping[str, list[str]]:
    """Flag (doubtful, thin, glass) → ids of the ingested products that carry it."""
    found: dict[str, list[str]] = {}
    for product in products:
        for name in notes_of(Path(product.image)).get(_FLAGS, "").split():
            found.setdefault(name, []).append(product.product_id)
    return found


def _digest(model: Path) -> str:
    try:
        with model.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
    except OSError as error:
        raise ModelError(f"{model}: no such matting model ({error.strerror}). Give the path of an ONNX file.") from None
