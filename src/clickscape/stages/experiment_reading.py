"""Stage `experiment read`: from the workspace's log to experiments/NAME/reading.json, anew at every call.

Nothing is reused: a log grows, and a reading is to say what is known now. The record is replaced as a whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from clickscape.clicks import locations, logs
from clickscape.config import ClicksConfig
from clickscape.errors import ExperimentError
from clickscape.experiment import definition as definitions
from clickscape.experiment import exposures, read
from clickscape.experiment.definition import ExperimentDefinition
from clickscape.experiment.moments import from_counts
from clickscape.experiment.reading import ExperimentReading, ProductReading
from clickscape.files import to_json, write_text
from clickscape.json_files import read_json
from clickscape.stages.experiment import experiment_folder, folder, read_experiment, read_key
from clickscape.stages.experiment_platforms import COUNTS, COUNTS_SCHEMA
from clickscape.stages.progress import Progress, Stage
from clickscape.types import Allocation
from clickscape.workspace import Workspace

STAGE = "read"
_FILE = "reading.json"


def read_traffic(
    workspace: Workspace,
    name: str,
    *,
    config: ClicksConfig | None = None,
    margin: float = read.MARGIN,
    by_product: bool = False,
    now: datetime | None = None,
) -> Stage[ExperimentReading]:
    """Read an experiment's traffic, write its reading.json and return the record.

    The traffic is what `experiment import` read of a platform, where it did and `config` names no log, else the log of
    the workspace.

    margin: relative loss of conversions that is accepted. by_product: also every product's lift, by one more pass over
    the log, which counts of a platform do not have. now (UTC) defaults to the present. ExperimentError and LogError for
    traffic that cannot be read.
    """
    definition = read_experiment(workspace, name)
    earlier = earlier_readings(workspace, but=name)
    imported = experiment_folder(workspace, name) / COUNTS
    if config is None and imported.exists():
        if by_product:
            raise ExperimentError(f"{imported} has counts by variant, not by product. Leave --products out.")
        found = _read_counts(workspace, imported, definition=definition, margin=margin, earlier=earlier)
        write_reading(workspace, found)
        return found
    settings = config or workspace.settings.clicks
    yield Progress(STAGE, 0, 2, "cleaning")
    location = locations.locate(workspace.clicks, settings)
    with logs.connected(settings, folder=workspace.clicks) as connection:
        log = logs.read_cleaned(location, config=settings, connection=connection, now=now or datetime.now(UTC))
        yield Progress(STAGE, 1, 2, "counting")
        key = None if "variant" in log.cleaned.besides_clicks.columns else read_key(workspace)
        seen = exposures.read_exposures(log, definition=definition, key=key)
        products: tuple[ProductReading, ...] = ()
        if by_product:
            moments = exposures.product_moments(log, seen, definition=definition)
            products = read.read_products(
                moments,
                product_ids=definition.products,
                definition=definition,
                past_lifts=[product.lift for one in earlier for product in one.products],
            )
    notes = [*seen.left_out.lines(), *log.report.lines()]
    found = read.read(
        seen.moments,
        definition=definition,
        allocation=seen.allocation,
        margin=margin,
        products=products,
        past_lifts=[lift for one in earlier for lift in one.lifts()],
        notes=notes,
    )
    write_reading(workspace, found)
    yield Progress(STAGE, 2, 2)
    return found


def _read_counts(
    workspace: Workspace,
    path: Path,
    *,
    definition: ExperimentDefinition,
    margin: float,
    earlier: Sequence[ExperimentReading],
) -> ExperimentReading:
    """The reading of a platform's counts per variant and day.

    Every impression stands for a user of its own, and shares are not checked: a platform shares out people, and how
    many impressions they get is its choice.
    """
    table = workspace.read_table(path, COUNTS_SCHEMA)
    names = list(definition.shares)
    if odd := sorted({*table["variant"].to_pylist()} ^ {*names}):
        raise ExperimentError(
            f"{path}: variant {odd[0]!r} is not both there and in experiment {definition.name!r}. Import it again."
        )
    first = definition.start.date()
    days = np.array([(day - first).days for day in table["day"].to_pylist()], np.int64)
    if days.min() < 0:
        raise ExperimentError(f"{path}: counts of {table['day'].to_pylist()[int(days.argmin())]}, before the start of "
                              f"{definition.name!r}. Import the days from {first} on.")  # fmt: skip
    place = np.array([names.index(one) for one in table["variant"].to_pylist()])
    counts = np.zeros((3, len(names), int(days.max()) + 1))
    for row, column in enumerate(("impressions", "clicks", "conversions")):
        np.add.at(counts[row], (place, days), table[column].fill_null(0).to_numpy().astype(float))
    stated = {*table["allocation"].to_pylist()}
    allocation: Allocation = "unknown" if "unknown" in stated else definition.allocation
    moments = from_counts(impressions=counts[0], clicks=counts[1], conversions=counts[2])
    platforms = ", ".join(sorted({*table["platform"].to_pylist()}))
    return read.read(
        moments,
        definition=definition,
        allocation=allocation,
        unit="impression",
        margin=margin,
        past_lifts=[lift for one in earlier for lift in one.lifts()],
        notes=[f"counts of {platforms}, which say nothing of users"],
    )


def reading_path(workspace: Workspace, name: str) -> Path:
    """Return where the newest reading of an experiment is stored."""
    return experiment_folder(workspace, name) / _FILE


def write_reading(workspace: Workspace, reading: ExperimentReading) -> None:
    """Replace an experiment's newest reading."""
    with workspace.lock():
        text = json.dumps(json.loads(to_json(reading)), indent=1, ensure_ascii=False)
        write_text(reading_path(workspace, reading.name), text + "\n")


def earlier_readings(workspace: Workspace, *, but: str) -> list[ExperimentReading]:
    """Return the newest readings of the workspace's ended experiments, but one, by name.

    Left out are experiments that were never read, and those whose reading proves nothing: an unknown allocation, users
    who were not shared out as planned. ExperimentError for a reading that is damaged.
    """
    found = []
    for path in sorted(folder(workspace).glob(f"*/{definitions.FILE}")):
        one = definitions.read(path)
        if one.name != but and one.end is not None and reading_path(workspace, one.name).exists():
            found.append(newest_reading(workspace, one.name))
    return [one for one in found if one.is_sound]


def newest_reading(workspace: Workspace, name: str) -> ExperimentReading:
    """Return an experiment's newest reading; ExperimentError before the first."""
    path = reading_path(workspace, name)
    remedy = "Read the experiment again."
    try:
        return read_json(path, ExperimentReading, error=ExperimentError, remedy=remedy)
    except FileNotFoundError:
        raise ExperimentError(
            f"{path} is missing. Run `clickscape experiment read {workspace.path.name} {name}` first."
        ) from None
