from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clickscape.compute.schedules import warmup_cosine


@settings(max_examples=80)
@given(st.integers(1, 400), st.floats(0, 0.5), st.sampled_from([0.03, 0.05, 1.0]))
def test_the_peak_is_reached_in_the_first_half_however_short_the_run(steps: int, share: float, floor: float) -> None:
    rates = [warmup_cosine(step, steps, warmup_share=share, floor=floor) for step in range(steps)]
    assert max(rates) == 1.0
    assert rates.index(1.0) <= steps // 2
    assert min(rates) > 0


def test_rise_and_cosine_by_hand() -> None:
    rates = [warmup_cosine(step, 10, warmup_share=0.2, floor=0.03) for step in range(10)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert rates[6] == pytest.approx(0.03 + 0.97 * 0.5)  # half of the cosine


def test_a_floor_of_one_keeps_the_rate_after_the_rise() -> None:
    rates = [warmup_cosine(step, 8, warmup_share=0.25, floor=1) for step in range(8)]
    assert rates == [pytest.approx(1 / 3), pytest.approx(2 / 3), 1, 1, 1, 1, 1, 1]
