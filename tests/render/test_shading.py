"""The set's light follows the product: key side by its shading, a bounded cast around it, shadows under every foot."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.render.conftest import bottle

from clickscape.render.scene import Scene
from clickscape.render.shading import KeySide, key_side
from clickscape.render.staging import STANDING, Staging
from clickscape.render.studio.engine import StudioRenderer
from clickscape.render.studio.product import feet_of
from clickscape.types import Product

BAKED = Path(str(resources.files("clickscape.render.studio"))) / "assets" / "props"
FLIPPED: dict[KeySide | None, KeySide | None] = {"left": "right", "right": "left", None: None}


def lit_bottle(toward: float, *, strength: float = 0.45) -> np.ndarray:
    """A cylinder whose light falls off across it: `toward` −1 is lit from the left, 1 from the right, 0 evenly."""
    picture = bottle(width=200)
    across = np.clip((np.arange(480) - 240) / 100, -1, 1)
    gain = 1 - strength / 2 + strength / 2 * toward * across
    picture[..., :3] = np.rint(picture[..., :3] * gain[None, :, None])
    return picture


def test_the_key_is_on_the_brighter_side() -> None:
    assert key_side(lit_bottle(-1)) == "left"
    assert key_side(lit_bottle(1)) == "right"
    assert key_side(lit_bottle(0)) is None


def test_print_on_one_side_is_no_light() -> None:
    """Two halves of two colors, each evenly lit: the dark half is painted, not shaded."""
    picture = bottle(width=200)
    picture[200:, 240:, :3] = (20, 40, 60)
    assert key_side(picture) is None


def test_props_that_were_baked_under_a_known_light_are_read_right() -> None:
    """Every prop was rendered with the key on the left and under a dome: no side is ever wrong, most keys are found."""
    found: dict[str, list[KeySide | None]] = {"key": [], "dome": []}
    for layer, sides in found.items():
        for file in sorted(BAKED.glob(f"*-{layer}.webp")):
            picture = np.asarray(Image.open(file).convert("RGBA"))
            sides.append(key_side(picture))
            assert key_side(picture[:, ::-1]) == FLIPPED[sides[-1]], file.name
    assert "right" not in found["key"]
    assert found["key"].count("left") >= 0.5 * len(found["key"])
    assert found["dome"].count(None) >= 0.9 * len(found["dome"])


@pytest.mark.slow
def test_the_set_is_lit_from_the_products_side(tmp_path: Path) -> None:
    """Whatever the seed: the shadow of a product that was lit from the left falls to the right."""
    studio, scene = StudioRenderer(), Scene("studio", "white marble", "noon", "floor", "cream")
    for toward, away in ((-1, 1), (1, -1)):
        file = tmp_path / f"{away}.png"
        Image.fromarray(lit_bottle(toward)).save(file)
        for seed in range(3):
            made = studio.render_scene(Product("A", "Shampoo", image=str(file)), scene, size=(128, 128), seed=seed)
            assert made.staging is not None
            assert made.staging.key == ("left" if toward < 0 else "right")
            rows, columns = np.nonzero(made.product_mask)
            band = made.image[rows.max() - 6 : rows.max() + 2].astype(float).mean((0, 2))
            left, right = band[columns.min() - 26 : columns.min() - 4], band[columns.max() + 5 : columns.max() + 27]
            assert (left.mean() - right.mean()) * away > 4, "the side away from the light is darker"


@pytest.mark.parametrize("light", ["golden hour", "candlelight", "neon"])
def test_the_cast_is_weaker_around_the_product(studio: StudioRenderer, light: str) -> None:
    """On white marble, the color of what surrounds the foot is nearer to gray than that of the far ground."""
    scene = Scene("studio", "white marble", light, "floor", "cream")
    made = studio.compose(bottle(), scene, size=(256, 256), seed=0)
    lab = cv2.cvtColor(made.image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    chroma = np.hypot(lab[..., 1], lab[..., 2]) / np.maximum(lab[..., 0], 8)
    rows, columns = np.nonzero(made.product_mask)
    foot = int(rows.max())
    band = chroma[foot - 4 : foot + 8]
    near = band[:, columns.min() - 14 : columns.min() - 4], band[:, columns.max() + 4 : columns.max() + 14]
    far = chroma[foot + 20 :, :24], chroma[foot + 20 :, -24:]
    assert np.mean([each.mean() for each in near]) < 0.85 * np.mean([each.mean() for each in far])


def stool() -> np.ndarray:
    """A seat on three legs that are seen from a little above: the one in the middle ends lowest, the others higher."""
    picture = np.zeros((400, 300, 4), np.uint8)
    picture[40:100, 40:260] = (180, 180, 190, 255)
    for left, foot in ((50, 350), (140, 390), (230, 352)):
        picture[100:foot, left : left + 20] = (150, 150, 160, 255)
    return picture


def test_feet_of_a_stool_and_no_foot_of_a_handle() -> None:
    seen = feet_of(stool()[..., 3] / np.float32(255), legs=True)
    assert [(first, last) for first, last, _ in seen] == [(50, 69), (230, 249)]
    assert [row for *_, row in seen] == [349, 351]
    assert feet_of(stool()[..., 3] / np.float32(255), legs=False) == []


def test_the_shadow_touches_every_foot(studio: StudioRenderer) -> None:
    """Right below each rear leg the floor is darker with the shadow of legs than without."""
    scene = Scene("studio", "white marble", "soft", "floor", "cream")
    on_floor = replace(STANDING, on_floor=True)
    with_legs, without = (
        studio.compose(stool(), scene, size=(256, 256), seed=0, staging=staging) for staging in (on_floor, Staging())
    )
    assert np.array_equal(with_legs.product, without.product)
    columns = np.flatnonzero((with_legs.product_mask > 200).any(0))
    lowest = 255 - np.argmax(with_legs.product_mask[::-1] > 200, axis=0)
    darker = without.image.mean(-1) - with_legs.image.mean(-1)
    for rear in (columns[: len(columns) // 6], columns[-len(columns) // 6 :]):
        feet = rear[lowest[rear] > lowest[rear].max() - 3]
        assert np.mean([darker[lowest[column] + 1 : lowest[column] + 3, column].mean() for column in feet]) > 8
    far = darker[:20]
    assert abs(far.mean()) < 1
