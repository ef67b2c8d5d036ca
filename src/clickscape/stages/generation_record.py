"""The records that `generate` writes: how to render a creative again, refused descriptions, failed images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from clickscape.catalog.feed_report import Skipped
from clickscape.generation.retry import GateRecord

MANIFEST = "creatives.jsonl"
"""The creatives that were made, a row each."""

LEFT_OUT = "left-out.jsonl"
"""Creatives of which no picture passed the gate; written only when there are any."""

REFUSED = "refused.jsonl"
"""Descriptions that were not drawn, each with the rule and the words that broke it; written only when there are any."""


@dataclass(frozen=True, slots=True)
class CreativeRecord:
    """One creative with all that is needed to render it again; `image` is the file's name, "" when it was left out.

    `written` is what the model wrote where brand rules edited it, "" else; `rules`: each that asks, and whether it is
    met; `audience` and `placement`: whose rules these are, "" for those of the brand alone.
    """

    creative_id: str
    product_id: str
    title: str
    image: str
    description: str
    written: str
    rules: Mapping[str, bool]
    audience: str
    placement: str
    scene: str
    unknown: tuple[str, ...]
    renderer: str
    renderer_settings: Mapping[str, object]
    digital_source: str
    model_id: str
    seed: int
    reward: float | None
    gate: GateRecord


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run left in its folder: how many images, how many of them drawn again, and who was left out and why.

    `left_out`: creatives that never passed the gate; `skipped`: products of a catalog file that could not be read.
    `edited`: images whose description was edited; `refused`: descriptions not drawn, by rule; `met`: images that meet a
    brand rule, by rule; `empty`: products of which every description was refused.
    """

    images: int
    redrawn: int
    left_out: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()
    edited: int = 0
    refused: Mapping[str, int] = field(default_factory=dict)
    met: Mapping[str, int] = field(default_factory=dict)
    empty: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """The summary in lines for people."""
        passed = f"{self.images} images, every one through the fidelity gate"
        lines = [passed if self.images else "no image was made: no description, or no picture of one, passed the gates"]
        if self.redrawn:
            lines.append(f"{self.redrawn} of them were drawn again; {MANIFEST} says why")
        lines += [f"brand rule {rule!r}: met by {count} of {self.images} images" for rule, count in self.met.items()]
        if self.edited:
            lines.append(f"{self.edited} descriptions were edited to meet the rules; {MANIFEST} has what was written")
        if self.refused:
            counted = ", ".join(f"{count} by {rule!r}" for rule, count in sorted(self.refused.items()))
            lines.append(f"descriptions not drawn: {counted}; {REFUSED} says why")
        lines += [f"no image of product {name!r}: every description was refused" for name in self.empty]
        if self.left_out:
            lines.append(f"{len(self.left_out)} left out, because no picture passed; {LEFT_OUT} says more:")
        lines += self.left_out
        return (*lines, *(f"left out, {one.place}: {one.reason}" for one in self.skipped))
