"""The code of another revision, for benchmarks that run both sides in one run."""

from __future__ import annotations

import io
import subprocess
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def unpack(revision: str, folder: Path) -> Path:
    """Write `src` of a revision below the folder; return the folder to put on PYTHONPATH."""
    archive = subprocess.run(
        ["git", "archive", revision, "src"],  # noqa: S607
        cwd=ROOT, capture_output=True, check=True,
    ).stdout  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(archive)) as source:
        source.extractall(folder, filter="data")
    return folder / "src"
