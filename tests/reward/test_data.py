"""Data of the reward model: ties, weights, targets and a split that never cuts through an object."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickscape.reward.data import RewardData, divide_for_judge, pair_weights, regression_targets, split
from clickscape.types import CreativePair, Product


def _data(counts: list[int], *, log_ctr: list[float] | None = None) -> RewardData:
    """Products with some creatives each, and all pairs of neighbors."""
    products = {f"p{number}": Product(f"p{number}", f"thing {number}") for number in range(len(counts))}
    ids = [(f"p{number}", f"p{number}-{place}") for number, count in enumerate(counts) for place in range(count)]
    pairs = [CreativePair(a[0], a[1], b[1], 0.8, 0.1, 1.0) for a, b in pairwise(ids) if a[0] == b[0]]
    return RewardData(
        products=products,
        creative_ids=[creative for _, creative in ids],
        product_of=[owner for owner, _ in ids],
        images=[np.zeros((4, 4, 3), np.uint8)] * len(ids),
        pairs=pairs,
        log_ctr=None if log_ctr is None else np.array(log_ctr),
    )


def test_a_tie_makes_no_pair() -> None:
    data = _data([2, 2])
    tied = replace(data, pairs=[data.pairs[0], replace(data.pairs[1], preference=0.5)])
    assert tied.informative == (data.pairs[0],)
    assert tied.pair_indices.tolist() == [[0, 1]]


def test_pairs_of_one_product_share_one_unit_of_weight() -> None:
    pairs = list(_data([2, 4]).pairs)
    pairs[1] = replace(pairs[1], weight=2.0)
    assert pair_weights(pairs).tolist() == pytest.approx([1.0, 0.5, 0.25, 0.25])


def test_regression_targets_are_standardized_within_the_product() -> None:
    data = _data([3, 1, 2, 2], log_ctr=[-3, -2, -1, -4, -3, -3, -2, np.nan])
    targets = regression_targets(data)
    third = np.sqrt(1.5)  # (−1, 0, 1) over their standard deviation √(2/3)
    assert targets[:3] == pytest.approx([-third, 0, third])
    # one creative, no spread, one known creative: nothing to learn, and no division by zero
    assert np.isnan(targets[3:]).all()


def test_without_ctr_there_is_no_regression_target() -> None:
    assert np.isnan(regression_targets(_data([2]))).all()


def test_a_subset_holds_no_label_of_other_products() -> None:
    data = replace(_data([2, 2], log_ctr=[-1, -2, -3, -4]), slots=[{"wall": "red"}] * 4)
    part = data.only({"p1"})
    assert part.pairs == [data.pairs[1]]
    assert np.isnan(part.log_ctr[:2]).all()
    assert part.log_ctr[2:].tolist() == [-3, -4]
    assert list(part.slots) == [None, None, {"wall": "red"}, {"wall": "red"}]


@given(st.lists(st.integers(0, 6), min_size=2, max_size=25), st.floats(0.01, 0.49), st.integers(0, 5))
def test_no_object_is_on_both_sides_of_the_split(objects: list[int], share: float, seed: int) -> None:
    data = replace(_data([2] * len(objects)), groups={f"p{n}": f"object {o}" for n, o in enumerate(objects)})
    training, validation = split(data, share=share, rng=np.random.default_rng(seed))
    sides = [{data.group(pair.product_id) for pair in part.pairs} for part in (training, validation) if part]
    if len(set(objects)) == 1:
        assert validation is None
    else:
        assert sides[0]
        assert sides[1]
        assert not sides[0] & sides[1]
        assert len(training.pairs) + len(validation.pairs) == len(data.pairs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"product_of": ["p0", "p0", "p9", "p1"]}, "unknown product 'p9'"),
        ({"creative_ids": ["a", "a", "b", "c"]}, "unique"),
        ({"pairs": [CreativePair("p0", "p0-0", "zz", 0.8, 0.1, 1.0)]}, "unknown creative 'zz'"),
        ({"pairs": [CreativePair("p0", "p0-0", "p1-0", 0.8, 0.1, 1.0)]}, "mixes products"),
        ({"log_ctr": np.zeros(3)}, "3 entries for 4 creatives"),
    ],
)
def test_contradictory_reward_data_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(_data([2, 2]), **change)


def test_reward_model_judge_and_test_share_no_group() -> None:
    """Six products of three objects: each part keeps the labels of its own object and of no other."""
    data = _data([2] * 6, log_ctr=list(np.arange(12.0)))
    data = replace(data, groups={f"p{number}": "abc"[number // 2] for number in range(6)})
    parts = divide_for_judge(data, held_out=frozenset("a"), judge=frozenset("b"))
    for part, rows in ((parts.testing, range(4)), (parts.judging, range(4, 8)), (parts.learning, range(8, 12))):
        assert part.log_ctr is not None
        assert np.flatnonzero(np.isfinite(part.log_ctr)).tolist() == list(rows)
        assert {pair.product_id for pair in part.pairs} == {f"p{row // 2}" for row in rows}
    assert [product.product_id for product in parts.products] == ["p4", "p5"]
    with pytest.raises(ValueError, match="held out"):
        divide_for_judge(data, held_out=frozenset("ab"), judge=frozenset("b"))
