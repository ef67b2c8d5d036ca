"""Decisions of a log: lists in every format, clicks at their impression, and one line for each fault."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.clicks.conftest import click, impression, write_parquet

from clickscape.clicks import decisions, locations, logs
from clickscape.clicks.decisions import DecisionLog
from clickscape.config import ClicksConfig
from clickscape.errors import LogError
from clickscape.simulator import traffic
from clickscape.types import Creative

LISTS = {"candidates": ["a", "b"], "propensities": [0.7, 0.3]}


def read(path: Path, **settings: object) -> DecisionLog:
    config = ClicksConfig.model_validate({"source": str(path), **settings})
    return decisions.read(locations.locate(path.parent, config), config=config)


def rows_of(log: DecisionLog) -> list[tuple[object, ...]]:
    """Creative, candidates, propensities and click of every decision."""
    lists = log.choices.to_pylist()
    return [(row["creative_id"], *lists[row["choice"]].values(), row["clicked"]) for row in log.decisions.to_pylist()]


def write_csv(path: Path, rows: Iterable[Mapping[str, object]]) -> Path:
    made = [{name: json.dumps(v) if isinstance(v, list) else v for name, v in row.items()} for row in rows]
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, made[0].keys())
        writer.writeheader()
        writer.writerows(made)
    return path


@pytest.mark.slow
def test_lists_are_read_from_every_format_and_kept_once(tmp_path: Path) -> None:
    rows = [
        impression(1, "a", **LISTS),
        impression(2, "b", **LISTS),
        impression(3, "b", candidates=["b"], propensities=[1.0]),
        click(2, "b", candidates=None, propensities=None),
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    paths = [
        write_parquet(tmp_path / "log.parquet", rows),
        write_csv(tmp_path / "log.csv", rows),
        tmp_path / "log.jsonl",
    ]
    for path in paths:
        log = read(path)
        assert len(log.choices) == 2, path
        assert rows_of(log) == [
            ("a", ["a", "b"], [0.7, 0.3], False),
            ("b", ["a", "b"], [0.7, 0.3], True),
            ("b", ["b"], [1.0], False),
        ], path
        assert "user_key" not in log.decisions.column_names


@pytest.mark.slow
def test_a_column_may_have_another_name_and_ids_may_be_numbers(tmp_path: Path) -> None:
    rows = [{**impression(1, 7), "arms": [7, 8], "propensities": [0.5, 0.5]}]
    log = read(write_parquet(tmp_path / "log.parquet", rows), columns={"candidates": "arms"})
    assert rows_of(log) == [("7", ["7", "8"], [0.5, 0.5], False)]


def test_impressions_without_propensities_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [impression(1, **LISTS), *(impression(number, candidates=None, propensities=None) for number in (2, 3, 4))]
    log = read(write_parquet(tmp_path / "log.parquet", rows))
    assert (log.decisions.num_rows, log.without_propensities) == (1, 0.75)


@pytest.mark.slow
def test_impressions_whose_allocation_nobody_knows_are_left_out(tmp_path: Path) -> None:
    known = ("randomized with propensities", "unknown", None, "randomized with shares")
    rows = [impression(number, allocation=one, **LISTS) for number, one in enumerate(known)]
    log = read(write_parquet(tmp_path / "log.parquet", rows))
    assert (log.decisions.num_rows, log.without_propensities) == (2, 0.5)


@pytest.mark.slow
def test_decisions_stand_in_the_order_of_time(tmp_path: Path) -> None:
    times = [datetime(2026, 3, 1, hour, tzinfo=UTC) for hour in (5, 3, 4)]
    rows = [impression(number, "ab"[number % 2], ts=at, **LISTS) for number, at in enumerate(times, start=1)]
    log = read(write_parquet(tmp_path / "log.parquet", rows))
    assert log.decisions["creative_id"].to_pylist() == ["a", "b", "b"]
    assert np.all(np.diff(log.decisions["at"].to_numpy()) > 0)


def test_a_click_counts_at_the_impression_of_its_own_user(tmp_path: Path) -> None:
    """A cached page: two users share a decision, and the second of them clicks."""
    shared = {"decision_id": "d", **LISTS}
    rows = [
        impression(1, user_key="u1", **shared),
        impression(2, user_key="u2", **shared),
        click(2, user_key="u2", decision_id="d", candidates=None, propensities=None),
    ]
    log = read(write_parquet(tmp_path / "log.parquet", rows))
    clicked = {row["user_key"]: row["clicked"] for row in log.decisions.to_pylist()}
    assert clicked == {"u1": False, "u2": True}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ({"propensities": [0.7, 0.2]}, r"decision 'd1': the propensities sum to 0\.9, expected 1 within 1e-06"),
        ({"propensities": [0.7, 0.300002]}, r"the propensities sum to 1\.000002, expected 1 within"),
        ({"propensities": [1.0]}, r"decision 'd1' has 2 candidates and 1 propensities\. Log one"),
        ({"candidates": ["c", "b"]}, r"creative 'a', shown in decision 'd1', is not among its candidates\. Log the"),
        ({"propensities": [0.0, 1.0]}, r"creative 'a', shown in decision 'd1', has the propensity 0\. Log the lists"),
        ({"propensities": [1.5, -0.5]}, r"has the propensity 1\.5, expected a probability from 0 to 1\. Correct"),
        ({"propensities": [float("nan"), 1.0]}, r"has the propensity nan, expected a probability"),
        ({"candidates": ["a", "a"]}, r"has the candidate 'a' twice\. Log it once"),
        ({"candidates": ["a", None]}, r"candidates are no list of ids, such as"),
        ({"candidates": [], "propensities": []}, r"the propensities sum to 0, expected 1"),
    ],
)  # fmt: skip
def test_lists_that_contradict_themselves_are_refused(
    tmp_path: Path, lists: Mapping[str, object], message: str
) -> None:
    schema = pa.schema({name: pa.string() for name in ("event_id", "kind", "decision_id", "creative_id", "product_id")})
    schema = schema.append(pa.field("candidates", pa.list_(pa.string())))
    schema = schema.append(pa.field("propensities", pa.list_(pa.float64())))
    path = write_parquet(tmp_path / "log.parquet", [impression(1, **{**LISTS, **lists})], schema)
    with pytest.raises(LogError, match=message):
        read(path)


@pytest.mark.slow
def test_text_that_is_no_list_is_refused(tmp_path: Path) -> None:
    for odd in ("a|b", "[1, 2", '{"a": 1}', "7"):
        path = write_csv(tmp_path / "log.csv", [impression(1, candidates=odd, propensities=[0.5, 0.5])])
        with pytest.raises(LogError, match=r"decision 'd1': candidates are no list of ids, such as \[\"a\", \"b\"\]"):
            read(path)


@pytest.mark.slow
def test_sums_within_the_tolerance_are_taken(tmp_path: Path) -> None:
    thirds = {"candidates": ["a", "b", "c"], "propensities": [0.3333333, 0.3333333, 0.3333333]}
    assert read(write_parquet(tmp_path / "log.parquet", [impression(1, **thirds)])).decisions.num_rows == 1


@pytest.mark.slow
def test_a_log_that_cannot_say_what_else_could_have_been_shown_is_refused(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "log.parquet", [impression(1)])
    with pytest.raises(LogError, match="has no column 'candidates': it does not say what else could have been shown"):
        read(path)
    path = write_parquet(tmp_path / "log.parquet", [impression(1, candidates=None, propensities=None)])
    with pytest.raises(LogError, match="no randomized impression has candidates and propensities"):
        read(path)
    counts = pa.table({"creative_id": ["a"], "product_id": ["p"], "impressions": [4], "clicks": [1]})
    pq.write_table(counts, tmp_path / "counts.parquet")
    with pytest.raises(LogError, match="the log holds counts"):
        read(tmp_path / "counts.parquet")


def test_clicks_without_decisions_are_refused(tmp_path: Path) -> None:
    rows = [impression(1, **LISTS), click(1, **LISTS), click(2, **LISTS)]
    with pytest.raises(LogError, match=r"1 of 2 clicks have no impression, such as 'c2'.*Export the impressions"):
        read(write_parquet(tmp_path / "log.parquet", rows))


@pytest.mark.slow
def test_the_lists_do_not_matter_to_who_counts(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "log.parquet", [impression(1, candidates=["x"], propensities=[9.0])])
    known = pa.table({"creative_id": ["a"], "product_id": ["p"]})
    config = ClicksConfig(source=str(path))
    assert (
        logs.read(locations.locate(tmp_path, config), creatives=known, config=config).counts.to_pyarrow().num_rows == 1
    )


def test_a_simulated_log_is_read_whole(tmp_path: Path) -> None:
    """Every impression is a decision, every click is at one, and each propensity is that of its product's position."""
    rng = np.random.default_rng(0)
    ads = [Creative(f"p{n // 3}-{n % 3}", f"p{n // 3}", "", "", {}, "studio", "w", 0) for n in range(9)]
    shown = traffic.simulate(ads, np.full(9, np.log(0.1)), rng=rng, median_impressions=60)
    folder = tmp_path / "events"
    folder.mkdir()
    assert list(traffic.write(shown.events(rng=rng), folder))
    log = read(folder)
    assert log.decisions.num_rows == shown.impressions.sum()
    assert sum(log.decisions["clicked"].to_pylist()) == shown.clicks.sum()
    assert len(log.choices) == 3 * 5
    lists = log.choices.to_pylist()
    first = next(row for row in log.decisions.to_pylist() if row["creative_id"] == "p1-2" and row["position"] == 2)
    chosen = dict(zip(*lists[first["choice"]].values(), strict=True))
    assert chosen["p1-2"] == pytest.approx(shown.weights[5, 1] / shown.weights[3:6, 1].sum())
