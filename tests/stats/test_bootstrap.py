from __future__ import annotations

import math

import numpy as np
import pytest

from clickscape.stats.bootstrap import ClusterBootstrap, crossed_draws, percentile_interval


def by_hand(drawn: list[list[int]]) -> ClusterBootstrap:
    """Entries a, a, b, c of three clusters, drawn as told."""
    return ClusterBootstrap(np.array(["a", "b", "c"]), np.array([0, 0, 1, 2]), np.array(drawn, dtype=float))


def test_a_cluster_is_drawn_whole() -> None:
    bootstrap = by_hand([[3, 0, 0], [1, 1, 1], [0, 2, 1]])
    values = np.array([1.0, 2.0, 6.0, 0.0])
    assert bootstrap.sums(values).tolist() == [9, 9, 12]
    assert bootstrap.means(values) == pytest.approx([1.5, 9 / 4, 4])
    few = bootstrap.means(values, np.array([False, False, True, True]))
    assert math.isnan(few[0])  # neither b nor c was drawn
    assert few[1:] == pytest.approx([3, 4])


def test_other_entries_of_the_same_clusters_share_the_draws() -> None:
    bootstrap = by_hand([[3, 0, 0], [0, 2, 1]])
    assert bootstrap.of(["c", "b", "b"]).sums(np.array([1.0, 10.0, 100.0])).tolist() == [0, 221]


def test_equal_entries_have_a_difference_without_uncertainty() -> None:
    rng = np.random.default_rng(0)
    clusters, before = np.repeat(np.arange(20), 3), rng.normal(size=60)
    bootstrap = ClusterBootstrap.draw(clusters, rng=rng)
    change = bootstrap.means(before + 0.5) - bootstrap.means(before)
    assert (change.min(), change.max()) == pytest.approx((0.5, 0.5))


def test_an_interval_holds_its_value_and_no_entries_are_an_error() -> None:
    assert percentile_interval(2.0, np.array([0.0, 1.0])).high == 2.0
    assert percentile_interval(1.0, np.array([])).low == 1.0
    with pytest.raises(ValueError, match="nothing is left"):
        by_hand([[1, 1, 1]]).mean(np.ones(4), np.zeros(4, dtype=bool))


@pytest.mark.slow
def test_intervals_cover_the_truth_where_variants_share_their_object() -> None:
    truth, covered, clustered_width, naive_width = 0.3, 0, 0.0, 0.0
    runs, clusters, variants = 200, 30, 6
    for seed in range(runs):
        source = np.random.default_rng(seed)
        shared = np.repeat(source.normal(truth, 0.5, clusters), variants)
        values = shared + source.normal(0, 0.1, clusters * variants)
        objects = [str(number) for number in np.repeat(np.arange(clusters), variants)]
        estimate = ClusterBootstrap.draw(objects, rng=source, resamples=400).mean(values)
        naive = ClusterBootstrap.draw(np.arange(len(values)), rng=source, resamples=400).mean(values)
        covered += estimate.low <= truth <= estimate.high
        clustered_width += estimate.high - estimate.low
        naive_width += naive.high - naive.low
    assert covered / runs >= 0.90
    assert clustered_width > 2 * naive_width  # as if the variants were independent, it would claim too much


def test_rows_and_columns_are_drawn_independently() -> None:
    draws = list(crossed_draws(2, 50, rng=np.random.default_rng(0), resamples=200))
    assert all(len(rows) == 2 and len(columns) == 50 for rows, columns in draws)
    assert {tuple(rows) for rows, _ in draws} == {(0, 0), (0, 1), (1, 0), (1, 1)}
