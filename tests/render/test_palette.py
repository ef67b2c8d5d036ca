"""Walls that answer to the product: the same hue for harmony, the farthest color for contrast."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import clickscape.render
from clickscape.render.language import lexicon
from clickscape.render.language.parse import explain, nearest, parse
from clickscape.render.studio.palette import answer, main_color
from clickscape.types import Product


def block(*rgb: int) -> np.ndarray:
    cutout = np.zeros((40, 30, 4), np.uint8)
    cutout[5:35, 5:25] = (*rgb, 255)
    return cutout


@pytest.mark.parametrize(
    ("rgb", "harmony"),
    [
        ((200, 20, 30), "pink"),  # its own hue, but lighter
        ((250, 160, 180), "red"),
        ((90, 150, 230), "blue"),
        ((250, 240, 215), "charcoal"),  # no hue: neutral, and dark behind a pale product
        ((30, 30, 34), "cream"),
        ((0, 90, 80), "mint"),
    ],
)
def test_a_harmonizing_wall_has_the_same_hue_at_another_lightness(rgb: tuple[int, int, int], harmony: str) -> None:
    assert answer(block(*rgb), "harmony") == harmony


def test_a_contrasting_wall_has_the_opposite_hue() -> None:
    assert answer(block(220, 20, 30), "contrast") in ("mint", "teal", "blue")
    assert answer(block(20, 60, 220), "contrast") in ("yellow", "cream")
    assert answer(block(250, 200, 20), "contrast") in ("blue", "lavender", "charcoal")
    assert answer(block(255, 255, 255), "contrast") in ("charcoal", "red")


def test_vivid_pixels_decide_the_main_color() -> None:
    """Half gray, half red by area: the mean leans to red, whose chroma counts."""
    cutout = block(128, 128, 128)
    cutout[5:20, 5:25, :3] = (200, 20, 30)
    assert main_color(cutout)[1] > 0.9 * main_color(block(200, 20, 30))[1]
    cutout[..., 3] = np.minimum(cutout[..., 3], 120)  # a veil has a color, too
    assert np.isfinite(main_color(cutout)).all()


@pytest.mark.parametrize("phrase", [phrase for phrases in lexicon.WISHES.values() for phrase in phrases])
def test_every_palette_word_parses(phrase: str) -> None:
    parsed = parse(f"{phrase} wall in a photo studio, oak podium")
    assert parsed.wish in lexicon.WISHES
    assert "palette" in parsed.named
    assert parsed.unknown == ()
    assert phrase in lexicon.WISHES[parsed.wish]


def test_a_named_color_takes_precedence_and_a_photograph_has_no_wall() -> None:
    assert parse("matching teal wall in a studio").wish is None
    assert parse("matching teal wall in a studio").scene.palette == "teal"
    assert parse("contrasting backdrop, forest, oak slab").wish is None


def test_the_rendered_wall_has_the_palette_color(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    Image.fromarray(block(200, 20, 30)).save(path)
    product = Product("P1", "Red block", image=str(path))
    studio = clickscape.render.load("studio")
    made = studio.render(product, "harmonious wall, photo studio, oak podium", size=(64, 64), seed=3)
    named = studio.render(product, "pink wall, photo studio, oak podium", size=(64, 64), seed=3)
    assert made.scene is not None
    assert made.scene.palette == "pink"
    assert np.array_equal(made.image, named.image)


def test_unknown_words_come_with_the_nearest_known_one() -> None:
    assert nearest("mahogony") == "mahogany"
    assert nearest("Eucalyptis") == "eucalyptus"
    assert nearest("zorgon") is None
    assert explain(("mahogony", "zorgon")) == ("mahogony (mahogany?)", "zorgon")
