"""The verb of the room: the workspace's log → estimates and pairs, written beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import ibis
import pyarrow as pa

from clickscape.clicks import ctr, logs
from clickscape.clicks import pairs as pairing
from clickscape.clicks.ctr import Examination
from clickscape.config import ClicksConfig
from clickscape.types import ClickCounts, CreativePair
from clickscape.workspace import Workspace


@dataclass(frozen=True)
class ClickReport:
    """What the clicks say: the tables `ctr.ESTIMATES` and `pairs.PAIRS`, and how positions were corrected."""

    estimates: pa.Table
    pair_table: pa.Table
    examination: Examination

    @property
    def total(self) -> ClickCounts:
        """Impressions and clicks of the whole log."""
        return ClickCounts(sum(self.estimates["impressions"].to_pylist()), sum(self.estimates["clicks"].to_pylist()))

    @property
    def pairs(self) -> list[CreativePair]:
        """The pairs as records."""
        return pairing.to_pairs(self.pair_table)


def estimate(source: Workspace | ibis.Table, *, config: ClicksConfig | None = None) -> ClickReport:
    """Estimate every creative's CTR and the pairs; `source`: a workspace or counts (`logs.counts`).

    For a workspace, `config` defaults to its clickscape.toml and the tables are written to clicks/estimates.parquet and
    clicks/pairs.parquet; a LogError leaves it as it was.
    """
    if not isinstance(source, Workspace):
        return _estimate(source, config=config or ClicksConfig())
    with source.lock():
        report = _estimate(logs.read(source), config=config or source.settings.clicks)
        source.write_table(estimates_path(source), report.estimates)
        source.write_table(pairs_path(source), report.pair_table)
    return report


def estimates_path(workspace: Workspace) -> Path:
    """Table `ctr.ESTIMATES` of a workspace."""
    return workspace.clicks / "estimates.parquet"


def pairs_path(workspace: Workspace) -> Path:
    """Table `pairs.PAIRS` of a workspace."""
    return workspace.clicks / "pairs.parquet"


def read_estimates(workspace: Workspace) -> pa.Table:
    """What `estimate` wrote; WorkspaceError before it ran."""
    return workspace.read_table(estimates_path(workspace), ctr.ESTIMATES, remedy="Run `clickscape clicks` first.")


def read_pairs(workspace: Workspace) -> list[CreativePair]:
    """Pairs that `estimate` wrote; WorkspaceError before it ran."""
    table = workspace.read_table(pairs_path(workspace), pairing.PAIRS, remedy="Run `clickscape clicks` first.")
    return pairing.to_pairs(table)


def _estimate(counts: ibis.Table, *, config: ClicksConfig) -> ClickReport:
    estimates, examination = ctr.estimate(counts, config=config)
    rows = pairing.pairs(logs.connect().create_table("estimates", estimates), config=config).to_pyarrow()
    table = rows.select(pairing.PAIRS.names).cast(pairing.PAIRS)
    table = table.sort_by([(name, "ascending") for name in ("product_id", "first", "second")])
    return ClickReport(estimates, table, examination)
