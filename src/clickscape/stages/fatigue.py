"""Stage `experiment fatigue`: which creatives of the workspace's log wear out, to experiments/fatigue.json.

Nothing is reused: a log grows, and the answer is about today.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import ibis
from pydantic import TypeAdapter

from clickscape.clicks import locations, logs, sources
from clickscape.clicks.cells import POSITIONED
from clickscape.config import ClicksConfig
from clickscape.errors import ExperimentError
from clickscape.experiment.exposure_counts import count_exposures
from clickscape.experiment.fatigue import CERTAINTY, HORIZON_DAYS, KEEP, forecast_fatigue
from clickscape.experiment.fatigue_report import FatigueReport
from clickscape.files import write_text
from clickscape.stages.clicks import STAGE as COUNTED
from clickscape.stages.progress import Progress, Stage
from clickscape.workspace import Workspace

STAGE = "fatigue"


def fatigue(
    workspace: Workspace,
    *,
    horizon_days: int = HORIZON_DAYS,
    keep: float = KEEP,
    certainty: float = CERTAINTY,
    config: ClicksConfig | None = None,
    now: datetime | None = None,
) -> Stage[FatigueReport]:
    """Forecast the creatives of the workspace's log, write experiments/fatigue.json and return the record.

    Where `clicks` has estimated positions, impressions count by their examination. now (UTC) defaults to the present.
    """
    settings = config or workspace.settings.clicks
    yield Progress(STAGE, 0, 2, "counting exposures")
    location = locations.locate(workspace.clicks, settings)
    names = {str(name): called for name, called in settings.columns.items()}
    with logs.connected(settings, folder=workspace.clicks) as connection, logs.reading(location, settings):
        source = sources.read(location, connection=connection, columns=names)
        if source.kind == "counts":
            counted = _daily(source.table, where=source.where)
        else:
            cleaned, _, _ = logs.clean(source, location, config=settings, now=now or datetime.now(UTC), duck=connection)
            counted = count_exposures(cleaned.without_bots, examination=_examination(workspace))
        table = counted.to_pyarrow()
    yield Progress(STAGE, 1, 2, "forecasting")
    found = forecast_fatigue(table, horizon_days=horizon_days, keep=keep, certainty=certainty)
    path = fatigue_path(workspace)
    with workspace.lock():
        write_text(path, TypeAdapter(FatigueReport).dump_json(found, indent=1).decode() + "\n")
    yield Progress(STAGE, 2, 2)
    return found


def fatigue_path(workspace: Workspace) -> Path:
    """Return where the newest forecast is stored."""
    return workspace.path / "experiments" / "fatigue.json"


def _daily(counts: ibis.Table, *, where: str) -> ibis.Table:
    if "day" not in counts.columns:
        raise ExperimentError(f"{where}: counts without a column 'day' do not say how CTRs change. Add the day.")
    kept = counts.filter(counts.impressions > 0)
    return kept.group_by(["creative_id", "product_id", "day"]).agg(
        impressions=kept.impressions.sum().cast("int64"), clicks=kept.clicks.sum().cast("int64")
    )


def _examination(workspace: Workspace) -> Mapping[int, float] | None:
    """Examination of each position, 0 for impressions without one, as the stage `clicks` estimated it last, or None."""
    if (counted := workspace.newest(COUNTED)) is None:
        return None
    result = counted[1].result
    found = dict(zip(result["positions"], result["examination"], strict=True))
    unplaced = [one["effect"][0] for one in result["model"]["strata"] if one["name"] == POSITIONED]
    return found | dict(zip([0], unplaced, strict=False)) or None
