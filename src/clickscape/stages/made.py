"""What `generate` notes of every creative: how to draw it again, and what the fidelity gate said of its pictures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from clickscape.catalog.lacking import Skipped
from clickscape.stages.gate import Gate

LEFT_OUT = "left-out.jsonl"
"""Creatives of which no picture passed the gate; written only when there are any."""


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
    """What a run left in its folder: how many images, how many of them drawn again, and who was left out and why.

    `left_out`: creatives that never passed the gate; `skipped`: products of a catalog file that could not be read.
    """

    images: int
    redrawn: int
    left_out: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """What to tell people."""
        told = [f"{self.images} images, every one through the fidelity gate"]
        if self.redrawn:
            told.append(f"{self.redrawn} of them were drawn again; creatives.jsonl says why")
        if self.left_out:
            told.append(f"{len(self.left_out)} left out, because no picture passed; {LEFT_OUT} says more:")
        told += self.left_out
        return (*told, *(f"left out, {one.place}: {one.reason}" for one in self.skipped))
