from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickscape.errors import PreferenceError
from clickscape.preference.corruption import Captions, CorruptedInput, draw, hide_patches
from clickscape.types import Product

PRODUCTS = [
    Product(f"{department}-{number}", f"{department} {number}", (department, "any"))
    for department in ("Drinks", "Toys", "Home")
    for number in range(3)
]


def draws(*, count: int, share: float, ratio: float = 0.75, patches: int = 36) -> list[tuple[Product, CorruptedInput]]:
    captions, rng = Captions(PRODUCTS), np.random.default_rng(3)
    return [
        (
            product,
            draw(product, captions=captions, patches=patches, mask_ratio=ratio, caption_swap_share=share, rng=rng),
        )
        for product in PRODUCTS
        for _ in range(count)
    ]


def test_another_caption_is_of_another_product_and_another_department() -> None:
    department = {product.product_id: product.department for product in PRODUCTS}
    seen = set()
    for product, corrupted in draws(count=200, share=1.0):
        assert corrupted.caption_of is not None
        assert corrupted.caption_of != product.product_id
        assert department[corrupted.caption_of] != product.department
        assert corrupted.hidden == ()
        seen.add((product.product_id, corrupted.caption_of))
    assert len(seen) == 9 * 6  # every product of the other two departments comes up


def test_half_of_the_inputs_are_masked_and_half_swapped() -> None:
    some = [corrupted for _, corrupted in draws(count=200, share=0.5)]
    swapped = sum(corrupted.caption_of is not None for corrupted in some)
    assert abs(swapped - 900) < 4 * (1800 * 0.25) ** 0.5
    assert {len(corrupted.hidden) for corrupted in some if corrupted.caption_of is None} == {27}  # 75 % of 36


def test_every_sample_has_a_mask_of_its_own() -> None:
    masks = [corrupted.hidden for _, corrupted in draws(count=20, share=0.0)]
    assert len(set(masks)) == len(masks)
    share = np.bincount(np.concatenate(masks), minlength=36) / len(masks)
    assert np.abs(share - 0.75).max() < 4.5 * (0.75 * 0.25 / len(masks)) ** 0.5  # no patch is favored


@pytest.mark.parametrize(
    "products",
    [PRODUCTS[:1], PRODUCTS[:3], [Product("a", "A"), Product("b", "B")], []],
    ids=["one product", "one department", "no categories", "nothing"],
)
def test_a_catalog_without_another_caption_is_refused(products: list[Product]) -> None:
    with pytest.raises(PreferenceError, match=r"another department.*preference_only"):
        Captions(products)


def test_an_input_is_corrupted_in_exactly_one_way() -> None:
    with pytest.raises(ValueError, match="exactly one way"):
        CorruptedInput()
    with pytest.raises(ValueError, match="exactly one way"):
        CorruptedInput(hidden=(1,), caption_of="a")


@given(seed=st.integers(0, 1_000), count=st.integers(1, 36))
def test_hidden_patches_follow_the_grid_and_take_the_mean_color(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    picture = rng.integers(0, 256, (96, 96, 3)).astype(np.uint8)
    hidden = [int(number) for number in rng.permutation(36)[:count]]
    corrupted = hide_patches(picture, hidden, patch=16, size=96)
    mean = picture.reshape(-1, 3).mean(0).round()
    for number in range(36):
        rows, columns = slice(number // 6 * 16, number // 6 * 16 + 16), slice(number % 6 * 16, number % 6 * 16 + 16)
        if number in hidden:
            assert (corrupted[rows, columns] == mean).all()
        else:
            assert (corrupted[rows, columns] == picture[rows, columns]).all()


def test_the_picture_is_brought_to_the_tower_s_size_before_it_is_masked() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (200, 130, 3)).astype(np.uint8)
    whole = hide_patches(picture, [], patch=16, size=96)
    corrupted = hide_patches(picture, [35], patch=16, size=96)
    assert corrupted.shape == (96, 96, 3)
    assert (corrupted[80:, 80:] == corrupted[95, 95]).all()
    corrupted[80:, 80:] = whole[80:, 80:]
    assert (corrupted == whole).all()
    with pytest.raises(ValueError, match="no whole grid"):
        hide_patches(picture, [0], patch=15, size=96)


def test_the_picture_given_is_left_alone() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8)
    before = picture.copy()
    hide_patches(picture, [0, 1], patch=16, size=96)
    assert (picture == before).all()
