"""Ads on the backdrop of a product's own photo, in place of a scene around a cut-out that cannot be trusted.

A cut-out that is right but for a shadow or a hair makes a scene that nobody would publish, and no click says otherwise
before there are any: docs/concepts/publishable.md has the figures. No model writes for such an ad, since everything
that can be said of it is a tint, a light and a place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from clickscape.catalog.own_photo import has_own_photo
from clickscape.render.own_backdrop import LIGHTS, TINTS, Backdrop, PhotoRenderer, possible_places
from clickscape.render.photo_backdrop import PhotoBackdrop
from clickscape.types import Product

if TYPE_CHECKING:
    from clickscape.generation.select import CandidateSelector

MODEL_ID = "own-backdrop-v1"
"""`model_id` of creatives that no model wrote."""

_FEWEST, _MOST = 3, 18  # of 18 with six tints no two are the same


def drawn_on_own_backdrop(product: Product, renderer: PhotoRenderer, *, size: int) -> PhotoBackdrop | None:
    """Return the backdrop of a product's photo if it fills a square picture of `size` pixels, else None."""
    if not has_own_photo(product.image):
        return None
    found = renderer.backdrop(product)
    return found if found.can_be_drawn((size, size)) else None


def descriptions(found: PhotoBackdrop, *, count: int, size: int, rng: np.random.Generator) -> list[str]:
    """Return `count` descriptions of square pictures, at least three, or as many as there are that look different.

    A backdrop that takes on no tint has its own color in all of them; one that is a place has its own light as well,
    and one that cannot be moved shows the product in one place.
    """
    tints: Sequence[str | None] = [str(name) for name in rng.permutation(list(TINTS))] if found.is_neutral else [None]
    lights = list(LIGHTS) if found.is_plain else ["soft"]
    places = possible_places(found, (size, size))
    made = [
        Backdrop(tints[number % len(tints)], lights[number % len(lights)], places[(number + number // 3) % len(places)])
        for number in range(min(max(count, _FEWEST), _MOST))
    ]
    return [str(one) for one in dict.fromkeys(made)]


def for_own_backdrop(selector: CandidateSelector, renderer: PhotoRenderer) -> CandidateSelector:
    """Return a selector of such descriptions: nothing is written again or edited, and none can be irrelevant."""
    return replace(
        selector,
        pipeline=replace(selector.pipeline, renderer=renderer, relevance=None),
        config=selector.config.model_copy(update={"rewrites": 0, "max_overlap": 1.0}),
        style=replace(selector.style, rules=selector.style.rules.model_copy(update={"edit": False})),
    )
