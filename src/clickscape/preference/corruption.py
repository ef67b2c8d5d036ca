"""Corrupted inputs x̃: the product with patches of its picture hidden, or with another product's text.

Either most of the picture is hidden, patch by patch of the vision tower's own grid (half a patch would still be seen),
or the text is that of a product of another department.  The answer stays y+ (Chen et al. 2025, section 3.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from clickscape.errors import PreferenceError
from clickscape.types import Product


@dataclass(frozen=True, slots=True)
class CorruptedInput:
    """How one input is corrupted: ``hidden`` patches of its picture, or the text of the product ``caption_of`` (an id).

    Patches are numbered row by row in the tower's grid; None where the product keeps its own text.
    """

    hidden: tuple[int, ...] = ()
    caption_of: str | None = None

    def __post_init__(self) -> None:
        if bool(self.hidden) == (self.caption_of is not None):
            raise ValueError(f"an input is corrupted in exactly one way, got {self}")


class Captions:
    """Products whose text can stand in for another's: always another product, of another department.

    PreferenceError for a catalog with one product or one department, from which no other caption can be drawn.
    """

    def __init__(self, products: Sequence[Product]) -> None:
        departments = sorted({product.department for product in products})
        if len({product.product_id for product in products}) < 2 or len(departments) < 2:
            known = f"1 department ({departments[0] or 'none named'})" if departments else "no department"
            raise PreferenceError(
                f"{len(products)} product(s) in {known}: the product-centric term needs the text of another "
                f"department's product. Add products of a second category, or set objective = 'preference_only'."
            )
        self._others = {
            department: tuple(product.product_id for product in products if product.department != department)
            for department in departments
        }

    def draw(self, product: Product, *, rng: np.random.Generator) -> str:
        """The id of a product of another department than `product`'s."""
        others = self._others[product.department]
        return others[int(rng.integers(len(others)))]


def draw(
    product: Product,
    *,
    captions: Captions,
    patches: int,
    mask_ratio: float,
    caption_swap_share: float,
    rng: np.random.Generator,
) -> CorruptedInput:
    """Choose how one input is corrupted; `patches` is the number of patches in the tower's grid."""
    if rng.random() < caption_swap_share:
        return CorruptedInput(caption_of=captions.draw(product, rng=rng))
    count = min(patches, max(1, round(mask_ratio * patches)))
    return CorruptedInput(hidden=tuple(sorted(int(patch) for patch in rng.permutation(patches)[:count])))


def hide_patches(picture: np.ndarray, hidden: Sequence[int], *, patch: int, size: int) -> np.ndarray:
    """The picture at the tower's size (size × size) with the named patches in its mean color, uint8 RGB.

    It is resized first, as the processor would, so that what is filled is exactly what the tower's patches cover.
    """
    if size % patch:
        raise ValueError(f"a picture of {size} px has no whole grid of {patch} px patches")
    if picture.shape[:2] != (size, size):
        picture = np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC))
    corrupted = picture.copy()
    mean = picture.reshape(-1, 3).mean(0).round().astype(np.uint8)
    across = size // patch
    for number in hidden:
        row, column = divmod(number, across)
        corrupted[row * patch : (row + 1) * patch, column * patch : (column + 1) * patch] = mean
    return corrupted
