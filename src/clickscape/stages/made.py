"""What `generate` notes of every creative: how to draw it again, and what the fidelity gate said of its pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from clickscape.gates import Rejected

LEFT_OUT = "left-out.jsonl"
"""Creatives of which no picture passed the gate; written only when there are any."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A picture that the gate rejected: the seed that drew it, and each failure with what was measured and allowed."""

    seed: int
    failures: tuple[dict[str, object], ...]


@dataclass(frozen=True, slots=True)
class Gate:
    """What the fidelity gate said of a creative: whether a picture passed, and the pictures rejected before."""

    passed: bool
    rejected: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True)
class Made:
    """One creative, everything that is needed to draw it again; `image` is the file's name, "" when it was left out."""

    creative_id: str
    product_id: str
    title: str
    image: str
    description: str
    scene: str
    unknown: tuple[str, ...]
    renderer: str
    renderer_settings: Mapping[str, object]
    digital_source: str
    model_id: str
    seed: int
    reward: float | None
    gate: Gate


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run left in its folder: how many images, how many of them drawn again, and who was left out and why."""

    images: int
    redrawn: int
    left_out: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """What to tell people."""
        told = [f"{self.images} images, every one through the fidelity gate"]
        if self.redrawn:
            told.append(f"{self.redrawn} of them were drawn again; creatives.jsonl says why")
        if self.left_out:
            told.append(f"{len(self.left_out)} left out, because no picture passed; {LEFT_OUT} says more:")
        return (*told, *self.left_out)


def attempt(rejected: Rejected, seeds: Sequence[int]) -> Attempt:
    """A rejected picture as it is noted; seeds: by number of the try."""
    return Attempt(seeds[rejected.attempt], tuple(asdict(failure) for failure in rejected.failures))


def reason(row: Mapping[str, Any]) -> str:
    """Why a creative was left out: the failures of its last picture."""
    last = row["gate"]["rejected"][-1]["failures"]
    said = "; ".join(f"{one['kind']} ({one['measured']:.3g}, limit {one['limit']:.3g})" for one in last)
    return f"{row['creative_id']}: {said} after {len(row['gate']['rejected'])} pictures"
