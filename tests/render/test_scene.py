"""What a scene says of itself: hidden slots, and the ways to text and back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clickscape.errors import SceneError
from clickscape.render.scene import SLOTS, Scene
from clickscape.simulator import writer

FROM_ABOVE = ("setting", "stand", "palette")


@pytest.mark.parametrize("hidden", [(), ("setting",), FROM_ABOVE, tuple(SLOTS)])
def test_hidden_slots_have_no_value_and_survive_being_written(hidden: tuple[str, ...]) -> None:
    scene = Scene("bathroom", "oak", "window", "slab", "mint", ("books",), hidden)
    assert {slot for slot, value in scene.slots.items() if value is None} == set(hidden)
    assert Scene.from_json(scene.to_json()) == scene


def test_scenes_of_before_there_were_hidden_slots_hide_nothing() -> None:
    assert Scene.from_json('{"setting": "beach", "props": ["palm"]}').hidden == ()


@pytest.mark.parametrize("hidden", [(), FROM_ABOVE])
def test_slots_make_a_scene_of_the_same_slots(hidden: tuple[str, ...]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        scene = replace(writer.random_scene(rng), hidden=hidden)
        assert Scene.from_slots(scene.slots).slots == scene.slots


def test_an_unknown_slot_cannot_be_hidden() -> None:
    with pytest.raises(SceneError, match=r"hidden slots must be some of setting, .* got \('weather',\)"):
        Scene(hidden=("weather",))
