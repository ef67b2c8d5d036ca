"""The true CTRs of a simulated workspace, for reports and benchmarks; nothing that learns reads them."""

from __future__ import annotations

import pyarrow as pa

from clickscape.workspace import Workspace

FILE = "truth.parquet"
_TRUTH = pa.schema({"creative_id": pa.string(), "log_ctr": pa.float64()})


def read(workspace: Workspace) -> dict[str, float] | None:
    """creative_id → true log-CTR at full examination, newest simulation; None where clicks are real."""
    if (simulated := workspace.newest("simulate")) is None:
        return None
    table = workspace.read_table(simulated[0] / FILE, _TRUTH)
    return dict(zip(table["creative_id"].to_pylist(), table["log_ctr"].to_pylist(), strict=True))
