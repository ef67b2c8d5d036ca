"""The result of a gate: passed, or every failure with what was measured, what is allowed and the remedy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "altered", "edge", "seam", "extended", "floating", "out_of_frame", "too_small", "blends_in", "clutter",
    "irrelevant",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Failure:
    """One thing that is wrong: `measured` lies on the wrong side of `limit`, both in the unit that `remedy` names."""

    kind: Kind
    measured: float
    limit: float
    remedy: str

    def __str__(self) -> str:
        return f"{self.kind}: measured {self.measured:.3g}, limit {self.limit:.3g}. {self.remedy}"


@dataclass(frozen=True, slots=True)
class GateResult:
    """The failures of one picture or description, in the order of `Kind`; none: it passed."""

    failures: tuple[Failure, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return not self.failures

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What is wrong, in short."""
        return tuple(failure.kind for failure in self.failures)
