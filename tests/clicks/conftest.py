"""A shop with a few creatives, and logs of it written down in several ways."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from clickscape.config import ClicksConfig
from clickscape.stages.clicks import read_log
from clickscape.types import Creative
from clickscape.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A shop with the creatives a and b of product p."""
    made = Workspace.create(tmp_path / "shop")
    add_creatives(made, "a", "b")
    return made


def add_creatives(workspace: Workspace, *names: str, product: str = "p") -> None:
    workspace.write_creatives([Creative(name, product, f"{name}.webp", "", {}, "studio", "tiny", 0) for name in names])


def counted(workspace: Workspace, source: str = "", **other: object) -> dict[str, tuple[int, int]]:
    """Impressions and clicks per creative."""
    config = ClicksConfig.model_validate({"source": source, **other})
    rows = read_log(workspace, config=config, by=()).counts.to_pyarrow().to_pylist()
    return {row["creative_id"]: (row["impressions"], row["clicks"]) for row in rows}


def impression(number: int, creative: str = "a", **other: object) -> dict[str, object]:
    """One impression at position 1, of a decision of its own."""
    ids = {"event_id": f"e{number}", "kind": "impression", "decision_id": f"d{number}", "creative_id": creative}
    return {**ids, "product_id": "p", "position": 1, **other}


def click(number: int, creative: str = "a", **other: object) -> dict[str, object]:
    """The click on the impression of this number."""
    return {**impression(number, creative, event_id=f"c{number}", kind="click"), **other}


def write_parquet(path: Path, rows: Iterable[Mapping[str, object]], schema: pa.Schema | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema), path)
    return path
