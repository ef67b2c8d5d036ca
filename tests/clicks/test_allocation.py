"""A log says how its traffic was allocated; where it does not, nothing here speaks of causes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from tests.clicks.conftest import click, impression, write_parquet

from clickscape.clicks.allocation import AllocatedTraffic
from clickscape.config import ClicksConfig
from clickscape.errors import LogError
from clickscape.report import results
from clickscape.stages.clicks import clicks as stage
from clickscape.stages.clicks import read_log
from clickscape.stages.progress import run
from clickscape.stages.report import report
from clickscape.types import Product
from clickscape.workspace import Workspace

SHARES, PROPENSITIES = "randomized with shares", "randomized with propensities"
CAUSAL = re.compile(r"\b(lift|caus\w+)\b", re.IGNORECASE)


def log(workspace: Workspace, allocations: Sequence[str | None], *, column: bool = True) -> None:
    """Two impressions of both creatives for each allocation, of which that of a is clicked."""
    rows = []
    for place, allocation in enumerate(allocations):
        said = {"allocation": allocation} if column else {}
        rows += [impression(2 * place, "a", **said), impression(2 * place + 1, "b", **said)]
        rows.append(click(2 * place, "a", **said))
    write_parquet(workspace.events_folder / "log.parquet", rows)


def allocated(workspace: Workspace, **config: Any) -> AllocatedTraffic:
    return read_log(workspace, config=ClicksConfig(**config)).allocated


def test_the_log_says_it_row_by_row_and_an_empty_cell_is_unknown(workspace: Workspace) -> None:
    log(workspace, [SHARES, SHARES, PROPENSITIES, None, "unknown"])
    found = allocated(workspace, allocation=SHARES)
    assert found == AllocatedTraffic(with_propensities=2, with_shares=4, unknown=4)
    assert found.allocation == "unknown"
    assert found.lines()[0].startswith("allocation unknown for 4 of 10 impressions:")


@pytest.mark.parametrize(
    ("given", "whole"), [([SHARES, PROPENSITIES], SHARES), ([PROPENSITIES], PROPENSITIES), ([SHARES, None], "unknown")]
)
def test_the_whole_log_is_what_holds_for_all_of_it(workspace: Workspace, given: list[str | None], whole: str) -> None:
    log(workspace, given)
    assert allocated(workspace).allocation == whole


def test_without_the_column_the_settings_say_it_and_by_default_nobody_does(workspace: Workspace) -> None:
    log(workspace, [None, None], column=False)
    assert allocated(workspace) == AllocatedTraffic(0, 0, 4)
    assert allocated(workspace, allocation=PROPENSITIES) == AllocatedTraffic(4, 0, 0)


def test_ready_counts_carry_it_too(workspace: Workspace) -> None:
    counts = {"creative_id": ["a", "b", "a"], "product_id": ["p"] * 3, "impressions": [70, 30, 5], "clicks": [7, 1, 0]}
    workspace.write_counts(pa.table(counts))
    assert allocated(workspace) == AllocatedTraffic(0, 0, 105)
    assert allocated(workspace, allocation=SHARES) == AllocatedTraffic(0, 105, 0)
    workspace.write_counts(pa.table({**counts, "allocation": [SHARES, SHARES, None]}))
    assert allocated(workspace) == AllocatedTraffic(0, 100, 5)
    assert allocated(workspace, columns={"allocation": "allocation"}).allocation == "unknown"


def test_a_value_that_means_nothing_is_refused(workspace: Workspace) -> None:
    log(workspace, [SHARES, "random"])
    with pytest.raises(LogError, match="has the allocation 'random', expected one of randomized with propensities, "):
        allocated(workspace)
    counts = {"creative_id": ["a"], "product_id": ["p"], "impressions": [70], "clicks": [7], "allocation": ["A/B"]}
    (workspace.events_folder / "log.parquet").unlink()
    workspace.write_counts(pa.table(counts))
    with pytest.raises(LogError, match="creative 'a' has the allocation 'A/B', expected one of"):
        allocated(workspace)


def test_sums_of_logs_and_impossible_ones() -> None:
    assert AllocatedTraffic(1, 2, 0) + AllocatedTraffic(3, 0, 4) == AllocatedTraffic(4, 2, 4)
    assert AllocatedTraffic(0, 0, 0).allocation == "unknown"
    with pytest.raises(ValueError, match="not negative"):
        AllocatedTraffic(-1, 0, 0)


def test_reports_of_observed_traffic_say_association_and_neither_lift_nor_caused(workspace: Workspace) -> None:
    workspace.write_products([Product("p", "Mug")])
    log(workspace, [None] * 40, column=False)
    manifest = run(stage(workspace, workspace.settings.clicks))
    said = "\n".join(manifest.result["summary"])
    page = report(workspace).read_text(encoding="utf-8")
    for text in (said, page):
        assert "association" in text
        assert not CAUSAL.search(text)
    assert results.ASSOCIATION in page
    assert manifest.result["allocated"] == {
        "with_propensities": 0, "with_shares": 0, "unknown": 80, "allocation": "unknown"
    }  # fmt: skip


def test_reports_of_randomized_traffic_say_so(workspace: Workspace) -> None:
    workspace.write_products([Product("p", "Mug")])
    log(workspace, [SHARES] * 40)
    summary = run(stage(workspace, workspace.settings.clicks)).result["summary"]
    assert f"allocation: {SHARES}; chance decided who saw which creative" in summary
    page = report(workspace).read_text(encoding="utf-8")
    assert SHARES in page
    assert "association" not in page
