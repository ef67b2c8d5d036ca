"""Stage `clicks`: from the workspace's click log to a CTR per creative and pairs of creatives."""

from __future__ import annotations

import statistics
from dataclasses import asdict

from clickscape import clicks as click_room
from clickscape.clicks import logs, sources
from clickscape.clicks.cells import STRATA
from clickscape.clicks.cleaning_report import Findings
from clickscape.clicks.report import ClickReport
from clickscape.config import ClicksConfig
from clickscape.errors import WorkspaceError
from clickscape.stages.progress import Progress, Stage
from clickscape.stages.served import shown
from clickscape.workspace import Manifest, Workspace, fingerprint, fingerprint_of

STAGE = "clicks"


def clicks(workspace: Workspace, config: ClicksConfig) -> Stage[Manifest]:
    """Write clicks/estimates.parquet and clicks/pairs.parquet; returns the run's manifest.

    A finished run is reused where the log is files; what a database says now is always asked. Its address enters the
    manifest without user, password and parameters.
    """
    if not config.source and not workspace.events_folder.exists() and not workspace.counts_path.exists():
        raise WorkspaceError(f"{workspace.clicks} holds no log. Put events/*.parquet or counts.parquet there.")
    place = sources.locate(workspace, config)
    categories = click_room.categories_of(workspace)
    inputs = {
        "log": [fingerprint(file) for file in place.files] or str(place),
        "creatives": shown(workspace),
        "categories": categories,
    }
    noted = config.model_copy(update={"source": sources.shown(config.source)}) if place.url else config
    done = workspace.finished(STAGE, fingerprint_of(STAGE, noted, inputs)) if place.files else None
    if done:
        yield Progress(STAGE, 1, 1, "reused")
        return done
    with workspace.start_run(STAGE, noted, inputs) as run:
        yield Progress(STAGE, 0, 1, "counting")
        log = logs.study(workspace, config=config, by=STRATA)
        report = click_room.estimate(log.counts, config=config, categories=categories)
        outputs = [click_room.estimates_path(workspace), click_room.pairs_path(workspace)]
        for path, table in zip(outputs, (report.estimates, report.pair_table), strict=True):
            workspace.write_table(path, table)
        yield Progress(STAGE, 1, 1)
        found = log.findings
        result = {**_figures(report), "log": asdict(found) if found else None, "summary": _summary(report, found)}
        return run.finish(outputs=outputs, result=result)


def _figures(report: ClickReport) -> dict[str, object]:
    examination = report.examination
    sizes: dict[str, int] = {}
    for product_id in report.estimates["product_id"].to_pylist():
        sizes[product_id] = sizes.get(product_id, 0) + 1
    return {
        "impressions": report.total.impressions,
        "clicks": report.total.clicks,
        "creatives": report.estimates.num_rows,
        "products": len(sizes),
        "median_impressions": statistics.median(report.estimates["impressions"].to_pylist()),
        "pairs_possible": sum(size * (size - 1) // 2 for size in sizes.values()),
        "pairs_kept": report.pair_table.num_rows,
        "positions": list(examination.positions),
        "examination": list(examination.probability),
        "examination_log_se": list(examination.log_se),
        "uncorrected_because": examination.reason,
        "model": asdict(report.model),
    }


def _summary(report: ClickReport, findings: Findings | None) -> list[str]:
    figures = _figures(report)
    examination = report.examination
    counted = (
        f"{figures['impressions']:,} impressions, {figures['clicks']:,} clicks, {figures['creatives']:,} creatives "
        f"of {figures['products']:,} products; {figures['pairs_kept']:,} of {figures['pairs_possible']:,} pairs kept"
    )
    found, learned = findings.lines() if findings else [], _learned(report)
    if examination.reason:
        return [*found, counted, f"positions not corrected: {examination.reason}", *learned]
    rows = zip(examination.positions, examination.probability, examination.log_se, strict=True)
    shown = ", ".join(f"{position}: {value:.2f} ± {1.96 * error * value:.2f}" for position, value, error in rows)
    return [*found, counted, f"examination by position: {shown}", *learned]


def _learned(report: ClickReport) -> list[str]:
    """What the strata and the prior came to, in lines for people."""
    lines = [
        f"{stratum.name}: from {min(stratum.effect):.2f} to {max(stratum.effect):.2f} times the average CTR"
        for stratum in report.model.strata
        if stratum.reason is None
    ]
    if prior := report.model.prior:
        lines.append(
            f"the sd of log CTR is {prior.creative_sd:.2f} between creatives of a product, "
            f"{prior.product_sd:.2f} between products"
        )
    return lines
