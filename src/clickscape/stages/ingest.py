"""Stage `ingest`: a catalog file moves into the workspace, cut out and split, whole or not at all."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from clickscape.catalog.cutout import cut_out, trim
from clickscape.catalog.images import open_image
from clickscape.compute.shards import map_shards
from clickscape.stages import split
from clickscape.stages.gather import FeedOptions, Gathered, gather
from clickscape.stages.progress import Progress, Stage
from clickscape.types import Product
from clickscape.workspace import Workspace, ingesting

STAGE = "ingest"


def ingest(
    workspace: Workspace, feed: Path, *, workers: int = 1, options: FeedOptions | None = None
) -> Stage[Gathered]:
    """Read `feed`, cut out every product and replace the workspace's catalog.

    Returns the products as they lie there, and what the feed's rows lacked. Raises FeedError and ImageError; the
    workspace then stays as it was, but for images that were fetched.
    """
    with workspace.lock():
        gathered = yield from gather(feed, cache=workspace.remote, options=options)
        cutting = partial(map_shards, workers=workers)
        steps = ingesting(workspace, gathered.products, cut_out=clean_cutout, mapping=cutting)
        while True:
            try:
                done, total = next(steps)
            except StopIteration as stop:
                moved: list[Product] = stop.value
                break
            yield Progress(STAGE, done, total, "cutting out products")
        split.write(workspace, split.by_hash(moved))
    return Gathered(moved, gathered.report)


def clean_cutout(path: Path) -> np.ndarray:
    """The product of an image file without its background and empty border: uint8 (height, width, 4)."""
    return trim(cut_out(open_image(path)))
