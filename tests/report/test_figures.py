from __future__ import annotations

import re
from itertools import pairwise

import pytest

from clickscape.report.figures import PANEL_HEIGHT, Line, Mark, Scale, moving_average, panel, strip
from clickscape.types import Estimate


def test_strip_places_numbers_in_percent_of_the_scale() -> None:
    drawing = strip(
        Estimate(0.75, 0.5, 1.0), scale=Scale(0, 2), role="search", marks=[Mark(1.0, "ceiling", "top")], true=9.0
    )
    mark, whisker, dot, diamond = re.findall(r"<(?:line|circle|svg) (?:x1|cx|x)=.*?>", drawing)
    assert 'x1="50.00%" x2="50.00%"' in mark
    assert 'x1="25.00%" x2="50.00%"' in whisker
    assert 'cx="37.50%"' in dot
    assert 'x="100.00%"' in diamond  # outside the scale: on its edge


def test_scale_ticks_are_round_and_inside() -> None:
    assert Scale(-0.06, 1.1).ticks(4) == [0.0, 0.5, 1.0]
    assert Scale(0.47, 0.88).ticks(5) == [0.5, 0.6, 0.7, 0.8]
    assert Scale.around([0.4, 0.4]).low < 0.4 < Scale.around([0.4]).high
    with pytest.raises(ValueError, match="low < high"):
        Scale(1, 1)


def test_moving_average_by_hand() -> None:
    assert moving_average([1, 2, 6, 3], 3) == [1.5, 3.0, 11 / 3, 4.5]
    assert moving_average([1, 2], 1) == [1, 2]


def test_panel_labels_do_not_cover_each_other_and_stay_inside() -> None:
    lines = [
        Line(name, "search", (0.0, 1.0), (0.0, end))
        for name, end in [("one thing", 1.0), ("two", 1.0), ("three", 0.99)]
    ]
    drawing = panel(lines, label="<x>", x_label="step", write=str, whole_x=True)
    assert "&lt;x&gt;" in drawing
    levels = [float(level) for level in re.findall(r'<text [^>]*y="([\d.]+)" class="name', drawing)]
    assert len(levels) == 4
    assert all(below - above >= 11 for above, below in pairwise(levels))
    assert levels[0] > 0
    assert levels[-1] < PANEL_HEIGHT
