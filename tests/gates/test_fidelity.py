"""Each detector on pictures made by hand (a red box before a gray wall, with a contact shadow), and on the studio's."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickscape.catalog import sample
from clickscape.gates import fidelity
from clickscape.gates.contact_shadow import measure_contact_shadow
from clickscape.gates.edge import edge_difference, seam_step
from clickscape.gates.extension import extension_share
from clickscape.gates.fidelity import Limits
from clickscape.gates.outline import unroll
from clickscape.gates.surround import measure_surround
from clickscape.render.color import to_display, to_linear
from clickscape.render.scene import Scene as StudioScene
from clickscape.render.studio.engine import StudioRenderer

SIDE = 512
TOP, BOTTOM, LEFT, RIGHT = 150, 410, 200, 312  # rows and columns of the box: 260 × 112 pixels
RED, WALL = (190, 40, 50), 150
HUNG = (False, True, False, False)
FADE = 0.04  # natural logarithm of light that the ground gains per pixel below the box


@dataclass(frozen=True, slots=True)
class Scene:
    """Image (height, width, 3) and placed cut-out (height, width, 4), uint8."""

    image: np.ndarray
    product: np.ndarray

    @property
    def inside(self) -> np.ndarray:
        return self.product[..., 3] > 0

    def painted(self, where: tuple[slice, slice], color: object) -> Scene:
        """A copy with another color there, but never on the product."""
        image = self.image.copy()
        image[where] = color
        return self.over(image)

    def over(self, background: np.ndarray) -> Scene:
        """A copy with another background."""
        return replace(self, image=np.where(self.inside[..., None], self.product[..., :3], background))

    @property
    def turned(self) -> Scene:
        """Left and right exchanged."""
        return Scene(np.ascontiguousarray(self.image[:, ::-1]), np.ascontiguousarray(self.product[:, ::-1]))


def to_byte(light: np.ndarray) -> np.ndarray:
    """Linear light 0..1 → sRGB byte."""
    return np.rint(255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055))


@pytest.fixture
def box() -> Scene:
    product = np.zeros((SIDE, SIDE, 4), np.uint8)
    product[TOP:BOTTOM, LEFT:RIGHT] = (*RED, 255)
    image = np.full((SIDE, SIDE, 3), WALL, np.uint8)
    # the gate adds 0.004 to all light before it takes the logarithm
    shadow = 0.1 * np.exp(FADE * np.arange(60)) - 0.004
    image[BOTTOM : BOTTOM + 60, LEFT - 80 : RIGHT + 80] = to_byte(shadow)[:, None, None]
    return Scene(image, product).over(image)


def kinds(scene: Scene, **options: object) -> tuple[str, ...]:
    return fidelity.check(scene.image, scene.product, **options).kinds


def floats(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    return scene.image.astype(np.float32) / 255, scene.product.astype(np.float32) / 255


def test_a_faithful_picture_passes(box: Scene) -> None:
    result = fidelity.check(box.image, box.product)
    assert result.passed
    assert result.failures == ()


def test_one_altered_pixel_is_found(box: Scene) -> None:
    box.image[200, 220:223] += 1
    (failure,) = fidelity.check(box.image, box.product).failures
    assert (failure.kind, failure.measured, failure.limit) == ("altered", 3, 0)
    assert "the picture changes the product itself. Draw it with" in str(failure)


def test_soft_pixels_may_differ(box: Scene) -> None:
    box.product[TOP, LEFT:RIGHT, 3] = 254
    box.image[TOP, LEFT:RIGHT] += 1
    assert kinds(box) == ()


def difference_of_grays(first: int, second: int) -> float:
    """Grays differ in lightness alone: ΔE2000 = ΔL / (1 + 0.015 (L − 50)² / √(20 + (L − 50)²)), L their mean."""
    one, other = (116 * ((byte / 255 + 0.055) / 1.055) ** 0.8 - 16 for byte in (first, second))
    away = (one + other) / 2 - 50
    return abs(other - one) / (1 + 0.015 * away**2 / np.sqrt(20 + away**2))


def test_color_error_of_grays_by_hand(box: Scene) -> None:
    box.product[TOP:BOTTOM, LEFT:RIGHT, :3] = 120
    box.image[TOP:BOTTOM, LEFT:RIGHT] = 126
    expected = difference_of_grays(120, 126)
    assert fidelity.color_error(box.image, box.product) == pytest.approx(expected, rel=1e-3)
    blends = Limits(blending=1)
    assert kinds(box, tolerance=expected + 0.01, limits=blends) == ()
    assert kinds(box, tolerance=expected - 0.01, limits=blends) == ("altered",)


def test_the_border_of_the_product_may_ring_after_encoding(box: Scene) -> None:
    """One pixel along the outline is left out, and 1 % of the rest."""
    box.image[TOP, LEFT:RIGHT] = box.image[TOP:BOTTOM, LEFT] = 0
    assert fidelity.color_error(box.image, box.product) == 0
    inside = (BOTTOM - TOP - 2) * (RIGHT - LEFT - 2)
    wrong = inside // 100 + RIGHT - LEFT
    rows = 1 + wrong // (RIGHT - LEFT - 2)
    box.image[TOP + 1 : TOP + 1 + rows, LEFT + 1 : RIGHT - 1] = 0
    assert fidelity.color_error(box.image, box.product) > 20


def test_a_halo_measures_its_own_color_difference(box: Scene) -> None:
    """A rim of gray 200 on a wall of gray 150 differs from a clean composite by just these two: ΔE2000 = 14.2."""
    clean = edge_difference(unroll(*floats(box)))
    assert clean < 0.5
    rim = box.painted((slice(TOP - 4, BOTTOM + 4), slice(LEFT - 4, RIGHT + 4)), 200)
    assert edge_difference(unroll(*floats(rim))) == pytest.approx(difference_of_grays(200, WALL), abs=0.3)
    assert "edge" in kinds(rim)


@pytest.mark.parametrize("mixed_in", ["display values", "light", "not at all"])
def test_a_soft_edge_may_be_mixed_in_display_values_or_in_light(box: Scene, mixed_in: str) -> None:
    """The box fades out over six pixels; with a hard edge instead, it stands out from any clean composite."""
    rows, columns = np.arange(SIDE)[:, None], np.arange(SIDE)[None]
    from_edge = np.minimum(np.minimum(rows - TOP, BOTTOM - rows), np.minimum(columns - LEFT, RIGHT - columns))
    product = box.product.copy()
    product[..., 3] = np.rint(np.clip(from_edge / 6, 0, 1) * 255)
    share = product[..., 3:].astype(np.float32) / 255
    own, wall = product[..., :3].astype(np.float32) / 255, np.float32(WALL / 255)
    mixed = {
        "display values": own * share + wall * (1 - share),
        "light": to_display(to_linear(own) * share + to_linear(wall) * (1 - share)),
        "not at all": np.where(share > 0, own, wall),
    }[mixed_in]
    measured = edge_difference(unroll(*floats(Scene(np.rint(mixed * 255).astype(np.uint8), product))))
    assert (measured > 5) if mixed_in == "not at all" else (measured < 0.5)


def test_a_seam_measures_its_step_in_lightness(box: Scene) -> None:
    """Gray 150 is L = 62.0, gray 165 is L = 67.6: a patch that ends 12 pixels off the box steps down by 5.6."""
    patch = box.painted((slice(TOP - 12, BOTTOM + 12), slice(LEFT - 12, RIGHT + 12)), 165)
    assert seam_step(unroll(*floats(box))) < 0.6
    assert seam_step(unroll(*floats(patch))) == pytest.approx(5.6, abs=0.6)
    assert "seam" in kinds(patch)


def test_an_extension_measures_its_area(box: Scene) -> None:
    """A neck of 60 × 40 pixels on a box of 260 × 112: 2,400 / 29,120 = 8.2 % of it, less what the scaling blurs."""
    assert extension_share(*floats(box)) == 0
    neck = box.painted((slice(TOP - 60, TOP), slice(236, 276)), (190, 40, 50))
    assert extension_share(*floats(neck)) == pytest.approx(0.082, rel=0.2)
    assert "extended" in kinds(neck)


def test_an_area_apart_from_the_product_is_no_extension(box: Scene) -> None:
    apart = box.painted((slice(TOP - 60, TOP - 10), slice(236, 276)), (190, 40, 50))
    assert extension_share(*floats(apart)) == 0


def test_a_background_in_the_product_colors_is_no_extension(box: Scene) -> None:
    everywhere = box.over(np.full((SIDE, SIDE, 3), (190, 40, 50), np.uint8))
    assert extension_share(*floats(everywhere)) == 0


def test_a_reflection_below_the_foot_is_no_extension(box: Scene) -> None:
    mirror = box.painted((slice(BOTTOM, BOTTOM + 50), slice(LEFT, RIGHT)), (190, 40, 50))
    assert extension_share(*floats(mirror)) == 0


def test_contact_shadow_is_the_brightening_per_pixel(box: Scene) -> None:
    """Light below the box grows by e^0.04 per pixel, so that is what is measured; on a bare wall it is 0."""
    assert measure_contact_shadow(*floats(box)) == pytest.approx(FADE, rel=0.1)
    bare = box.over(np.full((SIDE, SIDE, 3), WALL, np.uint8))
    assert measure_contact_shadow(*floats(bare)) == pytest.approx(0, abs=1e-6)
    assert kinds(bare) == ("floating",)


def test_a_reflection_counts_as_a_contact_shadow(box: Scene) -> None:
    """Half of the way from gray to the product's chroma: 0.15 × (0.5 − 0.15) = 0.0525."""
    half = (np.array([190, 40, 50]) + WALL) // 2
    bare = box.over(np.full((SIDE, SIDE, 3), WALL, np.uint8))
    mirror = bare.painted((slice(BOTTOM, BOTTOM + 80), slice(LEFT, RIGHT)), half)
    assert measure_contact_shadow(*floats(mirror)) == pytest.approx(0.0525, abs=0.012)
    assert kinds(mirror) == ()


def test_each_foot_must_stand(box: Scene) -> None:
    """A table of two legs: with shadow under both it stands; with the bare wall's gray under one it floats."""
    box.product[300:BOTTOM, LEFT + 36 : RIGHT - 36] = 0
    table = box.over(np.where(box.inside[..., None], WALL, box.image).astype(np.uint8))
    table.image[300:BOTTOM, LEFT + 36 : RIGHT - 36] = WALL
    assert measure_contact_shadow(*floats(table)) == pytest.approx(FADE, rel=0.15)
    bare = table.painted((slice(BOTTOM, BOTTOM + 60), slice(LEFT - 20, LEFT + 50)), WALL)
    assert measure_contact_shadow(*floats(bare)) < 0.012
    assert kinds(bare) == ("floating",)


@pytest.mark.parametrize("pose", ["lies", "leans", "hangs"])
def test_a_shadow_all_around_is_no_halo_of_what_lies_or_hangs(box: Scene, pose: str) -> None:
    """Darker toward the outline, in the wall's own hue; a bright rim stays a fringe, whatever the pose."""
    away = np.hypot(
        np.maximum(np.maximum(LEFT - np.arange(SIDE), np.arange(SIDE) - RIGHT + 1), 0)[None],
        np.maximum(np.maximum(TOP - np.arange(SIDE), np.arange(SIDE) - BOTTOM + 1), 0)[:, None],
    )
    wall = to_linear(np.array([170, 140, 110], np.float32) / 255)
    shaded = box.over(to_byte(wall * (1 - 0.6 * np.exp(-away / 7))[..., None]).astype(np.uint8))
    assert "edge" in kinds(shaded)
    assert kinds(shaded, pose=pose) == ()
    rim = shaded.painted((slice(TOP - 4, BOTTOM + 4), slice(LEFT - 4, RIGHT + 4)), 250)
    assert "edge" in kinds(rim, pose=pose)


def test_what_hangs_need_not_touch_the_ground(box: Scene) -> None:
    bare = box.over(np.full_like(box.image, WALL))
    assert kinds(bare) == ("floating",)
    assert kinds(bare, pose="hangs") == ()


def test_a_background_in_the_products_tone_hides_it(box: Scene) -> None:
    """Red behind the upper three quarters of a red box: three of four parts of the sides, and the top, are lost."""
    alike = box.painted((slice(0, 320), slice(0, SIDE)), (186, 44, 52))
    surround = measure_surround(*floats(alike), unroll(*floats(alike)))
    checked = 260 - 0.12 * 260  # rows of each side above the foot
    assert surround.lost == pytest.approx((112 + 2 * 170) / (112 + 2 * checked), abs=0.05)
    assert "blends_in" in kinds(alike)
    assert measure_surround(*floats(box), unroll(*floats(box))).lost == 0


def test_colored_things_beside_the_product_are_clutter_and_tiles_are_not(box: Scene) -> None:
    rng = np.random.default_rng(0)
    things = np.kron(rng.integers(0, 256, (32, 32, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    assert "clutter" in kinds(box.over(things))
    grid = np.where((np.arange(SIDE) % 40 < 5)[:, None] | (np.arange(SIDE) % 40 < 5)[None], 235, WALL)
    tiles = box.over(np.repeat(grid[..., None], 3, 2).astype(np.uint8))
    assert measure_surround(*floats(tiles), unroll(*floats(tiles))).clutter < 0.3


def test_the_contact_shadow_is_unknown_at_the_lower_border(box: Scene) -> None:
    cut = Scene(np.ascontiguousarray(box.image[: BOTTOM + 4]), np.ascontiguousarray(box.product[: BOTTOM + 4]))
    assert measure_contact_shadow(*floats(cut)) is None
    assert "floating" not in kinds(cut)
    assert "out_of_frame" in kinds(cut)


@pytest.mark.parametrize(
    ("size", "shows"),
    [
        ((96, 96), True), ((95, 300), False), ((250, 970), True),
        ((90, 728), False), ((1050, 300), False), ((600, 160), False), ((600, 300), True),
    ],
)  # fmt: skip
def test_a_contact_shadow_thinner_than_a_pixel_is_not_measured(size: tuple[int, int], shows: bool) -> None:
    """A box in a picture of that (height, width): what it stands on is said where there are pixels enough."""
    height, width = size
    product = np.zeros((height, width, 4), np.uint8)
    product[height // 4 : height * 3 // 4, width // 4 : width * 3 // 4] = (190, 40, 50, 255)
    image = np.where(product[..., 3:] > 0, product[..., :3], np.uint8(WALL))
    assert (fidelity.measure(image, product).contact_shadow is not None) == shows


def test_free_room_by_hand(box: Scene) -> None:
    """Free: 200 of 512 left, 150 above, 200 right, 102 below; the smallest but the zone is what counts."""
    assert fidelity.room(box.product, (0, 0, 0, 0)) == pytest.approx(102 / 512)
    assert fidelity.room(box.product, (0, 0.2, 0, 0)) == pytest.approx(150 / 512 - 0.2)
    assert kinds(box, limits=Limits(safe_zone=(0, 0, 0, 0.21))) == ("out_of_frame",)
    touching = np.roll(box.product, -TOP, axis=0)
    assert fidelity.room(touching, (0, 0, 0, 0)) == -1
    assert fidelity.room(touching, (0, 0.2, 0, 0), may_touch=HUNG) == pytest.approx(200 / 512), "it hangs from there"
    assert fidelity.room(np.roll(box.product, -LEFT, axis=1), (0, 0, 0, 0), may_touch=HUNG) == -1


def test_extent_by_hand(box: Scene) -> None:
    assert fidelity.extent(box.product) == 260 / 512
    assert kinds(box, limits=Limits(extent=0.51)) == ("too_small",)


def test_an_input_that_is_not_a_picture_is_refused(box: Scene) -> None:
    with pytest.raises(ValueError, match="an image is uint8"):
        fidelity.check(box.product, box.product)
    with pytest.raises(ValueError, match=r"placed cut-out is uint8 \(512, 512, 4\)"):
        fidelity.check(box.image, box.product[1:])
    with pytest.raises(ValueError, match="no product"):
        fidelity.measure(box.image, np.zeros_like(box.product))


def test_a_product_of_which_no_pixel_is_left_is_too_small(box: Scene) -> None:
    faint = np.where(box.product[..., 3:] > 0, (*box.product[..., :3].max((0, 1)), 127), 0).astype(np.uint8)
    assert fidelity.check(box.image, faint).kinds == ("too_small",)


def test_what_is_photographed_is_cut_off_only_where_its_photo_cuts_it(box: Scene) -> None:
    moved = Scene(*(np.roll(one, -TOP, axis=0) for one in (box.image, box.product)))
    for sides, wrong in (((False, True, False, False), ()), ((True, False, True, True), ("out_of_frame",))):
        assert fidelity.check(moved.image, moved.product, cut_off=sides).kinds == wrong


@settings(max_examples=8)
@given(seed=st.integers(0, 10_000))
def test_a_mirrored_image_measures_the_same(seed: int) -> None:
    """Blobs of chance on a background of chance: what is measured stays the same when the picture is turned round."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:160, :160]
    waves = sum(np.sin(rows * a + columns * b + c) for a, b, c in rng.uniform(-0.2, 0.2, (4, 3)) * (1, 1, 20))
    shape = np.hypot((rows - 80) / rng.uniform(30, 50), (columns - rng.uniform(60, 100)) / rng.uniform(20, 45))
    product = np.zeros((160, 160, 4), np.uint8)
    product[..., :3] = rng.integers(0, 256, 3)
    product[..., 3] = np.clip(255 * (1.05 - shape) * 12, 0, 255)
    image = np.clip(128 + 25 * waves[..., None] + rng.normal(0, 9, (160, 160, 3)), 0, 255).astype(np.uint8)
    image[:80, :80] = product[0, 0, :3]  # an extension on one side
    scene = Scene(image, product)
    turned = scene.turned
    assert fidelity.measure(scene.image, scene.product) == fidelity.measure(turned.image, turned.product)


def raised(cutout: np.ndarray) -> np.ndarray:
    """The cut-out over a gap with two faint specks below, so that the studio lets it float over its shadow."""
    frame = np.concatenate([cutout, np.zeros((70, cutout.shape[1], 4), np.uint8)])
    frame[-1, 0] = frame[-1, -1] = (128, 128, 128, 48)
    return frame


@pytest.mark.slow
@pytest.mark.parametrize(
    ("product_id", "scene"),
    [
        ("running_shoe-original", StudioScene("studio", "white marble", "soft", "podium", "cream")),
        ("coffee_mug-navy", StudioScene("kitchen", "oak", "golden hour", "table", None, ("lemons",))),
        ("lipstick-crimson", StudioScene("bathroom", "black marble", "soft", "slab", "mint")),
    ],
)
def test_the_studio_passes_until_it_lets_the_product_float(product_id: str, scene: StudioScene) -> None:
    studio, cutout = StudioRenderer(), sample.cutout(product_id)
    stands = studio.compose(cutout, scene, size=(384, 384), seed=1)
    assert fidelity.check(stands.image, stands.product).failures == ()
    floats_above = studio.compose(raised(cutout), scene, size=(384, 384), seed=1)
    assert "floating" in fidelity.check(floats_above.image, floats_above.product).kinds


@pytest.mark.parametrize(
    ("name", "kind", "passes", "fails"),
    [
        ("altered", "altered", 0.0, 1.0),
        ("edge", "edge", 4.4, 4.6),
        ("seam", "seam", 1.6, 1.8),
        ("extension", "extended", 0.009, 0.011),
        ("contact_shadow", "floating", 0.026, 0.024),
        ("room", "out_of_frame", 0.0, -0.01),
        ("extent", "too_small", 0.31, 0.29),
        ("lost", "blends_in", 0.69, 0.71),
        ("clutter", "clutter", 1.6, 1.8),
    ],
)
def test_each_measure_is_held_to_its_published_limit(name: str, kind: str, passes: float, fails: float) -> None:
    fine = fidelity.Measures(
        altered=0, edge=0, seam=0, extension=0, contact_shadow=0.1, room=0.1, extent=0.5, lost=0, clutter=0
    )
    assert fidelity.check_measures(replace(fine, **{name: passes})).failures == ()
    assert [one.kind for one in fidelity.check_measures(replace(fine, **{name: fails})).failures] == [kind]


def test_every_failure_says_in_words_what_is_wrong_and_what_to_do() -> None:
    """No figure stands alone: a sentence about the picture, then one about what its owner can do."""
    worst = fidelity.Measures(
        altered=9, edge=99, seam=99, extension=1, contact_shadow=-0.002, room=-1, extent=0.01, lost=1, clutter=8
    )
    for tolerance in (0.0, 1.0):
        failures = fidelity.check_measures(worst, tolerance=tolerance).failures
        assert len(failures) == 9
        for one in failures:
            problem, remedy = one.remedy.split(". ", 1)
            assert problem.startswith(("the pic", "the product"))
            assert re.match(r"(Draw|Give|Choose|Look|Lower) ", remedy)
