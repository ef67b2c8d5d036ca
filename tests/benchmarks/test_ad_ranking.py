"""The scoring script of docs/experiments/benchmark.md: arithmetic by hand, and what it refuses."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
ad_ranking = importlib.import_module("ad_ranking")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two products, of one group each: three ads of A, two of B; C has one alone."""
    rows = [
        {"creative_id": f"{product}{number}", "product_id": product, "group": product.lower(), "true_ctr": ctr}
        for product, ctrs in {"A": (0.01, 0.02, 0.04), "B": (0.03, 0.01), "C": (0.5,)}.items()
        for number, ctr in enumerate(ctrs)
    ]
    (tmp_path / "creatives").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "creatives" / "test.parquet")
    return tmp_path


def test_pairs_and_regret_are_those_worked_out_by_hand(dataset: Path) -> None:
    """A: A0 < A1 right, A0 = A2 a tie, A1 > A2 wrong: ½; A1 first loses 1 − .02 / .04. B: right. C: no pair."""
    scores = {"A0": 1.0, "A1": 2.0, "A2": 1.0, "B0": 5.0, "B1": -5.0, "C0": 0.0}
    a, b = ad_ranking.score(dataset, scores)
    assert (a.group, a.accuracy, a.regret) == ("a", pytest.approx(0.5), pytest.approx(0.5))
    assert (b.group, b.accuracy, b.regret) == ("b", 1.0, 0.0)
    accuracy, regret = ad_ranking.summary([a, b])
    assert (accuracy.value, accuracy.low, accuracy.high) == pytest.approx((0.75, 0.5, 1.0))
    assert (regret.value, regret.low, regret.high) == pytest.approx((0.25, 0.0, 0.5))


def test_a_baseline_adds_up_what_values_of_scenes_earned() -> None:
    """Mean CTR 1 %; red: (200 · .01 + 30) / (200 + 1,000) = 2.67 %; blue: 2 / 2,200."""
    train = [
        {"scene": json.dumps({"wall": "red"}), "clicks": 30, "impressions": 1_000, "category": []},
        {"scene": json.dumps({"wall": "blue"}), "clicks": 0, "impressions": 2_000, "category": []},
    ]
    test = [
        {"creative_id": name, "scene": json.dumps({"wall": name}), "category": []} for name in ("red", "blue", "new")
    ]
    found = ad_ranking.values_of_scene(train, test)
    assert found["red"] == pytest.approx(0.98083, abs=1e-5)
    assert found["blue"] == pytest.approx(-2.39790, abs=1e-5)
    assert found["new"] == 0


def test_missing_scores_and_real_clicks_are_refused(dataset: Path) -> None:
    with pytest.raises(SystemExit, match="no score of creative 'A0'"):
        ad_ranking.score(dataset, {})
    file = dataset / "creatives" / "test.parquet"
    table = pq.read_table(file)
    pq.write_table(table.set_column(3, "true_ctr", pa.nulls(len(table), pa.float64())), file)
    with pytest.raises(SystemExit, match="its clicks are real"):
        ad_ranking.score(dataset, dict.fromkeys(table["creative_id"].to_pylist(), 0.0))
