"""A tiny random backbone and a small world: which wall color sells depends on the department of the product."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from tests.factory import tiny_vlm

from clickscape.reward.data import RewardData
from clickscape.types import CreativePair, Product
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.prompts import product_text

WALLS = {"red": (200, 40, 40), "green": (40, 160, 60), "blue": (40, 60, 200)}
SLOTS = {"wall": tuple(WALLS)}
DEPARTMENTS = {"Drinks": "lemonade glass bottle", "Tools": "steel hammer with handle", "Toys": "teddy bear in plush"}
LOG_CTR = {
    "Drinks": {"red": -2.4, "green": -3.0, "blue": -3.6},
    "Tools": {"red": -3.6, "green": -2.4, "blue": -3.0},
    "Toys": {"red": -3.0, "green": -3.6, "blue": -2.4},
}
"""Every wall is as good as any other on average: a model that ignores the product can only guess."""


def _products(count: int) -> list[Product]:
    departments = itertools.islice(itertools.cycle(DEPARTMENTS), count)
    brands = ("Aurora", "Belmont", "Cascade", "Delphi", "Everline")
    return [
        Product(f"p{number}", f"{brands[number % 5]} {DEPARTMENTS[name]} {number}", (name,))
        for number, name in enumerate(departments)
    ]


def _picture(wall: str, *, seed: int, size: int = 32) -> np.ndarray:
    """A wall with noise and a gray product in the middle."""
    rng = np.random.default_rng(seed)
    picture = np.clip(np.array(WALLS[wall]) + rng.normal(0, 12, (size, size, 3)), 0, 255).astype(np.uint8)
    picture[size // 3 : 2 * size // 3, size // 3 : 2 * size // 3] = rng.integers(60, 180)
    return picture


def _data(products: list[Product]) -> RewardData:
    """Every product with every wall, and all pairs of them."""
    ids, owners, pictures, scenes, log_ctr, pairs = [], [], [], [], [], []
    for number, product in enumerate(products):
        for place, wall in enumerate(WALLS):
            ids.append(f"{product.product_id}-{wall}")
            owners.append(product.product_id)
            pictures.append(_picture(wall, seed=number * 10 + place))
            scenes.append({"wall": wall})
            log_ctr.append(LOG_CTR[product.department][wall])
        for first, second in itertools.combinations(WALLS, 2):
            gap = LOG_CTR[product.department][first] - LOG_CTR[product.department][second]
            pairs.append(
                CreativePair(
                    product.product_id,
                    f"{product.product_id}-{first}",
                    f"{product.product_id}-{second}",
                    preference=0.95 if gap > 0 else 0.05,
                    gap=gap,
                    weight=1.0,
                )
            )
    return RewardData(
        products={product.product_id: product for product in products},
        creative_ids=ids,
        product_of=owners,
        images=pictures,
        pairs=pairs,
        log_ctr=np.array(log_ctr),
        slots=scenes,
    )


def _backbone(seed: int = 0) -> VisionLanguageModel:
    texts = [product_text(product) for product in _products(30)]
    return tiny_vlm(texts, seed=seed, vision_width=32, vision_heads=4, text_ffn=64, vocabulary=400)


@pytest.fixture(scope="session")
def backbone() -> VisionLanguageModel:
    return _backbone()


@dataclass(frozen=True)
class SmallWorld:
    """What the tests of this folder share; test files cannot import each other."""

    slots: Mapping[str, tuple[str, ...]]
    departments: tuple[str, ...]
    products: Callable[[int], list[Product]]
    picture: Callable[..., np.ndarray]
    data: Callable[[list[Product]], RewardData]
    fresh_backbone: Callable[[], VisionLanguageModel]

    def pictures(self, count: int) -> list[np.ndarray]:
        walls = list(WALLS)
        return [self.picture(walls[index % 3], seed=index, size=(32, 48)[index % 2]) for index in range(count)]


@pytest.fixture(scope="session")
def world() -> SmallWorld:
    return SmallWorld(
        slots=SLOTS,
        departments=tuple(DEPARTMENTS),
        products=_products,
        picture=_picture,
        data=_data,
        fresh_backbone=_backbone,
    )
