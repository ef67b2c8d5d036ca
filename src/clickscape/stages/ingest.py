"""Stage `ingest`: a catalog file moves into the workspace, cut out and split, whole or not at all."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path

from clickscape.catalog.cutout_file import flagged
from clickscape.catalog.split import split_by_hash
from clickscape.json_files import write_json, write_json_lines
from clickscape.stages import split
from clickscape.stages.load_feed import FeedOptions, LoadedFeed, load_cut_out
from clickscape.stages.progress import Stage
from clickscape.workspace import Workspace, check_catalog, replace_catalog

FLAGGED = "flagged-cutouts.jsonl"
"""The products whose cut-out is to be looked at, a row each; in the workspace's folder, only when there are any."""

FEED_REPORT = "feed-report.json"
"""What the rows of the newest feed lacked, as `catalog.feed_report.FeedReport`, and the feed's name."""

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

    `matting`: an ONNX model for photographs without alpha. A product that cannot be cut out is a bad row: it stops the
    ingest, or is left out and listed where those are skipped. Returns the products as they lie there, and what the
    feed's rows lacked. Raises what `load_cut_out` raises; the workspace then stays as it was, but for images that were
    fetched.
    """
    folder = workspace.path / _STAGING
    with workspace.lock():
        check_catalog(workspace)
        try:
            loaded = yield from load_cut_out(
                feed, cache=workspace.remote, folder=folder, options=options, matting=matting, workers=workers,
                compute=workspace.settings.compute,
            )  # fmt: skip
            moved = replace_catalog(workspace, loaded.products)
        except Exception:  # a kill or Ctrl-C keeps what is cut out, for the next attempt
            shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)
        write_json(workspace.path / FEED_REPORT, {"feed": feed.name, **asdict(loaded.report)})
        split.write(workspace, split_by_hash(moved, config=workspace.settings.split))
        if rows := flagged(moved):
            named = [replace(row, cutout=workspace.name_image(row.cutout)) for row in rows]
            write_json_lines(workspace.path / FLAGGED, named)
        else:
            (workspace.path / FLAGGED).unlink(missing_ok=True)
    return LoadedFeed(moved, loaded.report, loaded.photos, loaded.places)
