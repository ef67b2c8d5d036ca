"""Stage `ingest`: a catalog file moves into the workspace, cut out and split, whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from clickscape.catalog.split import split_by_hash
from clickscape.stages import split
from clickscape.stages.cutouts import FLAGS, cut_out_all
from clickscape.stages.load_feed import FeedOptions, LoadedFeed, load_feed
from clickscape.stages.progress import Stage
from clickscape.types import Product
from clickscape.workspace import Workspace, notes_of
from clickscape.workspace import ingest as move_in

_STAGING = ".staging-cutouts"


def ingest(
    workspace: Workspace,
    feed: Path,
    *,
    workers: int = 1,
    options: FeedOptions | None = None,
    matting: Path | None = None,
) -> Stage[LoadedFeed]:
    """Read `feed`, cut out every product and replace the workspace's catalog.

    `matting`: an ONNX model for photographs without alpha. Of several photos of a product the best cut-out is taken. A
    product that cannot be cut out is a bad row: it stops the ingest, or is left out and listed where those are skipped.
    Returns the products as they lie there, and what the feed's rows lacked. Raises FeedError, ImageError and
    ModelError; the workspace then stays as it was, but for images that were fetched.
    """
    skip_bad = options is not None and options.skip_bad_rows
    with workspace.lock():
        loaded = yield from load_feed(feed, cache=workspace.remote, options=options)
        folder = workspace.path / _STAGING
        try:
            cut = yield from cut_out_all(
                loaded.products, folder=folder, matting=matting, workers=workers, skip_bad=skip_bad
            )
            staged = [replace(product, image=str(cut.files[product.product_id])) for product in cut.products]
            moved = move_in(workspace, staged, cut_out=_as_it_is)
        except Exception:  # a kill or Ctrl-C keeps what is cut out, for the next attempt
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)
        split.write(workspace, split_by_hash(moved))
    report = loaded.report
    return LoadedFeed(moved, replace(report, products=len(moved), skipped=(*report.skipped, *cut.skipped)))


def _as_it_is(cutout: Path) -> Path:
    return cutout


def flagged(products: Sequence[Product]) -> Mapping[str, list[str]]:
    """Flag (doubtful, thin, glass) → ids of the ingested products that carry it."""
    found: dict[str, list[str]] = {}
    for product in products:
        for name in notes_of(Path(product.image)).get(FLAGS, "").split():
            found.setdefault(name, []).append(product.product_id)
    return found
