"""Progress of a stage: a stream of small records, and a result at the end.

A stage is a generator that yields `Progress` and returns its result; whoever runs it draws the bar, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stage is: `done` of `total` (unit-free), with a short note for people."""

    stage: str
    done: int
    total: int
    note: str = ""


Stage = Generator[Progress, None, Result]


def run(stage: Stage[Result], *, on_progress: Callable[[Progress], None] | None = None) -> Result:
    """Run a stage to its end and return its result; `on_progress` sees every record."""
    while True:
        try:
            progress = next(stage)
        except StopIteration as stop:
            return stop.value
        if on_progress is not None:
            on_progress(progress)
