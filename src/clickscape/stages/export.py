"""Stage `export`: every creative drawn anew for every placement, as files that a platform takes, and their feeds.

A rendition is finished when its record lies in `.renditions/` of the folder and its file is the one that it speaks of;
a killed export goes on with the next one. The folder shows what may be shown now: what was rejected, sold out or
taken from the catalog since the last export leaves it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
from pydantic import BaseModel

from clickscape.compute.shards import map_shards
from clickscape.errors import ConfigError, WorkspaceError
from clickscape.files import inside, sweep
from clickscape.generation.retry import refusal_reason
from clickscape.json_files import read_json
from clickscape.render import placements as places
from clickscape.render.text import check_text_allowed
from clickscape.stages import feeds_out, rendition
from clickscape.stages.progress import Progress, Stage
from clickscape.stages.refresh import stale
from clickscape.stages.rendition import RECORDS, Job, RenditionRecord, Words
from clickscape.types import Creative, Product
from clickscape.workspace import RENDITIONS, Workspace, atomic_file, fingerprint

STAGE = "export"
MANIFEST = "manifest.json"
_REFUSED = {"rendition_id", "creative_id", "product_id", "placement", "gate"}


@dataclass(frozen=True, slots=True)
class Exported:
    """What lies in the folder now: files, how many were drawn, what was left out and why, the feeds.

    `left_out`: reason → creatives that may not be shown; `refused`: renditions of which no picture passed the fidelity
    gate, each with its reason.
    """

    files: int
    drawn: int
    left_out: Mapping[str, int]
    refused: tuple[str, ...]
    feeds: tuple[Path, ...]
    summary: tuple[str, ...]


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
    words: Words | None = None,
    workers: int = 1,
) -> Stage[Exported]:
    """Draw the creatives at the placements (names or globs) into `out`, write its manifest and feeds, note renditions.

    Drafts are exported too unless `approved_only`; rejected and retired ones, and those whose product is gone or out of
    stock or has changed since (see `stale`), never. `words` are set over every picture. Feeds need absolute links, so
    there are none without `base_url`, where `out` will lie on the web. A picture that fails the fidelity gate is drawn
    again with other seeds; a rendition that never passes is left out and named. Raises ConfigError, ImageError,
    WorkspaceError, and TextError where a placement forbids words, or has no room for them.
    """
    if not placements:
        raise ConfigError("no placement given. Name some: clickscape export my-shop --placement meta-feed")
    chosen, base = places.find(*placements), feeds_out.checked(base_url)
    said = words or Words()
    for place in chosen if said else ():
        check_text_allowed(place.name, allows_text=place.allows_text)
    _check(workspace, out)
    config = {"placements": [one.name for one in chosen], "base_url": base, "approved_only": approved_only}
    with workspace.start_run(STAGE, config, {"creatives": workspace.creatives_path}) as run:
        for name in (*(one.name for one in chosen), RECORDS, feeds_out.FOLDER):
            sweep(inside(out, name))
        settings = workspace.settings
        products = {product.product_id: product for product in workspace.products()}
        creatives, left_out = _exportable(workspace, products, approved_only=approved_only)
        pictures = {name: fingerprint(Path(products[name].image)) for name in {one.product_id for one in creatives}}
        jobs = [
            Job(
                creative=one,
                product=products[one.product_id],
                placement=place,
                work=rendition.work_of(one, place, pictures[one.product_id], said, settings),
                out=out,
                settings=settings,
                words=said,
            )
            for place in chosen
            for one in creatives
        ]
        open_jobs = [job for job in jobs if not rendition.finished(job)]
        done, drawn = len(jobs) - len(open_jobs), 0
        yield Progress(STAGE, done, len(jobs))
        for record in map_shards(rendition.draw, open_jobs, workers=workers, chunk=4):
            run.log(record.model_dump(exclude_unset=True))
            done += 1
            drawn += bool(record.file)
            yield Progress(STAGE, done, len(jobs), f"{record.placement} {record.creative_id}")
        kept = _kept(out, creatives)
        records, refused = [one for one in kept if one.file], [one for one in kept if not one.file]
        _note(workspace, out, records)
        feeds, unfit = feeds_out.write(out, records, products, base=base)
        _manifest(workspace, out, records, refused, base=base, left_out=left_out, unfit=unfit)
        reasons = tuple(_refusal(one) for one in refused)
        summary = _summary(out, records, drawn, left_out, reasons, feeds, unfit, base)
        run.finish(
            outputs=[workspace.renditions_path],
            result={"files": len(records), "left_out": dict(left_out), "refused": list(reasons)},
        )
        return Exported(len(records), drawn, left_out, reasons, feeds, summary)


def _check(workspace: Workspace, out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise WorkspaceError(f"{out} is a file, expected a folder for the exported files. Choose another --out.")
    workspace.some_creatives()
    try:
        owner = read_json(out / MANIFEST, _Owner, remedy="Choose another --out, or delete the file.").workspace
    except FileNotFoundError:
        return
    if owner != workspace.path.name:
        raise WorkspaceError(f"{out} holds the export of {owner!r}. Choose another --out, or delete the folder.")


def _exportable(
    workspace: Workspace, products: Mapping[str, Product], *, approved_only: bool
) -> tuple[list[Creative], Counter[str]]:
    """The creatives that may be shown, those that are live first, and a count of the others by reason."""
    right: list[Creative] = []
    left_out: Counter[str] = Counter()
    everything = workspace.creatives()
    old = stale(everything, products)
    for creative in everything:
        product = products.get(creative.product_id)
        if creative.status in ("rejected", "retired"):
            left_out[creative.status] += 1
        elif approved_only and creative.status == "draft":
            left_out["draft, not approved"] += 1
        elif product is None:
            left_out["product no longer in the catalog"] += 1
        elif _sold_out(product):
            left_out["product out of stock"] += 1
        elif creative.creative_id in old:
            left_out["stale: the product has changed, see `clickscape refresh`"] += 1
        else:
            right.append(creative)
    if not right and set(left_out) == {"draft, not approved"}:
        name = workspace.path.name
        raise WorkspaceError(f"no creative of {name} is approved. Run `clickscape review {name} --approve-all` first.")
    return sorted(right, key=lambda one: one.status != "live"), left_out


def _sold_out(product: Product) -> bool:
    """Whether the feed said so: `out of stock`, `out_of_stock` or schema.org's `OutOfStock`."""
    said = product.attributes.get("availability", "").lower()
    return "".join(letter for letter in said if letter.isalpha()).endswith("outofstock")


def _kept(out: Path, creatives: Sequence[Creative]) -> list[RenditionRecord]:
    """Records of all that may be shown, by placement and creative; files and records of what may not be are removed."""
    order = {creative.creative_id: number for number, creative in enumerate(creatives)}
    place_order = {placement.name: number for number, placement in enumerate(places.load())}
    records = {path: rendition.read(path, out=out) for path in sorted((out / RECORDS).glob("*/*.json"))}
    kept = []
    for path, record in records.items():
        if record is not None and record.creative_id in order and record.placement in place_order:
            kept.append(record)
        elif record is not None:
            rendition.remove_file(record, out)
            path.unlink()
    return sorted(kept, key=lambda one: (place_order[one.placement], order[one.creative_id]))


def _refusal(record: RenditionRecord) -> str:
    return f"{record.creative_id} at {record.placement}: {refusal_reason(asdict(record.gate))}"


def _note(workspace: Workspace, out: Path, records: Sequence[RenditionRecord]) -> None:
    """Bring the table `renditions` up to date for this folder; rows of other folders stay."""
    root = out.absolute()
    rows = [
        {
            **record.model_dump(include=set(RENDITIONS.names)),
            "file": workspace.name_image(str(root / record.file)),
        }
        for record in records
    ]
    table = pa.Table.from_pylist(rows, schema=RENDITIONS)
    if workspace.renditions_path.exists():
        old = workspace.read_table(workspace.renditions_path, RENDITIONS)
        new = set(table["rendition_id"].to_pylist())
        stays = [
            row["rendition_id"] not in new and not workspace.resolve(row["file"]).is_relative_to(root)
            for row in old.to_pylist()
        ]
        table = pa.concat_tables([old.filter(pa.array(stays, pa.bool_())), table])
    workspace.write_table(workspace.renditions_path, table)


def _manifest(
    workspace: Workspace,
    out: Path,
    records: Sequence[RenditionRecord],
    refused: Sequence[RenditionRecord],
    *,
    base: str | None,
    left_out: Mapping[str, int],
    unfit: Mapping[str, str],
) -> None:
    """manifest.json: every file with the creative it shows, every placement with the page that it follows, the rest."""
    used = {record.placement for record in records}
    told = [
        {
            "name": one.name,
            "size": one.size,
            "max_bytes": one.max_bytes,
            "source": one.source,
            "checked": str(one.checked),
        }
        for one in places.load()
        if one.name in used
    ]
    content = {
        "workspace": workspace.path.name,
        "base_url": base,
        "placements": told,
        "renditions": [one.model_dump(mode="json", exclude={"work"}) for one in records],
        "left_out": dict(left_out),
        "refused": [one.model_dump(mode="json", include=_REFUSED) for one in refused],
        "not_in_feeds": dict(unfit),
    }
    with atomic_file(out / MANIFEST) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _summary(
    out: Path,
    records: Sequence[RenditionRecord],
    drawn: int,
    left_out: Mapping[str, int],
    refused: Sequence[str],
    feeds: Sequence[Path],
    unfit: Mapping[str, str],
    base: str | None,
) -> tuple[str, ...]:
    lines = [f"{len(records)} files in {out}, {drawn} of them drawn now"]
    lines += [f"left out, {reason}: {count} creatives" for reason, count in sorted(left_out.items())]
    if again := sum(bool(record.gate.rejected) for record in records):
        lines.append(f"{again} files were drawn again until the fidelity gate let one pass; {MANIFEST} says why")
    lines += [f"left out, no picture passed the fidelity gate: {one}" for one in refused]
    if outside := sum(not record.inside_margins for record in records):
        lines.append(f"{outside} files show the product outside the placement's safe zone; see {MANIFEST}")
    lines += [f"feed {path}" for path in feeds]
    lines += [f"not in a feed: product {name!r}: {reason}" for name, reason in sorted(unfit.items())]
    if base is None:
        lines.append("no feeds: they need links. Add --base-url with the address that the folder will have on the web.")
    elif not feeds:
        lines.append("no feeds: none of these placements is one that a product feed points at.")
    return tuple(lines)
