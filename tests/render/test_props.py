"""The props' files: whole, trimmed, lit as promised and small; and where they stand or lie beside a product."""

from __future__ import annotations

import itertools
from importlib import resources

import numpy as np
import pytest
from tests.render.conftest import bottle

from clickscape.render import scene
from clickscape.render.scene import Scene
from clickscape.render.staging import Staging
from clickscape.render.studio import gbuffer, props
from clickscape.render.studio.engine import StudioRenderer, vary
from clickscape.render.studio.geometry import Camera
from clickscape.render.studio.stand import Stand, spread_of, stand_for
from clickscape.simulator import vocabulary

FOLDER = resources.files("clickscape.render.studio").joinpath("assets/props")
FIRST = vocabulary.PROPS
OLDER = ("gold spheres", "candle", "ice", "bubbles")  # pictures of the first version, whose models are lost
BAKED = tuple(prop for prop in scene.PROPS if prop not in OLDER)


def _layers(prop: str) -> list[bytes]:
    return [FOLDER.joinpath(f"{prop.replace(' ', '-')}-{layer}.webp").read_bytes() for layer in ("key", "dome")]


def test_there_are_props_for_every_department() -> None:
    assert len(scene.PROPS) >= 24
    assert scene.PROPS[: len(FIRST)] == FIRST, "later props come after the first ones"
    written = {path.name for path in FOLDER.iterdir()}
    assert written == {f"{prop.replace(' ', '-')}-{layer}.webp" for prop in scene.PROPS for layer in ("key", "dome")}


def test_props_are_small_files() -> None:
    assert sum(len(data) for prop in scene.PROPS for data in _layers(prop)) <= 900_000


@pytest.mark.parametrize("prop", BAKED)
def test_a_baked_prop_is_trimmed_and_no_brighter_than_its_light(prop: str) -> None:
    sprite = props.sprite(prop)
    assert sprite.key.shape == sprite.dome.shape == (*sprite.alpha.shape, 3)
    assert 220 <= max(sprite.alpha.shape) <= 512
    for edge in (sprite.alpha[0], sprite.alpha[-1], sprite.alpha[:, 0], sprite.alpha[:, -1]):
        assert edge.max() > 0.03, "an empty margin would lift the prop from the ground"
    color = sprite.dome[sprite.alpha > 0.9]
    assert 0.02 < color.mean() < 0.9
    assert np.percentile(color, 99) < 1.05  # what a white dome of radiance 1 leaves on anything


def test_baked_props_are_lit_from_the_left() -> None:
    """Edges that look left get more of the key light than those that look right; color cancels in key over dome."""
    gains = []
    for prop in BAKED:
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


def test_two_props_stand_in_one_scene() -> None:
    for first, second in itertools.pairwise(BAKED):
        drawn = Scene(props=(first, second))
        found = props.arrange(drawn.props, Stand(drawn.stand), layout=0, jitter=0, spread=0)
        assert {each.prop for each in found} == {first, second}
        assert all((each.x < 0) == (each.prop == first) for each in found)


@pytest.mark.parametrize("kind", scene.STANDS)
def test_every_prop_stands_behind_the_product(kind: str) -> None:
    """What the product, drawn last, hides of a prop is behind it, for slim and wide products, in both layouts."""
    for half, layout, prop in itertools.product((0.3, 0.7, 1.1), (0, 1), ("palm", "berries")):
        stand = stand_for(kind, half=half, physical_size="usual")
        found = props.arrange((prop,), stand, layout=layout, jitter=0, spread=spread_of(half))
        assert found
        assert all(each.z >= 0.25 for each in found)
        assert sum(each.scale for each in found) < 2, "one cluster, at most a smaller one behind"


def test_what_is_behind_the_product_is_softer(studio: StudioRenderer) -> None:
    """The same sprite farther away: its steepest step of alpha, of those that are no larger, is less steep."""
    buffer = gbuffer.build(Stand("floor"), Camera(512, 512), walled=True)
    white = np.ones(3, np.float32)
    steps = []
    for z in (0.02, 0.6, 2.0):
        standing = props.Standing("berries", 0.9, 0.0, z, 1.0, False)
        piece = props.resized(props.sprite("berries"), props.PixelSize(160, 90), flipped=False)
        layer = props.draw([standing], [piece], buffer, key=white, ambient=white, ray=white)
        steps.append(float(np.percentile(np.abs(np.diff(layer.piece[..., 3], axis=1)), 99.5)))
    assert steps[0] > steps[1] > steps[2]


def test_sprigs_lie_beside_what_lies_and_heaps_are_left_out(studio: StudioRenderer) -> None:
    """Seen from above, eucalyptus changes pixels beside the product and none of the product; a candle cannot lie."""
    flat = Staging("lies", "above", thickness=0.05)
    drawn = Scene("studio", "linen", "soft", "floor", "cream")
    bare, sprig, candle = (
        studio.compose(bottle(width=300), Scene(drawn.setting, drawn.surface, drawn.light, drawn.stand, "cream", names),
                       size=(128, 128), seed=_like(drawn, names), staging=flat)
        for names in ((), ("eucalyptus",), ("candle",))
    )  # fmt: skip
    assert np.abs(sprig.image.astype(int) - bare.image).max(-1).mean() > 2
    assert np.abs(candle.image.astype(int) - bare.image).max(-1).mean() < 2
    opaque = sprig.product[..., 3] == 255
    assert np.array_equal(sprig.image[opaque], sprig.product[..., :3][opaque])


def _like(drawn: Scene, names: tuple[str, ...]) -> int:
    """A seed that shows the scene with `names` from where seed 0 shows it bare."""
    wanted = vary(drawn, 0)[0]
    other = Scene(drawn.setting, drawn.surface, drawn.light, drawn.stand, drawn.palette, names)
    seen = ((seed, vary(other, seed)[0]) for seed in range(1000))
    same = ("mirrored", "camera", "shift")
    return next(seed for seed, one in seen if all(getattr(one, name) == getattr(wanted, name) for name in same))
