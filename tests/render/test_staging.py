"""Staging: what cannot stand lies or hangs, seen from where it was photographed, with its shadow where it belongs."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.render.conftest import bottle

from clickscape.catalog import sample
from clickscape.render.renderer import NO_MARGINS, Margins
from clickscape.render.scene import STANDS, Scene
from clickscape.render.silhouette import Silhouette, silhouette
from clickscape.render.staging import STANDING, Staging, staging
from clickscape.render.studio.engine import StudioRenderer, vary
from clickscape.render.studio.geometry import STAND, Camera, Cylinder, cast_rays
from clickscape.render.studio.layout import lay_out
from clickscape.render.studio.lights import LIGHTS
from clickscape.types import Product

WALL = Scene("studio", "white marble", "soft", "podium", "cream")
TERRACE = Scene("terrace", "slate", "soft", "slab", None)
BOX = Silhouette(aspect=1.0, fill=0.8, foot=(0.1, 0.9), mass=0.5)
LIES = Staging("lies", "above", thickness=0.05)
HANGS = Staging("hangs", thickness=0.05)


def tee() -> np.ndarray:
    """A T-shirt with a broad straight hem, (row, column, 4)."""
    picture = np.zeros((420, 460, 4), np.uint8)
    outline = [(130, 20), (330, 20), (450, 110), (390, 190), (340, 150), (340, 400), (120, 400), (120, 150), (70, 190),
               (10, 110)]  # fmt: skip
    cv2.fillPoly(picture, [np.array(outline)], (40, 60, 150, 255))
    return picture


def hammer() -> np.ndarray:
    """A heavy head at the upper right of a thin handle that ends at the lower left."""
    picture = np.zeros((400, 400, 4), np.uint8)
    cv2.line(picture, (30, 380), (300, 110), (150, 100, 60, 255), 26)
    cv2.line(picture, (220, 40), (370, 190), (90, 90, 95, 255), 70)
    return picture


def posed(title: str, outline: Silhouette = BOX, scene: Scene = WALL, category: tuple[str, ...] = ()) -> Staging:
    return staging(Product("A", title, category=category), outline, scene)


@pytest.mark.parametrize(
    ("title", "category", "on_terrace", "before_wall"),
    [
        ("Dash T-Shirt, Gray", (), "lies", "lies"),
        ("Everline Blue Hoodie", ("Apparel", "Hoodies"), "lies", "lies"),
        ("Alpine Classic", ("Apparel", "Polo Shirts"), "lies", "lies"),
        ("Poster of the Moon, A2", (), "lies", "hangs"),
        ("Canvas Tote Bag", (), "lies", "lies"),
        ("White Pendant Lamp", (), "hangs", "hangs"),
        ("Steel Wrist Watch", (), "lies", "lies"),
        ("Silver Bracelet", (), "lies", "lies"),
        ("Striped Cushion", ("Home",), "lies", "lies"),
        ("Round Sticker", (), "lies", "lies"),
        ("Jump Rope with Wooden Handles", (), "lies", "lies"),
        ("Leather Handbag", (), "stands", "stands"),
        ("Knitted Hat", ("Clothing", "Hats"), "stands", "stands"),
        ("Shirt Box", (), "stands", "stands"),
        ("Winter Hoodie Zip", ("Clothing",), "lies", "lies"),
        ("Neck Warmer", ("Accessories",), "lies", "lies"),
        ("Oak Bed Frame", (), "stands", "stands"),
        ("Apple Juice, 330 ml", ("Drinks",), "stands", "stands"),
    ],
)
def test_words_say_what_cannot_stand(title: str, category: tuple[str, ...], on_terrace: str, before_wall: str) -> None:
    assert posed(title, scene=TERRACE, category=category).pose == on_terrace
    assert posed(title, scene=WALL, category=category).pose == before_wall


def test_every_garment_lies_and_one_photographed_at_a_slant_says_so() -> None:
    straight, crumpled = posed("T-Shirt", scene=TERRACE), posed("T-Shirt", replace(BOX, aspect=0.4), TERRACE)
    assert (straight.seen, straight.slanted) == ("above", False)
    assert (crumpled.seen, crumpled.slanted) == ("above", True)


def test_shoes_from_above_lie_and_from_the_side_stand() -> None:
    assert posed("Canvas Sneakers", replace(BOX, aspect=1.3)).seen == "above"
    assert posed("Canvas Sneakers", replace(BOX, aspect=0.45)) == STANDING
    pair = posed("Canvas Sneakers", replace(BOX, aspect=0.6, foot=(0.36, 0.79)))
    assert (pair.seen, pair.slanted) == ("above", True), "a pair at a slant stands on one toe of the outline"
    assert posed("Rubber Boots", replace(BOX, aspect=1.3)) == STANDING


def test_a_cover_lies_and_a_book_that_stands_askew_stands() -> None:
    assert posed("Paperback", replace(BOX, fill=1.0)).pose == "lies"
    assert posed("Paperback", replace(BOX, fill=0.8)).pose == "stands"


def test_what_would_fall_over_lies_but_furniture_stands_on_the_floor() -> None:
    falls = silhouette(hammer())
    assert not falls.stable
    assert posed("Claw Hammer", falls).pose == "lies"
    chair = posed("Dining Chair", falls)
    assert (chair.pose, chair.on_floor) == ("stands", True)


def test_a_silhouette_has_the_measures_counted_by_hand() -> None:
    """An L: its foot is the whole width of 100, its mass, twice 10,000 pixels at columns 10 and 50, at 30."""
    picture = np.zeros((600, 100, 4), np.uint8)
    picture[:500, :20, 3] = 255  # 10,000 pixels, middle column 10
    picture[500:600, :, 3] = 255  # 10,000 pixels, middle column 50
    seen = silhouette(picture)
    assert seen.aspect == 6.0
    assert seen.mass == pytest.approx(0.30, abs=0.01)
    assert seen.foot == pytest.approx((0.0, 1.0), abs=0.03)
    assert seen.fill == pytest.approx(20_000 / 60_000, abs=0.01)
    assert seen.stable
    assert silhouette(bottle()).stable
    assert not silhouette(picture[::-1]).stable, "on its short leg"


@pytest.mark.slow
def test_the_renderer_reports_how_it_staged(tmp_path: Path) -> None:
    file = tmp_path / "tee.png"
    Image.fromarray(tee()).save(file)
    products = [Product("A", title, image=str(file)) for title in ("Blue Poster", "Blue T-Shirt")]
    studio = StudioRenderer()
    on_wall, lying = (studio.render_scene(product, WALL, size=(96, 96), seed=0).staging for product in products)
    assert on_wall is not None
    assert lying is not None
    assert (on_wall.pose, lying.pose, lying.seen) == ("hangs", "lies", "above")
    assert "hem" in lying.reason
    assert studio.compose(tee(), WALL, size=(96, 96), seed=0).staging == STANDING


@pytest.mark.parametrize("pose", [LIES, HANGS, Staging("leans"), Staging("hangs")], ids=lambda pose: pose.pose)
@pytest.mark.parametrize("size", [(128, 128), (90, 160), (160, 90), (240, 50)])
@pytest.mark.parametrize("margins", [NO_MARGINS, Margins(top=0.14, right=0.06, bottom=0.35, left=0.06)])
@pytest.mark.parametrize("scene", [WALL, pytest.param(TERRACE, marks=pytest.mark.slow)])
def test_product_pixels_are_exact_and_whole_in_every_pose(
    studio: StudioRenderer, pose: Staging, size: tuple[int, int], margins: Margins, scene: Scene
) -> None:
    made = studio.compose(tee(), scene, size=size, seed=3, margins=margins, staging=pose)
    rows, columns = np.nonzero(made.product_mask)
    left, top, right, bottom = margins.inside(size)
    assert left <= columns.min()
    assert columns.max() < right
    assert top <= rows.min()
    assert rows.max() < bottom
    opaque = made.product[..., 3] == 255
    assert np.array_equal(made.image[opaque], made.product[..., :3][opaque])
    assert {tuple(color) for color in made.product[opaque][:, :3].tolist()} == {(40, 60, 150)}


def _without(scene: Scene, pose: Staging, *, seed: int, side: int = 256) -> np.ndarray:
    """The same set around a speck that is hardly there."""
    speck = tee()
    speck[..., 3] = 0
    speck[::419, ::459, 3] = 60  # the corners keep its box
    return StudioRenderer().compose(speck, scene, size=(side, side), seed=seed, staging=pose).image


@pytest.mark.slow
@pytest.mark.parametrize("pose", [LIES, HANGS], ids=lambda pose: pose.pose)
def test_what_lies_or_hangs_darkens_what_is_right_behind_it(studio: StudioRenderer, pose: Staging) -> None:
    """A ring of four pixels around the outline is darker than the bare set, most on the side away from the light."""
    scene = Scene("studio", "white marble", "soft", "floor", "cream")
    made = studio.compose(tee(), scene, size=(256, 256), seed=1, staging=pose)
    bare = _without(scene, pose, seed=1).astype(float)
    mask = made.product_mask
    ring = (cv2.dilate(mask, np.ones((9, 9), np.uint8)) > 0) & (mask == 0)
    darker = bare.mean(-1) - made.image.mean(-1)
    assert darker[ring].mean() > 8
    middle = np.flatnonzero((mask > 0).any(0)).mean()
    toward_right = not vary(scene, 1)[0].mirrored  # unmirrored keys come from the left
    halves = [darker[:, : int(middle)][ring[:, : int(middle)]], darker[:, int(middle) :][ring[:, int(middle) :]]]
    away, near = halves[::-1] if toward_right else halves
    assert away.mean() > near.mean() + 3


@pytest.mark.parametrize("stand", STANDS)
def test_the_surface_fills_the_frame_below_what_lies(studio: StudioRenderer, stand: str) -> None:
    """On black marble before a red wall: hardly any red (a vein), whatever the scene's stand."""
    scene = Scene("studio", "black marble", "soft", stand, "red")
    made = studio.compose(tee(), scene, size=(128, 128), seed=0, staging=LIES).image.astype(int)
    assert (made[..., 0] > made[..., 2] + 60).mean() < 0.001


@pytest.mark.slow
def test_patterns_of_light_stay_off_what_lies(studio: StudioRenderer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blinds draw stripes at the border, and hardly any near the product, on which they could not fall."""
    scene = Scene("studio", "oak", "blinds", "floor", "cream")
    striped = studio.compose(bottle(width=300), scene, size=(256, 256), seed=0, staging=LIES)
    monkeypatch.setitem(LIGHTS, "blinds", replace(LIGHTS["blinds"], pattern=None))
    plain = StudioRenderer().compose(bottle(width=300), scene, size=(256, 256), seed=0, staging=LIES)
    mask = striped.product_mask
    ring = (cv2.dilate(mask, np.ones((13, 13), np.uint8)) > 0) & (cv2.dilate(mask, np.ones((5, 5), np.uint8)) == 0)
    border = np.ones_like(ring)
    border[14:-14, 14:-14] = False
    ratio = striped.image.mean(-1) / plain.image.mean(-1)
    assert ratio[border].std() > 3 * ratio[ring].std()
    assert ratio[border].min() < 0.9 < ratio[ring].min()


def test_furniture_stands_on_the_floor_whatever_the_stand(studio: StudioRenderer) -> None:
    on_floor = Staging(on_floor=True)
    pictures = [
        studio.compose(bottle(width=330), replace(WALL, stand=stand), size=(96, 96), seed=0, staging=on_floor)
        for stand in ("podium", "floor")
    ]
    straight = [
        made.image[:, ::-1] if vary(replace(WALL, stand=stand), 0)[0].mirrored else made.image
        for made, stand in zip(pictures, ("podium", "floor"), strict=True)
    ]
    below = [image[80:].astype(float).mean() for image in straight]
    assert below[0] == pytest.approx(below[1], abs=6), "marble in both"
    assert pictures[0].scene == replace(WALL, stand="floor"), "reported is what the picture shows"


def test_what_lies_hides_setting_stand_and_wall_and_what_stands_hides_nothing(studio: StudioRenderer) -> None:
    lying, standing = (studio.compose(bottle(), WALL, size=(64, 64), seed=0, staging=pose) for pose in (LIES, STANDING))
    assert lying.slots == {**WALL.slots, "setting": None, "stand": None, "palette": None}
    assert lying.scene != standing.scene == WALL
    other = studio.compose(bottle(), replace(WALL, palette="teal"), size=(64, 64), seed=0, staging=LIES)
    assert lying.slots == other.slots, "nobody sees which wall it is"


def test_props_that_are_not_in_the_picture_are_no_props(studio: StudioRenderer) -> None:
    gift = replace(WALL, props=("gift",))
    beside = studio.compose(bottle(), gift, size=(96, 96), seed=0)
    behind = studio.compose(bottle(width=330, height=220), gift, size=(96, 96), seed=0, physical_size="large")
    lying = studio.compose(bottle(), gift, size=(96, 96), seed=0, staging=LIES)
    assert [made.slots["prop"] for made in (beside, behind, lying) if made.slots] == ["gift", "none", "none"]


def test_a_lamp_hangs_from_the_upper_border_as_if_its_cord_went_on(studio: StudioRenderer) -> None:
    for size, scene in (((128, 128), TERRACE), ((90, 160), WALL), ((160, 90), WALL)):
        hung = studio.compose(bottle(), scene, size=size, seed=2, staging=Staging("hangs"))
        rows = np.flatnonzero((hung.product_mask > 128).any(1))
        assert rows[0] == 0
        assert rows[-1] < 0.75 * size[1]
        zone = studio.compose(bottle(), scene, size=size, seed=2, staging=Staging("hangs"), margins=Margins(top=0.1))
        assert (zone.product_mask > 128).any(1).argmax() >= round(0.1 * size[1])


def _turned_body(eye_height: float, *, side: int = 400) -> np.ndarray:
    """A cylinder on the origin as the studio's own camera sees it from `eye_height`, (side, side, 4)."""
    camera = Camera(side, side, eye_height)
    rows, columns = (grid.ravel() + np.float32(0.5) for grid in np.mgrid[0:side, 0:side].astype(np.float32))
    direction = camera.rays(columns, rows)
    eye = np.broadcast_to(camera.eye[:, None], direction.shape)
    hits = cast_rays(eye, direction, (Cylinder(STAND, (0.0, 0.0), (0.42, 0.42), 0.0, 1.1),), wall=False)
    picture = np.full((side, side, 4), 120, np.uint8)
    picture[..., 3] = 255 * (hits.solid == 0).reshape(side, side)
    return picture


@pytest.mark.parametrize("eye_height", [0.6, 1.05, 1.5, 2.2])
def test_a_round_foot_says_from_how_high_it_was_seen(eye_height: float) -> None:
    true = math.degrees(math.atan(eye_height / Camera.DISTANCE))
    assert silhouette(_turned_body(eye_height)).elevation == pytest.approx(true, abs=1.5)


@pytest.mark.parametrize("name", ["wine_bottle", "matcha_tin", "night_cream", "face_serum", "shampoo", "smart_speaker"])
def test_baked_objects_are_seen_from_where_they_were_baked(name: str) -> None:
    """They were rendered by a camera at 1.05 over 6.2 units, 9.6 degrees."""
    assert silhouette(sample.cutout(f"{name}-original")).elevation == pytest.approx(9.6, abs=2.5)


def test_what_has_no_round_foot_says_nothing_about_the_camera() -> None:
    disc = np.zeros((300, 300, 4), np.uint8)
    cv2.circle(disc, (150, 150), 140, (255, 0, 0, 255), -1)
    for picture in (disc, tee(), bottle(), hammer()):
        assert silhouette(picture).elevation is None


def test_the_set_is_seen_from_as_high_as_the_product() -> None:
    """A product that was seen from 17 degrees gets a set seen from there, whatever camera the seed chose."""
    for view in ((1.05, 0.0), (0.86, -0.09)):
        plain, high = (
            lay_out((300, 200), replace(STANDING, elevation=elevation), size=(512, 512), view=view).camera
            for elevation in (None, 17.0)
        )
        assert plain.eye_height == view[0]
        assert math.degrees(math.atan(high.eye_level / high.distance)) == pytest.approx(17.0, abs=0.8)
        assert high.base_row == plain.base_row
    assert lay_out((9, 9), replace(STANDING, elevation=60.0), size=(64, 64), view=view).camera.eye_height <= 2
