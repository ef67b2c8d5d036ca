"""The baseline that `experiment plan` takes from the workspace's own log; nothing is written."""

from __future__ import annotations

from datetime import UTC, datetime

import ibis
import numpy as np
from ibis import _

from clickscape.clicks import locations, logs
from clickscape.config import ClicksConfig
from clickscape.errors import ExperimentError
from clickscape.experiment.baseline import Baseline, baseline
from clickscape.stages.progress import Progress, Stage
from clickscape.workspace import Workspace

STAGE = "baseline"
_DAY = 86_400


def read_baseline(
    workspace: Workspace, *, days: int = 14, config: ClicksConfig | None = None, now: datetime | None = None
) -> Stage[Baseline]:
    """Return what the last days of the log say, as many as it has and no more than `days`; events without a user count
    for nothing. now (UTC) defaults to the present. ExperimentError and LogError for a log that cannot say it.
    """
    settings = config or workspace.settings.clicks
    yield Progress(STAGE, 0, 1, "reading the log")
    location = locations.locate(workspace.clicks, settings)
    with logs.connected(settings, folder=workspace.clicks) as connection:
        log = logs.read_cleaned(location, config=settings, connection=connection, now=now or datetime.now(UTC))
        shown = log.cleaned.besides_clicks
        for name, called in (("user_key", "user_key"), ("at", "ts")):
            if name not in shown.columns:
                raise ExperimentError(
                    f"{log.where}: no column {called!r}, so it does not say how many users come. Add it, or plan "
                    f"without the workspace, with --ctr and --users-per-day."
                )
        columns = ["kind", "user_key", "at"]
        clicks = log.cleaned.clicks.filter(_.fault == "").select(*columns)
        events = ibis.union(shown.filter(_.kind == "impression").select(*columns), clicks, distinct=False)
        events = events.filter(_.user_key.notnull(), _["at"].notnull())
        first, last = events.agg(first=_["at"].min(), last=_["at"].max()).to_pyarrow().to_pylist()[0].values()
        length = min(days, 0 if first is None else (last - first) // _DAY + 1)
        since = 0 if last is None else last - length * _DAY
        users = events.filter(_["at"] > since).group_by("user_key")
        counts = users.agg(impressions=(_.kind == "impression").sum(), clicks=(_.kind == "click").sum()).to_pyarrow()
    impressions, clicked = (counts[name].to_numpy().astype(np.int64) for name in ("impressions", "clicks"))
    seen = impressions > 0
    yield Progress(STAGE, 1, 1)
    return baseline(impressions[seen], clicked[seen], days=max(length, 1))
