"""Render until the fidelity gate lets an image pass, a bounded number of times, each with another seed.

What was refused is noted with its reason: a run that silently renders twice as much hides a broken renderer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clickscape.config import FidelityConfig
from clickscape.files import fingerprint
from clickscape.gates import fidelity
from clickscape.gates.fidelity import Limits
from clickscape.gates.result import Failure
from clickscape.render.renderer import NO_MARGINS, DigitalSource, Margins, Renderer, Rendering, render_all
from clickscape.types import Product

if TYPE_CHECKING:
    from clickscape.generation.sample import Candidate  # brings models along, which an export does not need


@dataclass(frozen=True, slots=True)
class Attempt:
    """An image that the gate refused: the seed that drew it, and each failure with what was measured and allowed."""

    seed: int
    failures: tuple[Failure, ...]


@dataclass(frozen=True, slots=True)
class GateRecord:
    """Result of the fidelity gate for one creative: whether an image passed, and the refused ones before it."""

    passed: bool
    rejected: tuple[Attempt, ...]


@dataclass(frozen=True, slots=True, eq=False)
class GatedRendering:
    """The rendering that passed, None when none did; the seed that drew it, the first one when none did; the gate."""

    rendering: Rendering | None
    seed: int
    gate: GateRecord


def render_until_pass(render: Callable[[int], Rendering], *, seeds: Sequence[int], limits: Limits) -> GatedRendering:
    """Render with one seed after the other until an image passes; `render`: seed → rendering.

    ValueError for no seed.
    """
    if not seeds:
        raise ValueError("at least one seed is needed to render with")
    refused: list[Attempt] = []
    for seed in seeds:
        rendered = render(seed)
        pose = rendered.staging.pose if rendered.staging else "stands"
        result = fidelity.check(rendered.image, rendered.product, limits=limits, pose=pose, cut_off=rendered.cut_off)
        if result.passed:
            return GatedRendering(rendered, seed, GateRecord(True, tuple(refused)))
        refused.append(Attempt(seed, result.failures))
    return GatedRendering(None, seeds[0], GateRecord(False, tuple(refused)))


def render_candidates(
    product: Product, candidates: Sequence[Candidate], *, renderer: Renderer, size: int, tries: int, limits: Limits
) -> list[GatedRendering]:
    """Render one product's candidates at `size` × `size`, together where the renderer can; refused ones again, alone.

    A candidate's first image has its own seed; at most `tries` are rendered of each.
    """
    first = render_all(
        renderer,
        [product] * len(candidates),
        [candidate.text for candidate in candidates],
        size=(size, size),
        seeds=[candidate.seed for candidate in candidates],
    )

    def gated(candidate: Candidate, rendered: Rendering) -> GatedRendering:
        def render(seed: int) -> Rendering:
            if seed == candidate.seed:
                return rendered
            return renderer.render(product, candidate.text, size=(size, size), seed=seed)

        seeds = retry_seeds(product.product_id, first=candidate.seed, tries=tries)
        return render_until_pass(render, seeds=seeds, limits=limits)

    return [gated(candidate, rendered) for candidate, rendered in zip(candidates, first, strict=True)]


def fidelity_limits(config: FidelityConfig, *, source: DigitalSource, margins: Margins = NO_MARGINS) -> Limits:
    """Return what an image of this kind of renderer may measure, whose product must keep the `margins` free.

    A set that was put together without the product cannot go on past its mask: `extension` holds for models only.
    """
    left, top, right, bottom = (
        max(config.room, margin) for margin in (margins.left, margins.top, margins.right, margins.bottom)
    )
    return Limits(
        edge=config.edge,
        seam=config.seam,
        extension=math.inf if source == "compositeSynthetic" else config.extension,
        contact_shadow=config.contact_shadow,
        extent=config.extent,
        safe_zone=(left, top, right, bottom),
        blending=config.blending,
        clutter=config.clutter,
    )


def retry_seeds(*names: str, first: int, tries: int) -> list[int]:
    """Return the seeds of at most `tries` images; the same names and first seed always give the same."""
    return [first, *(int(fingerprint([*names, first, number])[:8], 16) for number in range(1, tries))]


def refusal_reason(gate: GateRecord) -> str:
    """Return why no image passed, and what to do: the failures of the last one."""
    last = gate.rejected[-1].failures
    listed = "; ".join(
        f"{one.remedy.rstrip('.')} ({one.kind}: {one.measured:.3g}, "
        f"at {'most' if one.measured > one.limit else 'least'} {one.limit:.3g})"
        for one in last
    )
    tried = len(gate.rejected)
    return f"{listed}; {'1 picture was' if tried == 1 else f'{tried} pictures were'} tried"
