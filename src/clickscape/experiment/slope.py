"""SLOPE: choose among estimates that trade bias for variance, without knowing the bias.

Su, Srinath and Krishnamurthy (2020), "Adaptive estimator selection for off-policy evaluation".
"""

from __future__ import annotations

from collections.abc import Sequence

WIDTH = 2.0
"""Confidence widths on each side of an estimate (their equation 3)."""


def slope(values: Sequence[float], widths: Sequence[float]) -> int:
    """Return the number of the last estimate before the intervals of all so far have no common point.

    values: estimates, from the one with least bias and largest variance on. widths: half width of each one's confidence
    interval. ValueError for none.
    """
    if not values:
        raise ValueError("expected an estimate to choose, got none")
    low, high = float("-inf"), float("inf")
    for number, (value, width) in enumerate(zip(values, widths, strict=True)):
        low, high = max(low, value - WIDTH * width), min(high, value + WIDTH * width)
        if low > high:
            return number - 1
    return len(values) - 1
