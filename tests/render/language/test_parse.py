"""The parser: every phrase of the lexicon leads to its value, and the prototype's misreadings stay mended."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickscape.errors import SceneError
from clickscape.render.language import lexicon
from clickscape.render.language.parse import parse
from clickscape.render.scene import NO_PROP, SLOTS, WALLED, Scene

ALL_PHRASES = [
    (slot, value, phrase)
    for slot, values in lexicon.PHRASES.items()
    for value, phrases in values.items()
    for phrase in phrases
]


def test_lexicon_covers_exactly_the_studio() -> None:
    assert {slot: tuple(values) for slot, values in lexicon.PHRASES.items()} == dict(SLOTS)
    phrases = [phrase for _, _, phrase in ALL_PHRASES]
    assert len(phrases) == len(set(phrases)), "one phrase leads to two values"


def test_every_phrase_leads_to_its_value() -> None:
    for slot, value, phrase in ALL_PHRASES:
        parsed = parse(phrase)
        assert (parsed.named, parsed.unknown, parsed.scene.slots[slot]) == ({slot}, (), value), phrase


def test_a_full_description_becomes_its_scene() -> None:
    parsed = parse("pale marble podium, soft morning light, eucalyptus leaves, teal wall in a photo studio")
    assert parsed.scene == Scene("studio", "white marble", "window", "podium", "teal", ("eucalyptus",))
    assert parsed.named == {"setting", "surface", "light", "stand", "palette", "prop"}
    assert parsed.is_valid


@pytest.mark.parametrize(
    ("description", "slot", "value"),
    [
        ("gold spheres on blocks in a studio", "palette", "cream"),
        ("golden sand ground on a beach", "prop", NO_PROP),
        ("fresh grass floor in a meadow", "prop", NO_PROP),
        ("red berries and a mint wall in a studio", "palette", "mint"),
        ("red ornaments in a pink studio", "palette", "pink"),
        ("palm shadows on a slab in a loft", "prop", NO_PROP),
        ("golden hour light at the seaside", "light", "golden hour"),
    ],
)
def test_words_are_bound_to_their_nouns(description: str, slot: str, value: str) -> None:
    assert parse(description).scene.slots[slot] == value


def test_unknown_words_are_reported_and_change_nothing() -> None:
    plain = parse("oak table in a kitchen, window light, lemons")
    odd = parse("oak table in a quuxified kitchen, window light, lemons")
    assert odd.scene == plain.scene
    assert odd.unknown == ("quuxified",)
    assert plain.is_valid
    assert not odd.is_valid


def test_unnamed_slots_take_the_default_of_the_setting() -> None:
    assert parse("at the beach").scene == Scene("beach", "sand", "soft", "floor", None, ())
    assert not parse("at the beach").is_valid


def test_only_a_wall_has_a_color() -> None:
    assert parse("pink wall, forest, oak slab").scene.palette is None
    for setting in WALLED:
        assert Scene(setting=setting, palette=None).palette == "cream"


def test_a_scene_refuses_what_the_studio_lacks() -> None:
    with pytest.raises(SceneError, match="unknown surface 'jelly'; the studio has: white marble"):
        Scene(surface="jelly")
    with pytest.raises(SceneError, match="at most 2"):
        Scene(props=("palm", "palm"))


@given(st.text(max_size=300))
def test_any_text_parses_and_prints_as_json(text: str) -> None:
    scene = parse(text).scene
    assert Scene.from_json(scene.to_json()) == scene


@pytest.mark.parametrize("text", ["", "[]", "null", '{"setting": "moon"}', '{"color": 1}', '{"props": 3}'])
def test_a_damaged_scene_is_an_error(text: str) -> None:
    with pytest.raises(SceneError):
        Scene.from_json(text)
