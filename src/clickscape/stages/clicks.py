"""Stage `clicks`: from the workspace's click log to a CTR estimate per creative and labeled pairs of creatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from clickscape import clicks as click_room
from clickscape.clicks import ctr, file_digests, locations, logs, pairs
from clickscape.clicks.cells import STRATA, Stratum
from clickscape.clicks.locations import LOG_FILES, LogLocation
from clickscape.clicks.logs import Log
from clickscape.config import ClicksConfig
from clickscape.stages.progress import Progress, Stage
from clickscape.stages.split import read as read_split
from clickscape.types import CreativePair
from clickscape.workspace import CREATIVES, Manifest, Workspace, fingerprint
from clickscape.workspace.tables import records

STAGE = "clicks"
_NEVER_SERVED = ("draft", "approved", "rejected")
_LISTED = 5  # names in one line, at most


def clicks(workspace: Workspace, config: ClicksConfig, *, now: datetime | None = None) -> Stage[Manifest]:
    """Write clicks/estimates.parquet, pairs.parquet and audiences.parquet; returns the run's manifest.

    A finished run is reused where the log is files and no event was, or is at `now` (UTC, the present), in the future;
    what a database says now is always asked. Its address enters the manifest without user, password and parameters.
    """
    now = now or datetime.now(UTC)
    location = locations.locate(workspace.clicks, config)
    categories, held_out = departments(workspace), held_out_products(workspace)
    inputs = {
        "log": log_content(location, store=kept_summaries(workspace)) or str(location),
        "unread": [location.name(file) for file in location.unread],
        "creatives": served_fingerprint(workspace),
        "categories": categories,
        "held_out": held_out,
    }
    noted = config.model_copy(update={"source": locations.redact(config.source)}) if location.url else config
    done = workspace.finished(STAGE, noted, inputs) if location.files else None
    if done and not _depends_on_time(done, config, now):
        yield Progress(STAGE, 1, 1, "reused")
        return done
    with workspace.start_run(STAGE, noted, inputs) as run:
        yield Progress(STAGE, 0, 1, "counting")
        log = read_log(workspace, config=config, now=now)
        report = click_room.estimate(log.counts, config=config, categories=categories, held_out=held_out)
        outputs = [estimates_path(workspace), pairs_path(workspace), audiences_path(workspace)]
        for path, table in zip(outputs, (report.estimates, report.pair_table, report.audiences), strict=True):
            workspace.write_table(path, table)
        yield Progress(STAGE, 1, 1)
        cleaned = asdict(log.cleaning) if log.cleaning else None
        allocated = {**asdict(log.allocated), "allocation": log.allocated.allocation}
        result = {**report.figures(), "log": cleaned, "newest": log.newest, "allocated": allocated}
        lines = [*(log.cleaning.lines() if log.cleaning else []), *report.lines(), *log.allocated.lines()]
        result |= {"files": {"read": log.read, "known": log.known}}
        result["summary"] = [*_unread(location), *_read_files(log), *lines]
        return run.finish(outputs=outputs, result=result)


def read_log(
    workspace: Workspace,
    *,
    config: ClicksConfig | None = None,
    by: Sequence[Stratum] = STRATA,
    now: datetime | None = None,
) -> Log:
    """Read, check and count the workspace's click log; arguments as of `logs.read`."""
    config = config or workspace.settings.clicks
    creatives = workspace.read_table(workspace.creatives_path, CREATIVES)
    known = creatives.select(["creative_id", "product_id"])
    location = locations.locate(workspace.clicks, config)
    with logs.connected(config, folder=workspace.clicks) as connection:
        log = logs.read(
            location,
            creatives=known,
            config=config,
            by=by,
            connection=connection,
            store=kept_summaries(workspace),
            now=now,
        )
        counts = log.counts.to_pyarrow()  # what is small outlives the connection and what it left on disk
    return replace(log, counts=logs.connect().create_table("counts", counts))


def log_content(location: LogLocation, *, store: Path | None = None) -> list[list[str]]:
    """Return name and digest of every file of a log, in order; empty for a database.

    store: folder in which digests are kept, so that files that were not written since are not read.
    """
    found = file_digests.digests(location.files, store=store)
    return [[location.name(file), digest] for file, digest in zip(location.files, found, strict=True)]


def kept_summaries(workspace: Workspace) -> Path:
    """Return the folder in which summaries of log files are kept; it may be deleted, and is made again."""
    return workspace.clicks / ".summaries"


def estimates_path(workspace: Workspace) -> Path:
    """Return where the table `ctr.ESTIMATES` of a workspace is stored."""
    return workspace.clicks / "estimates.parquet"


def pairs_path(workspace: Workspace) -> Path:
    """Return where the table `pairs.PAIRS` of a workspace is stored."""
    return workspace.clicks / "pairs.parquet"


def audiences_path(workspace: Workspace) -> Path:
    """Return where the table `audiences.AUDIENCES` of a workspace is stored."""
    return workspace.clicks / "audiences.parquet"


def read_estimates(workspace: Workspace) -> pa.Table:
    """Read the CTR estimates that the stage wrote; WorkspaceError before it ran."""
    return workspace.read_table(estimates_path(workspace), ctr.ESTIMATES)


def read_pairs(workspace: Workspace) -> list[CreativePair]:
    """Read the labeled pairs that the stage wrote; WorkspaceError before it ran."""
    path = pairs_path(workspace)
    found = records(workspace.read_table(path, pairs.PAIRS).to_pylist(), CreativePair, where=path)
    return sorted(found, key=lambda pair: (pair.product_id, pair.first, pair.second))


def served_fingerprint(workspace: Workspace) -> str:
    """Return the fingerprint of the creatives that are or were live, which a log may name; drafts come and go."""
    return fingerprint(
        [
            [one.creative_id, one.product_id, one.description, one.scene]
            for one in workspace.creatives()
            if one.status not in _NEVER_SERVED
        ]
    )


def served_pictures(workspace: Workspace) -> str:
    """Return the fingerprint of those creatives' picture files, which a model that looks at them learns from."""
    pictures = {one.creative_id: Path(one.image) for one in workspace.creatives() if one.status not in _NEVER_SERVED}
    return fingerprint({name: fingerprint(path) if path.is_file() else "" for name, path in pictures.items()})


def departments(workspace: Workspace) -> dict[str, str] | None:
    """Return the department of every product, whose products share a mean CTR; None without a catalog."""
    if not workspace.products_path.exists():
        return None
    return {product.product_id: product.department for product in workspace.products()}


def held_out_products(workspace: Workspace) -> list[str]:
    """Return the ids of held-out products, whose clicks enter no model of the log; none without a catalog."""
    if not workspace.products_path.exists():
        return []
    products = workspace.products()
    return sorted(product.product_id for product in read_split(workspace, products).testing(products))


def _depends_on_time(done: Manifest, config: ClicksConfig, now: datetime) -> bool:
    """Return whether events were in the future when a run ended, or are now: the clock alone changes what counts."""
    if (done.result["log"] or {}).get("future"):
        return True
    newest = done.result.get("newest")
    return newest is not None and newest > now.timestamp() + config.clock_skew_seconds


def _read_files(log: Log) -> list[str]:
    """Return a line that says how many files were read anew, for a log of files whose summaries are kept."""
    if log.read is None:
        return []
    return [f"files of the log: {log.read:,} read anew, {log.known:,} known from before"]


def _unread(location: LogLocation) -> list[str]:
    """Return a line that names the files beside the log that are not read."""
    names = [repr(location.name(file)) for file in location.unread]
    if not names:
        return []
    listed = ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else "")
    return [f"not read below {location.root}: {listed}. {LOG_FILES}"]
