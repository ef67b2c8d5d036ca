"""Stage `experiment simulate`: users with a known lift visit a started experiment, for trying things out.

Their events lie in clicks/events/experiment-NAME/, one file a day, beside nothing that somebody else logged.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import asdict
from itertools import islice

import numpy as np

from clickscape.errors import ExperimentError, WorkspaceError
from clickscape.experiment.definition import FILE, ExperimentDefinition
from clickscape.files import file_name
from clickscape.simulator import experiment_traffic, traffic
from clickscape.simulator.experiment_traffic import Audience
from clickscape.stages.experiment import experiment_folder, read_experiment, read_key
from clickscape.stages.progress import Progress, Stage
from clickscape.workspace import Manifest, Workspace

STAGE = "experiment-simulate"


def simulate_experiment(
    workspace: Workspace, name: str, audience: Audience, *, until: int | None = None, seed: int = 0
) -> Stage[Manifest]:
    """Write the events of simulated users, of the first `until` days or of all; returns the run's manifest.

    The first days are the same whatever `until` is. WorkspaceError where another log lies in the workspace, which
    invented users would stand beside.
    """
    definition = read_experiment(workspace, name)
    days = audience.days if until is None else until
    if not 1 <= days <= audience.days:
        raise ExperimentError(
            f"{days} of {audience.days} simulated days: expected 1 to {audience.days}. Correct --until."
        )
    folder = workspace.events_folder / f"experiment-{file_name(name)}"
    logs = [path for path in workspace.events_folder.rglob("*") if path.is_file()]
    for log in (*logs, workspace.counts_path):
        if log.exists() and not workspace.made_by(STAGE, log):
            raise WorkspaceError(f"{log} is no log that `experiment simulate` wrote, and invented users would stand "
                                 f"beside it. Move it, or simulate in a workspace of its own.")  # fmt: skip
    key = read_key(workspace)
    tables = experiment_traffic.events(definition, audience, key=key, rng=np.random.default_rng(seed))
    settings = {"experiment": name, "until": days, "seed": seed, **asdict(audience)}
    inputs = {"definition": experiment_folder(workspace, name) / FILE}
    with workspace.start_run(STAGE, settings, inputs) as run:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        written = []
        for day, path in enumerate(traffic.write(islice(tables, days), folder), start=1):
            written.append(path)
            yield Progress("simulate", day, days)
        return run.finish(outputs=written, result={"days": days, "lifts": dict(audience.lifts)})


def audience_of(
    definition: ExperimentDefinition,
    *,
    lifts: Mapping[str, float],
    users_per_day: int | None = None,
    days: int | None = None,
    ctr: float | None = None,
    impressions_per_user: float = 5.0,
    novelty: float = 0.0,
) -> Audience:
    """Return the users that an experiment was planned for, or those that are given in their place.

    ExperimentError for what neither the plan nor an argument says.
    """
    planned = definition.planned
    known = {
        "users_per_day": users_per_day or (planned and round(planned.users / planned.days)),
        "days": days or (planned and planned.days),
        "ctr": ctr or (planned and planned.baseline_ctr),
    }
    if missing := next((name for name, value in known.items() if not value), None):
        raise ExperimentError(f"experiment {definition.name!r} was started without a plan, so nobody says how large "
                              f"{missing} is. Give --{missing.replace('_', '-')}.")  # fmt: skip
    total_days = int(known["days"] or 0)
    return Audience(
        users=int(known["users_per_day"] or 0) * total_days,
        days=total_days,
        ctr=float(known["ctr"] or 0),
        lifts=lifts,
        impressions_per_user_day=max(impressions_per_user - 1, 1e-3) / (total_days / 2),  # one when they enter
        novelty=novelty,
    )
