"""An outline is unrolled along its normals, whatever its length, and smoothed as the ring that it is."""

from __future__ import annotations

import numpy as np
import pytest

from clickscape.gates.outline import smooth, unroll


def test_outlines_of_any_length_are_checked() -> None:
    """A comb of 2 × 500 pixels a tooth: more outline than OpenCV looks up at once."""
    product = np.zeros((512, 512, 4), np.float32)
    product[4:504, 4:508:6] = 1
    product[500:504, 4:508] = 1
    product[4:504, 5:508:6] = 1
    (outline,) = unroll(np.full((512, 512, 3), 0.5, np.float32), product)
    assert 20_000 < len(outline.checked) <= 30_000


def test_smoothing_an_outline_keeps_its_mean_and_goes_round() -> None:
    values = np.zeros((40, 1), np.float32)
    values[0] = 1
    blurred = smooth(values, 2.0)
    assert blurred.sum() == pytest.approx(1, abs=1e-5)
    assert blurred[1, 0] == pytest.approx(blurred[-1, 0])
    assert blurred[1, 0] / blurred[0, 0] == pytest.approx(np.exp(-1 / 8), rel=1e-3)
