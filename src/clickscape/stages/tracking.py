"""Metric trackers besides metrics.jsonl: none, TensorBoard, or trackio, which also opens the manifests of all runs."""

from __future__ import annotations

import contextlib
import io
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from clickscape.errors import ConfigError
from clickscape.json_files import read_json
from clickscape.workspace import Manifest, Workspace
from clickscape.workspace.runs import read_metrics

LogMetrics = Callable[[Mapping[str, float | None], int], None]
"""Takes the numbers of one step (None: not known), and which step it is, counted from 1 over all rounds."""


@contextmanager
def _no_tracker(_folder: Path) -> Iterator[LogMetrics]:
    yield lambda _values, _step: None


@contextmanager
def _tensorboard(folder: Path) -> Iterator[LogMetrics]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConfigError(
            "metrics = 'tensorboard' needs a package that is not installed. Run `pip install "
            "'clickscape[tensorboard]'`, or leave the setting out: metrics.jsonl is always written."
        ) from None
    writers: list[Any] = []

    def log_metrics(values: Mapping[str, float | None], step: int) -> None:
        if not writers:  # what a killed run told after its checkpoint is told again: the first telling is taken back
            writers.append(SummaryWriter(str(folder / "tensorboard"), purge_step=step))
        for name, value in values.items():
            if value is not None:
                writers[0].add_scalar(name, value, step)

    try:
        yield log_metrics
    finally:
        for writer in writers:
            writer.close()


@contextmanager
def _trackio(folder: Path) -> Iterator[LogMetrics]:
    """Brings the run to trackio when it has ended: trackio cannot take back the steps that a killed run does again."""
    _import_trackio()
    yield lambda _values, _step: None
    to_trackio(folder)


def _import_trackio() -> Any:
    try:
        import trackio
    except ImportError:
        raise ConfigError(
            "trackio is not installed. Run `pip install 'clickscape[trackio]'`, or leave it out: manifest.json and "
            "metrics.jsonl of every run are always written."
        ) from None
    return trackio


def to_trackio(folder: Path) -> str | None:
    """Write a finished run into trackio's project of its workspace; returns its name there, None for an unfinished run.

    The manifest is the run's config, the lines of metrics.jsonl are its steps, and figures of the result come last as
    `result/…`. A run of the name that is there already is replaced. Where trackio keeps its projects is said by
    TRACKIO_DIR.
    """
    trackio = _import_trackio()
    manifest = read_json(folder / "manifest.json", Manifest, remedy="Delete the run's folder.")
    if manifest.status != "done":
        return None
    project, config = folder.parent.parent.name, manifest.model_dump(mode="json", exclude={"result"})
    steps = [_numbers(line) for line in read_metrics(folder / "metrics.jsonl")]
    with contextlib.redirect_stdout(io.StringIO()), _offline():  # it talks, and would ask the hub who you are
        with contextlib.suppress(ValueError):  # no such project yet
            for older in [run for run in trackio.Api().runs(project) if run.name == folder.name]:
                older.delete()
        run = trackio.init(
            project, name=folder.name, group=manifest.stage, config=config, embed=False, auto_log_gpu=False,
            auto_log_cpu=False,
        )  # fmt: skip
        for number, values in enumerate(steps, start=1):
            run.log(values, step=number)
        run.log({f"result/{name}": value for name, value in _numbers(manifest.result).items()}, step=len(steps) + 1)
        trackio.finish()
    return folder.name


@contextmanager
def _offline() -> Iterator[None]:
    """Keep huggingface_hub from the network within the block, unless trackio was told to log to a place there."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not any(
        os.environ.get(name) for name in ("TRACKIO_SPACE_ID", "TRACKIO_BUCKET_ID")
    )
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def all_to_trackio(workspace: Workspace) -> list[str]:
    """Write every finished run of a workspace into trackio, as `to_trackio` does; returns their names in order."""
    folders = sorted(path.parent for path in workspace.runs_folder.glob("*/manifest.json"))
    return [name for folder in folders if (name := to_trackio(folder)) is not None]


def _numbers(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The finite numbers of nested values, by their path: accuracy/value, accuracy/low and so on."""
    found: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= _numbers(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            found[f"{prefix}{name}"] = value
    return found


TRACKERS = {"jsonl": _no_tracker, "tensorboard": _tensorboard, "trackio": _trackio}


def tracked(kind: str, folder: Path) -> AbstractContextManager[LogMetrics]:
    """A tracker of this kind that writes into the run's folder; ConfigError at once where its package is missing."""
    return TRACKERS[kind](folder)
