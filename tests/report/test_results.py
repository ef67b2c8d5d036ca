"""Records from the figures of finished stages: what a kill repeated counts once, and nobody picks cherries."""

from __future__ import annotations

import pytest

from clickscape.report import results
from clickscape.types import Product

EXACT = {"value": 0.5, "low": 0.4, "high": 0.6}


def test_a_step_that_a_killed_round_logged_twice_counts_once() -> None:
    lines = [
        {"variant": "product-centric", "round": 1, "number": number, "loss": loss, "kl": 0.1}
        for number, loss in ((1, 3.0), (2, 2.0), (1, 4.0))
    ]
    (curve,) = results.learning_curves([*lines, {**lines[0], "round": 2}])
    assert curve.role == "product_centric"
    assert [(step.round, step.number, step.loss) for step in curve.steps] == [(1, 1, 4.0), (1, 2, 2.0), (2, 1, 3.0)]


def test_rows_run_from_what_was_learned_to_what_nobody_could_know() -> None:
    names = ("oracle", "best of 4", "another search", "product-centric", "pre-trained")
    own = dict.fromkeys(("uplift", "win_rate", "matching_share", "parse_rate", "distinct_scenes"), EXACT)
    made = results.comparison({"rows": dict.fromkeys(names, own), "products": 3, "objects": 2})
    expected = ["pre-trained", "product-centric", "another search", "best of 4", "oracle"]
    assert [row.name for row in made.rows] == expected
    assert [row.true_uplift is None for row in made.rows] == [True, False, False, False, False]


def test_positions_are_shown_beside_the_truth_only_where_they_were_corrected() -> None:
    counts = ("impressions", "clicks", "creatives", "products", "median_impressions", "pairs_possible", "pairs_kept")
    result = {**dict.fromkeys(counts, 7), "positions": [1, 2, 3], "examination": [1.0, 0.5, 0.25]}
    result |= {"examination_log_se": [0.0, 0.1, 0.1], "uncorrected_because": None}
    first, second, third = results.click_statistics(result, truth=(0.8, 0.4)).positions
    assert (first.true, second.true, third.true) == (1.0, 0.5, None)
    assert second.estimated.high - second.estimated.value == pytest.approx(1.96 * 0.1 * 0.5)
    assert results.click_statistics({**result, "uncorrected_because": "one position"}).positions == ()


def test_the_gallery_takes_departments_in_turn_and_one_product_of_a_group() -> None:
    shelf = [("a1", "Home"), ("a2", "Home"), ("b1", "Home"), ("c1", "Toys"), ("d1", "Home"), ("e1", "Toys")]
    products = [Product(name, "x", (department,)) for name, department in shelf]
    groups = {name: name[0] for name, _ in shelf}
    chosen = results.gallery_products(products, groups=groups, most=4)
    assert [product.product_id for product in chosen] == ["a1", "c1", "b1", "e1"]
    assert len(results.gallery_products(products, groups=groups, most=9)) == 5


def test_settings_are_named_by_their_path() -> None:
    assert results.flat_settings({"a": {"b": 1, "c": [1, 2]}, "d": None}) == {"a.b": 1, "a.c": "[1, 2]", "d": None}
