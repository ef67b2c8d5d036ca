"""From a name to a renderer, from a description to a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clickscape.render
from clickscape.errors import ConfigError
from clickscape.render.scene import Scene
from clickscape.types import Product


@pytest.fixture
def product(tmp_path: Path) -> Product:
    pixels = np.zeros((200, 200, 4), np.uint8)
    pixels[30:190, 70:130] = (180, 40, 60, 255)
    path = tmp_path / "tin.png"
    Image.fromarray(pixels).save(path)
    return Product("P1", "Red tin", image=str(path))


def test_a_description_becomes_its_scene(product: Product) -> None:
    studio = clickscape.render.load("studio")
    made = studio.render(product, "oak table, soft light, lemons, mint wall", size=(96, 96), seed=1)
    assert made.scene == Scene("studio", "oak", "soft", "table", "mint", ("lemons",))
    assert made.unknown == ()
    assert made.image.shape == (96, 96, 3)
    opaque = made.product_mask == 255
    assert (made.image[opaque] == (180, 40, 60)).all()


def test_unknown_words_change_nothing_and_are_reported(product: Product) -> None:
    studio = clickscape.render.load("studio")
    plain = studio.render(product, "slate podium in a forest, noon sun", size=(96, 96), seed=7)
    odd = studio.render(product, "slate podium in a forest, noon sun, zorgon flumps", size=(96, 96), seed=7)
    assert np.array_equal(plain.image, odd.image)
    assert plain.unknown == ()
    assert odd.unknown == ("zorgon", "flumps")


def test_an_unknown_renderer_is_named_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'oil painting'.*studio"):
        clickscape.render.load("oil painting")
