"""The true CTRs of a simulated workspace, for reports and benchmarks; nothing that learns reads them.

They belong to one log, told by its content: another log in its place, real or drawn, has no truth.
"""

from __future__ import annotations

import math
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from clickscape.clicks.locations import locate
from clickscape.config import ClicksConfig
from clickscape.errors import WorkspaceError
from clickscape.stages.clicks import STAGE as COUNTED
from clickscape.stages.clicks import log_content
from clickscape.workspace import Manifest, Workspace, fingerprint
from clickscape.workspace.tables import check_unique

FILE = "truth.parquet"
OTHER_LOG = "no true CTRs: the clicks that were counted are not those that `simulate` drew"
_SIMULATED = "simulate"
_GIVEN = pa.schema({"creative_id": pa.string(), "ctr": pa.float64()})
_TRUTH = pa.schema({"creative_id": pa.string(), "log_ctr": pa.float64()})


def read(workspace: Workspace) -> dict[str, float] | None:
    """creative_id → true log-CTR at full examination; None where the clicks are real, or of another log."""
    if (simulated := simulation(workspace)) is None:
        return None
    table = workspace.read_table(simulated[0] / FILE, _TRUTH)
    return dict(zip(table["creative_id"].to_pylist(), table["log_ctr"].to_pylist(), strict=True))


def read_table(path: Path) -> dict[str, float]:
    """creative_id → true log-CTR from a CSV or Parquet file with the columns creative_id and ctr.

    WorkspaceError for any other file, and for a CTR that is no number above 0.
    """
    try:
        texts = csv.ConvertOptions(column_types=_GIVEN)  # an id such as 007 is no number
        is_parquet = path.suffix.lower() == ".parquet"
        table = pq.read_table(path) if is_parquet else csv.read_csv(path, convert_options=texts)
        ids, ctrs = (table[field.name].cast(field.type).to_pylist() for field in _GIVEN)
    except (pa.ArrowException, OSError, KeyError) as error:
        said = str(error).splitlines()[0][:100]
        raise WorkspaceError(f"{path}: no table of creative_id and ctr ({said}). Write a CSV or Parquet.") from None
    for name, ctr in zip(ids, ctrs, strict=True):
        if name is None or ctr is None or not (math.isfinite(ctr) and ctr > 0):
            raise WorkspaceError(
                f"{path}: the CTR of creative {name!r} is {ctr}, expected a number above 0. Correct it."
            )
    check_unique(ids, what="creative", where=path)
    return {name: math.log(ctr) for name, ctr in zip(ids, ctrs, strict=True)}


def simulation(workspace: Workspace) -> tuple[Path, Manifest] | None:
    """Return folder and manifest of the newest simulation; None unless the log that was counted is the one it drew.

    Before `clicks` has counted any, the log that lies in the workspace is asked.
    """
    if (simulated := workspace.newest(_SIMULATED)) is None:
        return None
    made = {PurePosixPath(name): digest for name, digest in simulated[1].outputs.items()}
    drawn = fingerprint([[_below_log(path), digest] for path, digest in sorted(made.items()) if path.name != FILE])
    if (counted := workspace.newest(COUNTED)) is not None:
        return simulated if counted[1].inputs["log"] == drawn else None
    return simulated if fingerprint(log_content(locate(workspace.clicks, ClicksConfig()))) == drawn else None


def is_of_another_log(workspace: Workspace) -> bool:
    """Return whether the workspace was simulated, and its true CTRs are not those of the log that was counted."""
    return workspace.newest(_SIMULATED) is not None and simulation(workspace) is None


def _below_log(path: PurePosixPath) -> str:
    """What the log calls a file of its own: below events/, or a table of counts by its name."""
    return path.relative_to("clicks/events" if path.is_relative_to("clicks/events") else "clicks").as_posix()
