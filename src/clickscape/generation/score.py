"""Render descriptions and score the images; every loop and every benchmark uses this one function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clickscape.errors import PreferenceError
from clickscape.generation.pipeline import AdPipeline
from clickscape.render.renderer import Rendering, render_all
from clickscape.types import Product

if TYPE_CHECKING:
    from clickscape.reward.protocol import Slots


@dataclass(frozen=True, slots=True, eq=False)
class ScoredAd:
    """A description of a product, the image that was rendered for it with `seed`, and its reward (logits)."""

    product: Product
    description: str
    seed: int
    rendering: Rendering
    score: float

    @property
    def parsed(self) -> bool:
        """Whether the image shows what the description says."""
        return self.rendering.parsed

    @property
    def slots(self) -> Slots | None:
        """The scene that was rendered, slot → value; None for a renderer without scenes."""
        return self.rendering.slots


def render_and_score(
    products: Sequence[Product],
    descriptions: Sequence[str],
    *,
    pipeline: AdPipeline,
    size: int,
    seeds: Sequence[int],
) -> list[ScoredAd]:
    """Render one square image of `size` pixels per description and score it; all sequences are (ad,).

    The pipeline's relevance gate is not asked. PreferenceError for a reward model that gives anything but one finite
    number per image.
    """
    rendered = render_all(pipeline.renderer, products, descriptions, size=(size, size), seeds=seeds)
    scenes = [one.slots for one in rendered]
    scores = np.zeros(len(rendered))
    if pipeline.reward is not None:
        images = [one.image for one in rendered]
        scores = np.asarray(pipeline.reward.score(products, images, scenes), dtype=np.float64)
    if scores.shape != (len(rendered),) or not np.isfinite(scores).all():
        raise PreferenceError(
            f"the reward model gave {scores.shape} scores, {int(np.isnan(scores).sum())} of them not a number, for "
            f"{len(rendered)} images; one finite number per image is expected. Train the reward model again."
        )
    return [
        ScoredAd(product, text, seed, one, float(score))
        for product, text, seed, one, score in zip(products, descriptions, seeds, rendered, scores, strict=True)
    ]


def image_seeds(count: int, *, rng: np.random.Generator) -> list[int]:
    """Return a seed for every image, no two the same."""
    first = int(rng.integers(2**31 - count))
    return list(range(first, first + count))
