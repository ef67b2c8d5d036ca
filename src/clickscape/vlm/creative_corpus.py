"""What a shop's own creatives teach the prompt model: a `tasks.Corpus` for joint training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image

from clickscape.catalog.cutout import open_cutout, product_picture
from clickscape.catalog.images import open_image
from clickscape.errors import WorkspaceError
from clickscape.types import Creative, Product
from clickscape.vlm.prompts import MAX_ATTRIBUTES


class CreativeCorpus:
    """Each product with the descriptions that were written for it, and the pictures of both, `size` pixels wide.

    slots: every slot of scenes with its values. slots_of: a creative's own, None where nobody noted a scene.
    WorkspaceError where no creative of the products has a description.
    """

    def __init__(
        self,
        products: Sequence[Product],
        creatives: Sequence[Creative],
        *,
        size: int,
        slots: Mapping[str, tuple[str, ...]],
        slots_of: Callable[[Creative], Mapping[str, str | None] | None],
    ) -> None:
        by_id = {product.product_id: product for product in products}
        usable = [creative for creative in creatives if creative.product_id in by_id and creative.description.strip()]
        if not usable:
            raise WorkspaceError(
                "no creative of a training product has a description. Add some, or use the model as is."
            )
        self._descriptions: dict[str, list[str]] = {}
        for creative in usable:
            self._descriptions.setdefault(creative.product_id, []).append(creative.description)
        described = [product for product in products if product.product_id in self._descriptions]
        self.products: Sequence[Product] = described
        self.pictures = np.stack([product_picture(open_cutout(product.image), size=size) for product in described])
        self.ads = np.stack([_picture(creative, size) for creative in usable])
        self.ad_products: Sequence[Product] = [by_id[creative.product_id] for creative in usable]
        nothing: dict[str, str | None] = dict.fromkeys(slots)
        self.ad_slots: Sequence[Mapping[str, str | None]] = [slots_of(creative) or nothing for creative in usable]
        self.slots: Mapping[str, tuple[str, ...]] = slots
        self._captions = [creative.description for creative in usable]

    def describe(self, product: Product, rng: np.random.Generator) -> str:
        """One of the descriptions that were written for the product."""
        texts = self._descriptions[product.product_id]
        return texts[int(rng.integers(len(texts)))]

    def caption_ad(self, ad: int, rng: np.random.Generator) -> str:  # noqa: ARG002
        """The ad's own description, after its product's finest category or title."""
        product = self.ad_products[ad]
        return f"{(product.category or (product.title,))[-1].lower()}, {self._captions[ad]}"

    def caption_product(self, product: Product, rng: np.random.Generator) -> str:  # noqa: ARG002
        """The product's title and the attributes that instructions show as well."""
        return ", ".join([product.title, *list(product.attributes.values())[:MAX_ATTRIBUTES]]).lower()

    def invent(self, rng: np.random.Generator) -> Product:
        """A product of the catalog, to be described without its picture."""
        return self.products[int(rng.integers(len(self.products)))]

    def rough(self, description: str, rng: np.random.Generator) -> str:
        """The description's phrases, shuffled."""
        phrases = [phrase.strip() for phrase in description.split(",")]
        return " ".join(phrases[int(place)] for place in rng.permutation(len(phrases)))


def _picture(creative: Creative, size: int) -> np.ndarray:
    image = Image.fromarray(open_image(creative.image)[..., :3])
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))
