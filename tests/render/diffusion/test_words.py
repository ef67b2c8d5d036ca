"""Prompts: the product's own name stays out, long ones are cut where a phrase ends and lose nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickscape.render.diffusion.words import chunks, prompt, without_name
from clickscape.types import Product

MUG = Product("M", "Navy Enamel Mugs 2", category=("Home", "Coffee Mugs"), attributes={"material": "enamel"})


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("a mug on an oak table, soft light", "on an oak table, soft light"),
        ("oak table, two Mugs, soft light", "oak table, soft light"),
        ("a shiny mug, oak table", "a shiny, oak table"),
        ("navy wall, enamel tray", "navy wall, enamel tray"),
        ("marble podium; the mug; lemons", "marble podium; lemons"),
        ("smug smile, muggy air", "smug smile, muggy air"),
        ("mug", "mug"),
    ],
)
def test_the_products_name_stays_out(written: str, told: str) -> None:
    """Its colors and materials may be said of a background, too."""
    assert without_name(written, MUG) == told


def test_style_is_added_and_the_name_kept_where_that_is_asked() -> None:
    assert prompt("a mug, oak table,", MUG, style="photo", omit_product=True) == "oak table, photo"
    assert prompt("a mug, oak table", MUG, style="", omit_product=False) == "a mug, oak table"


def _fits(limit: int) -> Callable[[str], bool]:
    return lambda text: len(text.split()) <= limit and all(len(word) <= 12 for word in text.split())


def test_a_short_prompt_is_left_exactly_as_it_is() -> None:
    assert chunks(" oak table,  soft light ", fits=_fits(4)) == [" oak table,  soft light "]


def test_a_long_prompt_is_cut_between_phrases() -> None:
    text = "warm oak table, soft light, lemons, a pale mint wall. blurred kitchen behind"
    assert chunks(text, fits=_fits(6)) == [
        "warm oak table, soft light, lemons",
        "a pale mint wall.",
        "blurred kitchen behind",
    ]


def test_a_phrase_that_is_too_long_is_cut_between_words_and_a_word_in_halves() -> None:
    assert chunks("one two three four five", fits=_fits(2)) == ["one two", "three four", "five"]
    assert chunks("x" * 20, fits=_fits(2)) == ["x" * 10 + " " + "x" * 10]


@settings(max_examples=60)
@given(text=st.text("ab ,;.", max_size=200), limit=st.integers(1, 9))
def test_every_chunk_fits_and_every_word_is_there_in_order(text: str, limit: int) -> None:
    fits = _fits(limit)
    found = chunks(text, fits=fits)
    assert all(fits(chunk) for chunk in found)
    letters = [letter for letter in text if letter in "ab"]
    assert [letter for chunk in found for letter in chunk if letter in "ab"] == letters
