"""A heat map in words: nine thirds, each with the mean of its pixels."""

from __future__ import annotations

import numpy as np

from clickscape.reward.explain.occlusion import HeatMap
from clickscape.reward.explain.overlay import heat_panel
from clickscape.reward.explain.regions import PLACES, Region, regions


def test_every_third_has_the_mean_of_its_pixels_and_its_interval() -> None:
    value = np.zeros((6, 9))
    value[2:4, 3:6] = 1.0  # the middle
    value[0, 0] = -0.6  # one of the six pixels of the top left
    found = regions(HeatMap(value, value - 0.5, value + 0.25, cells=value))
    assert [one.place for one in found] == list(PLACES)
    assert found[4] == Region("middle", 1.0, 0.5, 1.25)
    assert found[0].value == -0.6 / 6
    assert found[8] == Region("bottom right", 0.0, -0.5, 0.25)


def test_a_model_that_does_not_know_how_sure_it_is_gives_no_interval() -> None:
    value = np.ones((3, 3))
    endless = np.full((3, 3), np.inf)
    assert regions(HeatMap(value, -endless, endless, cells=value))[0] == Region("top left", 1.0, None, None)


def test_colors_fade_where_the_interval_spans_zero() -> None:
    """Left: 1 ± 0.5, sure; right: 1 ± 10, a hundredth of the color."""
    value, half = np.ones((64, 64)), np.full((64, 64), 0.5)
    half[:, 32:] = 10.0
    panel = heat_panel(np.full((64, 64, 3), 128, np.uint8), HeatMap(value, value - half, value + half, cells=value))
    colored = np.ptp(panel.astype(int), axis=2)
    assert colored[20:-20, 20:200].min() > 100, "yellow, inside its outline"
    assert colored[:, 320:].max() < 20, "gray"
