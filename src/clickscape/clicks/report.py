"""The verb of the room: the workspace's log → estimates and pairs, written beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import ibis
import pyarrow as pa

from clickscape.clicks import ctr, logs
from clickscape.clicks import pairs as pairing
from clickscape.clicks.cells import STRATA
from clickscape.clicks.ctr import ClickModel
from clickscape.clicks.position import Examination
from clickscape.config import ClicksConfig
from clickscape.types import ClickCounts, CreativePair
from clickscape.workspace import Workspace


@dataclass(frozen=True)
class ClickReport:
    """What the clicks say: the tables `ctr.ESTIMATES` and `pairs.PAIRS`, and what was learned of the whole log."""

    estimates: pa.Table
    pair_table: pa.Table
    model: ClickModel

    @property
    def examination(self) -> Examination:
        """How positions were corrected."""
        return self.model.examination

    @property
    def total(self) -> ClickCounts:
        """Impressions and clicks of the whole log."""
        return ClickCounts(sum(self.estimates["impressions"].to_pylist()), sum(self.estimates["clicks"].to_pylist()))

    @property
    def pairs(self) -> list[CreativePair]:
        """The pairs as records."""
        return pairing.to_pairs(self.pair_table)


def estimate(
    source: Workspace | ibis.Table,
    *,
    config: ClicksConfig | None = None,
    categories: Mapping[str, str] | None = None,
) -> ClickReport:
    """Estimate every creative's CTR and the pairs; `source`: a workspace or counts (`logs.counts`).

    `categories`: product_id → department, for counts; a workspace knows its own.

    For a workspace, `config` defaults to its clickscape.toml and the tables are written to clicks/estimates.parquet and
    clicks/pairs.parquet; a LogError leaves it as it was.
    """
    if not isinstance(source, Workspace):
        return _estimate(source, config=config or ClicksConfig(), categories=categories)
    with source.lock():
        settings = config or source.settings.clicks
        counts = logs.read(source, config=settings, by=STRATA)
        report = _estimate(counts, config=settings, categories=categories_of(source))
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


def categories_of(workspace: Workspace) -> dict[str, str] | None:
    """Department of every product: the categories whose CTRs have a mean of their own; None without a catalog."""
    if not workspace.products_path.exists():
        return None
    return {product.product_id: product.department for product in workspace.products()}


def _estimate(counts: ibis.Table, *, config: ClicksConfig, categories: Mapping[str, str] | None) -> ClickReport:
    estimates, model = ctr.estimate(counts, config=config, categories=categories)
    rows = pairing.pairs(logs.connect().create_table("estimates", estimates), config=config).to_pyarrow()
    table = rows.select(pairing.PAIRS.names).cast(pairing.PAIRS)
    table = table.sort_by([(name, "ascending") for name in ("product_id", "first", "second")])
    return ClickReport(estimates, table, model)
