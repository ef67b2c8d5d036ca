"""The reward function for TRL: what a trainer hands on is drawn and scored, and nothing is won by silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.factory import Brightness

import clickscape
from clickscape.catalog import sample
from clickscape.render import Renderer
from clickscape.types import Product

TEXTS = [
    "slate floor, soft light, berries",
    "pale marble podium, golden hour",
    "mumble grumble",
    "slate slab, leaf shadows, gold spheres, yellow wall in a studio",
]


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> list[Product]:
    return sample.write(tmp_path_factory.mktemp("trl"), 64, product_ids=["coffee_mug-original", "lipstick-original"])


@pytest.fixture(scope="module")
def studio() -> Renderer:
    return clickscape.render.load("studio")


def _alone(studio: Renderer, product: Product, text: str, seed: int) -> float:
    drawn = studio.render(product, text, size=(64, 64), seed=seed)
    assert drawn.parsed
    return float(np.mean(drawn.image)) / 25


def test_rewards_are_those_of_each_picture_and_what_is_not_drawn_ranks_below_its_own_group(
    studio: Renderer, products: list[Product]
) -> None:
    mug, lipstick = sorted(products, key=lambda product: product.product_id)
    function = clickscape.reward.trl_reward(Brightness(), studio, products, size=64, seed=5, margin=0.25)
    owners = [mug, mug, mug, lipstick]
    spoken = [[{"role": "assistant", "content": f"{text}\nand more"}] for text in TEXTS]
    parts = [[{"role": "assistant", "content": [{"type": "text", "text": text}]}] for text in TEXTS]
    ids = [product.product_id for product in owners]
    expected = [
        _alone(studio, mug, TEXTS[0], 5),
        _alone(studio, mug, TEXTS[1], 6),
        0,
        _alone(studio, lipstick, TEXTS[3], 8),
    ]
    expected[2] = min(expected[:2]) - 0.25
    for completions in (TEXTS, spoken, parts):
        given = function(prompts=["?"] * 4, completions=completions, product_id=ids, trainer_state=None)
        assert given == pytest.approx(expected)
    assert function(["mumble"], product_id=[mug.product_id]) == [-0.25], "a group in which nothing is drawn"


def test_a_dataset_that_does_not_say_the_product_is_refused(studio: Renderer, products: list[Product]) -> None:
    function = clickscape.reward.trl_reward(Brightness(), studio, products)
    with pytest.raises(ValueError, match="no column `product_id`"):
        function(TEXTS)
    with pytest.raises(ValueError, match="no product 'ghost'"):
        function(TEXTS[:1], product_id=["ghost"])


def test_the_room_lists_its_verbs() -> None:
    assert Path(clickscape.reward.trl_reward.__code__.co_filename).name == "trl.py"
    with pytest.raises(AttributeError, match="verbs: load, trl_reward"):
        _ = clickscape.reward.oops
