"""Stage `draw`: ads of one product by descriptions that somebody wrote, as drafts in the table `creatives`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from clickscape import render
from clickscape.catalog.publishable import product_digest
from clickscape.errors import WorkspaceError
from clickscape.files import fingerprint
from clickscape.generation.retry import fidelity_limits, refusal_reason, render_until_pass, retry_seeds
from clickscape.stages.progress import Progress, Stage
from clickscape.types import Creative, Product
from clickscape.workspace import Workspace

STAGE = "draw"
BY_HAND = "by-hand"
"""`model_id` of a creative whose description no model wrote."""

_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Drawn:
    """The creatives of the descriptions, in their order, and why those that are missing have no picture."""

    creatives: tuple[Creative, ...]
    refused: tuple[str, ...]


def draw(
    workspace: Workspace, product_id: str, descriptions: Sequence[str], *, seed: int = 0, parent_id: str | None = None
) -> Stage[Drawn]:
    """Draw a product once per description and add the pictures that pass the fidelity gate as drafts.

    The same description and seed of the same product give the same creative, which is not drawn twice. `parent_id`: of
    the creative whose description was edited. WorkspaceError for an unknown product and for an empty or overlong text.
    """
    settings = workspace.settings
    with workspace.lock():
        product = find_product(workspace, product_id)
        wrong = next((one for one in descriptions if not one.strip() or len(one) > _LONGEST), None)
        if wrong is not None:
            raise WorkspaceError(f"a description of {len(wrong)} characters: expected 1 to {_LONGEST}. Rewrite it.")
        renderer = render.load(settings.generate.renderer, settings=settings)
        limits = fidelity_limits(settings.fidelity, source=renderer.digital_source)
        known = {one.creative_id: one for one in workspace.creatives()}
        made: list[Creative] = []
        refused: list[str] = []
        size = settings.generate.size
        for number, text in enumerate(descriptions):
            yield Progress(STAGE, number, len(descriptions), text)
            digest = product_digest(product)
            name = f"{product_id}-{fingerprint([text, seed, digest, renderer.recipe, size])[:8]}"
            if name in known:
                made.append(known[name])
                continue
            first = seed + int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
            outcome = render_until_pass(
                partial(_render, renderer, product, text, size),
                seeds=retry_seeds(product_id, first=first, tries=settings.generate.tries),
                limits=limits,
            )
            if (drawn := outcome.rendering) is None:
                refused.append(f"{text}: {refusal_reason(outcome.gate)}")
                continue
            workspace.save_image(name, drawn.image)
            workspace.save_mask(name, drawn.product_mask)
            image, scene = str(workspace.image_path(name)), json.loads(drawn.content or "{}")
            made.append(
                Creative(name, product_id, image, text, scene, settings.generate.renderer, BY_HAND, outcome.seed,
                         parent_id=parent_id, product_digest=digest)
            )  # fmt: skip
            workspace.append_creatives(made[-1:])
        yield Progress(STAGE, len(descriptions), len(descriptions))
    return Drawn(tuple(made), tuple(refused))


def _render(renderer: render.Renderer, product: Product, text: str, size: int, seed: int) -> render.Rendering:
    return renderer.render(product, text, size=(size, size), seed=seed)


def find_product(workspace: Workspace, product_id: str) -> Product:
    """Return a product of the catalog; WorkspaceError when there is none of this id."""
    found = next((product for product in workspace.products() if product.product_id == product_id), None)
    if found is None:
        raise WorkspaceError(f"{workspace.path} has no product {product_id!r}. Name one of catalog/products.parquet.")
    return found
