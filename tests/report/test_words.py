from __future__ import annotations

import pytest

from clickscape.report import records as reports
from clickscape.report import words
from clickscape.types import Estimate


@pytest.mark.parametrize(
    ("uplift", "sentence"),
    [
        (Estimate(0.412, 0.357, 0.467), "Product-centric optimization raises true CTR by 41% (95% interval 36 to 47%)"),
        (Estimate(-0.2, -0.25, -0.15), "Product-centric optimization lowers true CTR by 20% (95% interval 15 to 25%)"),
        (Estimate(0.04, -0.01, 0.09), "shows no clear change of true CTR, +4.0% (95% interval −1.0 to 9.0%)"),
    ],
)
def test_the_headline_claims_only_what_the_interval_allows(uplift: Estimate, sentence: str) -> None:
    row = reports.ComparisonRow(name="product-centric", role="product_centric", true_uplift=uplift)
    report = reports.Report(
        title="x", simulated=True, world="harmony", comparison=reports.Comparison(rows=(row,), products=9, objects=3)
    )
    headline = words.headline(report).replace(words.NO_BREAK, " ")
    assert sentence in headline
    assert headline.endswith("in the simulated world harmony.")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (words.number(-1234.56, digits=1), "−1,234.6"),
        (words.number(-0.04, digits=1, signed=True), "0.0"),
        (words.percent(0.4125, digits=1, signed=True), "+41.2%"),
        (words.duration(59.94), "59.9 s"),
        (words.duration(372), "6 min 12 s"),
        (words.duration(3_660), "1 h 01 min"),
        (words.held_out(1, 1), "1 held-out product (1 object)"),
        (words.level([Estimate(1, 0, 2), None, Estimate(1, 0, 2, 0.9)]), "90% and 95%"),
    ],
)
def test_numbers_as_text(written: str, expected: str) -> None:
    assert written == expected
