"""What a renderer is: something that draws an advertising image around a product's untouched pixels.

One that is faster with several pictures at once is a `BatchRenderer`, and `render_all` finds out; one that draws scenes
is a `SceneRenderer`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from clickscape.types import Product

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from jaxtyping import UInt8

    from clickscape.render.scene import Scene
    from clickscape.render.staging import Staging

DigitalSource = Literal["compositeSynthetic", "trainedAlgorithmicMedia"]
"""IPTC DigitalSourceType: elements put together, some of them synthetic; or made by a trained model."""


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of pixels; it may reach over the picture's border."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Margins:
    """Shares of a picture's height (top, bottom) and width (right, left) that the product keeps free at its edges."""

    top: float = 0.0
    right: float = 0.0
    bottom: float = 0.0
    left: float = 0.0

    def __post_init__(self) -> None:
        for first, second in ((self.top, self.bottom), (self.left, self.right)):
            if min(first, second) < 0 or first + second > 0.8:
                raise ValueError(f"opposite margins must be ≥ 0 and leave a fifth of the picture, got {self}")

    def inside(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of what is left of a picture of `size` (width, height), in whole pixels."""
        width, height = size
        left, top = math.ceil(self.left * width), math.ceil(self.top * height)
        return left, top, math.floor(width - self.right * width), math.floor(height - self.bottom * height)


NO_MARGINS = Margins()
SMALLEST, LARGEST = 32, 4096  # pixels per side


def check_size(size: tuple[int, int]) -> None:
    """ValueError for a picture with a side of fewer than `SMALLEST` or more than `LARGEST` pixels."""
    if not all(SMALLEST <= side <= LARGEST for side in size):
        raise ValueError(f"each side of a picture must have {SMALLEST} to {LARGEST} pixels, got {size}")


Sides = tuple[bool, bool, bool, bool]
"""Left, top, right, bottom."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """A finished picture (height, width, 3) sRGB, and what a caller needs to know of how it was made.

    `scene`: None for a renderer that takes the words as they are. `parsed`: whether the picture shows what the
    description says. `unknown`: words that the renderer ignored. `product`: the placed cut-out (height, width, 4), sRGB
    and straight alpha, as it went on top of the picture. `staging`: how the product is shown, None where the renderer
    decided nothing. `cut_off`: the product is shown as its photo shows it, outline and shadow included, and whether the
    photo's end cuts it off left, top, right and bottom; None where it was cut out.
    """

    image: npt.NDArray[np.uint8]
    scene: Scene | None
    unknown: tuple[str, ...]
    product: npt.NDArray[np.uint8]
    parsed: bool = True
    staging: Staging | None = None
    cut_off: Sides | None = None

    @property
    def slots(self) -> dict[str, str | None] | None:
        """Return the scene as slot → value; None without a scene."""
        return None if self.scene is None else self.scene.slots

    @property
    def product_mask(self) -> UInt8[np.ndarray, "height width"]:
        """The product's alpha, (height, width)."""
        return self.product[..., 3]

    @property
    def content(self) -> str:
        """The scene as JSON, empty without one: renderings of equal content show the same set."""
        return self.scene.to_json() if self.scene is not None else ""


class Renderer(Protocol):
    """Draws a description around a product; the same arguments always give the same bytes."""

    name: str
    digital_source: DigitalSource

    @property
    def recipe(self) -> Mapping[str, object]:
        """Return the settings that decide what a picture looks like; part of a creative's record."""
        ...

    def render(
        self,
        product: Product,
        description: str,
        *,
        size: tuple[int, int],
        seed: int,
        margins: Margins = NO_MARGINS,
    ) -> Rendering:
        """An image of `size` (width, height); where the placed product is opaque, its pixels are the cut-out's.

        The product keeps the `margins` free; what surrounds it fills the whole picture.
        """
        ...


@runtime_checkable
class SceneRenderer(Renderer, Protocol):
    """A renderer that parses a description into a scene, and can draw a scene without a description."""

    def render_scene(
        self, product: Product, scene: Scene, *, size: tuple[int, int], seed: int, margins: Margins = NO_MARGINS
    ) -> Rendering:
        """Draw `scene` around the product at `size` (width, height)."""
        ...


@runtime_checkable
class BatchRenderer(Renderer, Protocol):
    """A renderer that draws several pictures together; every one is what `render` gives for it alone."""

    def render_many(
        self,
        products: Sequence[Product],
        descriptions: Sequence[str],
        *,
        sizes: Sequence[tuple[int, int]],
        seeds: Sequence[int],
        margins: Margins = NO_MARGINS,
    ) -> list[Rendering]:
        """One image per product, in order; sizes are (width, height)."""
        ...


def render_all(
    renderer: Renderer,
    products: Sequence[Product],
    descriptions: Sequence[str],
    *,
    size: tuple[int, int],
    seeds: Sequence[int],
) -> list[Rendering]:
    """One image of `size` (width, height) per product, in order; together where the renderer can."""
    if isinstance(renderer, BatchRenderer):
        return renderer.render_many(products, descriptions, sizes=[size] * len(products), seeds=seeds)
    return [
        renderer.render(product, description, size=size, seed=seed)
        for product, description, seed in zip(products, descriptions, seeds, strict=True)
    ]
