"""Sets to the product's measure: how large it is by its words, how wide its stand, and that the border cuts no prop."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from clickscape.catalog import sample
from clickscape.render import scene
from clickscape.render.physical_size import PhysicalSize, physical_size
from clickscape.render.scene import Scene
from clickscape.render.studio import gbuffer, geometry, lights, product, props, stage
from clickscape.render.studio.engine import StudioRenderer
from clickscape.render.studio.geometry import Box, Camera, Cylinder
from clickscape.render.studio.stand import Stand, spread_of, stand_for
from clickscape.types import Product

STATURES: tuple[PhysicalSize, ...] = ("small", "usual", "large")


@pytest.mark.parametrize(
    ("title", "category", "expected"),
    [
        ("Gold Ring with Diamond", ("Jewelry",), "small"),
        ("Solitaire", ("Apparel", "Jewelry", "Rings"), "small"),
        ("Velvet Lip Balm, Rose", (), "small"),
        ("Key Ring for Bicycles", (), "small"),
        ("Leather Sofa, Two Seats", (), "large"),
        ("Armchairs", (), "large"),
        ("Oak Dining Table 180 cm", (), "large"),
        ("Mountain Bike – 29 Inch", (), "large"),
        ("Nordholm Two-Seater Blue", ("Furniture", "Living Room", "Sofas"), "large"),
        ("Bicycle Bell, Red", (), "usual"),
        ("Bed Sheet Set", (), "usual"),
        ("Sofa Cushions", ("Furniture",), "usual"),
        ("Table Lamp, Brass", ("Furniture", "Lighting"), "usual"),
        ("Toy Car", (), "usual"),
        ("Tumbletoys Red Giant Die, Foam, 15 cm", ("Toys", "Games"), "usual"),
        ("Casino Die, Red", (), "small"),
        ("Oversized Sofa", (), "large"),
        ("Ceramic Mug", ("Kitchen",), "usual"),
        ("—", (), "usual"),
    ],
)
def test_the_head_noun_says_how_large_a_product_is(
    title: str, category: tuple[str, ...], expected: PhysicalSize
) -> None:
    assert physical_size(Product("A", title, category=category)) == expected


def test_furniture_of_the_sample_catalog_is_large_in_every_color() -> None:
    found = {item.product_id.rsplit("-", 1)[0] for item in sample.products() if physical_size(item) == "large"}
    assert found == {"bathtub", "bed", "bicycle", "dining_chair", "ladder", "sofa"}


@pytest.mark.parametrize("kind", scene.STANDS)
@pytest.mark.parametrize("size", STATURES)
def test_a_stand_is_wider_than_what_stands_on_it(kind: str, size: PhysicalSize) -> None:
    camera = Camera(512, 512)
    for shape in ((100, 20), (100, 60), (100, 110), (60, 100), (20, 100)):
        box = product.placement_box(shape, size=(512, 512), physical_size=size)
        half = box.width / 2 / camera.pixels_per_unit
        tops = [solid for solid in stand_for(kind, half=half, physical_size=size).solids[1:] if _top(solid) == 0.0]
        for solid in tops:
            reach = solid.radii[0] if isinstance(solid, Cylinder) else min(-solid.low[0], solid.high[0])
            assert reach > half + 0.05
        assert tops or kind == "floor"


def _top(solid: geometry.Solid) -> float:
    assert isinstance(solid, Box | Cylinder)
    return solid.high if isinstance(solid, Cylinder) else solid.high[1]


def test_sets_are_low_under_furniture_and_high_under_a_ring() -> None:
    for kind in ("podium", "blocks", "steps", "slab", "table"):
        grounds = [stand_for(kind, half=0.3, physical_size=size).solids[0] for size in STATURES]
        small, usual, large = (ground.height for ground in grounds if isinstance(ground, geometry.Plane))
        assert small <= usual < large < 0


def test_an_oval_podium_is_met_on_its_outline() -> None:
    """Rays from afar meet the mantle of x²/a² + z²/b² = 1, with its normal, and the lid inside of it."""
    oval = Cylinder(geometry.STAND, (0.2, -0.1), (1.2, 0.7), -0.3, 0.0)
    rng = np.random.default_rng(0)
    eye = np.array([[0.3], [1.5], [-6.0]], np.float32)
    aim = np.stack([rng.uniform(-1.5, 1.8, 4000), rng.uniform(-0.3, 0.0, 4000), rng.uniform(-1, 0.8, 4000)])
    direction = (aim - eye).astype(np.float32)
    direction /= np.linalg.norm(direction, axis=0)
    hits = geometry.cast_rays(np.broadcast_to(eye, direction.shape), direction, (oval,), wall=False)
    met = hits.solid == 0
    at = (eye + direction * hits.distance)[:, met]
    level = ((at[0] - 0.2) / 1.2) ** 2 + ((at[2] + 0.1) / 0.7) ** 2
    mantle = hits.axis[met] == 3
    assert 200 < mantle.sum() < met.sum() - 200
    np.testing.assert_allclose(level[mantle], 1, atol=1e-4)
    assert level[~mantle].max() < 1
    np.testing.assert_allclose(at[1][~mantle], 0, atol=1e-4)
    normal = geometry.normals_of(hits, eye + direction * np.minimum(hits.distance, 60), direction, (oval,))[:, met]
    slope = np.stack([(at[0] - 0.2) / 1.44, np.zeros(at.shape[1]), (at[2] + 0.1) / 0.49])[:, mantle]
    np.testing.assert_allclose(normal[:, mantle], slope / np.linalg.norm(slope, axis=0), atol=1e-4)


@pytest.mark.parametrize("size", [(512, 512), (1080, 1920), (1200, 628)])
def test_the_border_cuts_no_prop(size: tuple[int, int]) -> None:
    """Every prop beside every stand, for slim to wide products, in both layouts: whole, and enough of it in sight."""
    camera = Camera(*size)
    for kind, half, height, layout in itertools.product(scene.STANDS, (0.3, 0.9, 1.05), STATURES, (0, 1)):
        stand = stand_for(kind, half=half, physical_size=height)
        for pair in itertools.pairwise(scene.PROPS[::5]):
            found = props.arrange(pair, stand, layout=layout, jitter=1, spread=spread_of(half), physical_size=height)
            shapes = [_shape(each.prop) for each in found]
            for each, shape in zip(
                props.inside(found, shapes, camera, half=half * camera.pixels_per_unit), shapes, strict=True
            ):
                wide = props.pixel_size(each, shape, camera).width
                column = _column(each, camera)
                assert column - wide / 2 > 0
                assert column + wide / 2 < size[0]
                if half < 0.6 and size[0] >= size[1]:
                    outer = abs(column - size[0] / 2) + wide / 2 - half * camera.pixels_per_unit
                    assert outer > 0.5 * wide, "half of it shows beside the product"


@pytest.mark.parametrize("kind", ["podium", "blocks", "steps"])
def test_no_prop_stands_over_the_face_of_a_slim_plinth(kind: str) -> None:
    """Its front is free of them; beside it, they show."""
    stand, camera = stand_for(kind, half=0.3, physical_size="usual"), Camera(256, 256)
    buffer = gbuffer.build(stand, camera, walled=True)
    found = props.arrange(("lemons", "gift"), stand, layout=0, jitter=0, spread=spread_of(0.3))
    shapes = [_shape(each.prop) for each in found]
    found = props.inside(found, shapes, camera, half=0.3 * camera.pixels_per_unit)
    sprites = []
    for each, shape in zip(found, shapes, strict=True):
        size = props.pixel_size(each, shape, camera)
        sprites.append(props.resized(props.sprite(each.prop), size, flipped=each.flipped))
    white = np.ones(3, np.float32)
    layer = props.draw(found, sprites, buffer, key=white, ambient=white, ray=white)
    alpha = np.zeros(buffer.part.shape, np.float32)
    tall, wide = layer.piece.shape[:2]
    alpha[layer.top : layer.top + tall, layer.left : layer.left + wide] = layer.piece[..., 3]
    _, y, z = buffer.position
    face = (buffer.part == geometry.STAND) & (z < -0.1) & (y > -0.13) & (y < -0.03)
    inner = cv2.erode(face.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    assert inner.sum() > 50
    assert alpha[inner].max() < 0.02
    assert (alpha > 0.9).sum() > 1000


def test_no_light_leaks_over_an_outline() -> None:
    """Patterns are computed at half size: at outlines they are what they are at full size, elsewhere nearly so."""
    stand, camera = stand_for("podium", half=0.3, physical_size="usual"), Camera(256, 256)
    buffer = gbuffer.build(stand, camera, walled=True)
    light = lights.LIGHTS["spotlight"]
    exact = lights.transmission(light, None, *buffer.position)
    made = stage._patterned(light, None, buffer)
    kernel = np.ones((3, 3), np.uint8)
    outline = cv2.dilate(buffer.face, kernel) != cv2.erode(buffer.face, kernel)
    np.testing.assert_allclose(made[outline], exact[outline], atol=1e-5)
    assert np.abs(made - exact).max() < 0.2


def _shape(prop: str) -> tuple[int, int]:
    alpha = props.sprite(prop).alpha if prop not in _SHAPES else None
    if alpha is not None:
        _SHAPES[prop] = (alpha.shape[0], alpha.shape[1])
    return _SHAPES[prop]


_SHAPES: dict[str, tuple[int, int]] = {}


def _column(each: props.Standing, camera: Camera) -> float:
    columns, _ = camera.project(*(np.array([value], np.float32) for value in (each.x, each.y, each.z)))
    return float(columns[0])


def block(color: tuple[int, int, int]) -> np.ndarray:
    """A block of one color with a soft outline, (480, 480, 4)."""
    picture = np.zeros((480, 480, 4), np.uint8)
    cv2.rectangle(picture, (140, 140), (340, 440), (*color, 255), -1)
    picture[..., :3] = color
    picture[..., 3] = cv2.GaussianBlur(picture[..., 3], (0, 0), 1.5)
    return picture


def test_a_black_product_has_no_dark_fringe_on_a_pale_wall() -> None:
    drawn = Scene("studio", "white marble", "soft", "floor", "cream")
    made = StudioRenderer().compose(block((8, 8, 8)), drawn, size=(256, 256), seed=2)
    alpha = made.product_mask.astype(np.float32) / 255
    rim = (alpha > 0.3) & (alpha < 0.7)
    rim[150:] = False  # near the ground its shadow lies behind it
    assert (made.image[rim] > 8 * alpha[rim][:, None] + 200 * (1 - alpha[rim][:, None])).mean() > 0.9
    assert (made.image[made.product_mask == 255] == 8).all()


def test_a_sofa_fills_more_of_the_picture_than_a_lipstick() -> None:
    tall = {size: product.placement_box((300, 100), size=(800, 800), physical_size=size).height for size in STATURES}
    wide = {size: product.placement_box((100, 300), size=(800, 800), physical_size=size).width for size in STATURES}
    assert (tall["small"], tall["usual"], tall["large"]) == (336, 440, 480)
    assert (wide["small"], wide["usual"], wide["large"]) == (384, 560, 640)


def test_render_takes_the_product_size_from_its_title(tmp_path: object) -> None:
    path = f"{tmp_path}/a.png"
    assert cv2.imwrite(path, block((90, 40, 30)))
    studio = StudioRenderer()
    heights = {
        title: int((studio.render(Product(title, title, image=path), "oak", size=(128, 128), seed=0).product_mask > 128)
                   .any(1).sum())
        for title in ("Lip Balm", "Teapot", "Garden Chair")
    }  # fmt: skip
    assert heights["Lip Balm"] < heights["Teapot"] < heights["Garden Chair"]


def test_a_stand_of_the_usual_measure_is_the_default() -> None:
    assert stand_for("podium", half=0.5, physical_size="usual") == Stand("podium")
