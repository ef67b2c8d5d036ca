"""Ads on the backdrop of the product's own photo: the product as it was, the backdrop to every edge, a fitting tint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from tests.factory import saliency_by_color

from clickscape.catalog import cutout, matting, sample
from clickscape.catalog.cutout import examine
from clickscape.catalog.cutout_file import cut_product, save
from clickscape.errors import ImageError
from clickscape.files import photo_file
from clickscape.gates import fidelity
from clickscape.render.language.phrases import phrases
from clickscape.render.own_backdrop import LIGHTS, PLACES, TINTS, Backdrop, PhotoRenderer, possible_places
from clickscape.render.renderer import Margins, Rendering
from clickscape.types import Product

WHITE, CORAL = (250, 250, 250), (240, 130, 110)
SIZE = (320, 320)


def photo_of(name: str, *, ground: tuple[int, int, int] | np.ndarray, size: tuple[int, int] = (400, 400)) -> np.ndarray:
    """A sample product before a ground, standing in the middle of a picture (height, width, 3)."""
    width, height = size
    photo = np.broadcast_to(np.asarray(ground, np.uint8), (height, width, 3)).copy()
    mug = sample.cutout(name, 200)
    tall, wide = mug.shape[:2]
    top, left = (height - tall) // 2, (width - wide) // 2
    part, alpha = photo[top : top + tall, left : left + wide], mug[..., 3:] / 255
    part[:] = np.rint(mug[..., :3] * alpha + part * (1 - alpha))
    return photo


def product_of(
    photo: np.ndarray, folder: Path, *, saliency: Callable[[np.ndarray], np.ndarray] = saliency_by_color
) -> Product:
    """A product whose cut-out was made of the photo, as `ingest` does, but for what sees the product in it."""
    folder.mkdir(exist_ok=True)
    Image.fromarray(photo).save(folder / "photo.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cutout, "saliency", saliency)
        made = cut_product(Product("A", "Mug", image=str(folder / "photo.png")), folder=folder / "cutouts")
    assert not made.problem
    return replace(made.product, image=str(made.file))


@pytest.fixture(scope="module")
def on_white(tmp_path_factory: pytest.TempPathFactory) -> Product:
    """One product for all that only look at it."""
    return product_of(photo_of("coffee_mug-navy", ground=WHITE), tmp_path_factory.mktemp("on-white"))


@pytest.fixture(scope="module")
def on_gray(tmp_path_factory: pytest.TempPathFactory) -> Product:
    return product_of(photo_of("coffee_mug-navy", ground=(196, 196, 196)), tmp_path_factory.mktemp("on-gray"))


def drawn(product: Product, backdrop: Backdrop, *, size: tuple[int, int] = SIZE, seed: int = 0) -> Rendering:
    return PhotoRenderer().render(product, str(backdrop), size=size, seed=seed)


def refused(found: Rendering) -> tuple[str, ...]:
    return fidelity.check(found.image, found.product, cut_off=found.cut_off).kinds


@pytest.mark.parametrize("tint", [None, *TINTS])
@pytest.mark.parametrize("light", LIGHTS)
def test_a_description_is_read_back(tint: str | None, light: str) -> None:
    for place in PLACES:
        backdrop = Backdrop(tint, light, place)
        assert Backdrop.of(str(backdrop)) == backdrop


def test_a_description_without_one_of_its_phrases_says_the_rest() -> None:
    """So `explain` leaves out one thing at a time."""
    whole = Backdrop("pink", "side", "on the left")
    rest = {phrase.text: Backdrop.of(phrase.without) for phrase in phrases(str(whole))}
    assert rest == {
        "The backdrop of its own photo": whole,
        "tinted pink": Backdrop(None, "side", "on the left"),
        "light from the side": Backdrop("pink", "soft", "on the left"),
        "the product on the left": Backdrop("pink", "side", "in the middle"),
    }


def test_other_words_are_drawn_in_soft_light_and_are_no_description_of_it(on_white: Product) -> None:
    said = "white marble in a kitchen"
    assert Backdrop.of(said) is None
    found = PhotoRenderer().render(on_white, said, size=SIZE, seed=0)
    assert not found.parsed
    assert np.array_equal(found.image, drawn(on_white, Backdrop()).image)


def test_the_products_pixels_are_those_of_its_photo(on_white: Product) -> None:
    found = drawn(on_white, Backdrop("pink", "window", "on the left"))
    solid = found.product_mask == 255
    assert solid.sum() > 5_000
    assert np.array_equal(found.image[solid], found.product[solid, :3])
    assert found.parsed
    assert found.scene is None


@pytest.mark.parametrize("size", [(640, 200), (200, 640)])
def test_the_backdrop_goes_on_to_every_edge_of_another_format(size: tuple[int, int], tmp_path: Path) -> None:
    product = product_of(photo_of("coffee_mug-navy", ground=CORAL), tmp_path)
    image = drawn(product, Backdrop(), size=size).image
    edges = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]]).astype(float)
    assert np.abs(edges / np.array(CORAL) - 1).max() < 0.2, "its color, a little darker towards the corners"


@pytest.mark.parametrize("tint", TINTS)
def test_a_gray_backdrop_takes_on_the_tints_own_hue(tint: str, on_gray: Product) -> None:
    """Channels by each other as the tint says, though no gray can become as bright as the tint."""
    corner = drawn(on_gray, Backdrop(tint)).image[:24, :24].reshape(-1, 3).mean(0)
    color = np.array(list(bytes.fromhex(TINTS[tint][1:])), float)
    assert corner / corner.max() == pytest.approx(color / color.max(), abs=0.02)


def test_a_white_backdrop_takes_on_a_tint_up_to_a_clear_outline(on_white: Product) -> None:
    plain, tinted = (drawn(on_white, Backdrop(tint)).image.astype(float) for tint in (None, "mint"))
    mask = drawn(on_white, Backdrop()).product_mask
    near = (cv2.dilate(mask, np.ones((9, 9))) > 0) & (cv2.dilate(mask, np.ones((5, 5))) == 0)
    corner = tinted[:20, :20].mean((0, 1)) / plain[:20, :20].mean((0, 1))
    assert corner[0] < 0.9 < corner[1], "mint: less red than green"
    assert (tinted[near, 0] / plain[near, 0]).mean() < 0.92


def test_around_a_pale_product_the_backdrop_stays_as_it_was(tmp_path: Path) -> None:
    ball = np.full((400, 400, 3), 250, np.uint8)
    cv2.circle(ball, (200, 200), 100, (238, 238, 240), -1, cv2.LINE_AA)
    cv2.circle(ball, (200, 200), 40, (60, 60, 70), -1, cv2.LINE_AA)
    product = product_of(ball, tmp_path, saliency=matting.saliency)
    plain, tinted = (drawn(product, Backdrop(tint)) for tint in (None, "mint"))
    near = (cv2.dilate(plain.product_mask, np.ones((7, 7))) > 0) & (plain.product_mask == 0)
    assert np.abs(tinted.image[near].astype(float) - plain.image[near]).max() <= 5
    assert tinted.image[:20, :20, 0].mean() < 0.93 * plain.image[:20, :20, 0].mean()


def test_a_colored_backdrop_keeps_its_color(tmp_path: Path) -> None:
    product = product_of(photo_of("coffee_mug-navy", ground=CORAL), tmp_path)
    assert np.array_equal(drawn(product, Backdrop("mint")).image, drawn(product, Backdrop()).image)


def test_light_falls_from_one_side(on_white: Product) -> None:
    image = drawn(on_white, Backdrop(light="side")).image.astype(float)
    left, right = image[:, :20].mean(), image[:, -20:].mean()
    assert min(left, right) < 0.93 * max(left, right)


def test_what_is_no_backdrop_but_a_place_is_cropped_and_never_made_up(tmp_path: Path) -> None:
    ground = np.full((400, 600, 3), 235, np.uint8)
    ground[::40] = 90  # boards
    photo = photo_of("coffee_mug-navy", ground=ground, size=(600, 400))
    Image.fromarray(photo).save(tmp_path / "photo.png")
    made = cut_product(Product("A", "Mug", image=str(tmp_path / "photo.png")), folder=tmp_path / "cutouts")
    product = replace(made.product, image=str(made.file))
    renderer = PhotoRenderer()
    found = renderer.backdrop(product)
    assert not found.is_plain
    assert found.can_be_drawn(SIZE)
    assert not found.can_be_drawn((200, 640)), "the mug would not fit into so narrow a part"
    image = renderer.render(product, str(Backdrop("pink")), size=SIZE, seed=0).image
    lines = (image[:, :12].mean((1, 2)) < 170).sum()
    assert lines >= 6, "boards go on to the edge of the picture"


def test_what_the_photo_cuts_off_the_picture_cuts_off_at_the_same_edge(tmp_path: Path) -> None:
    whole = photo_of("coffee_mug-navy", ground=WHITE)
    bottom = int(np.flatnonzero((whole < 200).any((1, 2)))[-1])
    product = product_of(whole[: bottom - 30], tmp_path)
    found = drawn(product, Backdrop())
    assert found.product_mask[-1].max() == 255
    assert found.product_mask[0].max() == 0


def test_the_product_keeps_margins_free(on_white: Product) -> None:
    margins = Margins(top=0.3, right=0.1, bottom=0.1, left=0.1)
    mask = PhotoRenderer().render(on_white, str(Backdrop()), size=SIZE, seed=0, margins=margins).product_mask > 128
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert rows[0] >= 0.3 * SIZE[1]
    assert rows[-1] < 0.9 * SIZE[1]
    assert columns[0] >= 0.1 * SIZE[0]
    assert columns[-1] < 0.9 * SIZE[0]


@pytest.mark.parametrize("place", PLACES)
def test_the_product_stands_where_the_description_says(place: str, on_white: Product) -> None:
    mask = drawn(on_white, Backdrop(place=place)).product_mask > 128
    middle = np.flatnonzero(mask.any(0))[[0, -1]].mean() / SIZE[0]
    expected = {"in the middle": 0.5, "on the left": 0.42, "on the right": 0.58}[place]
    assert middle == pytest.approx(expected, abs=0.02)


def test_the_same_seed_gives_the_same_bytes(on_white: Product) -> None:
    first, again, other = (drawn(on_white, Backdrop(light="window"), seed=seed).image for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(640, 200), (200, 640)])
def test_a_place_that_would_not_fill_a_format_cuts_the_product_off_and_is_refused(
    size: tuple[int, int], tmp_path: Path
) -> None:
    ground = np.full((400, 400, 3), 235, np.uint8)
    ground[::40] = ground[:, ::40] = 90  # tiles
    tiled = product_of(photo_of("coffee_mug-navy", ground=ground), tmp_path, saliency=matting.saliency)
    found = drawn(tiled, Backdrop(), size=size)
    edges = [found.image[0], found.image[-1], found.image[:, 0], found.image[:, -1]]
    assert sum(int(np.ptp(edge[:, 0].astype(int))) > 80 for edge in edges) >= 2, "tiles go on to the edge"
    assert refused(found) == ("out_of_frame",)


@pytest.mark.slow
def test_a_place_that_ends_where_the_picture_does_has_the_product_in_one_place(
    on_white: Product, tmp_path: Path
) -> None:
    ground = np.full((240, 240, 3), 235, np.uint8)
    ground[::40] = 90  # boards
    renderer, boards = (
        PhotoRenderer(),
        product_of(photo_of("coffee_mug-navy", ground=ground, size=(240, 240)), tmp_path / "boards"),
    )
    assert possible_places(renderer.backdrop(boards), SIZE) == ("in the middle",)
    assert possible_places(renderer.backdrop(on_white), SIZE) == PLACES


def test_a_product_that_its_photo_cuts_off_at_both_sides_is_refused_where_it_fills_the_picture(tmp_path: Path) -> None:
    bar = np.full((400, 400, 3), 250, np.uint8)
    bar[140:260] = (40, 60, 160)
    product = product_of(bar, tmp_path)
    square, banner = (drawn(product, Backdrop(), size=size) for size in (SIZE, (728, 90)))
    assert square.cut_off == (True, False, True, False)
    assert refused(square) == ()
    assert refused(banner) == ("out_of_frame",)


@pytest.mark.parametrize("upright", [True, False])
def test_a_photo_of_any_proportions_has_its_product_in_the_middle(upright: bool, tmp_path: Path) -> None:
    photo = np.full((2000, 80, 3), 250, np.uint8)
    photo[800:1200, 20:60] = (40, 60, 160)
    product = product_of(photo if upright else photo.transpose(1, 0, 2), tmp_path)
    rows, columns = np.nonzero(drawn(product, Backdrop()).product_mask > 128)
    assert (rows.mean(), columns.mean()) == pytest.approx((SIZE[1] / 2, SIZE[0] / 2), abs=2)
    assert len(set(rows if upright else columns)) == pytest.approx((0.6 if upright else 0.7) * SIZE[0], abs=6)


def test_a_tip_at_the_photos_border_is_not_drawn_out_to_the_pictures(tmp_path: Path) -> None:
    photo = np.full((400, 400, 3), 250, np.uint8)
    cv2.fillConvexPoly(photo, np.array([[200, 0], [280, 200], [200, 320], [120, 200]]), (40, 60, 160), cv2.LINE_AA)
    found = drawn(product_of(photo, tmp_path), Backdrop())
    assert found.product_mask[:40].max() == 0
    assert found.product_mask[80:].max() == 255
    assert found.image[:40].min() > 190


@pytest.mark.slow
def test_wires_are_found_where_they_cover_less_than_half_of_every_pixel(tmp_path: Path) -> None:
    ring = np.full((2400, 2400, 3), 250, np.uint8)
    cv2.circle(ring, (1200, 1200), 900, (40, 60, 160), 7, cv2.LINE_AA)
    product = product_of(ring, tmp_path)
    assert PhotoRenderer().backdrop(product).bounds == pytest.approx((300, 300, 1800, 1800), abs=30)
    assert refused(drawn(product, Backdrop(), size=(96, 96))) == ("too_small",)


@pytest.mark.slow
def test_a_large_picture_is_the_small_one_in_more_pixels(tmp_path: Path) -> None:
    product = product_of(photo_of("coffee_mug-navy", ground=WHITE), tmp_path)
    small, large = (drawn(product, Backdrop("mint", "window"), size=(side, side)) for side in (600, 3000))
    apart = np.abs(cv2.resize(large.image, (600, 600), interpolation=cv2.INTER_AREA).astype(float) - small.image)
    beside = cv2.dilate(small.product_mask, np.ones((21, 21))) == 0
    assert cv2.blur(apart.max(2), (9, 9))[beside].max() < 3, "of 255, grain averaged"


@pytest.mark.parametrize("harm", ["another photo", "no photo", "no picture"])
def test_a_photo_that_is_not_the_cut_outs_is_one_line(harm: str, tmp_path: Path) -> None:
    product = product_of(photo_of("coffee_mug-navy", ground=WHITE, size=(240, 240)), tmp_path)
    file = photo_file(Path(product.image))
    file.unlink()
    if harm == "another photo":
        Image.new("RGB", (50, 50)).save(file, "PNG")
    elif harm == "no picture":
        file.write_text("hello")
    with pytest.raises(ImageError, match=file.name):
        drawn(product, Backdrop())


@pytest.mark.slow
def test_a_product_without_a_shadow_of_its_own_gets_one_and_another_keeps_its_own(tmp_path: Path) -> None:
    bare = photo_of("coffee_mug-navy", ground=WHITE)
    seen = bare.copy()
    mask = (np.abs(bare.astype(int) - np.array(WHITE)).max(-1) > 20).astype(np.uint8)
    fall = cv2.GaussianBlur(np.roll(mask, 14, axis=0).astype(np.float32), (0, 0), 8)[..., None] * (1 - mask[..., None])
    seen = np.rint(bare * (1 - 0.35 * fall)).astype(np.uint8)
    renderer = PhotoRenderer()
    found = []
    for name, photo in (("bare", bare), ("shadowed", seen)):
        (tmp_path / name).mkdir()
        product = product_of(photo, tmp_path / name)
        image = renderer.render(product, str(Backdrop()), size=SIZE, seed=0)
        rows = np.flatnonzero((image.product_mask > 128).any(1))
        columns = np.flatnonzero((image.product_mask > 128).any(0))
        below = image.image[rows[-1] + 2 : rows[-1] + 6, columns.mean().astype(int)].mean()
        beside = image.image[rows.mean().astype(int), 4].mean()
        found.append((renderer.backdrop(product).has_shadow, below / beside))
    (bare_has, bare_share), (own_has, own_share) = found
    assert not bare_has
    assert bare_share < 0.93
    assert own_has
    assert own_share < 0.97


def test_white_in_a_loop_or_print_stays_amid_white(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can tell the backdrop in a strap's loop from white print: around both the backdrop stays white."""
    photo = np.full((400, 400, 3), 252, np.uint8)
    cv2.rectangle(photo, (120, 110), (280, 300), (30, 40, 90), -1)
    cv2.rectangle(photo, (170, 160), (230, 220), (252, 252, 252), -1)
    monkeypatch.setattr(cutout, "saliency", saliency_by_color)
    found = replace(examine(photo), confidence=0.99)
    pixels = found.pixels.copy()
    pixels[110:301, 120:281, 3] = 255  # the mask keeps it
    source = tmp_path / "photo.png"
    Image.fromarray(photo).save(source)
    save(replace(found, pixels=pixels), tmp_path / "cutout.png", source=source)
    product = Product("A", "Bag", image=str(tmp_path / "cutout.png"))
    assert not PhotoRenderer().backdrop(product).has_clear_outline
    plain, tinted = (drawn(product, Backdrop(tint)).image.astype(float) for tint in (None, "mint"))
    mask = drawn(product, Backdrop()).product_mask
    near = (cv2.dilate(mask, np.ones((5, 5))) > 0) & (mask == 0)
    assert np.abs(tinted[near] - plain[near]).max() <= 5
