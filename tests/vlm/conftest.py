"""A LLaVA small enough to be built for every test session, with random weights large enough to make words differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from tests.factory import tiny_vlm

from clickscape.config import TinyConfig
from clickscape.types import Product
from clickscape.vlm import model as models
from clickscape.vlm.prompts import INSTRUCTIONS, product_text

PRODUCTS = [
    Product("mug-1", "Everline Blue Coffee Mug, Set of 2", ("Home", "Kitchen"), {"material": "stoneware"}),
    Product("shoe-1", "Mesh Runner", ("Sports", "Shoes"), {"color": "red", "material": "mesh"}),
    Product("cream-1", "Opaline Night Cream, 50 ml", ("Beauty", "Skin Care"), {"skin": "dry"}),
    Product("saw-1", "Pinecrest Hand Saw", ("Tools",)),
]
SCENES = ("oak table, soft light", "white marble podium, noon sun, fresh lemons", "sand floor at the beach, ice cubes")
COLORS = {"red": (200, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 200)}


@pytest.fixture(scope="session")
def small() -> models.VisionLanguageModel:
    """Read-only: tests that train build their own with `build_small`."""
    vlm = build_small(seed=0)
    with torch.no_grad():
        for weight in vlm.model.parameters():
            weight.mul_(4)
    return vlm


@pytest.fixture(scope="session")
def build() -> Callable[..., models.VisionLanguageModel]:
    """Builds a model that may be changed."""
    return build_small


@pytest.fixture(scope="session")
def corpus() -> ColorCorpus:
    return ColorCorpus.make(ads=48)


@pytest.fixture(scope="session")
def products() -> list[Product]:
    return PRODUCTS


@pytest.fixture(scope="session")
def noise() -> Callable[..., np.ndarray]:
    """A picture of noise, by number."""
    return picture


def build_small(*, seed: int) -> models.VisionLanguageModel:
    texts = [*SCENES, *(product_text(product) for product in PRODUCTS)] * 20
    texts += [words for wordings in INSTRUCTIONS.values() for words in wordings]
    full = TinyConfig()
    sizes = {"image_size": full.image_size, "patch_size": 32, "vision_width": 32, "max_positions": full.max_positions}
    return tiny_vlm(texts, seed=seed, **sizes)


def picture(seed: int, *, height: int = 96, width: int = 96) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@dataclass(frozen=True)
class ColorCorpus:
    """Ads that are one color each: what a tower can learn in a few steps."""

    products: Sequence[Product]
    pictures: np.ndarray
    ads: np.ndarray
    ad_products: Sequence[Product]
    ad_slots: Sequence[Mapping[str, str | None]]
    slots: Mapping[str, tuple[str, ...]]

    @classmethod
    def make(cls, *, ads: int) -> ColorCorpus:
        rng = np.random.default_rng(5)
        names = [tuple(COLORS)[int(place)] for place in rng.integers(len(COLORS), size=ads)]
        painted = [np.full((96, 96, 3), COLORS[name], np.int64) + rng.integers(-20, 21, 3) for name in names]
        return cls(
            products=PRODUCTS,
            pictures=np.stack([picture(number) for number in range(len(PRODUCTS))]),
            ads=np.stack(painted).clip(0, 255).astype(np.uint8),
            ad_products=[PRODUCTS[number % len(PRODUCTS)] for number in range(ads)],
            ad_slots=[{"color": name, "palette": None} for name in names],
            slots={"color": tuple(COLORS), "palette": ("cream", "pink")},
        )

    def describe(self, product: Product, rng: np.random.Generator, *, plain: bool = False) -> str:
        if plain:
            return "studio"
        return SCENES[int(rng.integers(len(SCENES)))]

    def caption_ad(self, ad: int, rng: np.random.Generator) -> str:
        return f"{self.ad_slots[ad]['color']} wall"

    def caption_product(self, product: Product, rng: np.random.Generator) -> str:
        return product.title.lower()

    def invent(self, rng: np.random.Generator) -> Product:
        return Product("invented", f"Yarrow Jar No. {int(rng.integers(100))}", ("Garden",), {"size": "small"})

    def rough(self, description: str, rng: np.random.Generator) -> str:
        return description.replace(",", "")
