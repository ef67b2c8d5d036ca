"""Stage `refresh`: creatives whose product has another picture or other words by now, and the same ads drawn anew.

A creative notes a digest of the product that it was made from. Nothing is drawn behind anybody's back: what is stale is
shown by `review` and left out of exports until somebody asks for it anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from clickscape import render
from clickscape.catalog.images import open_image
from clickscape.stages.progress import Progress, Stage
from clickscape.types import Creative, CreativeStatus, Product
from clickscape.workspace import Workspace, fingerprint

STAGE = "refresh"
_NEWS = ("availability",)  # attributes that change from day to day and say nothing about the picture


def product_digest(product: Product) -> str:
    """Hex digest of what a creative is made from: the product's words and the content of its picture."""
    told = {key: value for key, value in product.attributes.items() if key not in _NEWS}
    picture = Path(product.image)
    seen = fingerprint(picture) if picture.is_file() else ""
    return fingerprint([product.product_id, product.title, product.category, product.tags, told, seen])


def stale(creatives: Sequence[Creative], products: Mapping[str, Product]) -> frozenset[str]:
    """Ids of the creatives whose product has changed since; one without a digest, or without a product, is not."""
    noted = {one.product_id for one in creatives if one.product_digest} & set(products)
    digests = {product_id: product_digest(products[product_id]) for product_id in noted}
    return frozenset(
        one.creative_id
        for one in creatives
        if one.product_digest and one.product_digest != digests.get(one.product_id, one.product_digest)
    )


def refresh(workspace: Workspace) -> Stage[int]:
    """Draw every stale draft, approved or live creative anew for its product as it is now; returns how many.

    The new one is a draft with the same description and seed, whose parent is the old one. Old drafts and approved ones
    are retired; a live one stays live until its successor is approved and put in its place.
    """
    with workspace.lock():
        creatives = workspace.creatives()
        products = {product.product_id: product for product in workspace.products()}
        wanted = stale(creatives, products)
        known = {one.creative_id for one in creatives}
        waiting = [one for one in creatives if one.creative_id in wanted and one.status not in ("rejected", "retired")]
        drawn: list[Creative] = []
        retired: dict[str, CreativeStatus] = {}
        names = sorted({one.renderer for one in waiting})
        renderers = {name: render.load(name, settings=workspace.settings) for name in names}
        yield Progress(STAGE, 0, len(waiting))
        for number, old in enumerate(waiting, start=1):
            new = _successor(old, products[old.product_id], workspace)
            if old.status != "live":
                retired[old.creative_id] = "retired"
            if new.creative_id not in known:
                drawn.append(_drawn(new, products[old.product_id], workspace, renderers[old.renderer]))
            yield Progress(STAGE, number, len(waiting), new.creative_id)
        if drawn:
            workspace.append_creatives(drawn)
        if retired:
            workspace.mark_creatives(retired)
        return len(drawn)


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


def _drawn(new: Creative, product: Product, workspace: Workspace, renderer: render.Renderer) -> Creative:
    """Draw and save the picture at the size of the old one; what the renderer made of the words is noted anew."""
    assert new.parent_id is not None
    height, width = open_image(workspace.image_path(new.parent_id)).shape[:2]
    made = renderer.render(product, new.description, size=(width, height), seed=new.seed)
    workspace.save_image(new.creative_id, made.image)
    return replace(new, scene=json.loads(made.content or "{}"))
