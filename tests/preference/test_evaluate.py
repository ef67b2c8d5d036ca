from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickscape.preference.evaluate import Outcomes, distinct_scenes, evaluate, uplift, win_rate


def some(
    objects: str,
    *,
    values: list[float] | None = None,
    scores: list[float] | None = None,
    scenes: str | None = None,
    products: str | None = None,
    parsed: list[bool] | None = None,
    matching: list[bool] | None = None,
) -> Outcomes:
    """One description per letter of `objects`."""
    return Outcomes(
        objects=tuple(objects),
        product_ids=tuple(products or [f"{letter}{number}" for number, letter in enumerate(objects)]),
        parsed=np.array(parsed or [True] * len(objects)),
        scenes=tuple(scenes or objects),
        scores=np.array(scores or [0.0] * len(objects)),
        values=np.array(values or [1.0] * len(objects)),
        matching=np.array(matching or [True] * len(objects)),
    )


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_uplift_is_the_ratio_of_means_over_products() -> None:
    before = some("aab", values=[0.01, 0.02, 0.03])
    after = some("aab", values=[0.02, 0.02, 0.05])
    estimate = uplift(after, before=before, rng=rng())
    assert estimate.value == pytest.approx(0.09 / 0.06 - 1)
    # resampling two objects: aa → 4/3 − 1, bb → 5/3 − 1, one of each → 0.5
    assert estimate.low == pytest.approx(1 / 3)
    assert estimate.high == pytest.approx(2 / 3)


def test_a_product_counts_once_however_many_descriptions_it_has() -> None:
    before = some("aab", values=[1.0, 3.0, 1.0], products="ppq")  # means 2 and 1
    after = some("abbb", values=[4.0, 2.0, 2.0, 2.0], products="pqqq")  # means 4 and 2
    assert uplift(after, before=before, rng=rng()).value == pytest.approx(6 / 3 - 1)


@given(factor=st.floats(0.1, 10), seed=st.integers(0, 99))
def test_before_and_after_are_resampled_together(factor: float, seed: int) -> None:
    # every product gains by the same factor: however unequal the products, nothing is uncertain
    values = rng(seed).lognormal(0, 2, 12)
    before = some("aabbccddeeff", values=list(values))
    after = some("aabbccddeeff", values=list(values * factor))
    estimate = uplift(after, before=before, rng=rng(seed))
    assert (estimate.low, estimate.high) == pytest.approx((factor - 1, factor - 1))


def test_win_rate_compares_images_of_one_product_and_halves_ties() -> None:
    before = some("aab", scores=[1.0, 2.0, 5.0], products="ppq")
    after = some("aab", scores=[1.5, 2.0, 5.0], products="ppq")
    # p: (1.5 > 1, < 2) → 0.5; (2 > 1, = 2) → 0.75; q: a tie → 0.5
    assert win_rate(after, before=before, rng=rng()).value == pytest.approx((0.625 + 0.5) / 2)
    assert win_rate(before, before=before, rng=rng()).value == pytest.approx(0.5)


def test_distinct_scenes_with_a_jackknife_worked_out_by_hand() -> None:
    # scenes x (objects a, b), y (a), z (a), w (c): without a two are lost, without b none, without c one
    estimate = distinct_scenes(some("aaabc", scenes="xyzxw"))
    spread = (2 / 3 * ((2 - 1) ** 2 + (0 - 1) ** 2 + (1 - 1) ** 2)) ** 0.5
    assert estimate.value == 4
    assert estimate.high - 4 == pytest.approx(1.959964 * spread)
    assert distinct_scenes(some("abc", scenes="xxx")).low == 1


def test_the_summary_holds_every_metric() -> None:
    before = some("abc", values=[1.0, 1.0, 1.0], scores=[0.0, 0.0, 0.0])
    after = some(
        "abc",
        values=[1.0, 2.0, 3.0],
        scores=[1.0, -1.0, 1.0],
        parsed=[True, True, False],
        matching=[True, False, False],
    )
    result = evaluate(after, before=before, rng=rng())
    assert result.uplift.value == pytest.approx(1.0)
    assert result.win_rate.value == pytest.approx(2 / 3)
    assert result.matching_share.value == pytest.approx(1 / 3)
    assert result.parse_rate.value == pytest.approx(2 / 3)
    assert result.distinct_scenes.value == 3
    assert (result.products, result.objects, result.descriptions) == (3, 3, 3)


def test_metrics_of_mismatched_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match="same products"):
        evaluate(some("ab"), before=some("ac"), rng=rng())
    with pytest.raises(ValueError, match="as many entries"):
        some("ab", values=[1.0])
    with pytest.raises(ValueError, match="no description"):
        some("")
