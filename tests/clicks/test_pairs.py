"""Labels worked out by hand, the paper's filter row by row, and probabilities that mean what they say."""

from __future__ import annotations

import ibis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from clickscape.clicks import ctr, logs
from clickscape.clicks.ctr import ESTIMATES
from clickscape.clicks.pairs import PAIRS, kept_pairs, label_pairs, to_pairs
from clickscape.config import ClicksConfig
from clickscape.types import CreativePair

PAPER = ClicksConfig(labels="paper")
SOFT = ClicksConfig()


def estimated(
    creative: str, product: str = "p", *, log_ctr: float = -3.0, se: float = 0.1, **other: object
) -> dict[str, object]:
    blank = dict.fromkeys(ESTIMATES.names, 0)
    unknown = dict.fromkeys(("shape", "rate", "shared"))
    return {
        **blank,
        **unknown,
        "creative_id": creative,
        "product_id": product,
        "log_ctr": log_ctr,
        "log_ctr_se": se,
        **other,
    }


def observed(creative: str, clicked: int, shown: int = 10_000) -> dict[str, object]:
    return estimated(creative, impressions=shown, clicks=clicked)


def paired(rows: list[dict[str, object]], config: ClicksConfig) -> list[CreativePair]:
    table = logs.connect(threads=1).create_table("estimates", pa.Table.from_pylist(rows, schema=ESTIMATES))
    return to_pairs(kept_pairs(table, config=config))


def test_soft_labels_by_hand() -> None:
    # z = 0.3 / √(0.3² + 0.4²) = 0.6
    (pair,) = paired([estimated("b", log_ctr=-3.0, se=0.3), estimated("a", log_ctr=-2.7, se=0.4)], SOFT)
    assert (pair.product_id, pair.first, pair.second) == ("p", "a", "b")
    assert pair.preference == pytest.approx(norm.cdf(0.6), abs=1e-12)
    assert pair.gap == pytest.approx(0.3)
    assert pair.weight == 1


def test_a_products_pairs_share_one_unit_of_weight_and_never_cross_products() -> None:
    rows = [estimated(f"p{n}", "p", log_ctr=-3 - n / 10) for n in range(4)]
    rows += [estimated(f"q{n}", "q", log_ctr=-3 - n / 10) for n in range(2)] + [estimated("r0", "r")]
    found = paired(rows, SOFT)
    assert [pair.weight for pair in found] == [pytest.approx(1 / 6)] * 6 + [1]
    assert all(pair.first[0] == pair.second[0] == pair.product_id for pair in found)


def test_gamma_posteriors_are_compared_exactly_and_shared_errors_cancel() -> None:
    def known(creative: str, shape: float, rate: float, shared: list[float]) -> dict[str, object]:
        return estimated(creative, log_ctr=np.log(shape / rate), shape=shape, rate=rate, shared=shared)

    # exponentials with rates 1 and 3: 3 / (1 + 3); an error that both have in full changes nothing between them
    (pair,) = paired([known("a", 1, 1, [0.5, 0.3]), known("b", 1, 3, [0.5, 0.3])], SOFT)
    assert pair.preference == pytest.approx(0.75, abs=1e-12)
    # z = Φ⁻¹(0.75), spread √(2 · π²/6); an error of 1 in the difference widens it
    (pair,) = paired([known("a", 1, 1, [0.6, 0.0]), known("b", 1, 3, [0.0, 0.8])], SOFT)
    assert pair.preference == pytest.approx(norm.cdf(norm.ppf(0.75) * np.sqrt((np.pi**2 / 3) / (np.pi**2 / 3 + 1))))


def test_every_pair_left_out_has_a_reason() -> None:
    rows = [observed("a", 1_000), observed("b", 1_100), observed("c", 1_300), observed("d", 50, 500)]
    rows.append(observed("e", 1_000))
    table = logs.connect(threads=1).create_table("estimates", pa.Table.from_pylist(rows, schema=ESTIMATES))
    labeled = {row["first"] + row["second"]: row for row in label_pairs(table, config=PAPER).to_pyarrow().to_pylist()}
    assert len(labeled) == 10
    assert {name for name, row in labeled.items() if row["reason"] is None} == {"ab", "be", "bc"}
    assert labeled["ae"]["reason"] == "a tie, or unknown"
    assert labeled["ac"]["reason"] == "CTR ratio outside 1.05 to 1.20"
    assert labeled["bd"]["reason"] == "one has 1,000 impressions or fewer"
    assert [labeled[name]["weight"] for name in ("ab", "ae")] == [1, 0]


@pytest.mark.parametrize("config", [SOFT, PAPER.model_copy(update={"paper_min_ratio": 1.0})])
def test_a_tie_makes_no_pair(config: ClicksConfig) -> None:
    rows = [estimated(name, impressions=10_000, clicks=300) for name in "ab"]
    assert paired(rows, config) == []
    rows.append(estimated("c", log_ctr=-2.9, impressions=20_000, clicks=630))
    assert [(pair.first, pair.second) for pair in paired(rows, config)] == [("a", "c"), ("b", "c")]
    if config.labels == "soft":
        assert [pair.weight for pair in paired(rows, config)] == [0.5, 0.5]


def test_unknown_numbers_make_no_pair() -> None:
    rows = [estimated("a"), estimated("b", log_ctr=float("nan")), estimated("c", se=float("nan"), log_ctr=-2.0)]
    assert paired(rows, SOFT) == []
    assert paired([estimated("a", se=0.0), estimated("b", se=0.0, log_ctr=-2.0)], SOFT) == []


def test_the_papers_filter_row_by_row() -> None:
    base = observed("a", 1_000)
    expected = {
        1_049: None,  # ratio below 1.05
        1_050: 0.0,  # exactly 1.05
        1_200: 0.0,  # exactly 1.20
        1_201: None,
        953: None,
        952: 1.0,  # the first is better: 1000 / 952 = 1.0504
        0: None,  # no ratio at all
    }
    for clicked, preference in expected.items():
        found = paired([base, observed("b", clicked)], PAPER)
        assert [pair.preference for pair in found] == ([] if preference is None else [preference]), clicked
        assert all(pair.weight == 1 for pair in found)
    assert paired([base, observed("b", 1_100)], PAPER)[0].gap == pytest.approx(np.log(1.1))


@pytest.mark.parametrize(("shown", "number"), [(1_000, 0), (1_001, 1)])
def test_the_papers_filter_asks_for_more_than_1000_impressions_of_both(shown: int, number: int) -> None:
    rows = [observed("a", 110, 1_001), observed("b", 100, shown)]
    assert len(paired(rows, PAPER)) == number
    assert len(paired([observed("a", 100, shown), observed("b", 110, 1_001)], PAPER)) == number


@pytest.mark.slow
@given(st.permutations([estimated(f"c{n}", f"p{n % 2}", log_ctr=-3 + 0.01 * n * n, se=0.1 + n / 50) for n in range(7)]))
@settings(max_examples=8)
def test_the_order_of_rows_changes_nothing(rows: list[dict[str, object]]) -> None:
    assert paired(rows, SOFT) == paired(sorted(rows, key=lambda row: str(row["creative_id"])), SOFT)


def test_a_preference_of_70_percent_is_right_70_percent_of_the_time() -> None:
    rng = np.random.default_rng(6)
    count = 6_000
    truth = np.log(0.03) + np.repeat(rng.normal(0, 0.3, count // 6), 6) + rng.normal(0, 0.25, count)
    shown = rng.integers(400, 4_000, count)
    counts = pa.table(
        {
            "creative_id": [f"c{number:05d}" for number in range(count)],
            "product_id": [f"p{number // 6}" for number in range(count)],
            "position": pa.array(np.ones(count), pa.int32()),
            "impressions": shown,
            "clicks": rng.binomial(shown, np.exp(truth)),
        }
    )
    connection = logs.connect(threads=1)
    estimates, _ = ctr.estimate_ctr(connection.create_table("counts", counts), config=SOFT)
    found = to_pairs(kept_pairs(connection.create_table("estimates", estimates), config=SOFT))
    preference = np.array([pair.preference for pair in found])
    right = np.array([truth[int(pair.first[1:])] > truth[int(pair.second[1:])] for pair in found])
    for low, high in ((0, 0.1), (0.1, 0.25), (0.25, 0.4), (0.4, 0.6), (0.6, 0.75), (0.75, 0.9), (0.9, 1)):
        inside = (preference >= low) & (preference < high)
        assert inside.sum() > 500
        assert right[inside].mean() == pytest.approx(preference[inside].mean(), abs=0.04)


def test_the_pairs_are_one_expression_that_can_be_shown_as_sql() -> None:
    expression = kept_pairs(ibis.table(ibis.Schema.from_pyarrow(ESTIMATES), name="estimates"), config=SOFT)
    assert set(expression.columns) == set(PAIRS.names)
    assert "JOIN" in str(ibis.to_sql(expression, dialect="duckdb"))
