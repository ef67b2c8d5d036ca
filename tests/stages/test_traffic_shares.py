"""Recommended shares are the bandit's, of the log's counts and the scores' learned weight."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from tests.factory import clickscape

from clickscape.errors import ExperimentError
from clickscape.stages.traffic_shares import EVERYWHERE, shares_of
from clickscape.types import Creative
from clickscape.workspace import Workspace


def creative(name: str, status: str = "live") -> Creative:
    return Creative(name, name.split("-")[0], "", "", {}, "own", "own", 0, status=status)  # type: ignore[arg-type]


def counts(*rows: tuple[str, str | None, int, int]) -> pa.Table:
    columns = ("creative_id", "placement", "impressions", "clicks")
    return pa.Table.from_pylist([dict(zip(columns, row, strict=True)) for row in rows])


def test_the_creative_with_more_clicks_gets_more_and_the_others_their_floor() -> None:
    creatives = [creative("mug-a"), creative("mug-b", "approved"), creative("mug-c", "draft"), creative("pan-a")]
    table = counts(("mug-a", "feed", 5_000, 100), ("mug-b", "feed", 5_000, 200), ("pan-a", "story", 900, 9))
    (mug,), prior, past = shares_of(table, creatives, scores={}, held_out=set())
    assert mug.creatives == ("mug-a", "mug-b")
    assert mug.bandit["feed"] == pytest.approx((0.005, 0.995))
    assert 0.6 < mug.sampled["story"][1] < mug.sampled["feed"][1]
    assert mug.propensities == mug.bandit
    assert (prior.weight, past) == (0.0, 0)


def test_scores_get_the_weight_that_held_out_products_give_them() -> None:
    """30 held-out products whose log CTR is the score. Of another without clicks, the worst score wins never or evenly,
    by one half each: the clicks that gave the weight say nothing of the trust in it."""
    rng = np.random.default_rng(0)
    known = [creative(f"h{product}-{place}") for product in range(30) for place in range(4)]
    scores = {one.creative_id: float(rng.normal(0, 0.3)) for one in known}
    rows = [(name, None, 20_000, int(rng.poisson(20_000 * 0.03 * np.exp(score)))) for name, score in scores.items()]
    running = [creative("mug-a"), creative("mug-b"), creative("mug-c")]
    scores |= {"mug-a": 0.3, "mug-b": -0.3}
    held_out = {f"h{product}" for product in range(30)}
    found, prior, past = shares_of(counts(*rows), [*known, *running], scores=scores, held_out=held_out)
    mug = next(one for one in found if one.product_id == "mug")
    first, second, third = mug.sampled[EVERYWHERE]
    assert past == 120
    assert prior.weight == pytest.approx(1, abs=0.1)
    assert first > third > second
    assert second == pytest.approx(0.5 / 3, abs=0.02)
    alone, other, _ = shares_of(counts(*rows), running, scores=scores, held_out=set())
    assert alone[0].sampled[EVERYWHERE] == pytest.approx((1 / 3,) * 3, abs=0.01)
    assert other.weight == 0


def test_nothing_to_share_is_one_line() -> None:
    with pytest.raises(ExperimentError, match="no product has two live or approved creatives"):
        shares_of(counts(("mug-a", None, 10, 1)), [creative("mug-a")], scores={}, held_out=set())


def test_the_command_prints_shares_that_sum_to_one(tmp_path: Path) -> None:
    shop = Workspace.create(tmp_path / "shop")
    shop.write_creatives([creative("mug-a"), creative("mug-b")])
    rows = {
        "creative_id": ["mug-a", "mug-b"],
        "product_id": ["mug", "mug"],
        "impressions": [4_000, 4_000],
        "clicks": [80, 120],
    }
    shop.write_counts(pa.table(rows))
    done = clickscape("experiment", "shares", "shop", "--json", cwd=tmp_path)
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert record["is_association"]
    (only,) = record["products"]
    assert only["creatives"] == ["mug-a", "mug-b"]
    assert sum(only["propensities"]) == pytest.approx(1)
    assert only["propensities"][1] > 0.9
    told = clickscape("experiment", "shares", "shop", cwd=tmp_path).out
    assert "mug, everywhere: mug-b 9" in told
    assert "nobody knows how a part of this traffic was allocated" in " ".join(told.split())
