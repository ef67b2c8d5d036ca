from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickscape.experiment import moments
from clickscape.experiment.moments import UnitMoments, daily_moments, from_counts


def rows(seed: int, *, units: int = 30, days: int = 5) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    key = rng.choice(units * days, size=3 * units, replace=False)  # in no order
    unit, before = key // days, rng.integers(0, 4, (units, 2))
    return {"unit": unit, "variant": unit % 2, "day": key % days, "counts": rng.integers(0, 5, (len(key), 3)),
            "before": before[unit]}  # fmt: skip


def test_two_users_by_hand() -> None:
    """User 7 sees 2 and clicks 1, then sees 1; user 3 sees 3 and clicks 2 on the second day. Before: (4, 1), (0, 0)."""
    found = daily_moments(
        unit=np.array([7, 3, 7]),
        variant=np.array([0, 0, 0]),
        day=np.array([1, 1, 0]),
        counts=np.array([[1, 0, 0], [3, 2, 1], [2, 1, 0]]),
        before=np.array([[4, 1], [0, 0], [4, 1]]),
        variants=1,
        days=2,
    )[0]
    assert found.units.tolist() == [1, 1]
    assert found.sums.tolist() == [[2, 1, 0, 4, 1], [4, 2, 1, 0, 0]]
    assert found.products[0].tolist() == [[4, 2, 0, 8, 2], [2, 1, 0, 4, 1], [0] * 5, [8, 4, 0, 16, 4], [2, 1, 0, 4, 1]]
    assert found.total.products[0].tolist() == [9 + 9, 3 + 6, 3, 12, 3]  # 3 and 3 impressions, 1 and 2 clicks, …
    assert found.total.own[0].tolist() == [4 + 1 + 9, 2 + 0 + 6, 3]


@given(st.integers(0, 10_000))
def test_the_sum_of_days_is_the_whole(seed: int) -> None:
    """Users' totals, squared, are the running totals of what each day added; and pooling halves of users is pooling."""
    given_rows = rows(seed)
    whole = daily_moments(**given_rows, variants=2, days=5)
    units = np.unique(given_rows["unit"])
    for variant in (0, 1):
        mine = [unit for unit in units if unit % 2 == variant]
        totals = np.array([np.concatenate([
            given_rows["counts"][given_rows["unit"] == unit].sum(axis=0),
            given_rows["before"][given_rows["unit"] == unit][0],
        ]) for unit in mine])  # fmt: skip
        assert np.allclose(whole.total.products[variant], totals.T @ totals)
        assert np.allclose(whole.cumulative().sums[variant, -1], totals.sum(axis=0))
    parts = [
        daily_moments(**{name: values[chosen] for name, values in given_rows.items()}, variants=2, days=5)
        for chosen in (given_rows["unit"] < 12, given_rows["unit"] >= 12)
    ]
    assert np.allclose((parts[0] + parts[1]).products, whole.products)
    assert np.allclose((parts[0] + parts[1]).own, whole.own)


def test_rows_in_pieces_are_rows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    once = daily_moments(**rows(3), variants=2, days=5)
    monkeypatch.setattr(moments, "_ROWS", 7)
    pieces = daily_moments(**rows(3), variants=2, days=5)
    assert np.allclose(once.products, pieces.products)
    assert np.allclose(once.units, pieces.units)


def test_what_comes_after_the_last_day_adds_to_it() -> None:
    """A conversion days after the last impression is of the user whom that day knew, and not of a second one."""
    whole, short = daily_moments(**rows(4), variants=2, days=5), daily_moments(**rows(4), variants=2, days=3)
    assert np.array_equal(short.products[:, :2], whole.products[:, :2])
    assert np.array_equal(short.products[:, 2], whole.products[:, 2:].sum(axis=1))
    assert np.array_equal(short.total.units, whole.total.units)


def test_counts_without_users_are_impressions_that_each_stand_alone() -> None:
    counted = from_counts(impressions=np.array([[5]]), clicks=np.array([[2]]))
    alone = daily_moments(
        unit=np.arange(5),
        variant=np.zeros(5, np.int64),
        day=np.zeros(5, np.int64),
        counts=np.array([[1, 1, 0]] * 2 + [[1, 0, 0]] * 3),
        before=np.zeros((5, 2)),
        variants=1,
        days=1,
    )
    assert np.array_equal(counted.products, alone.products)
    assert np.array_equal(counted.own, alone.own)
    assert np.array_equal(counted.units, alone.units)


def test_moments_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="expected sums of shape"):
        UnitMoments(np.zeros(2), np.zeros(5), np.zeros((2, 5, 5)), np.zeros((2, 3, 3)))
