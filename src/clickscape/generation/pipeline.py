"""The parts that make a scored ad of a description, as one frozen object that the loops hand on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

from clickscape.catalog.cutout import open_cutout, product_picture
from clickscape.compute.device import ALONE, Processes
from clickscape.gates.relevance import Relevance
from clickscape.render.renderer import Renderer
from clickscape.types import Product

if TYPE_CHECKING:
    from clickscape.reward.protocol import Slots

ProductImages = Callable[[Product], np.ndarray]
"""Product → the image of it that the prompt model is shown: uint8 (height, width, 3) sRGB."""


class Reward(Protocol):
    """Protocol of a reward model: one score per image, in logits; only differences within a product are meaningful."""

    def score(
        self, products: Sequence[Product], images: Sequence[np.ndarray], scenes: Sequence[Slots | None] | None = None, /
    ) -> np.ndarray:
        """(image,) float; `scenes`: those that were rendered, None where nobody knows."""
        ...


@dataclass(frozen=True, slots=True)
class AdPipeline:
    """A renderer and what scores and gates its images.

    ``reward``: None scores every image 0. ``product_images``: None shows the prompt model the cut-out on a plain
    background. ``relevance``: None asks no gate. ``processes``: those that share the products.
    """

    renderer: Renderer
    reward: Reward | None
    product_images: ProductImages | None = None
    relevance: Relevance | None = None
    processes: Processes = ALONE


def cutout_images(size: int) -> ProductImages:
    """Return a function that gives the bare product on a plain background, `size` pixels square, from its cut-out file.

    A product without a file gets the background alone.
    """
    from clickscape.vlm.generate import BLANK

    @lru_cache(maxsize=512)  # a round asks for each up to three times: to write, to learn, to estimate the KL
    def image(file: str) -> np.ndarray:
        return product_picture(open_cutout(file), size=size)

    blank = np.full((size, size, 3), BLANK, np.uint8)
    return lambda product: image(product.image) if product.image else blank
