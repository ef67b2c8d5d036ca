"""A log is read in the memory that the settings allow: what does not fit lies in a file that goes away again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError
from tests.clicks.conftest import impression, write_parquet

from clickscape.clicks import logs
from clickscape.config import ClicksConfig
from clickscape.errors import LogError
from clickscape.stages.clicks import read_log
from clickscape.workspace import Workspace

MORE_THAN_FITS = "CREATE TEMP TABLE numbers AS SELECT hash(range) AS number FROM range(10_000_000)"  # 80 MB
SMALL = ClicksConfig(memory_limit="60MB")


def spilled(workspace: Workspace) -> list[Path]:
    return list(workspace.clicks.glob(".tmp-spill-*/*"))


def test_what_does_not_fit_lies_in_the_workspace_while_it_is_read(workspace: Workspace) -> None:
    with logs.connected(SMALL, folder=workspace.clicks) as connection:
        connection.raw_sql(MORE_THAN_FITS)
        assert spilled(workspace)
        Workspace.open(workspace.path)  # sweeps, but not what a living process writes
        assert spilled(workspace)
        assert connection.raw_sql("SELECT count(DISTINCT number) FROM numbers").fetchall() == [(10_000_000,)]
    assert not list(workspace.clicks.glob(".tmp-*"))


@pytest.mark.slow
def test_what_a_killed_process_left_goes_when_the_workspace_is_opened(workspace: Workspace) -> None:
    code = f"""
import os, sys
from pathlib import Path
from clickscape.clicks import logs
from clickscape.config import ClicksConfig
with logs.connected(ClicksConfig(memory_limit="60MB"), folder=Path({str(workspace.clicks)!r})) as connection:
    connection.raw_sql({MORE_THAN_FITS!r})
    print("spilled", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ)
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"spilled\n"
        process.send_signal(signal.SIGKILL)
    assert spilled(workspace)
    Workspace.open(workspace.path)
    assert not list(workspace.clicks.glob(".tmp-*"))


@pytest.mark.parametrize("limit", ["1KB", "1MB"])
def test_too_small_a_limit_is_one_line_that_names_the_setting(workspace: Workspace, limit: str) -> None:
    rows = [impression(n, user_key=f"user {n % 1_000}", ts="2026-03-01T12:00:00Z") for n in range(50_000)]
    write_parquet(workspace.events_folder / "a.parquet", rows)
    with pytest.raises(LogError, match=rf"memory_limit = '{limit}' of \[clicks\] is too small.*Raise it") as caught:
        read_log(workspace, config=ClicksConfig(memory_limit=limit))
    assert "\n" not in str(caught.value)
    assert not list(workspace.clicks.glob(".tmp-*"))


@pytest.mark.parametrize("wrong", ["", "much", "1", "-1GB", "1GB; SET threads = 9"])
def test_a_limit_is_a_number_with_a_unit(wrong: str) -> None:
    with pytest.raises(ValidationError, match="memory_limit"):
        ClicksConfig(memory_limit=wrong)
