"""What `pretrain_tiny.py` teaches: the sample catalog, its rendered ads and the simulated copywriter's words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from clickscape.catalog import sample
from clickscape.render.scene import Scene
from clickscape.simulator import writer
from clickscape.simulator.vocabulary import PHRASES, SLOTS
from clickscape.types import Product
from invented_texts import caption, rough, text_product


@dataclass(frozen=True)
class SampleCorpus:
    """The sample catalog, its rendered ads and the imperfect copywriter; see `clickscape.vlm.tasks.Corpus`."""

    products: Sequence[Product]
    pictures: np.ndarray
    ads: np.ndarray
    ad_products: Sequence[Product]
    ad_slots: Sequence[Mapping[str, str | None]]
    slots: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: SLOTS)

    def describe(self, product: Product, rng: np.random.Generator, *, plain: bool = False) -> str:
        description, scene = writer.write(product, rng)
        return _plainly(product, scene, rng) if plain else description

    def caption_ad(self, ad: int, rng: np.random.Generator) -> str:
        noun = sample.object_of(self.ad_products[ad].product_id).noun
        return caption(Scene.from_slots(self.ad_slots[ad]), noun, rng)

    def caption_product(self, product: Product, rng: np.random.Generator) -> str:
        color, noun = product.attributes["color"], sample.object_of(product.product_id).noun
        return (f"{color} {noun}", f"{noun}, {color}", f"product photo of {color} {noun}")[int(rng.integers(3))]

    def invent(self, rng: np.random.Generator) -> Product:
        return text_product(rng)

    def rough(self, description: str, rng: np.random.Generator) -> str:
        return rough(description, rng)


def _plainly(product: Product, scene: Scene, rng: np.random.Generator) -> str:
    """The plainest name of every slot, in any order; half of the time the product's department comes first.

    To name the department teaches to find it in the prompt, which scenes alone would teach slowly.
    """
    named = {slot: PHRASES[slot][value][0] for slot, value in scene.slots.items() if value is not None}
    phrases = [named["setting"], named["prop"], f"{named['surface']} {named['stand']}", named["light"]]
    if "palette" in named:
        phrases.append(f"{named['palette']} wall")
    if rng.random() < 0.5:
        phrases = [phrases[int(place)] for place in rng.permutation(len(phrases))]
    text = ", ".join(phrases)
    return f"{product.department}: {text}" if rng.random() < 0.5 else text
