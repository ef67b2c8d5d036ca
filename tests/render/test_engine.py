"""The studio draws exactly: same arguments same bytes, product pixels untouched, every value of every slot visible."""

from __future__ import annotations

import itertools
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.render.conftest import bottle, scenes

from clickscape.compute.cache import ByteCache
from clickscape.errors import ImageError
from clickscape.render import scene
from clickscape.render.scene import Scene
from clickscape.render.studio import product, stage
from clickscape.render.studio.engine import StudioRenderer, vary
from clickscape.render.studio.geometry import Camera

SIDE = 96


@pytest.mark.slow
def test_the_same_arguments_give_the_same_bytes_whatever_was_drawn_before() -> None:
    drawn = Scene("loft", "walnut", "window", "blocks", "teal", ("palm", "candle"))
    fresh = StudioRenderer().compose(bottle(), drawn, size=(SIDE, SIDE), seed=5)
    used = StudioRenderer(cache_bytes=2**20)  # hardly anything fits
    for seed in range(3):
        used.compose(bottle(height=200), replace(drawn, stand="slab"), size=(SIDE, SIDE), seed=seed)
    again = used.compose(bottle(), drawn, size=(SIDE, SIDE), seed=5)
    assert np.array_equal(fresh.image, again.image)
    assert np.array_equal(fresh.product_mask, again.product_mask)


@pytest.mark.slow
def test_long_borders_of_faces_are_looked_up_in_parts(monkeypatch: pytest.MonkeyPatch, studio: StudioRenderer) -> None:
    """Above some 1,500 pixels more points lie along faces than OpenCV looks up at once; parts change nothing."""
    drawn = Scene("bathroom", "slate", "blinds", "steps", "cream")
    large = studio.compose(bottle(), drawn, size=(1800, 1800), seed=1)
    assert large.image.std() > 10
    whole = StudioRenderer().compose(bottle(), drawn, size=(256, 256), seed=1)
    monkeypatch.setattr(stage, "_LOOKED_UP", 100)
    parts = StudioRenderer().compose(bottle(), drawn, size=(256, 256), seed=1)
    assert np.array_equal(whole.image, parts.image)


@pytest.mark.slow
def test_the_number_of_threads_changes_nothing(studio: StudioRenderer) -> None:
    drawn = Scene("forest", "slate", "leafy", "podium", None, ("log",))
    one = StudioRenderer().compose(bottle(), drawn, size=(256, 256), seed=1).image
    cv2.setNumThreads(4)
    try:
        many = StudioRenderer().compose(bottle(), drawn, size=(256, 256), seed=1).image
    finally:
        cv2.setNumThreads(1)
    assert np.array_equal(one, many)


@pytest.mark.slow
@settings(max_examples=40)
@given(drawn=scenes, seed=st.integers(0, 10_000), narrow=st.booleans())
def test_product_pixels_are_exact(studio: StudioRenderer, drawn: Scene, seed: int, narrow: bool) -> None:
    """The opaque pixels are those of the cut-out scaled to its box, bit for bit, mirrored picture or not."""
    cutout = bottle(width=120 if narrow else 330)
    made = studio.compose(cutout, drawn, size=(SIDE, SIDE), seed=seed)
    variation, _ = vary(drawn, seed)
    inside = product.bounds(cutout)
    box = product.placement_box((inside.height, inside.width), size=(SIDE, SIDE), offset=0.022 * variation.shift)
    piece = product.scaled(cutout, box)
    shown = (slice(box.top, box.top + box.height), slice(box.left, box.left + box.width))
    opaque = piece[..., 3] == 255
    assert opaque.mean() > 0.4
    assert np.array_equal(made.image[shown][opaque], piece[..., :3][opaque])
    assert np.array_equal(made.product_mask[shown], piece[..., 3])
    assert made.product_mask.sum() == piece[..., 3].sum(dtype=np.int64)


def test_a_cut_out_is_scaled_once_for_pictures_of_one_size(monkeypatch: pytest.MonkeyPatch) -> None:
    scaled, boxes = product.scaled, []
    monkeypatch.setattr(product, "scaled", lambda cutout, box: boxes.append(box) or scaled(cutout, box))
    studio, cutout = StudioRenderer(), bottle()
    for light, side in (("soft", SIDE), ("noon", SIDE), ("soft", 64)):
        studio.compose(cutout, Scene(light=light), size=(side, side), seed=1)
    assert len(boxes) == 2


@pytest.mark.parametrize(
    "slot", ["setting", pytest.param("surface", marks=pytest.mark.slow), "light", "stand", "palette", "prop"]
)
def test_every_value_of_every_slot_is_visible(studio: StudioRenderer, slot: str) -> None:
    """Any two values differ by more than two display levels on average over the background, at 96 pixels."""
    base = Scene("studio", "oak", "soft", "podium", "blue").slots
    pictures = {}
    for value in scene.SLOTS[slot]:
        drawn = Scene.from_slots({**base, slot: value})
        stage = studio.compose(bottle(), drawn, size=(SIDE, SIDE), seed=0)
        pictures[value] = _straightened(drawn, stage.image)
    for first, second in itertools.combinations(pictures, 2):
        difference = np.abs(pictures[first].astype(int) - pictures[second]).mean()
        assert difference > (0.8 if slot == "prop" else 2.0), (first, second, difference)


def _straightened(drawn: Scene, image: np.ndarray) -> np.ndarray:
    return image[:, ::-1] if vary(drawn, 0)[0].mirrored else image


@pytest.mark.slow
def test_every_setting_renders_on_every_stand(studio: StudioRenderer) -> None:
    for number, (setting, stand) in enumerate(itertools.product(scene.SETTINGS, scene.STANDS)):
        drawn = Scene(setting, scene.SURFACES[number % 12], scene.LIGHTS[number % 10], stand, None, ())
        made = studio.compose(bottle(), drawn, size=(64, 64), seed=number)
        assert made.image.shape == (64, 64, 3)
        assert made.image.dtype == np.uint8
        assert made.image.std() > 8, (setting, stand)


@pytest.mark.parametrize("size", [(192, 100), (80, 142), (128, 160), (64, 64), (256, 54)])
def test_other_shapes_keep_the_product_whole(studio: StudioRenderer, size: tuple[int, int]) -> None:
    made = studio.compose(bottle(), Scene(props=("gift",)), size=size, seed=2)
    assert made.image.shape == (size[1], size[0], 3)
    rows, columns = np.nonzero(made.product_mask)
    assert rows.min() > 0
    assert rows.max() < size[1] - 1
    assert columns.min() > 0
    assert columns.max() < size[0] - 1
    share = (rows.max() - rows.min() + 1) / min(size[1], 1.25 * size[0])
    assert (0.45 < share < 0.74) if size[0] / size[1] < 4 else (0.7 < share < 0.8), "larger in a banner"


def test_a_product_stands_in_the_box_computed_by_hand() -> None:
    """1,000 × 1,000: a tall product is 550 high; its lowest row lies at 0.806; a wide one is 700 wide."""
    tall = product.placement_box((400, 100), size=(1000, 1000))
    assert (tall.height, tall.width) == (550, 138)
    assert tall.top + tall.height == 806
    assert tall.left == 500 - 69
    wide = product.placement_box((100, 400), size=(1000, 1000), offset=0.02)
    assert (wide.height, wide.width) == (175, 700)
    assert wide.left == 520 - 350


def test_seeds_vary_the_picture_but_not_the_product(studio: StudioRenderer) -> None:
    drawn = Scene("meadow", "oak", "noon", "table", None, ("lemons",))
    made = [studio.compose(bottle(), drawn, size=(SIDE, SIDE), seed=seed) for seed in range(12)]
    assert len({one.image.tobytes() for one in made}) == 12
    assert len({vary(drawn, seed)[0] for seed in range(12)}) > 8
    areas = {int((one.product_mask == 255).sum()) for one in made}
    assert len(areas) == 1


def test_product_darkens_what_it_stands_on(studio: StudioRenderer) -> None:
    """Contact: with the product there the floor beside its foot is darker than without it (a speck far away)."""
    drawn = Scene("studio", "white marble", "soft", "floor", "cream")
    speck = np.zeros((480, 480, 4), np.uint8)
    speck[100:440, 200:280] = 255
    wide, slim = (studio.compose(cutout, drawn, size=(192, 192), seed=0) for cutout in (bottle(width=300), speck))
    foot = int(0.80 * 192)
    beside = ~((wide.product_mask > 0) | (slim.product_mask > 0))
    band = np.zeros_like(beside)
    band[foot - 3 : foot + 3] = True
    columns = np.flatnonzero((wide.product_mask > 0).any(0))
    band[:, : columns.min() - 6] = False
    band[:, columns.max() + 6 :] = False
    near = band & beside
    assert near.any()
    assert wide.image[near].mean() < slim.image[near].mean() - 10


@pytest.mark.slow
def test_cache_stays_within_its_bytes() -> None:
    studio = StudioRenderer(cache_bytes=24 * 2**20)
    for seed in range(8):
        drawn = Scene("studio", scene.SURFACES[seed], "soft", scene.STANDS[seed % 6], "red", (scene.PROPS[seed],))
        studio.compose(bottle(), drawn, size=(128, 128), seed=seed)
        assert studio.parts.bytes_held + studio.finished.bytes_held <= 24 * 2**20
    assert len(studio.finished) > 0


def test_least_recently_used_leaves_first() -> None:
    cache = ByteCache(3_000)
    for key in "abc":
        cache.get(key, lambda: np.zeros(600, np.uint8))
    cache.get("a", lambda: pytest.fail("a is held"))
    cache.get("d", lambda: np.zeros(600, np.uint8))  # 4 × (600 + 256) > 3,000: b goes
    made: list[str] = []
    cache.get("a", lambda: made.append("a"))
    cache.get("b", lambda: made.append("b"))
    assert made == ["b"]


def test_projection_undoes_the_rays() -> None:
    """A point along the ray through a pixel projects back onto that pixel; the origin falls on the base row."""
    camera = Camera(300, 200, eye_height=1.26)
    columns, rows = np.array([10.5, 150.0, 288.25], np.float32), np.array([20.5, 100.0, 190.0], np.float32)
    points = camera.eye[:, None] + camera.rays(columns, rows) * np.float32(5.0)
    back_columns, back_rows = camera.project(*points)
    assert np.allclose(back_columns, columns, atol=1e-2)
    assert np.allclose(back_rows, rows, atol=1e-2)
    zero = np.zeros(1, np.float32)
    assert np.allclose([float(value[0]) for value in camera.project(zero, zero, zero)], [150, 160], atol=1e-2)


def test_empty_cutout_and_impossible_sizes_are_refused(studio: StudioRenderer) -> None:
    with pytest.raises(ImageError, match="transparent"):
        studio.compose(np.zeros((50, 50, 4), np.uint8), Scene(), size=(64, 64), seed=0)
    with pytest.raises(ValueError, match="cut-out"):
        studio.compose(np.zeros((50, 50, 3), np.uint8), Scene(), size=(64, 64), seed=0)
    with pytest.raises(ValueError, match="pixels"):
        studio.compose(bottle(), Scene(), size=(8, 64), seed=0)
