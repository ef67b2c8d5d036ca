"""Pictures that are no squares: what banners, skyscrapers and margins change; and that squares stay what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.render.conftest import bottle

from clickscape.render.renderer import NO_MARGINS, Margins
from clickscape.render.scene import Scene
from clickscape.render.studio import product
from clickscape.render.studio.engine import StudioRenderer
from clickscape.render.studio.geometry import Camera

REELS = Margins(top=0.14, right=0.06, bottom=0.35, left=0.06)
BANNERS = ((320, 50), *(pytest.param(size, marks=pytest.mark.slow) for size in ((728, 90), (970, 90), (468, 60))))
SKYSCRAPERS = ((120, 600), *(pytest.param(size, marks=pytest.mark.slow) for size in ((160, 600), (300, 1050))))


PRODUCTS = {"bottle": (360, 90), "box": (300, 300), "shoe": (150, 400), "sofa": (200, 430)}


SQUARES = (
    (64, 0, (360, 150), Scene("studio", "white marble", "soft", "podium", "cream", ("gift",))),
    (96, 1, (360, 330), Scene("forest", "slate", "leafy", "blocks", None, ("log", "berries"))),
    (128, 2, (120, 400), Scene("city", "black marble", "neon", "steps", None, ("bubbles",))),
    (256, 3, (360, 150), Scene("loft", "walnut", "window", "table", "teal", ("palm", "candle"))),
    (224, 4, (360, 60), Scene("beach", "sand", "golden hour", "floor", None, ("palm",))),
    (320, 5, (200, 200), Scene("bathroom", "water", "spotlight", "slab", "blue", ())),
    (512, 6, (360, 150), Scene("kitchen", "oak", "noon", "table", None, ("lemons",))),
)
KEPT = Path(__file__).parent / "squares"


@pytest.mark.slow
@pytest.mark.parametrize(("side", "seed", "shape", "scene"), SQUARES)
def test_square_images_are_unchanged(
    studio: StudioRenderer, side: int, seed: int, shape: tuple[int, int], scene: Scene
) -> None:
    """Experiments compare square pictures across versions: none may change unannounced, but for a processor's rounding.

    One that was changed on purpose: delete its file, run the test, look at the new one.
    """
    drawn = studio.compose(bottle(height=shape[0], width=shape[1]), scene, size=(side, side), seed=seed)
    made = np.dstack([drawn.image, drawn.product_mask])  # the files hold the product's mask as their alpha
    file = KEPT / f"{seed}.png"
    if not file.exists():
        Image.fromarray(made).save(file, optimize=True)
        pytest.fail(f"{file} was not there and is now: look at it, and run again")
    apart = np.abs(made.astype(int) - np.asarray(Image.open(file)).astype(int)).max(-1)
    assert apart.mean() < 0.05
    assert (apart > 2).mean() < 0.001


@given(width=st.integers(32, 4096), height=st.integers(32, 4096))
def test_usual_aspect_ratios_keep_the_usual_camera(width: int, height: int) -> None:
    """From 1 : 2 to 2.2 : 1 the camera is the one of a square picture, on any processor."""
    camera = Camera(width, height)
    if 0.5 <= width / height <= 2.2:
        assert (camera.lens, camera.distance, camera.eye_level) == (1.0, 6.2, 1.05)
        assert camera.reference == min(height, 1.25 * width)
    else:
        assert 1 <= camera.lens <= 2.4


@pytest.mark.parametrize("size", BANNERS)
@pytest.mark.parametrize("name", PRODUCTS)
def test_a_banner_shows_the_product_whole_and_large(studio: StudioRenderer, size: tuple[int, int], name: str) -> None:
    shape = PRODUCTS[name]
    made = studio.compose(bottle(height=shape[0], width=shape[1]), Scene(), size=size, seed=1)
    rows, columns = np.nonzero(made.product_mask)
    assert rows.min() > 0.05 * size[1]
    assert rows.max() < 0.95 * size[1]
    assert rows.max() - rows.min() + 1 > 0.70 * size[1]
    assert abs(columns.mean() - size[0] / 2) < 0.03 * size[0]


@pytest.mark.parametrize("size", SKYSCRAPERS)
@pytest.mark.parametrize("name", PRODUCTS)
def test_a_skyscraper_shows_the_product_whole_and_large(
    studio: StudioRenderer, size: tuple[int, int], name: str
) -> None:
    shape = PRODUCTS[name]
    made = studio.compose(bottle(height=shape[0], width=shape[1]), Scene(), size=size, seed=1)
    rows, columns = np.nonzero(made.product_mask)
    assert columns.min() > 0.04 * size[0]
    assert columns.max() < 0.96 * size[0]
    wide, tall = (columns.max() - columns.min() + 1) / size[0], (rows.max() - rows.min() + 1) / size[0]
    assert wide > 0.78 or tall > 1.1, "as wide as the margins allow, or a slim product higher than the picture is wide"


@pytest.mark.parametrize("name", PRODUCTS)
def test_portraits_and_landscapes_show_the_product_larger_than_a_square_does(name: str) -> None:
    def share(width: int, height: int) -> tuple[float, float]:
        box = product.placement_box(PRODUCTS[name], size=(width, height))
        return box.width / width, box.height / height

    square, portrait, landscape = share(1080, 1080), share(1080, 1920), share(1200, 628)
    assert portrait[0] > 1.1 * square[0] or portrait[0] > 0.75
    assert landscape[1] > 1.1 * square[1] or landscape[0] > 0.65


def test_a_tall_picture_ends_in_the_tabletop_and_a_square_shows_its_edge(studio: StudioRenderer) -> None:
    """Walnut before a red wall: below the foot of a tall picture there is wood alone, down to the last row."""
    scene = Scene("studio", "walnut", "soft", "table", "red")
    for size, wooden in (((270, 480), True), ((300, 300), False)):
        image = studio.compose(bottle(), scene, size=size, seed=0).image.astype(int)
        red = image[-2:, :, 0] - image[-2:, :, 1]
        assert (red.mean() < 60) == wooden


@settings(max_examples=60)
@given(
    width=st.integers(32, 2000),
    height=st.integers(32, 2000),
    shape=st.tuples(st.integers(1, 900), st.integers(1, 900)),
    offset=st.floats(-0.022, 0.022),
    margins=st.builds(Margins, *[st.floats(0, 0.4)] * 4),
)
def test_the_product_never_leaves_its_margins(
    width: int, height: int, shape: tuple[int, int], offset: float, margins: Margins
) -> None:
    box = product.placement_box(shape, size=(width, height), offset=offset, margins=margins)
    left, top, right, bottom = margins.inside((width, height))
    slack = 2 if min(box.width, box.height) == 2 else 1  # the smallest box has two pixels
    assert left <= box.left
    assert box.left + box.width <= right + slack
    assert top - slack <= box.top
    assert box.top + box.height <= bottom


def test_margins_lift_the_set_with_the_product(studio: StudioRenderer) -> None:
    """The podium's lid lies where the product stands: below its foot is stone, not wall, with margins and without."""
    scene, cutout = Scene("studio", "white marble", "soft", "podium", "charcoal"), bottle(height=300, width=200)
    for margins, foot in ((NO_MARGINS, 0.736), (REELS, 0.65)):
        made = studio.compose(cutout, scene, size=(180, 320), seed=0, margins=margins)
        rows, columns = np.nonzero(made.product_mask > 128)
        assert rows.max() + 1 == pytest.approx(foot * 320, abs=2)
        side = made.image[rows.max() + 12 : rows.max() + 18, columns.min() + 20 : columns.max() - 20]
        assert side.mean() > 1.4 * made.image[:20].mean(), "white marble under a product before a charcoal wall"


def test_impossible_margins_are_refused() -> None:
    with pytest.raises(ValueError, match="opposite margins"):
        Margins(top=0.6, bottom=0.4)
    with pytest.raises(ValueError, match="opposite margins"):
        Margins(left=-0.1)
