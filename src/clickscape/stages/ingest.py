"""Stage `ingest`: a catalog file moves into the workspace, cut out and split, whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from clickscape.catalog import feeds
from clickscape.catalog.cutout import examine, trim
from clickscape.catalog.images import open_image
from clickscape.compute.shards import map_shards
from clickscape.errors import ImageError, ModelError
from clickscape.stages import split
from clickscape.stages.progress import Progress, Stage
from clickscape.types import Product
from clickscape.workspace import Noted, Workspace, ingesting, notes_of

STAGE = "ingest"

_WAY, _CONFIDENCE, _FLAGS = "clickscape:way", "clickscape:confidence", "clickscape:flags"


def ingest(workspace: Workspace, feed: Path, *, workers: int = 1, matting: Path | None = None) -> Stage[list[Product]]:
    """Read `feed`, cut out every product and replace the workspace's catalog; returns the products as they lie there.

    `matting`: an ONNX model for photographs without alpha. Raises FeedError, ImageError and ModelError; the workspace
    then stays as it was.
    """
    products = feeds.read(feed)
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
    return moved


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
