"""Counts by audience: the same clicks as the estimates', and examinations by the log's own exposure."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from clickscape.clicks import logs
from clickscape.clicks.pipeline import ClickEstimates, estimate


def estimated(**columns: list) -> ClickEstimates:
    rows = len(columns["clicks"])
    table = {"product_id": ["p"] * rows, "position": pa.array([None] * rows, pa.int32()), **columns}
    return estimate(logs.connect(threads=1).create_table("counts", pa.table(table)))


def test_by_hand() -> None:
    """Two ads, each seen by both audiences; whoever is unknown counts for everybody and for no audience."""
    found = estimated(
        creative_id=["a", "a", "b", "b", "b"], audience=["old", "young", "old", "young", None],
        impressions=[1_000, 2_000, 1_500, 2_500, 400], clicks=[10, 60, 30, 40, 5],
    )  # fmt: skip
    rows = {(row["creative_id"], row["audience"]): row for row in found.audiences.to_pylist()}
    assert {key: row["clicks"] for key, row in rows.items()} == {
        ("a", "old"): 10, ("a", "young"): 60, ("b", "old"): 30, ("b", "young"): 40,
    }  # fmt: skip
    effect = dict(zip(*(lambda one: (one.values, one.effect))(found.model.strata[0]), strict=True))
    assert effect["young"] > effect["old"]
    assert rows["a", "young"]["examinations"] == 2_000 * effect["young"]
    unknown = 400 * effect["unknown"]
    assert np.isclose(
        sum(row["examinations"] for row in rows.values()) + unknown, sum(found.estimates["examinations"].to_pylist())
    )


def test_positions_are_corrected_as_in_the_estimates() -> None:
    rng = np.random.default_rng(0)
    cells = [(ad, place, who) for ad in range(20) for place in (1, 2) for who in ("old", "young")]
    shown = rng.integers(2_000, 9_000, len(cells))
    chance = np.array([0.05 * (1.0 if place == 1 else 0.5) for _, place, _ in cells])
    found = estimated(
        creative_id=[f"c{ad}" for ad, _, _ in cells], position=pa.array([place for _, place, _ in cells], pa.int32()),
        audience=[who for _, _, who in cells], impressions=shown, clicks=rng.binomial(shown, chance),
    )  # fmt: skip
    assert found.examination.corrected
    total = dict.fromkeys(found.estimates["creative_id"].to_pylist(), 0.0)
    for row in found.audiences.to_pylist():
        total[row["creative_id"]] += row["examinations"]
    assert np.allclose(list(total.values()), found.estimates["examinations"].to_pylist())


def test_a_log_without_audiences_has_none() -> None:
    assert not len(estimated(creative_id=["a", "b"], impressions=[100, 100], clicks=[3, 4]).audiences)
