"""The four instruction tasks of pre-training (Chen et al. 2025, section 3.1), drawn from a corpus.

What the corpus knows (a copywriter, rendered ads, products with and without pictures) comes in through a protocol: this
room knows no renderer and no simulator. Prompts sometimes lack their category, their attributes or their picture,
so that the model leans on no single clue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from jaxtyping import UInt8

from clickscape.types import Product
from clickscape.vlm.batch import Sample
from clickscape.vlm.generate import BLANK
from clickscape.vlm.prompts import INSTRUCTIONS, MAX_ATTRIBUTES, TaskName, instruction

MIX: Mapping[TaskName, float] = {"describe": 0.5, "caption": 0.28, "describe_from_image": 0.12, "rewrite": 0.1}
"""Share of each task in joint training."""

_WITHOUT_CATEGORY, _WITHOUT_ATTRIBUTES = 0.12, 0.12
_INVENTED = 0.45  # products without a picture among those to describe
_CAPTIONED_ADS = 0.8  # the rest are bare products
_UNSEEN = 0.1  # products with a picture that is not shown
_BLANK = 0.6  # invented products that come with a blank picture; the others come with none


class Corpus(Protocol):
    """Protocol of a pre-training corpus: products, pictures, ads and their texts."""

    products: Sequence[Product]
    """Products that have a picture."""
    pictures: np.ndarray
    """Their pictures, uint8 (product, size, size, 3)."""
    ads: np.ndarray
    """Rendered ads, uint8 (ad, size, size, 3)."""
    ad_products: Sequence[Product]
    """The product of every ad."""
    ad_slots: Sequence[Mapping[str, str | None]]
    """What the scene of every ad shows, one value per slot; None where the slot does not apply."""
    slots: Mapping[str, tuple[str, ...]]
    """Every slot with all its values."""

    def describe(self, product: Product, rng: np.random.Generator) -> str:
        """A background description for the product, as people write it: not always a fitting one."""
        ...

    def caption_ad(self, ad: int, rng: np.random.Generator) -> str:
        """What the ad shows, product and scene."""
        ...

    def caption_product(self, product: Product, rng: np.random.Generator) -> str:
        """What the bare picture of a product shows."""
        ...

    def invent(self, rng: np.random.Generator) -> Product:
        """A product without a picture."""
        ...

    def rough(self, description: str, rng: np.random.Generator) -> str:
        """The description as hasty keywords."""
        ...


@dataclass(frozen=True)
class Question:
    """A question with its answers; ``picture`` is its row in `picture_bank`, None for a text-only one."""

    task: TaskName
    sample: Sample
    picture: int | None
    answers: tuple[str, ...]


def picture_bank(corpus: Corpus) -> UInt8[np.ndarray, "picture size size 3"]:
    """All pictures that a question can show: ads, products, and last a blank one; uint8 (picture, size, size, 3)."""
    blank = np.full((1, *corpus.pictures.shape[1:]), BLANK, np.uint8)
    return np.concatenate([corpus.ads, corpus.pictures, blank])


def draw(
    corpus: Corpus, bank: UInt8[np.ndarray, "picture size size 3"], rng: np.random.Generator, *, answers: int
) -> Question:
    """One question of the joint training, with as many answers as it has room for."""
    task = _task(rng)
    if task == "rewrite":
        return rewrite(corpus, rng)
    if task == "caption":
        return _caption(corpus, bank, rng, answers=answers)
    if task == "describe_from_image":
        row = int(rng.integers(len(corpus.products)))
        product, picture = corpus.products[row], len(corpus.ads) + row
        sample = Sample(instruction(task, variant=random_variant(task, rng)), (bank[picture],))
        return Question(task, sample, picture, tuple(corpus.describe(product, rng) for _ in range(answers)))
    return _describe(corpus, bank, rng, answers=answers)


def rewrite(corpus: Corpus, rng: np.random.Generator) -> Question:
    """A rough prompt to be put into good order; no picture, one answer."""
    product = random_product(corpus, rng)
    answer = corpus.describe(product, rng)
    words = instruction("rewrite", corpus.rough(answer, rng), variant=random_variant("rewrite", rng))
    return Question("rewrite", Sample(words), None, (answer,))


def _describe(corpus: Corpus, bank: np.ndarray, rng: np.random.Generator, *, answers: int) -> Question:
    picture: int | None
    if rng.random() < _INVENTED:
        product = corpus.invent(rng)
        picture = len(bank) - 1 if rng.random() < _BLANK else None
    else:
        row = int(rng.integers(len(corpus.products)))
        product = corpus.products[row]
        picture = len(bank) - 1 if rng.random() < _UNSEEN else len(corpus.ads) + row
    words = instruction("describe", forgetful(product, rng), variant=random_variant("describe", rng))
    images = () if picture is None else (bank[picture],)
    written = tuple(corpus.describe(product, rng) for _ in range(answers))
    return Question("describe", Sample(words, images), picture, written)


def _caption(corpus: Corpus, bank: np.ndarray, rng: np.random.Generator, *, answers: int) -> Question:
    words = instruction("caption", variant=random_variant("caption", rng))
    if rng.random() < _CAPTIONED_ADS:
        picture = int(rng.integers(len(corpus.ads)))
        written = tuple(corpus.caption_ad(picture, rng) for _ in range(answers))
    else:
        row = int(rng.integers(len(corpus.products)))
        picture = len(corpus.ads) + row
        written = (corpus.caption_product(corpus.products[row], rng),)
    return Question("caption", Sample(words, (bank[picture],)), picture, written)


def forgetful(product: Product, rng: np.random.Generator) -> Product:
    """Return the product as a poor feed lists it: now and then without category, or with few or no attributes."""
    draws = rng.random(2)
    attributes = list(product.attributes.items())[:MAX_ATTRIBUTES]
    if draws[1] < _WITHOUT_ATTRIBUTES:
        attributes = []
    elif attributes:
        order = rng.permutation(len(attributes))[: 1 + int(rng.integers(len(attributes)))]
        attributes = [attributes[int(place)] for place in order]
    category = () if draws[0] < _WITHOUT_CATEGORY else product.category
    return replace(product, category=category, attributes=dict(attributes))


def _task(rng: np.random.Generator) -> TaskName:
    tasks = tuple(MIX)
    return tasks[int(rng.choice(len(tasks), p=[MIX[task] for task in tasks]))]


def random_variant(task: TaskName, rng: np.random.Generator) -> int:
    """Draw the number of one of the task's wordings."""
    return int(rng.integers(len(INSTRUCTIONS[task])))


def random_product(corpus: Corpus, rng: np.random.Generator) -> Product:
    """A product with a picture or, about as often, one without."""
    if rng.random() < _INVENTED:
        return corpus.invent(rng)
    return corpus.products[int(rng.integers(len(corpus.products)))]
