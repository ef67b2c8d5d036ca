"""Stage `refresh`: creatives whose product has another picture or other words by now, and the same ads drawn anew.

A creative notes a digest of the product that it was made from. Nothing is drawn behind anybody's back: what is stale is
shown by `review` and left out of exports until somebody asks for it anew.  What is drawn anew passes the fidelity gate.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from clickscape.catalog.images import check_image
from clickscape.catalog.publishable import product_digest, stale
from clickscape.compute.engines import HERE, Failure, attempt, failure_of_loss, map_items
from clickscape.config import Settings
from clickscape.generation.rendition import open_renderer
from clickscape.generation.retry import GateRecord, fidelity_limits, refusal_reason, render_until_pass, retry_seeds
from clickscape.stages.progress import Progress, Stage
from clickscape.types import Creative, CreativeStatus, Product
from clickscape.workspace import Workspace, save_ad

STAGE = "refresh"
_LARGEST_SIDE = 4_096  # pixels, as of the setting generate.size


@dataclass(frozen=True, slots=True)
class Refreshed:
    """How many creatives were drawn anew, and those that could not be or did not pass the gate, with the reason."""

    drawn: int
    refused: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """What to tell people."""
        left_out = (f"left out and still stale: {one}" for one in self.refused)
        if not self.drawn and not self.refused:
            return ("no creative is stale: nothing was drawn",)
        return (f"{self.drawn} creatives drawn anew, as drafts", *left_out)


def refresh(workspace: Workspace, *, workers: int = 1) -> Stage[Refreshed]:
    """Draw every stale draft, approved or live creative anew for its product as it is now.

    The new one is a draft with the same description, whose parent is the old one, and with the same seed unless the
    fidelity gate rejects that picture. Old drafts and approved ones are retired; a live one stays live until its
    successor is approved and put in its place. A creative of which no picture passes, or that cannot be drawn, keeps
    its status, stays stale and is named. workers: processes that draw side by side.
    """
    settings = workspace.settings
    config = {"tries": settings.generate.tries, "fidelity": settings.fidelity.model_dump()}
    with workspace.start_run(STAGE, config, {"creatives": [asdict(one) for one in workspace.some_creatives()]}) as run:
        creatives = workspace.creatives()
        products = {product.product_id: product for product in workspace.products()}
        wanted = stale(creatives, products)
        known = {one.creative_id for one in creatives}
        waiting = [one for one in creatives if one.creative_id in wanted and one.status not in ("rejected", "retired")]
        drawn: list[Creative] = []
        refused: list[str] = []
        retired: dict[str, CreativeStatus] = {}
        pairs = [(old, _successor(old, products[old.product_id], workspace)) for old in waiting]
        jobs = [_Job(new, products[old.product_id], settings) for old, new in pairs if new.creative_id not in known]
        outcomes = _outcomes(workspace, jobs, workers=workers)
        yield Progress(STAGE, 0, len(waiting))
        for number, (old, new) in enumerate(pairs, start=1):
            problem = ""
            if new.creative_id not in known:
                outcome = next(outcomes)
                if isinstance(outcome, Failure):
                    problem = outcome.reason
                else:
                    run.log({"creative_id": new.creative_id, "seed": outcome.seed, "gate": asdict(outcome.gate)})
                    if outcome.content is None:
                        problem = f"no picture passed the fidelity gate: {refusal_reason(outcome.gate)}"
                    else:
                        drawn.append(replace(new, seed=outcome.seed, scene=json.loads(outcome.content or "{}")))
            if problem:
                refused.append(f"{old.creative_id}: {problem}")
            elif old.status != "live":
                retired[old.creative_id] = "retired"
            yield Progress(STAGE, number, len(waiting), new.creative_id)
        if drawn:
            workspace.append_creatives(drawn)
        if retired:
            workspace.mark_creatives(retired)
        result = Refreshed(len(drawn), tuple(refused))
        run.finish(result=asdict(result))
        return result


def _successor(old: Creative, product: Product, workspace: Workspace) -> Creative:
    digest = product_digest(product)
    name = f"{old.creative_id}-r{digest[:8]}"
    return replace(
        old,
        creative_id=name,
        image=str(workspace.image_path(name)),
        parent_id=old.creative_id,
        status="draft",
        product_digest=digest,
    )


@dataclass(frozen=True, slots=True)
class _Job:
    """A creative to draw anew: everything a worker needs."""

    new: Creative
    product: Product
    settings: Settings


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of a picture that is saved: its seed, the gate, and its scene as JSON; None when none passed."""

    seed: int
    gate: GateRecord
    content: str | None


def _outcomes(workspace: Workspace, jobs: Sequence[_Job], *, workers: int) -> Iterator[_Outcome | Failure]:
    """Draw and save the pictures, in their order, by the engine of the settings."""
    draw = partial(attempt, partial(_draw, path=workspace.path))
    compute = workspace.settings.compute if len(jobs) > 1 else HERE
    folder = workspace.creatives_path.parent
    return map_items(draw, jobs, compute=compute, workers=workers, chunk=4, lost=failure_of_loss, folder=folder)


def _draw(job: _Job, *, path: Path) -> _Outcome:
    """Draw a picture at the size of the old one, with other seeds until one passes the gate, and save it."""
    workspace, new, settings = Workspace(path), job.new, job.settings
    assert new.parent_id is not None
    renderer = open_renderer(new.renderer, settings)
    width, height = check_image(workspace.image_path(new.parent_id), max_pixels=_LARGEST_SIDE**2)
    found = render_until_pass(
        lambda seed: renderer.render(job.product, new.description, size=(width, height), seed=seed),
        seeds=retry_seeds(job.product.product_id, first=new.seed, tries=settings.generate.tries),
        limits=fidelity_limits(settings.fidelity, source=renderer.digital_source),
    )
    if found.rendering is not None:
        save_ad(workspace, new.creative_id, found.rendering.image, found.rendering.product_mask)
    return _Outcome(found.seed, found.gate, None if found.rendering is None else found.rendering.content)
