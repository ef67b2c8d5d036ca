"""Stage `experiment start`, and where a workspace keeps its experiments: experiments/NAME/experiment.json, and one key.

The key that assigns units is a file that only its owner reads, experiments/assignment.key, made by the first start; the
environment variable CLICKSCAPE_EXPERIMENT_KEY goes before it, for servers that keep secrets elsewhere.
"""

from __future__ import annotations

import math
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from clickscape.errors import ExperimentError
from clickscape.experiment import definition as definitions
from clickscape.experiment.assign import KEY_BYTES, key_id
from clickscape.experiment.default_variants import CONTROL, Ad, default_variants
from clickscape.experiment.definition import ExperimentDefinition, PlannedSample, Variant, check_beside
from clickscape.experiment.plan import Plan
from clickscape.files import atomic_file, file_name
from clickscape.regular_files import read_bytes
from clickscape.stages.clicks import estimates_path, read_estimates
from clickscape.types import Creative
from clickscape.workspace import Workspace

KEY_VARIABLE = "CLICKSCAPE_EXPERIMENT_KEY"
_SHARE_TOLERANCE = 1e-6
_LONGEST = 100  # characters of a name in a message
KEY_FILE = "assignment.key"
_KEY = re.compile(rf"[0-9a-fA-F]{{{2 * KEY_BYTES}}}")


@dataclass(frozen=True)
class Design:
    """What a start says of an experiment besides its name and variants; the fields are those of the definition."""

    control: str = CONTROL
    layer: str = "default"
    layer_from: float = 0.0
    traffic: float = 1.0
    holdback: float = 0.0
    salt: str = ""
    level: float = 0.95
    planned: PlannedSample | None = None


def folder(workspace: Workspace) -> Path:
    """Return where a workspace keeps its experiments."""
    return workspace.path / "experiments"


def experiment_folder(workspace: Workspace, name: str) -> Path:
    """Return the folder of one experiment: its definition, and what is read and reported of it."""
    return folder(workspace) / file_name(name)


def start(
    workspace: Workspace, name: str, variants: Sequence[Variant], *, design: Design | None = None, now: datetime
) -> ExperimentDefinition:
    """Write the definition of an experiment that begins `now`, and the key if there is none yet; returns it.

    The same start again changes nothing and returns what was started. ExperimentError where the name is taken, and
    where a running experiment shows the same products, or takes the same units of a layer.
    """
    design = design or Design()
    with workspace.lock():
        ours = key_id(make_key(workspace))
        made = ExperimentDefinition(
            name=name,
            variants=tuple(variants),
            control=design.control,
            start=now,
            key_id=ours,
            salt=design.salt or name,
            layer=design.layer,
            layer_from=design.layer_from,
            traffic=design.traffic,
            holdback=design.holdback,
            level=design.level,
            planned=design.planned,
        )
        path = experiment_folder(workspace, name) / definitions.FILE
        if path.exists():
            old = definitions.read(path)
            if replace(made, start=old.start, end=old.end) == old:
                return old
            raise ExperimentError(f"{path} is there and says otherwise: an experiment is not changed after its start. "
                                  f"Start another under a new name.")  # fmt: skip
        for other in running(workspace, now=now):
            check_beside(made, other)
        definitions.write(path, made)
    return made


def stop(workspace: Workspace, name: str, *, now: datetime) -> ExperimentDefinition:
    """Note that an experiment ended `now`, which frees its units and products; returns it. It is not started again."""
    with workspace.lock():
        found = read_experiment(workspace, name)
        if found.end is not None:
            return found
        ended = replace(found, end=now)
        definitions.write(experiment_folder(workspace, name) / definitions.FILE, ended)
    return ended


def keep(workspace: Workspace, definition: ExperimentDefinition) -> None:
    """Write an experiment that was started or ended elsewhere, such as in a service."""
    with workspace.lock():
        definitions.write(experiment_folder(workspace, definition.name) / definitions.FILE, definition)


def read_experiment(workspace: Workspace, name: str) -> ExperimentDefinition:
    """Return an experiment of the workspace; ExperimentError where there is none of that name."""
    path = experiment_folder(workspace, name) / definitions.FILE
    try:
        return definitions.read(path)
    except FileNotFoundError:
        known = ", ".join(sorted(one.parent.name for one in folder(workspace).glob(f"*/{definitions.FILE}")))
        raise ExperimentError(f"{workspace.path} has no experiment {name!r}{f', only {known}' if known else ''}. Start "
                              f"one with `clickscape experiment start`, or correct the name.") from None  # fmt: skip


def running(workspace: Workspace, *, now: datetime) -> list[ExperimentDefinition]:
    """Return the experiments of a workspace that have not ended, by name."""
    return [one for one in all_experiments(workspace) if one.end is None or one.end > now]


def all_experiments(workspace: Workspace) -> list[ExperimentDefinition]:
    """Return the experiments of a workspace, by name."""
    return [definitions.read(path) for path in sorted(folder(workspace).glob(f"*/{definitions.FILE}"))]


def read_key(workspace: Workspace) -> bytes:
    """Return the key that assigns units; ExperimentError where there is none, or none that can be one."""
    if (given := os.environ.get(KEY_VARIABLE)) is not None:
        return _parsed(given, where=f"the environment variable {KEY_VARIABLE}")
    path = folder(workspace) / KEY_FILE
    try:
        return _parsed(read_bytes(path, error=ExperimentError).decode("ascii", "replace"), where=str(path))
    except FileNotFoundError:
        raise ExperimentError(f"{path}: no such file, so no unit can be assigned. Restore it from a copy, or set "
                              f"{KEY_VARIABLE}.") from None  # fmt: skip


def _parsed(text: str, *, where: str) -> bytes:
    if not _KEY.fullmatch(text.strip()):
        raise ExperimentError(f"{where}: expected a key of {2 * KEY_BYTES} hexadecimal digits. Restore it; a new one "
                              f"would move every unit.")  # fmt: skip
    return bytes.fromhex(text.strip())


def make_key(workspace: Workspace) -> bytes:
    """Return the key as `read_key` does; a new file where neither it nor any experiment is there yet."""
    path = folder(workspace) / KEY_FILE
    is_first = not any(folder(workspace).glob(f"*/{definitions.FILE}"))
    if is_first and KEY_VARIABLE not in os.environ and not path.exists():
        with atomic_file(path) as temporary:
            temporary.chmod(0o600)
            temporary.write_text(secrets.token_hex(KEY_BYTES) + "\n", encoding="ascii")
    return read_key(workspace)


def variants_by_status(
    workspace: Workspace, *, share: float = 0.5, product_ids: Sequence[str] = ()
) -> list[Variant]:  # fmt: skip
    """Return the variants of `default_variants` for a workspace's creatives, by the impressions that `clicks` read."""
    counted: dict[str, int] = {}
    if estimates_path(workspace).exists():
        counted = {row["creative_id"]: row["impressions"] for row in read_estimates(workspace).to_pylist()}
    ads = [  # the table grows at its end
        Ad(one.creative_id, one.product_id, one.status, counted.get(one.creative_id, 0))
        for one in workspace.some_creatives()
    ]
    return default_variants(ads, share=share, product_ids=product_ids)


def variants_of_rows(rows: Sequence[Mapping[str, str]], *, creatives: Sequence[Creative], where: str) -> list[Variant]:
    """Return the variants of a table with variant, creative_id and optionally share, in the order of the table.

    Without shares all are equal. ExperimentError for an unknown creative, two of one product in a variant, and a
    variant with two shares.
    """
    product_of = {one.creative_id: one.product_id for one in creatives}
    shows: dict[str, dict[str, str]] = {}
    shares: dict[str, float] = {}
    for number, row in enumerate(rows, start=1):
        variant, creative = row["variant"], row["creative_id"]
        named = repr(variant[:_LONGEST])
        place = f"{where}, row {number}"
        if creative not in product_of:
            raise ExperimentError(f"{place}: no creative {creative[:_LONGEST]!r} in the workspace. Correct its id, or "
                                  f"bring it with `clickscape ingest --creatives`.")  # fmt: skip
        product = product_of[creative]
        shown = shows.setdefault(variant, {})
        if shown.setdefault(product, creative) != creative:
            raise ExperimentError(f"{place}: variant {named} shows {shown[product]!r} and {creative!r} of "
                                  f"product {product!r}, of which a variant shows one. Remove one.")  # fmt: skip
        if row.get("share"):
            share = _share(row["share"], place=place)
            if shares.setdefault(variant, share) != share:
                raise ExperimentError(f"{place}: variant {named} has the shares {shares[variant]:g} and {share:g}. "
                                      f"Give one share to all of its rows.")  # fmt: skip
    if not shows:
        raise ExperimentError(f"{where}: no row. Add one a variant and creative, with variant and creative_id.")
    if shares and (lacking := next((name for name in shows if name not in shares), None)):
        raise ExperimentError(f"{where}: variant {lacking[:_LONGEST]!r} has no share, others have one. Fill it in.")
    return [Variant(name, shares.get(name, 1 / len(shows)), shown) for name, shown in shows.items()]


def check_planned(plan: Plan, variants: Sequence[Variant], *, control: str, level: float | None = None) -> None:
    """ExperimentError where what shall start is not what was planned: other variants, shares or level."""
    remedy = "Plan again, or start what was planned."
    if len(variants) != plan.goal.variants:
        raise ExperimentError(f"{len(variants)} variants, planned were {plan.goal.variants}. {remedy}")
    for one in variants:
        wanted = plan.goal.shares[one.name != control]
        if abs(one.share - wanted) > _SHARE_TOLERANCE:
            raise ExperimentError(f"variant {one.name!r} has the share {one.share:g}, planned was {wanted:g}. {remedy}")
    if level not in (None, plan.goal.level):
        raise ExperimentError(f"--level {level:g}, planned was {plan.goal.level:g}. {remedy}")


def _share(text: str, *, place: str) -> float:
    with suppress(ValueError):
        if math.isfinite(share := float(text)):
            return share
    raise ExperimentError(f"{place}: the share {text[:_LONGEST]!r} is no number. Write one such as 0.5.")
