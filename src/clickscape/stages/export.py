"""Stage `export`: every creative drawn anew for every placement, as files that a platform takes, and their feeds.

A rendition is finished when its record lies in `.renditions/` of the folder and its file is the one that it speaks of;
a killed export goes on with the next one. The folder shows what may be shown now: what was rejected, sold out or
taken from the catalog since the last export leaves it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel

from clickscape import render
from clickscape.catalog.publishable import DRAWN_ELSEWHERE, SIMULATED, publishable
from clickscape.catalog.supplement import FEEDS, base_address, feed_texts
from clickscape.compute.engines import HERE, Failure, attempt, failure_of_loss, map_items
from clickscape.config import ComputeConfig
from clickscape.errors import ConfigError, ImageError, TextError, WorkspaceError
from clickscape.files import sweep
from clickscape.generation.export_report import MANIFEST, ExportReport
from clickscape.generation.rendition import (
    OverlayText,
    RenditionJob,
    RenditionRecord,
    make_rendition,
    product_photo,
)
from clickscape.json_files import read_json
from clickscape.regular_files import check_ours, inside, locked, read_bytes
from clickscape.render import placements as places
from clickscape.render.c2pa_signing import open_signing
from clickscape.render.text import check_text_allowed
from clickscape.stages.progress import Progress, Stage
from clickscape.types import Creative, Product
from clickscape.workspace import RENDITIONS, Workspace, atomic_file, file_name, fingerprint, write_text

STAGE = "export"
RECORDS, FEED_FOLDER = ".renditions", "feeds"


class _Owner(BaseModel):
    """The part of a manifest.json that says whose export a folder holds."""

    workspace: str


def export(
    workspace: Workspace,
    *,
    placements: Sequence[str],
    out: Path,
    base_url: str | None = None,
    approved_only: bool = False,
    text: OverlayText | None = None,
    workers: int = 1,
    only: Collection[str] | None = None,
) -> Stage[ExportReport]:
    """Draw the creatives at the placements (names or globs) into `out`, write its manifest and feeds, note renditions.

    Drafts are exported too unless `approved_only`; rejected and retired ones, those whose product is gone or out of
    stock or has changed since (see `catalog.publishable`), and the simulator's, never. `text` is set over every
    picture. `only`: ids of the creatives to export, None: all. Feeds need absolute links, so there are none without
    `base_url`, where `out` will lie on the web. A picture that fails the fidelity gate is drawn again with other seeds;
    a rendition that never passes is left out and named.
    Files are signed where the settings' section [c2pa] names a certificate.
    A rendition that cannot be made is named in the report, and the next export tries it again.
    Raises ConfigError, ImageError, WorkspaceError, and TextError where a placement forbids text, or has no room for it.
    """
    if not placements:
        raise ConfigError("no placement given. Name some: clickscape export my-shop --placement meta-feed")
    chosen, base = places.find(*placements), None if base_url is None else base_address(base_url)
    if text is not None:
        text.check()
    for place in chosen if text else ():
        check_text_allowed(place.name, allows_text=place.allows_text)
    _check(workspace, out)
    signing = open_signing(workspace.settings.c2pa, folder=workspace.path, now=datetime.now(UTC))
    config = {"placements": [one.name for one in chosen], "base_url": base, "approved_only": approved_only}
    config |= {} if only is None else {"only": sorted(only)}
    with workspace.start_run(STAGE, config, {"creatives": workspace.creatives_path}) as run:
        sweep(out, deep=False)
        for name in (*(one.name for one in chosen), RECORDS, FEED_FOLDER):
            sweep(inside(out, name))
        settings, name = workspace.settings, workspace.path.name
        products = {product.product_id: product for product in workspace.products()}
        asked = [one for one in workspace.creatives() if only is None or one.creative_id in only]
        creatives, left_out = publishable(asked, products, approved_only=approved_only, renderers=render.RENDERERS)
        foreign = [reason for reason in (SIMULATED, DRAWN_ELSEWHERE) if left_out[reason]]
        if not creatives and set(left_out) == set(foreign):
            said = "; ".join(f"{left_out[reason]} creatives of {name} are {reason}" for reason in foreign)
            raise WorkspaceError(f"all {said}. Run `clickscape generate {name} --out ads/` first.")
        if not creatives and set(left_out) - set(foreign) == {"draft, not approved"}:
            remedy = f"Run `clickscape review {name} --approve-all` first."
            raise WorkspaceError(f"no creative of {name} is approved. {remedy}")
        shown = {one.product_id: products[one.product_id] for one in creatives}
        pictures = {name: _picture_digest(product, signed=signing is not None) for name, product in shown.items()}
        words = text or OverlayText()
        jobs = [
            RenditionJob(one, shown[one.product_id], place, pictures[one.product_id], settings, words, signing)
            for place in chosen
            for one in creatives
        ]
        with locked(out / RECORDS / ".lock"):  # from now on the folder is known to be an export
            open_jobs = [job for job in jobs if not _finished(job, out)]
            done, drawn = len(jobs) - len(open_jobs), 0
            yield Progress(STAGE, done, len(jobs))
            failures: dict[str, Failure] = {}
            for job, record in zip(
                open_jobs, _drawn(open_jobs, settings.compute, out=out, workers=workers), strict=True
            ):
                done += 1
                if isinstance(record, Failure):
                    failures[_told(record, job)] = record
                else:
                    run.log(record.model_dump(exclude_unset=True))
                    drawn += bool(record.file)
                yield Progress(STAGE, done, len(jobs), f"{job.placement.name} {job.creative.creative_id}")
            if failures and len(failures) == len(jobs):
                raise next(iter(failures.values())).error
            records = _kept(out, creatives)
            with_file = [one for one in records if one.file]
            _note(workspace, out, with_file)
            feeds, unfit = _write_feeds(out, with_file, products, base=base)
            made = ExportReport(out, tuple(records), drawn, left_out, feeds, unfit, base, tuple(failures))
            with atomic_file(out / MANIFEST) as temporary:
                content = json.dumps(made.manifest(workspace=name), ensure_ascii=False, indent=1)
                temporary.write_text(content + "\n", encoding="utf-8")
            run.finish(
                outputs=[workspace.renditions_path],
                result={
                    "files": made.files,
                    "left_out": dict(left_out),
                    "refused": list(made.refused),
                    "failed": [*failures],
                },
            )
            return made


def _check(workspace: Workspace, out: Path) -> None:
    check_ours(out, marks=(MANIFEST, RECORDS))
    workspace.some_creatives()
    try:
        owner = read_json(out / MANIFEST, _Owner, remedy="Choose another --out, or delete the file.").workspace
    except FileNotFoundError:
        return
    if owner != workspace.path.name:
        raise WorkspaceError(f"{out} holds the export of {owner!r}. Choose another --out, or delete the folder.")


def _picture_digest(product: Product, *, signed: bool) -> str:
    """Digest of a product's cut-out; of its photo, too, where a manifest will name that."""
    cutout = fingerprint(Path(product.image))
    return fingerprint([cutout, fingerprint(product_photo(product))]) if signed else cutout


def _drawn(
    jobs: Sequence[RenditionJob], compute: ComputeConfig, *, out: Path, workers: int
) -> Iterator[RenditionRecord | Failure]:
    """Make the renditions, in their order, by the engine of the settings."""
    return map_items(
        partial(attempt, partial(_draw, out=out)), jobs, compute=compute if len(jobs) > 1 else HERE, workers=workers,
        chunk=4, lost=failure_of_loss, folder=out,
    )  # fmt: skip


def _told(failure: Failure, job: RenditionJob) -> str:
    where = f"creative {job.creative.creative_id!r} at {job.placement.name}"
    says_it = isinstance(failure.error, ImageError | TextError) and failure.reason.startswith(where)
    return failure.reason if says_it else f"{where}: {failure.reason}"


def _draw(job: RenditionJob, *, out: Path) -> RenditionRecord:
    """Make one rendition and save it (in a worker: only its record travels)."""
    record, data = make_rendition(job)
    path = _record_path(job, out)
    old = _read(path, out=out)
    if old is not None and not record.file:
        _remove_file(old, out)  # before its record goes: nothing else knows the file
    if record.file:
        with atomic_file(out / record.file) as temporary:
            temporary.write_bytes(data)
    write_text(path, record.model_dump_json() + "\n")
    if old is not None and old.file != record.file:
        _remove_file(old, out)  # another format took its place
    return record


def _record_path(job: RenditionJob, out: Path) -> Path:
    return out / RECORDS / job.placement.name / f"{file_name(job.creative.creative_id)}.json"


def _read(path: Path, *, out: Path) -> RenditionRecord | None:
    """Return the record at `path`, None when there is none; WorkspaceError when it is damaged or is not the path's."""
    remedy = f"Delete {out / RECORDS} and export again."
    try:
        record = read_json(inside(out, os.path.relpath(path, out)), RenditionRecord, remedy=remedy)
    except FileNotFoundError:
        return None
    name = (path.parent.name, path.name.removesuffix(".json"))
    if (record.placement, file_name(record.creative_id)) != name or record.file not in record.possible_files:
        raise WorkspaceError(f"{path} speaks of {record.file!r} and {record.rendition_id!r}, not its own. {remedy}")
    return record


def _finished(job: RenditionJob, out: Path) -> bool:
    """Whether this very work is recorded and its file, if the gate let one pass, is the one that was written."""
    record = _read(_record_path(job, out), out=out)
    if record is None or (record.work, record.product_id) != (job.work, job.creative.product_id):
        return False
    if not record.file:
        return True
    file = inside(out, record.file)
    return file.is_file() and hashlib.sha256(read_bytes(file)).hexdigest() == record.sha256


def _remove_file(record: RenditionRecord, out: Path) -> None:
    if record.file:
        inside(out, record.file).unlink(missing_ok=True)


def _kept(out: Path, creatives: Sequence[Creative]) -> list[RenditionRecord]:
    """Records of all that may be shown, by placement and creative; files and records of what may not be are removed."""
    order = {creative.creative_id: number for number, creative in enumerate(creatives)}
    place_order = {placement.name: number for number, placement in enumerate(places.load())}
    records = {path: _read(path, out=out) for path in sorted((out / RECORDS).glob("*/*.json"))}
    kept = []
    for path, record in records.items():
        if record is not None and record.creative_id in order and record.placement in place_order:
            kept.append(record)
        elif record is not None:
            _remove_file(record, out)
            path.unlink()
    return sorted(kept, key=lambda one: (place_order[one.placement], order[one.creative_id]))


def _note(workspace: Workspace, out: Path, records: Sequence[RenditionRecord]) -> None:
    """Bring the table `renditions` up to date for this folder; rows of other folders stay."""
    root = out.absolute()
    rows = [
        {**record.model_dump(include=set(RENDITIONS.names)), "file": workspace.name_image(str(root / record.file))}
        for record in records
    ]
    table = pa.Table.from_pylist(rows, schema=RENDITIONS)
    if workspace.renditions_path.exists():
        old = workspace.read_table(workspace.renditions_path, RENDITIONS)
        new = {row["rendition_id"] for row in rows}
        stays = [
            row["rendition_id"] not in new and not workspace.resolve(row["file"]).is_relative_to(root)
            for row in old.to_pylist()
        ]
        table = pa.concat_tables([old.filter(pa.array(stays, pa.bool_())), table])
    workspace.write_table(workspace.renditions_path, table)


def _write_feeds(
    out: Path, records: Sequence[RenditionRecord], products: Mapping[str, Product], *, base: str | None
) -> tuple[tuple[Path, ...], Mapping[str, str]]:
    """Write the feeds that have pictures and remove the others; also returns the products that no feed can hold."""
    columns = {one.name: (one.channel, one.feed_column) for one in places.load()}
    texts, unfit = ({}, {}) if base is None else feed_texts(records, products, base=base, columns=columns)
    paths = {name: out / FEED_FOLDER / name for name in FEEDS}
    for name, path in paths.items():
        if name in texts:
            write_text(path, texts[name])
        else:
            path.unlink(missing_ok=True)
    return tuple(paths[name] for name in texts), unfit
