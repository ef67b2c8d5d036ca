"""The true CTRs of a simulated workspace, for reports and benchmarks; nothing that learns reads them."""

from __future__ import annotations

import pyarrow.parquet as pq

from clickscape.workspace import Workspace

FILE = "truth.parquet"


def read(workspace: Workspace) -> dict[str, float] | None:
    """creative_id → true log-CTR at full examination, newest simulation; None where clicks are real."""
    found = sorted(workspace.runs_folder.glob(f"*-simulate*/{FILE}"))
    if not found:
        return None
    table = pq.read_table(found[-1])
    return dict(zip(table["creative_id"].to_pylist(), table["log_ctr"].to_pylist(), strict=True))
