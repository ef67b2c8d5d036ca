"""A log of which only a part has positions: the other part is a stratum of its own, compared by creatives of both."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.clicks.conftest import add_creatives, click, impression, write_parquet

from clickscape.clicks import ctr, decisions, estimate, locations, logs
from clickscape.clicks.cells import POSITIONED
from clickscape.config import ClicksConfig
from clickscape.stages.clicks import read_log
from clickscape.workspace import Workspace

LOOKED_AT = np.array([1.0, 0.5])
UNPLACED = 0.3  # CTR of an impression without a position, of that at the first


def counts(shown: np.ndarray, chance: np.ndarray, *, rng: np.random.Generator | None = None) -> pa.Table:
    """Counts of creatives at positions 1, 2 and without one, (creative, 3); clicks are expected ones, or drawn."""
    expected = shown * chance[:, None] * np.append(LOOKED_AT, UNPLACED)
    clicked = np.round(expected).astype(np.int64) if rng is None else rng.poisson(expected)
    rows = [
        {"creative_id": f"c{one:03}", "product_id": f"p{one // 2:03}", "position": (1, 2, None)[place],
         "impressions": int(shown[one, place]), "clicks": int(min(clicked[one, place], shown[one, place]))}
        for one, place in np.argwhere(shown > 0)
    ]  # fmt: skip
    types = {"creative_id": pa.string(), "product_id": pa.string(), "position": pa.int32(),
             "impressions": pa.int64(), "clicks": pa.int64()}  # fmt: skip
    return pa.Table.from_pylist(rows, schema=pa.schema(types))


def learned(table: pa.Table, **settings: object) -> tuple[list[dict[str, float]], ctr.ClickModel]:
    config = ClicksConfig.model_validate(settings)
    found, model = ctr.estimate_ctr(logs.connect(threads=1).create_table("counts", table), config=config)
    return found.to_pylist(), model


def test_two_creatives_by_hand() -> None:
    # the service gives b nine tenths of its impressions, at places that are clicked less; b is better by a half
    shown = np.array([[10_000, 10_000, 2_000], [10_000, 10_000, 18_000]]) * 100
    rows, model = learned(counts(shown, np.array([0.04, 0.06])), shrinkage="beta", prior_impressions=1e-6)
    assert model.examination.probability == pytest.approx([1, 0.5], rel=1e-3)
    (unplaced,) = model.strata
    assert (unplaced.name, unplaced.values) == (POSITIONED, ("no", "yes"))
    assert unplaced.effect == pytest.approx([UNPLACED, 1], rel=2e-3)
    assert [row["ctr"] for row in rows] == pytest.approx([0.04, 0.06], rel=2e-3)
    # examinations: 1,000,000 + 500,000 + 0.3 · 200,000 or 1,800,000
    assert [row["examinations"] for row in rows] == pytest.approx([1_560_000, 2_040_000], rel=2e-3)


def test_intervals_hold_the_truth_of_creatives_of_either_part_or_both() -> None:
    rng = np.random.default_rng(3)
    chance = 0.03 * np.exp(rng.normal(0, 0.4, 200))
    shown = rng.integers(2_000, 20_000, (200, 3))
    shown[:60, 2], shown[60:120, :2] = 0, 0  # only with positions; only without
    rows, model = learned(counts(shown, chance, rng=rng))
    inside = np.array([row["ctr_low"] <= truth <= row["ctr_high"] for row, truth in zip(rows, chance, strict=True)])
    assert inside[:60].mean() > 0.85
    assert inside[60:120].mean() > 0.85
    assert inside.mean() > 0.9
    ratio = np.log([row["ctr"] / truth for row, truth in zip(rows, chance, strict=True)])
    assert abs(ratio[60:120].mean() - ratio[:60].mean()) < 0.1, "neither part wins by where it stood"
    assert abs(model.strata[0].effect[0] - UNPLACED) < 3 * model.strata[0].log_se[0]


def test_parts_without_a_creative_in_common_say_little_of_each_other_and_positions_stay_corrected() -> None:
    rng = np.random.default_rng(4)
    shown = np.tile([[20_000, 20_000, 0], [0, 0, 40_000]], (20, 1))  # of each product one creative in each part
    both, model = learned(counts(shown, np.full(40, 0.04), rng=rng))
    alone, before = learned(counts(shown * [[1, 1, 0]], np.full(40, 0.04), rng=np.random.default_rng(4)))
    assert model.examination.corrected
    assert model.examination.probability == pytest.approx(before.examination.probability, rel=0.05)
    assert model.strata[0].log_se[0] > 0.9, "nothing says how the two parts compare"
    spread = np.array([row["log_ctr_se"] for row in both])
    assert spread[1::2].min() > 3 * spread[::2].max(), "which the intervals of the part without positions hold"
    assert len(alone) == 20


def test_a_creative_of_both_parts_did_not_move_between_positions() -> None:
    shown = np.array([[900, 0, 0], [0, 900, 500]]) * 100  # nobody was shown at 1 and at 2
    _, model = learned(counts(shown, np.array([0.04, 0.04])))
    assert "no creative with clicks was shown both at position 1 and at 2" in str(model.examination.reason)


def test_without_correction_all_impressions_are_alike() -> None:
    shown = np.array([[900, 0, 0], [500, 0, 500]]) * 100
    _, model = learned(counts(shown, np.array([0.04, 0.04])), position_correction=False)
    assert model.strata == ()


@pytest.fixture
def mixed(workspace: Workspace) -> Workspace:
    """A shop's own log with positions, and pulled events without: its clicks name no position."""
    add_creatives(workspace, "a", "b", "c")
    own = [*(impression(number, position=1 + number % 2) for number in range(6)), click(1, position=None), click(2)]
    lists = {"candidates": ["a", "c"], "propensities": [0.5, 0.5]}
    pulled = [impression(number, "ac"[number % 2], **lists) for number in range(10, 16)]
    pulled += [click(11, "c"), {**click(12), "position": 3}]
    write_parquet(workspace.events_folder / "own.parquet", own)
    table = pa.Table.from_pylist(pulled).drop_columns(["position"])
    told = [None] * (len(pulled) - 1) + [3]  # a click that says where: its impression does not
    table = table.append_column("position", pa.array(told, pa.int32()))
    pq.write_table(table, workspace.events_folder / "service-000001.parquet")
    return workspace


def test_a_click_stands_where_its_impression_does(mixed: Workspace) -> None:
    log = read_log(mixed, by=())
    found = {
        (row["creative_id"], row["position"]): (row["impressions"], row["clicks"])
        for row in log.counts.to_pyarrow().to_pylist()
    }
    assert found == {("a", 1): (3, 1), ("a", 2): (3, 1), ("a", None): (3, 1), ("c", None): (3, 1)}
    assert log.cleaning
    (line,) = (line for line in log.cleaning.lines() if "position" in line)
    assert line.startswith("6 impressions have no position though others have one: a stratum of their own")
    lines = estimate(log.counts).lines()
    assert any(line.startswith("impressions without a position: ") for line in lines)


def test_decisions_of_both_parts_are_contexts_of_their_own(mixed: Workspace) -> None:
    path = mixed.events_folder / "own.parquet"
    table = pq.read_table(path)
    for column, value in (("candidates", ["a"]), ("propensities", [1.0])):
        table = table.append_column(column, pa.array([value] * len(table)))
    pq.write_table(table, path)
    config = ClicksConfig()
    log = decisions.read(locations.locate(mixed.clicks, config), config=config)
    assert sorted(log.decisions["position"].to_pylist()) == [0] * 6 + [1] * 3 + [2] * 3
