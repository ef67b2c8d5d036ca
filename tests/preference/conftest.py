from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from tests.factory import corrupted_pairs, noise_picture, tiny_config

from clickscape.catalog import sample
from clickscape.catalog.cutout import open_cutout, product_picture
from clickscape.preference.pairs import PreferencePair
from clickscape.preference.train import TrainingPairs, build_training_pairs, question
from clickscape.types import Product
from clickscape.vlm.batch import Sample, answer_log_probs, collate
from clickscape.vlm.model import VisionLanguageModel, build_tiny, train_tokenizer
from clickscape.vlm.prompts import instruction

TEXTS = [
    "white marble podium, soft light, pink wall, eucalyptus",
    "oak table, golden hour, in a kitchen, lemons",
    "black marble blocks, spotlight, charcoal wall",
    "sand, noon sun, on a beach, palm leaves",
    "slate slab, neon light, teal wall, ice",
    "walnut floor, window light, living room, candle",
]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return TEXTS


@pytest.fixture(scope="session")
def products() -> list[Product]:
    departments = ("Drinks", "Toys", "Home", "Beauty")
    return [
        Product(f"{department}-{number}", f"{department} thing {number}", (department, "any"), {"color": "red"})
        for department in departments
        for number in range(5)
    ]


@pytest.fixture(scope="session")
def pictures() -> Callable[[Product], np.ndarray]:
    return noise_picture


@pytest.fixture(scope="session")
def build(products: list[Product]) -> Callable[..., VisionLanguageModel]:
    """A random multimodal LM in miniature: a different one per seed; `double` for exact comparisons."""
    known = [*products, *sample.products()[::7]]
    corpus = [instruction("describe", product, variant=0) for product in known]
    tokenizer = train_tokenizer([*corpus, *TEXTS * 20], vocabulary=900)
    config = tiny_config()

    def make(seed: int, *, double: bool = False) -> VisionLanguageModel:
        vlm = build_tiny(config, tokenizer, seed=seed)
        vlm.model.requires_grad_(False)
        return VisionLanguageModel(vlm.model.double() if double else vlm.model, vlm.processor, vlm.model_id)

    return make


@pytest.fixture(scope="session")
def pairs(products: list[Product]) -> list[PreferencePair]:
    return corrupted_pairs(products, TEXTS)[:10]


@pytest.fixture
def training_pairs(
    build: Callable[..., VisionLanguageModel], pairs: list[PreferencePair], products: list[Product]
) -> TrainingPairs:
    by_id = {product.product_id: product for product in products}
    return build_training_pairs(pairs, products=by_id, pictures=noise_picture, vlm=build(0))


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> list[Product]:
    """Twelve products of the sample catalog from four departments, with their cut-outs."""
    wanted: dict[str, list[str]] = {}
    for item in sample.objects():
        wanted.setdefault(item.department, []).append(f"{item.object_id}-original")
    ids = [product_id for department in sorted(wanted)[:4] for product_id in wanted[department][:3]]
    return sample.write(tmp_path_factory.mktemp("shelf"), 96, product_ids=ids)


@pytest.fixture(scope="session")
def taught(build: Callable[..., VisionLanguageModel], shelf: list[Product]) -> Callable[[], VisionLanguageModel]:
    """A miniature that has learned to write `TEXTS`, any of them for any product; every call gives a fresh copy."""
    vlm, rng = build(0), np.random.default_rng(0)
    vlm.model.requires_grad_(True)
    optimizer = torch.optim.AdamW(vlm.model.parameters(), lr=6e-3)
    shown = [product_picture(open_cutout(product.image), size=32) for product in shelf]
    for _ in range(100):
        rows = rng.integers(len(shelf), size=12)
        samples = [Sample(question(shelf[row]), (shown[row],), TEXTS[int(rng.integers(len(TEXTS)))]) for row in rows]
        batch = collate(vlm, samples, side="right", answers=True)
        optimizer.zero_grad()
        (-answer_log_probs(vlm, batch).mean() / 10).backward()
        torch.nn.utils.clip_grad_norm_(vlm.model.parameters(), 1.0)
        optimizer.step()
    vlm.model.requires_grad_(False)
    return lambda: VisionLanguageModel(copy.deepcopy(vlm.model), vlm.processor, vlm.model_id)
