"""Stage `ingest --creatives`: a shop's own ads move into the workspace, with their clicks, all of them or none.

Every picture is copied and opened first, in a folder of its own; only then is anything else of the workspace touched.
What is there already stays, so that the same table again changes nothing, after a kill as well.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pyarrow as pa

from clickscape.catalog import own_ads
from clickscape.catalog.checking import is_remote
from clickscape.catalog.feed_report import Skipped
from clickscape.catalog.images import image_format, open_image
from clickscape.catalog.own_ads import OwnAd, OwnAds
from clickscape.compute.shards import map_shards
from clickscape.errors import FeedError, ImageError, WorkspaceError
from clickscape.files import file_name
from clickscape.regular_files import read_bytes
from clickscape.stages.load_feed import FeedOptions, download
from clickscape.stages.progress import Progress, Stage
from clickscape.types import OWN, Creative
from clickscape.workspace import COUNTS, Workspace, fingerprint
from clickscape.workspace.tables import without

STAGE = "own-ads"
_STAGING = ".staging-creatives"
_SECONDS, _MEMORY = 60.0, 2_000_000_000  # that a picture may take in a worker, and bytes
_REMEDY = "Give the new one a creative_id of its own"


@dataclass(frozen=True, slots=True)
class IngestedAds:
    """The ads of a table as they lie in the workspace, how many of them are new, how many have clicks, what was bad."""

    creatives: tuple[Creative, ...]
    new: int
    counted: int
    table: OwnAds

    def lines(self) -> list[str]:
        """What to tell people."""
        known = len(self.creatives) - self.new
        return [
            f"{len(self.creatives)} creatives, {self.new} of them new" if known else f"{self.new} creatives",
            *([f"clicks of {self.counted} of them are in clicks/counts.parquet"] if self.counted else []),
            *self.table.lines(),
        ]


@dataclass(frozen=True, slots=True)
class _Copied:
    """An ad whose picture lies at `file`, with its digest and format's ending; or the problem with it."""

    ad: OwnAd
    file: Path = Path()
    digest: str = ""
    ending: str = ""
    problem: str = ""


def ingest_own_ads(
    workspace: Workspace, path: Path, *, workers: int = 1, options: FeedOptions | None = None
) -> Stage[IngestedAds]:
    """Read the table at `path` (see `catalog.own_ads.read`) and add its ads and their clicks to the workspace.

    An ad that is there already gets the table's words, status and counts; its picture and product stay what they
    were, for its clicks are of those. FeedError for bad rows unless they are skipped, or where none is left;
    WorkspaceError before a catalog, and for counts beside a click log that did not come this way. The workspace then
    stays as it was, but for images that were fetched.
    """
    options = options or FeedOptions()
    staging = workspace.path / _STAGING
    with workspace.lock():
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        try:
            products = {product.product_id for product in workspace.products()}
            found = own_ads.read(path, product_ids=products, format=options.format, allow_remote=options.allow_remote)
            if not options.skip_bad_rows:
                own_ads.refuse(path, found.skipped)
            known = {one.creative_id: one for one in workspace.creatives()}
            copied = yield from _copy(workspace, found.ads, folder=staging, workers=workers, options=options)
            good, bad = _without_bad(copied, known)
            skipped = (*found.skipped, *bad)
            if not options.skip_bad_rows:
                own_ads.refuse(path, skipped)
            if not good:
                first = skipped[0]
                raise FeedError(f"{path}: every row was left out; the first, {first.place}: {first.reason}")
            counts = _counts(workspace, [one.ad for one in good], path)
            made = _move(workspace, good, known, counts)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    yield Progress(STAGE, len(good), len(good))
    table = replace(found, ads=tuple(one.ad for one in good), skipped=skipped)
    counted = sum(one.ad.counts is not None for one in good)
    return IngestedAds(tuple(made), sum(one.creative_id not in known for one in made), counted, table)


def _copy(
    workspace: Workspace, ads: Sequence[OwnAd], *, folder: Path, workers: int, options: FeedOptions
) -> Stage[list[_Copied]]:
    """Copy every picture into the folder and open it there, behind links as well."""
    fetched = yield from download(
        [ad.image for ad in ads if is_remote(ad.image)], cache=workspace.remote, options=options
    )
    jobs: list[OwnAd] = []
    problems: dict[str, str] = {}
    for ad in ads:
        link = fetched.get(ad.image)
        if link is not None and link.problem:
            problems[ad.creative_id] = f"the image of creative {ad.creative_id!r} cannot be fetched: {link.problem}."
        jobs.append(ad if link is None else replace(ad, image=str(link.path or "")))
    work = map_shards(
        partial(_copy_one, folder=folder, problems=problems),
        jobs, workers=workers, seconds=_SECONDS, memory=_MEMORY, lost=_lost,
    )  # fmt: skip
    copied: list[_Copied] = []
    yield Progress(STAGE, 0, len(jobs), "reading pictures")
    for one in work:
        copied.append(one)
        yield Progress(STAGE, len(copied), len(jobs), "reading pictures")
    return copied


def _copy_one(ad: OwnAd, *, folder: Path, problems: Mapping[str, str]) -> _Copied:
    """Copy one picture (in a worker): what is opened is the copy, which nobody changes."""
    if problem := problems.get(ad.creative_id):
        return _Copied(ad, problem=problem)
    file = folder / file_name(ad.creative_id)
    try:
        content = read_bytes(Path(ad.image), error=ImageError)
    except (ImageError, FileNotFoundError, PermissionError) as error:
        return _Copied(ad, problem=f"image of creative {ad.creative_id!r}: it cannot be read ({error}).")
    file.write_bytes(content)
    try:
        open_image(file)
        return _Copied(ad, file, fingerprint(file), image_format(file))
    except ImageError as error:
        return _Copied(ad, problem=f"image of creative {ad.creative_id!r}: {str(error).replace(str(file), ad.image)}")


def _lost(ad: OwnAd, reason: str) -> _Copied:
    return _Copied(
        ad, problem=f"image of creative {ad.creative_id!r}: the process that opened it {reason}. Scale it down."
    )


def _without_bad(copied: Sequence[_Copied], known: Mapping[str, Creative]) -> tuple[list[_Copied], list[Skipped]]:
    """The ads that can enter the workspace, and why the others cannot."""
    good: list[_Copied] = []
    bad: list[Skipped] = []
    first: dict[tuple[str, str], OwnAd] = {}
    for one in copied:
        ad = one.ad
        problem = one.problem or _conflict(one, known.get(ad.creative_id))
        earlier = None if problem else first.setdefault((ad.product_id, one.digest), ad)
        if earlier is not None and earlier is not ad:
            problem = (
                f"creative {ad.creative_id!r} is the picture of {earlier.place} again, of the same product. Keep one "
                "row, with the sum of their counts."
            )
        if problem:
            bad.append(Skipped(ad.place, problem))
        else:
            good.append(one)
    return good, bad


def _conflict(one: _Copied, old: Creative | None) -> str:
    """Why an ad may not take the place of the creative of the same id, or ""."""
    if old is None:
        return ""
    name = f"creative {old.creative_id!r}"
    if old.renderer != OWN:
        return f"{name} is in the workspace already, made by {old.model_id!r}. {_REMEDY}."
    if old.product_id != one.ad.product_id:
        return f"{name} is in the workspace as an ad of product {old.product_id!r}. {_REMEDY}."
    if Path(old.image).is_file() and fingerprint(Path(old.image)) != one.digest:
        return f"{name} is in the workspace with another picture, of which its clicks are. {_REMEDY}."
    return ""


def _counts(workspace: Workspace, ads: Sequence[OwnAd], path: Path) -> pa.Table | None:
    """The table `counts` with those of the ads, beside older ones that came this way; None where they have none."""
    rows = [
        {"creative_id": ad.creative_id, "product_id": ad.product_id,
         "impressions": ad.counts.impressions, "clicks": ad.counts.clicks}
        for ad in ads if ad.counts is not None
    ]  # fmt: skip
    if not rows:
        return None
    logs = [log for log in sorted(workspace.clicks.glob("*")) if log.stem.lower() == "counts"]
    for log in (*workspace.events_folder.glob("*"), *logs):
        if log != workspace.counts_path or not workspace.made_by(STAGE, log):
            raise WorkspaceError(
                f"{log} is a click log already, and the counts of {path.name} would stand beside it. Leave its columns "
                "impressions and clicks out, or move the log."
            )
    schema = pa.schema([field for field in COUNTS if field.name not in ("position", "audience", "allocation")])
    table = pa.Table.from_pylist(rows, schema=schema)
    if workspace.counts_path.exists():
        old = workspace.read_table(workspace.counts_path, schema)
        table = pa.concat_tables([without(old, "creative_id", [str(row["creative_id"]) for row in rows]), table])
    return table.sort_by("creative_id")


def _move(
    workspace: Workspace, good: Sequence[_Copied], known: Mapping[str, Creative], counts: pa.Table | None
) -> list[Creative]:
    """Put pictures, then the rows that name them, then their counts in place; a run notes that counts came this way."""
    images = workspace.image_path("any").parent
    images.mkdir(parents=True, exist_ok=True)
    made = []
    for one in good:
        ad, old = one.ad, known.get(one.ad.creative_id)
        image = Path(old.image) if old else images / f"{file_name(ad.creative_id)}{one.ending}"
        if old is None or not image.is_file():
            os.replace(one.file, image)
        made.append(
            Creative(
                creative_id=ad.creative_id,
                product_id=ad.product_id,
                image=str(image),
                description=ad.description,
                scene={},
                renderer=OWN,
                model_id=OWN,
                seed=0,
                parent_id=old.parent_id if old else None,
                status=ad.status or (old.status if old else "live"),
            )
        )
    if changed := [one for one in made if known.get(one.creative_id) != one]:
        workspace.update_creatives(changed)
    inputs = {"counts": [] if counts is None else counts.to_pylist()}
    if counts is not None and not workspace.finished(STAGE, {}, inputs):
        with workspace.start_run(STAGE, {}, inputs) as run:
            workspace.write_counts(counts)
            run.finish(outputs=[workspace.counts_path], result={"creatives": counts.num_rows})
    return made
