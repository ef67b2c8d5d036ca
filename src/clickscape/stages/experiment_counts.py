"""Stage `experiment read --imported`: a platform's counts per variant and day, read as an experiment without users."""

from __future__ import annotations

from typing import Any

import numpy as np

from clickscape.errors import ExperimentError
from clickscape.experiment import read
from clickscape.experiment.definition import ExperimentDefinition
from clickscape.experiment.moments import UnitMoments, from_counts
from clickscape.experiment.reading import ExperimentReading
from clickscape.stages.experiment import experiment_folder, read_experiment
from clickscape.stages.experiment_platforms import COUNTS, COUNTS_SCHEMA
from clickscape.stages.experiment_reading import write_reading
from clickscape.workspace import Workspace


def read_imported(workspace: Workspace, name: str, *, margin: float = read.MARGIN) -> ExperimentReading:
    """Read the counts of `clickscape experiment import`, write the experiment's reading.json and return the record.

    Every impression stands for a user of its own, and shares are not checked: a platform shares out people, and how
    many impressions they get is its choice. ExperimentError where nothing was imported.
    """
    definition = read_experiment(workspace, name)
    path = experiment_folder(workspace, name) / COUNTS
    if not path.exists():
        raise ExperimentError(f"{path}: no such file. Run clickscape experiment import {workspace.path.name} {name} "
                              f"first.")  # fmt: skip
    rows = workspace.read_table(path, COUNTS_SCHEMA).to_pylist()
    allocations, platforms = {row["allocation"] for row in rows}, sorted({row["platform"] for row in rows})
    if len(allocations) != 1:
        raise ExperimentError(f"{path} says {len(allocations)} allocations, expected one. Import the results again.")
    found = read.read(
        _moments(rows, definition),
        definition=definition,
        allocation=allocations.pop(),
        unit="impression",
        margin=margin,
        notes=[f"counts of {', '.join(platforms)}, which says nothing of users"],
    )
    write_reading(workspace, found)
    return found


def _moments(rows: list[dict[str, Any]], definition: ExperimentDefinition) -> UnitMoments:
    """What each day from the start on added, (variant, day); days without a row added nothing."""
    first = definition.start.date()
    names = list(definition.shares)
    counts = np.zeros((3, len(names), 1 + max((row["day"] - first).days for row in rows)))
    for row in rows:
        bought = row["conversions"] or 0.0
        counts[:, names.index(row["variant"]), (row["day"] - first).days] = row["impressions"], row["clicks"], bought
    return from_counts(impressions=counts[0], clicks=counts[1], conversions=counts[2])
