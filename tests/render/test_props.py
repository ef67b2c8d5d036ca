"""The props' files: whole, trimmed, lit as promised, small, and the first fourteen unchanged."""

from __future__ import annotations

import hashlib
import itertools
from importlib import resources

import numpy as np
import pytest

from clickscape.render import scene
from clickscape.render.scene import Scene
from clickscape.render.studio import props
from clickscape.render.studio.stand import Stand
from clickscape.simulator import vocabulary

FOLDER = resources.files("clickscape.render.studio").joinpath("assets/props")
FIRST, LATER = vocabulary.PROPS, tuple(prop for prop in scene.PROPS if prop not in vocabulary.PROPS)


def _layers(prop: str) -> list[bytes]:
    return [FOLDER.joinpath(f"{prop.replace(' ', '-')}-{layer}.webp").read_bytes() for layer in ("key", "dome")]


def test_there_are_props_for_every_department() -> None:
    assert len(scene.PROPS) >= 24
    assert scene.PROPS[: len(FIRST)] == FIRST, "later props come after the first ones"
    written = {path.name for path in FOLDER.iterdir()}
    assert written == {f"{prop.replace(' ', '-')}-{layer}.webp" for prop in scene.PROPS for layer in ("key", "dome")}


def test_the_first_props_are_the_pictures_that_tiny_has_seen() -> None:
    seen = hashlib.sha256(b"".join(data for prop in FIRST for data in _layers(prop)))
    assert seen.hexdigest()[:16] == "3e2829beefa66696"


def test_later_props_are_small_files() -> None:
    assert sum(len(data) for prop in LATER for data in _layers(prop)) <= 250_000


@pytest.mark.parametrize("prop", LATER)
def test_a_later_prop_is_trimmed_and_no_brighter_than_its_light(prop: str) -> None:
    sprite = props.sprite(prop)
    assert sprite.key.shape == sprite.dome.shape == (*sprite.alpha.shape, 3)
    assert 220 <= max(sprite.alpha.shape) <= 512
    for edge in (sprite.alpha[0], sprite.alpha[-1], sprite.alpha[:, 0], sprite.alpha[:, -1]):
        assert edge.max() > 0.03, "an empty margin would lift the prop from the ground"
    color = sprite.dome[sprite.alpha > 0.9]
    assert 0.02 < color.mean() < 0.9
    assert np.percentile(color, 99) < 1.05  # what a white dome of radiance 1 leaves on anything


def test_later_props_are_lit_from_the_left() -> None:
    """Edges that look left get more of the key light than those that look right; color cancels in key over dome."""
    gains = []
    for prop in LATER:
        sprite = props.sprite(prop)
        light = sprite.key.sum(2) / np.maximum(sprite.dome.sum(2), 0.02)
        solid = sprite.alpha > 0.9
        around = np.pad(solid, ((0, 0), (5, 5)))
        left, right = (light[solid & ~beside].mean() for beside in (around[:, :-10], around[:, 10:]))
        gains.append(left / right)
    assert min(gains) > 0.9  # thin leaves let the light through to their other side
    assert np.median(gains) > 1.3


@pytest.mark.parametrize("prop", scene.PROPS)
def test_a_prop_fits_its_spot(prop: str) -> None:
    """In world units no prop is wider than 1.25 or taller than 1.65, and only tall ones pass 1."""
    shape = props.sprite(prop).alpha.shape
    wide, tall = props._LARGEST.get(prop, props._USUAL)
    scale = min(tall / shape[0], wide / shape[1])
    assert scale * shape[1] <= 1.25
    assert 0.3 < scale * shape[0] <= (1.65 if prop in props.TALL else 1.0)


def test_two_later_props_stand_in_one_scene() -> None:
    for first, second in itertools.pairwise(LATER):
        drawn = Scene(props=(first, second))
        found = props.arrange(drawn.props, Stand(drawn.stand), layout=0, jitter=0, spread=0)
        assert {each.prop for each in found} == {first, second}
        assert all((each.x < 0) == (each.prop == first) for each in found)
