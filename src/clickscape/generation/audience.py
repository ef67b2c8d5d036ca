"""Ads for an audience: a writer reads of it among the product's attributes, and the reward asks who looks.

An ad for somebody is the product with one attribute more. So everything that writes, draws, compares and learns takes
audiences as it takes products: a round draws some of both, a preference pair is of one product for one audience, and
the writer shares what audiences have in common (everybody's ads are among them).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from clickscape.types import Product

if TYPE_CHECKING:
    from clickscape.reward.protocol import Floats, Image, RewardModel, Slots

_ATTRIBUTE = "shown to"
_MARK = "\x1f"


def product_for(product: Product, audience: str) -> Product:
    """Return the product as it is told to who writes for an audience; as it is for "", which is everybody."""
    if not audience:
        return product
    return replace(product, attributes={_ATTRIBUTE: audience, **product.attributes})


def products_for(products: Iterable[Product], audiences: Sequence[str]) -> list[Product]:
    """Return every product for everybody and for each audience, with ids of their own (`original_id`)."""
    return [
        replace(product_for(product, name), product_id=f"{product.product_id}{_MARK}{name}") if name else product
        for product in products
        for name in ("", *audiences)
    ]


def audience_of(product: Product) -> str:
    """Return whom a product is shown to, "" for everybody."""
    return product.attributes.get(_ATTRIBUTE, "")


def original_id(product_id: str) -> str:
    """Return the id in the catalog of what `products_for` returned."""
    return product_id.partition(_MARK)[0]


@dataclass(frozen=True, slots=True, eq=False)
class AudienceReward:
    """A reward model that scores every ad by whom it is for (`generation.pipeline.Reward`)."""

    model: RewardModel
    _of: dict[str, RewardModel] = field(default_factory=dict)

    def score(
        self, products: Sequence[Product], images: Sequence[Image], scenes: Sequence[Slots | None] | None = None, /
    ) -> Floats:
        """Return one logit per image, (image,); see `RewardModel.score`."""
        audiences = np.array([audience_of(product) for product in products], dtype=object)
        found = np.zeros(len(products))
        for name in dict.fromkeys(audiences.tolist()):
            rows = np.flatnonzero(audiences == name).tolist()
            model = self._of.setdefault(name, self.model.for_audience(name))
            some = None if scenes is None else [scenes[row] for row in rows]
            found[rows] = model.score([products[row] for row in rows], [images[row] for row in rows], some)
        return found
