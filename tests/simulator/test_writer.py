"""The copywriter: every sentence parses back to its scene, two thirds suit, and held-out objects stay unnamed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripts.invented_texts import NOUNS, SHELVES, caption, rough, text_product
from tests.render.conftest import scenes

from clickscape.catalog import sample
from clickscape.render.language import lexicon
from clickscape.render.language.parse import parse
from clickscape.render.scene import Scene
from clickscape.simulator import writer
from clickscape.simulator.vocabulary import SETTINGS, SLOTS, WALLED


@pytest.mark.slow
@given(scene=scenes, seed=st.integers(0, 2**32 - 1))
def test_what_is_written_is_read_back(scene: Scene, seed: int) -> None:
    text = writer.describe(scene, np.random.default_rng(seed))
    read = parse(text)
    assert read.scene == scene
    assert read.is_valid
    assert len(text.split()) <= 30


def test_thousands_of_scenes_are_read_back_and_rarely_need_the_plain_wording() -> None:
    rng = np.random.default_rng(0)
    plain = 0
    for _ in range(3_000):
        scene = writer.random_scene(rng)
        text = writer.describe(scene, rng)
        assert parse(text).scene == scene
        plain += text == writer._plainly(scene)
    assert plain < 15


@given(scene=scenes)
def test_the_plain_wording_always_parses(scene: Scene) -> None:
    read = parse(writer._plainly(scene))
    assert read.scene == scene
    assert read.is_valid


def test_slots_are_normally_named_and_worded_in_many_ways() -> None:
    rng = np.random.default_rng(1)
    scene = Scene("studio", "white marble", "soft", "podium", "cream", ("eucalyptus",))  # all defaults
    texts = [writer.describe(scene, rng) for _ in range(400)]
    named = [parse(text).named for text in texts]
    assert np.mean([len(slots) == 6 for slots in named]) > 0.7
    assert any("surface" not in slots for slots in named)
    assert all({"setting", "prop"} <= slots for slots in named)
    assert len(set(texts)) > 300


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_setting_is_entered_with_good_grammar(setting: str) -> None:
    rng = np.random.default_rng(2)
    for _ in range(60):
        text = f" {writer.describe(Scene(setting=setting), rng)} "
        for vowel in "aeiou":
            assert f" a {vowel}" not in text
        assert " an b" not in text
        assert " in a the " not in text


def test_two_thirds_of_the_scenes_suit_their_product() -> None:
    rng = np.random.default_rng(3)
    products = [text_product(rng) for _ in range(1_500)]
    written = [writer.write(product, rng) for product in products]
    share = np.mean([writer.suits(product, scene) for product, (_, scene) in zip(products, written, strict=True)])
    assert abs(share - writer.SUITING_SHARE) < 4 * np.sqrt(2 / 9 / len(products))
    assert all(parse(text).scene == scene for text, scene in written)


def test_every_department_has_a_taste_within_the_vocabulary() -> None:
    assert set(writer.SUITS) == set(SHELVES)
    for taste in (*writer.SUITS.values(), writer.ANYTHING):
        assert set(taste.settings) <= set(SETTINGS)
        assert set(taste.props) <= set(SLOTS["prop"])
    assert set(writer.PLAUSIBLE) == set(SETTINGS)
    for surfaces, lights in writer.PLAUSIBLE.values():
        assert set(surfaces) <= set(SLOTS["surface"])
        assert set(lights) <= set(SLOTS["light"])
    phrases = {phrase for value in lexicon.PHRASES["setting"].values() for phrase in value}
    assert set(writer._LEAD_INS) <= phrases


def test_nouns_cover_the_departments_and_spare_what_is_held_out() -> None:
    assert len(NOUNS) >= 300
    assert len(NOUNS) == sum(len(nouns) for shelf in SHELVES.values() for nouns in shelf.nouns.values())
    assert len(SHELVES) >= 14
    held_out = {item.noun for item in sample.objects() if item.held_out}
    assert held_out
    assert not held_out & set(NOUNS)
    assert {item.department for item in sample.objects()} <= set(SHELVES)
    for item in sample.objects():
        if not item.held_out:
            assert NOUNS[item.noun][0] == item.department


def test_an_unknown_department_gets_a_description_too() -> None:
    rng = np.random.default_rng(4)
    product = text_product(rng)
    odd = type(product)("x", "Odd Thing", ("Musical Instruments",))
    assert parse(writer.write(odd, rng)[0]).is_valid


def test_random_scenes_are_uniform_and_have_a_palette_only_with_a_wall() -> None:
    rng = np.random.default_rng(5)
    drawn = [writer.random_scene(rng) for _ in range(4_000)]
    for slot in ("setting", "prop"):
        counts = [sum(scene.slots[slot] == value for scene in drawn) for value in SLOTS[slot]]
        expected = len(drawn) / len(counts)
        assert max(abs(count - expected) for count in counts) < 5 * np.sqrt(expected)
    assert all((scene.palette is not None) == (scene.setting in WALLED) for scene in drawn)


def test_invented_products_read_like_the_sample_catalog() -> None:
    rng = np.random.default_rng(6)
    products = [text_product(rng) for _ in range(300)]
    assert len({product.product_id for product in products}) == 300
    for product in products:
        assert product.title.count(", ") >= 1
        assert product.department in SHELVES
        assert len(product.category) == 2
        assert len(product.attributes) >= 3
        assert len(product.tags) == 3
    for product in products:
        noun = product.title.split(",")[0].lower()
        assert any(noun.endswith(known.lower()) and NOUNS[known] == product.category for known in NOUNS)


def test_a_rough_prompt_holds_the_keywords_without_the_small_words() -> None:
    rng = np.random.default_rng(7)
    text = "oak table with fresh lemons, window light, in a kitchen"
    prompts = {rough(text, rng) for _ in range(50)}
    assert len(prompts) > 10
    for prompt in prompts:
        words = set(prompt.replace(",", " ").split())
        assert words <= {"oak", "table", "fresh", "lemons", "window", "light", "kitchen"}
        assert len(words) >= 4


def test_a_caption_names_the_product_first() -> None:
    rng = np.random.default_rng(8)
    scene = Scene("beach", "sand", "noon", "floor", None, ("palm",))
    assert all("apple" in caption(scene, "apple", rng).split(",")[0] for _ in range(20))
    assert parse(caption(scene, None, rng)).scene == scene


def test_the_same_seed_writes_the_same() -> None:
    def corpus() -> list[str]:
        rng = np.random.default_rng(9)
        return [writer.write(text_product(rng), rng)[0] for _ in range(20)]

    assert corpus() == corpus()
