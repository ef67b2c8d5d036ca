"""Draw until the gate lets a picture pass, a bounded number of times; any renderer and any gate.

What did not pass comes back with its reason, because a run that silently draws twice as much hides a broken renderer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from clickscape.gates.result import Failure, GateResult

Drawn = TypeVar("Drawn")


@dataclass(frozen=True, slots=True)
class Rejected:
    """A try that did not pass: its number, counted from 0, and why."""

    attempt: int
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class Passed(Generic[Drawn]):
    """What passed, at which try (counted from 0), and the tries before it."""

    drawn: Drawn
    attempt: int
    rejected: tuple[Rejected, ...]


def until_pass(
    draw: Callable[[int], Drawn], judge: Callable[[Drawn], GateResult], *, tries: int
) -> Passed[Drawn] | tuple[Rejected, ...]:
    """The first of `draw(0)`, `draw(1)`, … that `judge` lets pass; after `tries` of them, why each was rejected.

    `draw` makes another picture for every number, say by another seed. ValueError for fewer than one try.
    """
    if tries < 1:
        raise ValueError(f"at least one try is needed, got {tries}")
    rejected: list[Rejected] = []
    for attempt in range(tries):
        drawn = draw(attempt)
        verdict = judge(drawn)
        if verdict.passed:
            return Passed(drawn, attempt, tuple(rejected))
        rejected.append(Rejected(attempt, verdict.failures))
    return tuple(rejected)
