"""A finished run of the click stage is reused as long as the same events would count."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickscape.config import ClicksConfig
from clickscape.stages.clicks import clicks
from clickscape.stages.progress import run
from clickscape.types import Creative
from clickscape.workspace import Workspace

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Two impressions at noon and one an hour later."""
    made = Workspace.create(tmp_path / "shop")
    made.write_creatives([Creative("a", "p", "a.webp", "", {}, "studio", "tiny", 0)])
    ids = ["1", "2", "3"]
    table = pa.table({"event_id": ids, "kind": ["impression"] * 3, "decision_id": ids, "creative_id": ["a"] * 3})
    table = table.append_column("product_id", pa.array(["p"] * 3))
    table = table.append_column("ts", pa.array([NOON, NOON, NOON + timedelta(hours=1)]))
    made.events_folder.mkdir()
    pq.write_table(table, made.events_folder / "a.parquet")
    return made


def counted(workspace: Workspace, now: datetime) -> tuple[int, datetime]:
    """Impressions, and when the run that counted them started."""
    manifest = run(clicks(workspace, ClicksConfig(), now=now))
    return manifest.result["impressions"], manifest.started


@pytest.mark.slow
def test_a_run_is_repeated_when_the_clock_has_changed_what_is_in_the_future(workspace: Workspace) -> None:
    first, started = counted(workspace, NOON + timedelta(minutes=5))
    assert first == 2
    later, again = counted(workspace, NOON + timedelta(hours=2))
    assert (later, again > started) == (3, True)
    assert counted(workspace, NOON + timedelta(hours=3)) == (3, again), "nothing changes any more"
    assert counted(workspace, NOON + timedelta(minutes=5))[0] == 2, "the clock was ahead"


@pytest.mark.slow
def test_a_run_is_repeated_when_a_file_goes_to_a_folder_that_says_something_else(workspace: Workspace) -> None:
    for position in (1, 2):
        folder = workspace.events_folder / f"position={position}"
        folder.mkdir()
        next(workspace.events_folder.rglob("a.parquet")).rename(folder / "a.parquet")
        manifest = run(clicks(workspace, ClicksConfig(), now=NOON + timedelta(hours=2)))
        assert manifest.result["positions"] == [position]
