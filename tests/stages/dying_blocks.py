"""Stage `generate`'s function for workers, in which one product kills them; in a module of its own that they import."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

from clickscape.compute.engines import Failure
from clickscape.errors import ImageError
from clickscape.generation.creative_record import ProductRecord
from clickscape.generation.select import CandidateSelector
from clickscape.stages.generate_block import Block, Recipe, draw_block

KILLER = "running_shoe-navy"


def dying_block(
    block: Block, *, recipe: Recipe, selector: CandidateSelector | None = None
) -> Iterator[tuple[str, Any]]:
    """`draw_block`, but at one product every worker is killed, as by the kernel; this process only fails at it."""
    for drawn in draw_block(block.without(KILLER), recipe=recipe, selector=selector):
        yield drawn
        if KILLER in block.works and selector is None and isinstance(drawn[1], ProductRecord):
            (recipe.out.parent / f"died-{os.getpid()}").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    if KILLER in block.works:
        yield KILLER, Failure(ImageError("it is too much"))
