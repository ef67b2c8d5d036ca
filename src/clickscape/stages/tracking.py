"""Metric trackers besides metrics.jsonl: none, or TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from clickscape.errors import ConfigError

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


TRACKERS = {"jsonl": _no_tracker, "tensorboard": _tensorboard}


def tracked(kind: str, folder: Path) -> AbstractContextManager[LogMetrics]:
    """A tracker of this kind that writes into the run's folder; ConfigError at once where its package is missing."""
    return TRACKERS[kind](folder)
