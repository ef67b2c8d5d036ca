"""Stage `explain --elements`: what every element of the scenes earns across the log, as a table and as files."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from clickscape import clicks as click_room
from clickscape.clicks.elements import Credit, ElementReport, credit
from clickscape.stages.reward import slots_of
from clickscape.workspace import Workspace, atomic_file
from clickscape.workspace.files import to_json

_COLUMNS = ("department", "slot", "element", "credit_percent", "low", "high", "impressions", "creatives", "verdict")
_WHOLE = "(all)"  # what the file calls the whole log


@dataclass(frozen=True)
class Elements:
    """The report, the credits that were asked for, and the files that hold all of them."""

    report: ElementReport
    shown: tuple[Credit, ...]
    table: Path
    record: Path

    def lines(self) -> list[str]:
        """The credits as text, slot by slot, best first."""
        lines: list[str] = []
        slot = ""
        for one in self.shown:
            if one.slot != slot:
                slot = one.slot
                lines.append(f"{slot:<18} {'CTR, %':>7}  {'95 % interval':<16} {'impressions':>11} {'creatives':>9}")
            interval = f"[{one.percent.low:+z.1f}, {one.percent.high:+z.1f}]"
            counts = f"{one.impressions:>11,} {one.creatives:>9,}"
            lines.append(f"  {one.element:<16} {one.percent.value:>+z7.1f}  {interval:<16} {counts}  {one.verdict}")
        report = self.report
        return [
            *lines,
            f"against the average of the slot; {report.used:,} creatives compared, {report.left_out:,} could not be",
            f"what elements do not explain of a creative: sd {report.creative_sd:.2f} of log CTR",
        ]


def explain_elements(workspace: Workspace, *, category: str | None = None) -> Elements:
    """Write explanations/elements.csv and .json and show one department, or the whole log (None).

    WorkspaceError before `clickscape clicks`; LogError for an unknown department, or where nothing can be compared.
    """
    estimates = click_room.read_estimates(workspace)
    scenes = {one.creative_id: slots for one in workspace.creatives() if (slots := slots_of(one)) is not None}
    report = credit(estimates, scenes=scenes, departments=click_room.categories_of(workspace) or {})
    folder = workspace.path / "explanations"
    made = Elements(report, report.of(category), folder / "elements.csv", folder / "elements.json")
    with workspace.lock():
        with atomic_file(made.table) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(_COLUMNS)
            writer.writerows(_row(one) for one in report.credits)
        with atomic_file(made.record) as temporary:
            temporary.write_text(to_json(report.as_record()), encoding="utf-8")
    return made


def _row(one: Credit) -> tuple[object, ...]:
    where = _WHOLE if one.department is None else one.department
    figures = (f"{value:.2f}" for value in (one.percent.value, one.percent.low, one.percent.high))
    return (where, one.slot, one.element, *figures, one.impressions, one.creatives, one.verdict)
