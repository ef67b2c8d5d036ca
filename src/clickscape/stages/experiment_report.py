"""Stage `experiment report`: the newest reading of an experiment as a page and its plots as SVG files."""

from __future__ import annotations

from pathlib import Path

from clickscape.files import write_text
from clickscape.report.experiment_page import compose_experiment
from clickscape.stages.experiment import experiment_folder
from clickscape.stages.experiment_reading import newest_reading
from clickscape.stages.experiment_simulation import STAGE as SIMULATED
from clickscape.workspace import Workspace

PAGE = "report.html"
PLOTS = "plots"


def experiment_report(workspace: Workspace, name: str) -> Path:
    """Write experiments/NAME/report.html and experiments/NAME/plots/*.svg; return the page's path.

    ExperimentError before the experiment was read.
    """
    reading = newest_reading(workspace, name)
    newest = workspace.newest(SIMULATED)
    page = compose_experiment(reading, simulated=newest is not None)
    folder = experiment_folder(workspace, name)
    with workspace.lock():
        (folder / PLOTS).mkdir(exist_ok=True)
        for old in (folder / PLOTS).glob("*.svg"):
            old.unlink()
        for called, drawing in page.drawings.items():
            write_text(folder / PLOTS / called, drawing)
        write_text(folder / PAGE, page.html)
    return folder / PAGE
