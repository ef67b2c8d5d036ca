"""An edit changes one slot and nothing else, reads back as it should, and is not made where it cannot be shown."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickscape.render.language import lexicon
from clickscape.render.language.parse import parse, spans
from clickscape.render.language.reword import meaning, reword
from clickscape.render.language.seasons import SEASONS, in_season
from clickscape.render.scene import SLOTS, Scene
from clickscape.simulator import writer

PHRASES = [one for values in lexicon.PHRASES.values() for row in values.values() for one in row]


@pytest.mark.parametrize(
    ("before", "phrase", "after"),
    [
        ("oak table, soft light, mint wall, studio", "pink", "oak table, soft light, pink wall, studio"),
        ("oak table, mint wall, teal backdrop, studio", "pink", "oak table, pink wall, pink backdrop, studio"),
        ("oak table, harmonious wall, studio", "cream", "oak table, cream wall, studio"),
        ("oak table, soft light, studio", "pink", "oak table, soft light, studio, pink wall"),
        ("an oak table, soft light, kitchen", "marble", "a marble table, soft light, kitchen"),
        ("a marble table, soft light, kitchen", "oak", "an oak table, soft light, kitchen"),
        ("oak table beside a gift box, kitchen", "pine cones", "oak table beside pine cones, kitchen"),
        ("oak table with lemons and blossom, kitchen", "pumpkins", "oak table with pumpkins, kitchen"),
        ("oak table, nothing else, kitchen", "pumpkins", "oak table, pumpkins, kitchen"),
        ("oak table with lemons, kitchen", "no props", "oak table with no props, kitchen"),
        ("noon sun, oak table, kitchen", "soft light", "soft light, oak table, kitchen"),
        ("noon sun, oak table", "kitchen", "noon sun, oak table, in the kitchen"),
    ],
)
def test_rewording_changes_one_slot_only(before: str, phrase: str, after: str) -> None:
    assert reword(before, phrase) == after


def test_only_a_scene_with_a_wall_gets_a_wall_color() -> None:
    assert reword("oak slab, soft light, forest", "pink") == "oak slab, soft light, forest"


def test_a_phrase_that_the_studio_lacks_is_an_error() -> None:
    with pytest.raises(ValueError, match="'plaid'"):
        reword("oak table", "plaid")
    assert meaning("Soft  LIGHT") == ("light", "soft")


@given(st.integers(0, 10_000), st.sampled_from(PHRASES))
def test_every_edit_reads_back_or_is_not_made(seed: int, phrase: str) -> None:
    rng = np.random.default_rng(seed)
    before = writer.describe(writer.random_scene(rng), rng)
    after = reword(before, phrase)
    old, new = parse(before), parse(after)
    named = meaning(phrase)
    assert named is not None
    slot, value = named
    assert after == before or new.scene.slots[slot] == value
    assert new.unknown == ()
    for other in old.named - {slot}:
        assert new.scene.slots[other] == old.scene.slots[other] or (other, slot) == ("palette", "setting")


def test_spans_are_what_the_parser_takes() -> None:
    text = "Pale marble podium, golden sand, deep red wall"
    assert [(one.slot, one.value, text[one.start : one.end]) for one in spans(text)] == [
        ("surface", "white marble", "Pale marble"),
        ("stand", "podium", "podium"),
        ("surface", "sand", "golden sand"),
        ("palette", "red", "deep red"),
    ]


def test_season_words_are_known_to_the_studio() -> None:
    for told in SEASONS.values():
        assert told["prop"], "a season can always be shown by a prop"
        for slot, values in told.items():
            assert set(values) <= set(SLOTS[slot])


def test_a_scene_is_in_season_when_it_shows_it_and_no_other() -> None:
    assert in_season(Scene("kitchen", "oak", props=("pine cones",)), "winter")
    assert in_season(Scene("kitchen", "oak", props=("pine cones",)), "autumn"), "what two seasons share fits both"
    assert not in_season(Scene("kitchen", "oak"), "winter"), "nothing shows it"
    assert not in_season(Scene("beach", "sand", props=("pine cones",)), "winter"), "a beach says summer"
    assert not in_season(Scene("festive", "oak", props=("yarn",)), "winter"), "January is not Christmas"
    assert in_season(Scene("snow", "snow"), "christmas")
