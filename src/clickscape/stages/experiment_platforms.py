"""Stages `experiment export` and `experiment import`: requests for an advertising platform, and its results as counts.

Pictures are the files of `clickscape export`, unaltered; a shop's own ads go as they are. Requests are files that a
person sends: nothing here opens a connection.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from clickscape import render
from clickscape.catalog.images import check_image
from clickscape.catalog.publishable import publishable
from clickscape.errors import ExperimentError
from clickscape.experiment.definition import ExperimentDefinition
from clickscape.experiment.platforms import google_ads, meta
from clickscape.experiment.platforms.account import GoogleAdsAccount, MetaAccount, Platform, read_account
from clickscape.experiment.platforms.picture import Picture
from clickscape.experiment.platforms.results import PlatformResults, read_results
from clickscape.experiment.platforms.schema import check_request, schema_of, undocumented_features
from clickscape.files import atomic_file, sweep, write_text
from clickscape.generation.export_report import MANIFEST as EXPORT_MANIFEST
from clickscape.json_files import read_json
from clickscape.regular_files import check_ours, inside, read_bytes
from clickscape.stages.experiment import experiment_folder, read_experiment
from clickscape.types import OWN, Creative
from clickscape.workspace import Workspace

MANIFEST = "requests.json"
COUNTS = "platform-counts.parquet"
COUNTS_SCHEMA = pa.schema(
    [
        pa.field("variant", pa.string(), nullable=False),
        pa.field("day", pa.date32(), nullable=False),
        pa.field("impressions", pa.int64(), nullable=False),
        pa.field("clicks", pa.int64(), nullable=False),
        pa.field("conversions", pa.float64()),
        pa.field("allocation", pa.string(), nullable=False),
        pa.field("platform", pa.string(), nullable=False),
    ]
)
"""The table that `experiment import` writes: one row a variant and day; there are no units in it."""


class _Rendition(BaseModel):
    """The part of an exported file's record that is needed here."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    creative_id: str
    product_id: str
    placement: str
    file: str
    sha256: str
    width: int
    height: int


class _Export(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    workspace: str
    renditions: list[_Rendition]


@dataclass(frozen=True, slots=True)
class Requests:
    """What an export wrote: the manifest, the request files in the order in which to send them, and the pictures."""

    manifest: Path
    files: tuple[Path, ...]
    pictures: tuple[Picture, ...]
    notes: tuple[str, ...]


def export_requests(
    workspace: Workspace,
    name: str,
    *,
    platform: Platform,
    account: Path,
    renditions: Path,
    out: Path,
    today: date,
) -> Requests:
    """Write the requests that set up an experiment at a platform into `out`, with a manifest of their pictures.

    `renditions` is a folder of `clickscape export`. ExperimentError for creatives that are not approved or live, are
    simulated or stale or lack a file, for files that changed since, and for what the platform cannot do.
    """
    check_ours(out, marks=(MANIFEST,))
    definition = read_experiment(workspace, name)
    if definition.end is not None:
        raise ExperimentError(f"experiment {name!r} has ended. Start another one.")
    target = read_account(account, platform)
    if isinstance(target, GoogleAdsAccount):
        variants, placements = definition.treatments, tuple(google_ads.FIELDS)
    else:
        variants, placements = tuple(definition.shares), (target.placement,)
    shown = _shown(workspace, definition, variants)
    pictures = _pictures(workspace, shown, renditions=renditions, placements=placements, out=out)
    requests = _requests(definition, pictures, target, today=today)
    for request, _, _ in requests.values():
        check_request(request, platform)
    sweep(out, deep=False)
    for file, (request, _, _) in requests.items():
        write_text(out / file, json.dumps(request, ensure_ascii=False, indent=1) + "\n")
    schema, notes = schema_of(platform), _left_to_a_person(target)
    content = {
        "workspace": workspace.path.name,
        "experiment": name,
        "platform": platform,
        "schema": {key: schema[f"x-{key}"] for key in ("version", "source", "checked")},
        "requests": [
            {"file": file, "method": "POST", "url": url, "does": does} for file, (_, url, does) in requests.items()
        ],
        "pictures": [one.record() for one in pictures],
        "left_to_you": list(notes),
    }  # fmt: skip
    with atomic_file(out / MANIFEST) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return Requests(out / MANIFEST, tuple(out / file for file in requests), tuple(pictures), notes)


def import_results(
    workspace: Workspace, name: str, file: Path, *, platform: Platform, arms: Mapping[str, str]
) -> tuple[Path, PlatformResults]:
    """Read a platform's result table into the experiment's counts, in place of those of an earlier import.

    `arms`: what the file calls an arm → variant. Returns the table's path and what it holds.
    """
    definition = read_experiment(workspace, name)
    found = read_results(read_bytes(file, error=ExperimentError), platform, definition, where=str(file), names=arms)
    first = definition.start.date()
    if found.counts[0].day < first:  # they are sorted by day
        raise ExperimentError(f"{file}: {found.counts[0].day} is before {name!r} was started, {first}. Export the days "
                              f"from then on.")  # fmt: skip
    rows = [
        {**{field: getattr(one, field) for field in ("variant", "day", "impressions", "clicks", "conversions")},
         "allocation": found.allocation, "platform": platform}
        for one in found.counts
    ]  # fmt: skip
    path = experiment_folder(workspace, name) / COUNTS
    workspace.write_table(path, pa.Table.from_pylist(rows, schema=COUNTS_SCHEMA))
    return path, found


def _shown(
    workspace: Workspace, definition: ExperimentDefinition, variants: Sequence[str]
) -> list[tuple[str, str, Creative]]:
    """Variant, product and creative of everything that will be shown; ExperimentError for what may not be."""
    creatives = {one.creative_id: one for one in workspace.creatives()}
    products = {one.product_id: one for one in workspace.products()}
    found = []
    for variant in variants:
        for product_id in definition.products:
            wanted = definition.creative(variant, product_id)
            one = creatives.get(wanted)
            if one is None:
                raise ExperimentError(f"creative {wanted!r} of variant {variant!r} is not in the workspace. Restore "
                                      f"{workspace.creatives_path}, or start another experiment.")  # fmt: skip
            _, left_out = publishable([one], products, approved_only=True, renderers={*render.RENDERERS, OWN})
            if left_out:
                raise ExperimentError(f"creative {wanted!r} of variant {variant!r} may not be shown: "
                                      f"{next(iter(left_out))}. Approve it with clickscape review, or start another "
                                      f"experiment.")  # fmt: skip
            found.append((variant, product_id, one))
    return found


def _pictures(
    workspace: Workspace,
    shown: Sequence[tuple[str, str, Creative]],
    *,
    renditions: Path,
    placements: Sequence[str],
    out: Path,
) -> list[Picture]:
    """The exported files of the creatives at the placements; a shop's own ad is the file that it came with."""
    exported: dict[str, list[_Rendition]] = {}
    if any(one.renderer != OWN for _, _, one in shown):
        for record in _exported(workspace, renditions):
            exported.setdefault(record.creative_id, []).append(record)
    pictures = []
    for variant, product_id, creative in shown:
        if creative.renderer == OWN:
            path = workspace.resolve(creative.image)
            width, height = check_image(path)
            data = read_bytes(path, error=ExperimentError)
            place = Picture(variant, product_id, creative.creative_id, "", _relative(path, out), width, height, data)
            pictures.append(place)
            continue
        records = [one for one in exported.get(creative.creative_id, ()) if one.placement in placements]
        if not records:
            raise ExperimentError(f"{renditions} holds no file of creative {creative.creative_id!r} for "
                                  f"{' or '.join(placements)}. Run clickscape export {workspace.path.name} with "
                                  f"--placement {placements[0]} --approved-only first.")  # fmt: skip
        for record in records:
            path = inside(renditions, record.file)
            try:
                data = read_bytes(path, error=ExperimentError)
            except FileNotFoundError:
                raise ExperimentError(f"{path}: no such file. Run clickscape export again.") from None
            if hashlib.sha256(data).hexdigest() != record.sha256:
                raise ExperimentError(f"{path} is not the file that was exported. Run clickscape export again.")
            pictures.append(
                Picture(
                    variant,
                    product_id,
                    creative.creative_id,
                    record.placement,
                    _relative(path, out),
                    record.width,
                    record.height,
                    data,
                )
            )
    return pictures


def _exported(workspace: Workspace, renditions: Path) -> list[_Rendition]:
    path = renditions / EXPORT_MANIFEST
    try:
        found = read_json(path, _Export, error=ExperimentError, remedy="Run clickscape export again.")
    except FileNotFoundError:
        raise ExperimentError(f"{renditions} is no folder of clickscape export. Run it first, and name its folder with "
                              f"--renditions.") from None  # fmt: skip
    if found.workspace != workspace.path.name:
        raise ExperimentError(f"{renditions} holds the export of {found.workspace!r}. Name that of "
                              f"{workspace.path.name!r} with --renditions.")  # fmt: skip
    return found.renditions


def _relative(path: Path, folder: Path) -> str:
    return os.path.relpath(path.absolute(), folder.absolute())


def _requests(
    definition: ExperimentDefinition,
    pictures: Sequence[Picture],
    account: GoogleAdsAccount | MetaAccount,
    *,
    today: date,
) -> dict[str, tuple[Any, str, str]]:
    """Name of the file → the request, where it is sent, and what it does; in the order in which to send them."""
    if isinstance(account, GoogleAdsAccount):
        version = schema_of("google-ads")["x-version"]
        url = f"https://googleads.googleapis.com/{version}/customers/{account.customer_id}/googleAds:mutate"
        return {
            "1-opt-outs.json": (
                google_ads.opt_out_request(account), url, "forbids the campaign to alter images or bring in others"
            ),
            "2-experiment.json": (
                google_ads.experiment_request(definition, pictures, account, today=today),
                url,
                "uploads the images, and sets up the experiment and its two arms",
            ),
        }  # fmt: skip
    return {
        "batch.json": (
            meta.split_test_requests(definition, pictures, account, today=today),
            "https://graph.facebook.com/",
            "uploads the images, makes creatives, ad sets and ads, all paused, and the split test",
        )
    }


def _left_to_a_person(account: GoogleAdsAccount | MetaAccount) -> tuple[str, ...]:
    if isinstance(account, GoogleAdsAccount):
        return (
            "the asset group shows the creatives of the control today: look that it does",
            "send each request with validateOnly true, then with false",
            "1-opt-outs.json replaces the campaign's whole list of automations: add those that you have set",
        )
    unnamed = ", ".join(undocumented_features())
    return (
        "send the requests in their order; a batch takes 50, each of attached_files is a part of the form of its own",
        f"read every creative back: none of its features may say OPT_IN; not named, as no page says how: {unnamed}",
        "switch on the ad sets and ads of all variants at once, before the split test starts",
    )
