"""The fidelity gate as every stage asks it that hands out pictures: limits, further seeds, and what is noted.

The stages differ in what they draw and where they note it; what a picture may measure is decided here for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from clickscape.config import FidelityConfig
from clickscape.gates import GateResult, Passed, Rejected, fidelity, until_pass
from clickscape.gates.fidelity import Limits
from clickscape.render.renderer import NO_MARGINS, DigitalSource, Margins, Rendering
from clickscape.workspace import fingerprint


@dataclass(frozen=True, slots=True)
class Attempt:
    """A picture that the gate rejected: the seed that drew it, and each failure with what was measured and allowed."""

    seed: int
    failures: tuple[dict[str, object], ...]


@dataclass(frozen=True, slots=True)
class Gate:
    """What the fidelity gate said: whether a picture passed, and the pictures rejected before."""

    passed: bool
    rejected: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """The picture that passed, None when none did; the seed that drew it, the first one when none did; the gate."""

    drawn: Rendering | None
    seed: int
    gate: Gate


def draw_until_pass(draw: Callable[[int], Rendering], *, seeds: Sequence[int], limits: Limits) -> Outcome:
    """Draw with one seed after the other until the gate lets a picture pass; `draw`: seed → picture."""

    def judge(drawn: Rendering) -> GateResult:
        return fidelity.judge(drawn.image, drawn.product, limits=limits)

    def noted(rejected: Sequence[Rejected]) -> tuple[Attempt, ...]:
        return tuple(Attempt(seeds[one.attempt], tuple(map(asdict, one.failures))) for one in rejected)

    found = until_pass(lambda number: draw(seeds[number]), judge, tries=len(seeds))
    if isinstance(found, Passed):
        return Outcome(found.drawn, seeds[found.attempt], Gate(True, noted(found.rejected)))
    return Outcome(None, seeds[0], Gate(False, noted(found)))


def limits_for(config: FidelityConfig, *, source: DigitalSource, margins: Margins = NO_MARGINS) -> Limits:
    """What a picture of a renderer of this kind may measure, whose product must keep the `margins` free.

    A set that was put together without the product cannot go on past its mask: `extension` holds for models only.
    """
    left, top, right, bottom = (
        max(config.room, margin) for margin in (margins.left, margins.top, margins.right, margins.bottom)
    )
    return Limits(
        edge=config.edge,
        seam=config.seam,
        extension=math.inf if source == "compositeSynthetic" else config.extension,
        grounding=config.grounding,
        extent=config.extent,
        safe_zone=(left, top, right, bottom),
    )


def seeds_for(*names: str, first: int, tries: int) -> list[int]:
    """The seeds of at most `tries` pictures; the same names and first seed always give the same."""
    return [first, *(int(fingerprint([*names, first, number])[:8], 16) for number in range(1, tries))]


def reason(gate: Mapping[str, Any]) -> str:
    """Why no picture passed, from a `Gate` as it was noted in JSON: the failures of the last one."""
    last = gate["rejected"][-1]["failures"]
    said = "; ".join(f"{one['kind']} ({one['measured']:.3g}, limit {one['limit']:.3g})" for one in last)
    return f"{said} after {len(gate['rejected'])} pictures"
