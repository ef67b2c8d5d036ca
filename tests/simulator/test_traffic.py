"""Traffic: the clicks come from the truth, positions confound, and events and counts tell the same story."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from clickscape.simulator import traffic, world, writer
from clickscape.simulator.traffic import EXAMINATION, Traffic
from clickscape.types import Creative, Product
from clickscape.workspace.tables import COUNTS, EVENTS


def _creatives(number: int, per_product: int = 4) -> list[Creative]:
    return [Creative(f"c{i}", f"p{i // per_product}", "", "", {}, "studio", "test", 0) for i in range(number)]


def _some(number: int = 200, *, seed: int = 0, **options: object) -> tuple[Traffic, np.ndarray]:
    rng = np.random.default_rng(seed)
    log_ctr = np.log(0.04) + 0.25 * rng.normal(size=number)
    return traffic.simulate(_creatives(number), log_ctr, rng=rng, **options), log_ctr  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def small() -> tuple[Traffic, pa.Table]:
    """Sixty creatives with their whole log."""
    drawn, _ = _some(60, median_impressions=400)
    return drawn, pa.concat_tables(drawn.events(rng=np.random.default_rng(1))).unify_dictionaries()


def test_clicks_match_the_truth_at_every_position() -> None:
    drawn, log_ctr = _some(1_000)
    chance = np.exp(log_ctr)[:, None] * np.array(EXAMINATION)
    shown, clicks = drawn.impressions[:, :, 0], drawn.clicks[:, :, 0]
    expected, variance = (shown * chance).sum(axis=0), (shown * chance * (1 - chance)).sum(axis=0)
    assert np.all(np.abs(clicks.sum(axis=0) - expected) < 4 * np.sqrt(variance))
    surprise = (clicks - shown * chance) / np.sqrt(shown * chance * (1 - chance) + 1e-9)
    assert surprise.std() == pytest.approx(1, abs=0.05)  # binomial, no more and no less


def test_position_bias_can_be_recovered_within_creatives() -> None:
    drawn, log_ctr = _some(2_000, seed=1)
    weight = np.exp(log_ctr)[:, None] * drawn.impressions[:, :, 0]
    ratio = drawn.clicks[:, :, 0].sum(axis=0) / weight.sum(axis=0)
    assert ratio == pytest.approx(EXAMINATION, rel=0.03)


def test_positions_confound_the_raw_ctr() -> None:
    drawn, log_ctr = _some(6_000, seed=2)
    shown, clicks = drawn.impressions.sum(axis=(1, 2)), drawn.clicks.sum(axis=(1, 2))
    looked_at = drawn.impressions[:, :, 0] @ np.array(EXAMINATION)
    assert 0.1 < (looked_at / shown).std() / (looked_at / shown).mean() < 0.25

    def order(estimate: np.ndarray) -> float:
        """Share of neighbors that the estimate puts in the true order."""
        return float(np.mean((estimate[::2] > estimate[1::2]) == (log_ctr[::2] > log_ctr[1::2])))

    assert order(clicks / looked_at) > order(clicks / shown) + 0.03


def test_impressions_are_log_normal_about_the_median() -> None:
    drawn, _ = _some(4_000, seed=3, median_impressions=1_500)
    totals = drawn.impressions.sum(axis=(1, 2))
    assert np.median(totals) == pytest.approx(1_500, rel=0.06)
    assert np.log(totals).std() == pytest.approx(0.7, rel=0.06)


def test_events_add_up_to_the_counts(small: tuple[Traffic, pa.Table]) -> None:
    drawn, events = small
    told = Counter[tuple[str, str, int, str]]()
    rows = events.select(["creative_id", "product_id", "position", "kind"]).to_pylist()
    told.update((row["creative_id"], row["product_id"], row["position"], row["kind"]) for row in rows)
    for row in drawn.counts().to_pylist():
        key = (row["creative_id"], row["product_id"], row["position"])
        assert told.pop((*key, "impression")) == row["impressions"]
        assert told.pop((*key, "click"), 0) == row["clicks"]
    assert all(kind == "conversion" for *_, kind in told)


def test_clicks_and_conversions_name_the_decision_of_their_impression(small: tuple[Traffic, pa.Table]) -> None:
    _, events = small
    rows = events.to_pylist()
    impressions = {row["decision_id"]: row for row in rows if row["kind"] == "impression"}
    clicked = {row["decision_id"] for row in rows if row["kind"] == "click"}
    assert len(impressions) == sum(row["kind"] == "impression" for row in rows)
    assert len({row["event_id"] for row in rows}) == len(rows)
    for row in rows:
        impression = impressions[row["decision_id"]]
        for column in ("creative_id", "product_id", "position", "placement", "user_key", "policy_id"):
            assert row[column] == impression[column]
        if row["kind"] != "impression":
            assert row["ts"] > impression["ts"]
            assert row["candidates"] is None
        if row["kind"] == "conversion":
            assert row["decision_id"] in clicked


@pytest.mark.slow
def test_events_have_the_workspace_columns_in_the_order_of_time(
    small: tuple[Traffic, pa.Table], tmp_path: Path
) -> None:
    drawn, _ = small
    start = datetime(2026, 3, 1, tzinfo=UTC)
    tables = list(drawn.events(rng=np.random.default_rng(2), start=start, days=3))
    assert len(tables) == 3
    paths = list(traffic.write(iter(tables), tmp_path))
    assert [path.name for path in paths] == ["day-00.parquet", "day-01.parquet", "day-02.parquet"]
    for day, (path, table) in enumerate(zip(paths, tables, strict=True)):
        read = pq.read_table(path)
        assert read.schema.names == EVENTS.names
        assert [field.type for field in read.schema] == [field.type for field in EVENTS]
        assert read.to_pylist() == table.to_pylist()
        times = read["ts"].to_pylist()
        assert times == sorted(times)
        shown = [time for time, kind in zip(times, read["kind"].to_pylist(), strict=True) if kind == "impression"]
        assert start + timedelta(days=day) <= shown[0]
        assert shown[-1] < start + timedelta(days=day + 1)
    counts = [field for field in COUNTS if field.name not in ("audience", "allocation")]
    assert drawn.counts().schema.equals(pa.schema(counts))
    assert replace(drawn, audiences=("all",)).counts()["audience"].unique().to_pylist() == ["all"]


@pytest.mark.slow
def test_propensities_are_what_the_logging_policy_did() -> None:
    drawn, _ = _some(12, seed=10, median_impressions=3_000)
    events = pa.concat_tables(drawn.events(rng=np.random.default_rng(11), days=1))
    shown = events.filter(pc.equal(events["kind"], "impression")).select(
        ["product_id", "position", "creative_id", "candidates", "propensities"]
    )
    at: dict[tuple[str, int], list[dict[str, object]]] = {}
    for row in shown.to_pylist():
        at.setdefault((row["product_id"], row["position"]), []).append(row)
    products = dict(zip(drawn.creative_ids, drawn.product_ids, strict=True))
    assert len(at) == 3 * 5
    for (product, _), rows in at.items():
        candidates, propensities = rows[0]["candidates"], np.array(rows[0]["propensities"])
        assert all(row["propensities"] == rows[0]["propensities"] for row in rows[::100])
        assert candidates == [creative for creative, owner in products.items() if owner == product]
        assert propensities.sum() == pytest.approx(1)
        assert propensities.min() > 0
        chosen = Counter(row["creative_id"] for row in rows)
        often = np.array([chosen[candidate] for candidate in candidates])
        deviation = np.sqrt(len(rows) * propensities * (1 - propensities)) + 1
        assert np.all(np.abs(often - len(rows) * propensities) < 4.5 * deviation)


def test_users_are_pseudonyms_of_one_key_and_ids_of_one_log(small: tuple[Traffic, pa.Table]) -> None:
    drawn, events = small
    keys = events["user_key"].to_pylist()
    assert all(len(key) == 16 and set(key) <= set("0123456789abcdef") for key in set(keys))
    assert 15 < len(keys) / len(set(keys)) < 30
    later = datetime(2027, 1, 1, tzinfo=UTC)
    other = pa.concat_tables(drawn.events(rng=np.random.default_rng(1), key=b"another", start=later))
    assert not set(other["event_id"].to_pylist()) & set(events["event_id"].to_pylist())
    assert not set(other["user_key"].to_pylist()) & set(keys)


def test_segments_click_by_their_own_taste() -> None:
    truth, rng = world.load("harmony"), np.random.default_rng(4)
    products = [Product(f"p{i}", "Thing", ("Toys",)) for i in range(100)]
    scenes = [writer.write(product, rng)[1] for product in products]
    logs = np.array([truth.segment_log_ctrs(p, s) for p, s in zip(products, scenes, strict=True)])
    average = np.array([truth.log_ctr(p, s) for p, s in zip(products, scenes, strict=True)])
    drawn = traffic.simulate(_creatives(100, 1), logs, rng=rng, shares=world.SEGMENTS, median_impressions=20_000)
    clicks, shown = drawn.clicks.sum(axis=0), drawn.impressions
    expected = (shown * np.exp(logs)[:, None, :]).sum(axis=0) * np.array(EXAMINATION)[:, None]
    assert np.all(np.abs(clicks - expected) < 4 * np.sqrt(expected))
    pooled = (shown.sum(axis=2) * np.exp(average)[:, None] * EXAMINATION).sum()
    assert drawn.clicks.sum() == pytest.approx(pooled, abs=5 * np.sqrt(pooled))
    assert shown.sum(axis=(0, 1)) / shown.sum() == pytest.approx(list(world.SEGMENTS.values()), abs=0.01)
    events = pa.concat_tables(traffic.simulate(
        _creatives(4), logs[:4], rng=rng, shares=world.SEGMENTS
    ).events(rng=rng, days=1))  # fmt: skip
    assert events.num_rows > 1_000


def test_the_same_seed_gives_the_same_log() -> None:
    first, second = (_some(20, seed=5, median_impressions=100)[0] for _ in range(2))
    assert first.counts().equals(second.counts())
    logs = [pa.concat_tables(drawn.events(rng=np.random.default_rng(6))) for drawn in (first, second)]
    assert logs[0].to_pylist() == logs[1].to_pylist()
    assert not _some(20, seed=7, median_impressions=100)[0].counts().equals(first.counts())


def test_a_creative_that_nobody_saw_is_in_neither_view() -> None:
    drawn, _ = _some(30, median_impressions=1)
    assert drawn.counts().num_rows == np.count_nonzero(drawn.impressions) < drawn.impressions.size
    nothing = np.zeros((1, 1, 1), np.int64)
    nobody = Traffic(("c",), ("p",), nothing, nothing, np.zeros((1, 1)))
    assert nobody.counts().num_rows == 0
    assert list(nobody.events(rng=np.random.default_rng(0))) == []


def test_hexadecimal_ids_by_hand() -> None:
    assert traffic._numbered("e-", np.array([0, 255, 0xABCDEF0123])).to_pylist() == [
        "e-0000000000", "e-00000000ff", "e-abcdef0123",
    ]  # fmt: skip
    # SplitMix64 with state 0 after one increment: the first output of the reference implementation
    assert bytes(traffic._keyed_hex(np.array([1], np.uint64), b"").ravel()) == b"e220a8397b1dcdaf"


@pytest.mark.parametrize(
    ("log_ctr", "message"),
    [
        (np.zeros(3) - 3, "expected log_ctr of 2 creatives"),
        (np.array([-3.0, 0.04]), "a CTR cannot exceed 1"),
    ],
)
def test_impossible_traffic_is_refused(log_ctr: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        traffic.simulate(_creatives(2), log_ctr, rng=np.random.default_rng(0))


@pytest.mark.slow
def test_writing_events_is_fast(tmp_path: Path) -> None:
    drawn, _ = _some(400, seed=8)
    began = time.process_time()
    written = sum(
        pq.read_metadata(path).num_rows
        for path in traffic.write(drawn.events(rng=np.random.default_rng(9), days=4), tmp_path)
    )
    rate = written / (time.process_time() - began)
    assert written > 500_000
    assert rate > 300_000  # events per CPU-second; about 1.1 million when nobody else uses the cores
