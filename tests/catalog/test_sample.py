"""The sample catalog: its size, its split, and that the color in a variant's title is the color in its picture."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from clickscape.catalog import sample
from clickscape.catalog.cutout import open_cutout
from clickscape.catalog.recolor import recolor, to_oklab

FOLDER = Path(sample.__file__).parent / "sample"


def test_at_least_a_thousand_products_in_ten_departments() -> None:
    products, objects = sample.products(), sample.objects()
    assert 96 <= len(objects) <= 110
    assert len(products) == 12 * len(objects) >= 1000
    departments = Counter(item.department for item in objects)
    assert list(departments) == [
        *("Drinks", "Food", "Beauty", "Clothing", "Bags & Shoes"),
        *("Electronics", "Sports", "Toys", "Home", "Tools"),
    ]
    assert min(departments.values()) >= 9
    assert len({product.product_id for product in products}) == len(products)
    assert len({product.title for product in products}) == len(products)


def test_held_out_objects_are_enough_and_spread() -> None:
    held_out = [item for item in sample.objects() if item.held_out]
    assert len(held_out) >= 25
    assert min(Counter(item.department for item in held_out).values()) >= 2
    assert len({item.department for item in held_out}) == 10
    products = [product for product in sample.products() if sample.is_held_out(product.product_id)]
    assert len(products) >= 300
    assert {sample.object_of(product.product_id).object_id for product in products} == {i.object_id for i in held_out}
    nouns = Counter(item.noun for item in sample.objects())
    assert max(nouns.values()) == 1


@pytest.mark.slow
def test_pictures_are_small_trimmed_and_all_there() -> None:
    files = {path.stem: path for path in (FOLDER / "objects").glob("*.webp")}
    assert set(files) == {item.object_id for item in sample.objects()}
    assert sum(path.stat().st_size for path in files.values()) <= 4_000_000
    for item in sample.objects():
        alpha = sample.cutout(f"{item.object_id}-original", 200)[..., 3]
        assert max(alpha.shape) == 200
        assert min((alpha[0] > 8).sum(), (alpha[-1] > 8).sum(), (alpha[:, 0] > 8).sum(), (alpha[:, -1] > 8).sum()) > 0


def test_records_are_complete() -> None:
    for item in sample.objects():
        assert item.source.split("/")[0] in ("fluent", "baked")
        assert 2 <= len(item.attributes) <= 4
        assert len(item.tags) >= 2
        assert item.price > 0
        assert len(item.details) >= 2
        assert item.hero_color
        assert item.noun.split()[-1].lower() in item.title.lower()
        assert "{color}" in item.title
        assert "{detail}" in item.title
    for product in sample.products():
        item = sample.object_of(product.product_id)
        assert product.category == (item.department, item.subcategory)
        assert product.attributes["color"].lower() in product.title.lower()
        assert "{" not in product.title
        assert product.image == ""


def _share_of(color: str, pixels: np.ndarray) -> float:
    """Share of the pixels whose hue is within 20° of the target color's (for charcoal: gray and about as dark)."""
    lab, target = to_oklab(pixels), to_oklab(np.array(sample.TARGETS[color]))
    chroma = np.hypot(lab[:, 1], lab[:, 2])
    if color == "charcoal":
        return float(((chroma < 0.04) & (np.abs(lab[:, 0] - target[0]) < 0.22)).mean())
    turn = np.arctan2(lab[:, 2], lab[:, 1]) - np.arctan2(target[2], target[1])
    near = np.abs(np.angle(np.exp(1j * turn))) < np.radians(20)
    return float((near & (chroma > 0.35 * np.hypot(target[1], target[2]))).mean())


@pytest.mark.slow
def test_the_color_word_of_every_variant_is_true() -> None:
    shares = {}
    for item in sample.objects():
        for color in sample.TARGETS:
            cutout = sample.cutout(f"{item.object_id}-{color}", 64)
            shares[item.object_id, color] = _share_of(color, cutout[cutout[..., 3] > 60][:, :3])
    assert min(shares.values()) > 0.15  # a bicycle is mostly wheels
    assert np.median(list(shares.values())) > 0.75
    assert np.quantile(list(shares.values()), 0.05) > 0.3


def test_variants_of_one_object_are_told_apart() -> None:
    for object_id in ("running_shoe", "headphones", "coffee_mug"):
        means = {}
        for variant in sample.VARIANTS:
            cutout = sample.cutout(f"{object_id}-{variant}", 64)
            means[variant] = to_oklab(cutout[cutout[..., 3] > 200][:, :3]).mean(0)
        names = list(means)
        distances = [np.linalg.norm(means[a] - means[b]) for k, a in enumerate(names) for b in names[:k]]
        assert min(distances) > 0.03


def test_recoloring_keeps_alpha_shape_shading_and_other_colors() -> None:
    original = sample.cutout("backpack-original", 120)
    navy = sample.cutout("backpack-navy", 120)
    assert navy.shape == original.shape
    assert (navy[..., 3] == original[..., 3]).all()
    solid = original[..., 3] > 200
    before, after = to_oklab(original[solid][:, :3]), to_oklab(navy[solid][:, :3])
    assert np.corrcoef(before[:, 0], after[:, 0])[0, 1] > 0.6  # what was lighter is still lighter
    # a white and a green pixel of a red product stay; the red one moves
    patch = np.array([[[255, 255, 255, 255], [30, 160, 60, 255], [220, 30, 50, 255]]], np.uint8)
    moved = recolor(patch, source=(220, 30, 50), target=(34, 52, 118))
    assert np.abs(moved[0, :2].astype(int) - patch[0, :2]).max() <= 3
    assert np.abs(moved[0, 2, :3].astype(int) - (34, 52, 118)).max() <= 12


def test_oklab_of_the_primaries_is_as_published() -> None:
    # https://bottosson.github.io/posts/oklab/ and CSS Color 4: red = (0.6280, 0.2249, 0.1258), white = (1, 0, 0)
    assert to_oklab(np.array([255, 0, 0])) == pytest.approx([0.6280, 0.2249, 0.1258], abs=1e-3)
    assert to_oklab(np.array([255, 255, 255])) == pytest.approx([1, 0, 0], abs=1e-3)


def test_cutouts_are_the_same_every_time_and_safe_to_write_into() -> None:
    first = sample.cutout("teapot-original", 80)
    first[:] = 0
    second, third = sample.cutout("teapot-original", 80), sample.cutout("teapot-teal", 80)
    assert second.any()
    assert (third == sample.cutout("teapot-teal", 80)).all()


def test_write_saves_what_cutout_draws(tmp_path: Path) -> None:
    products = sample.write(tmp_path, 90, product_ids=["bucket-teal", "bucket-original"])
    assert [product.product_id for product in products] == ["bucket-original", "bucket-teal"]
    assert [Path(product.image).relative_to(tmp_path).as_posix() for product in products] == [
        "cutouts/bucket-original.png",
        "cutouts/bucket-teal.png",
    ]
    for product in products:
        drawn = sample.cutout(product.product_id, 90)
        opened = open_cutout(product.image)
        assert (opened == drawn[: opened.shape[0], : opened.shape[1]]).all()


@pytest.mark.parametrize("product_id", ["nothing-red", "teapot", "teapot-plaid", ""])
def test_unknown_products_are_refused(product_id: str) -> None:
    with pytest.raises(KeyError, match="in the sample catalog; expected <object_id>"):
        sample.cutout(product_id)
