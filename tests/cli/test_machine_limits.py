"""Full disks, read-only ones, few open files and two writers at once: one line, exit code 2, nothing half-written."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.factory import clickscape, write_feed

from clickscape.types import Creative
from clickscape.workspace import Workspace

pytestmark = pytest.mark.slow
PRODUCTS = ("running_shoe-original", "coffee_mug-original")
GENERATE = ("generate", "--catalog", "catalog.jsonl", "--size", "64", "--keep", "1", "--workers", "1")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MB with a workspace and a feed on it; skips where one may not be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if mount is None or subprocess.run([mount, *options], capture_output=True).returncode:
        pytest.skip("only root may mount a disk, and not everywhere")
    try:
        write_feed(folder, side=96, product_ids=PRODUCTS)
        assert clickscape("new", "shop", cwd=folder).code == 0
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def one_line(done: subprocess.CompletedProcess[str] | object) -> str:
    lines = [line for line in done.err.splitlines() if line.startswith("clickscape: ")]  # type: ignore[union-attr]
    assert done.code == 2  # type: ignore[union-attr]
    (line,) = lines
    return line


@pytest.mark.parametrize("free", [0, 12_000, 30_000])
def test_a_disk_that_fills_up_stops_ingest_in_one_line_and_leaves_the_workspace(disk: Path, free: int) -> None:
    ours = contents(disk)
    room = shutil.disk_usage(disk).free - free
    (disk / "filler").write_bytes(bytes(room // 4096 * 4096))
    line = one_line(clickscape("ingest", "shop", "catalog.jsonl", cwd=disk))
    assert "No space left on device. Free some space and run the command again" in line
    (disk / "filler").unlink()
    assert contents(disk) == ours
    done = clickscape("ingest", "shop", "catalog.jsonl", cwd=disk)
    assert (done.code, done.out.splitlines()[0]) == (0, "2 products")


def test_generate_goes_on_where_a_full_disk_stopped_it(disk: Path) -> None:
    assert clickscape(*GENERATE, "--out", "whole", cwd=disk).code == 0
    whole = contents(disk / "whole")
    filler = disk / "filler"
    filler.write_bytes(bytes((shutil.disk_usage(disk).free - 40_000) // 4096 * 4096))
    line = one_line(clickscape(*GENERATE, "--out", "ads", cwd=disk))
    assert "No space left on device" in line
    assert not list((disk / "ads").glob("**/.tmp-*"))
    filler.unlink()
    assert clickscape(*GENERATE, "--out", "ads", cwd=disk).code == 0
    ads = contents(disk / "ads")
    assert {name: ads[name] for name in whole if name != ".clickscape"} == {
        name: content for name, content in whole.items() if name != ".clickscape"
    }


def test_a_disk_that_is_read_only_is_named_and_what_only_reads_goes_on(disk: Path) -> None:
    assert clickscape("ingest", "shop", "catalog.jsonl", cwd=disk).code == 0
    assert clickscape("simulate", "shop", cwd=disk).code == 0
    ours = contents(disk)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    for command in (("ingest", "shop", "catalog.jsonl"), ("clicks", "shop"), GENERATE, ("new", "other")):
        assert "Read-only file system. Name a place that can be written" in one_line(clickscape(*command, cwd=disk))
    assert clickscape("review", "shop", cwd=disk).code == 0
    assert contents(disk) == ours


def test_thirty_open_files_are_enough(tmp_path: Path) -> None:
    """For a process that reads models, and for one with two workers, which are quick to start where they need none."""
    write_feed(tmp_path, side=96, product_ids=PRODUCTS)
    assert clickscape("new", "shop", cwd=tmp_path).code == 0
    code = (
        "import resource, clickscape.cli\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (30, 30))\n"
        "if __name__ == '__main__': clickscape.cli.main()"
    )
    (tmp_path / "limited.py").write_text(code)
    for arguments in (GENERATE, ("ingest", "shop", "catalog.jsonl", "--workers", "2")):
        command = [sys.executable, "limited.py", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert {path.stem for path in (tmp_path / "ads").glob("*.json")} == set(PRODUCTS)
    assert {path.stem for path in (tmp_path / "shop").glob("**/cutouts/*")} == set(PRODUCTS)


def test_a_limit_of_file_sizes_is_one_line_and_leaves_no_half_file(tmp_path: Path) -> None:
    write_feed(tmp_path, side=96, product_ids=PRODUCTS)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, limit[1]))
        done = clickscape(*GENERATE, cwd=tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert "File too large. Raise the limit of file sizes" in one_line(done)
    assert [path.name for path in (tmp_path / "ads").rglob("*") if path.is_file()] == [".clickscape"]


@pytest.mark.parametrize("first", ["generate", "export"])
def test_a_second_process_in_the_same_folder_is_refused_and_the_first_one_finishes(tmp_path: Path, first: str) -> None:
    """The first is held up while it holds the folder; the second comes with another feed or another workspace."""
    write_feed(tmp_path, side=96, product_ids=PRODUCTS)
    command: tuple[str, ...] = GENERATE
    mark = tmp_path / "ads" / ".clickscape"
    if first == "export":
        for place in ("a", "b"):
            shop = f"{place}/shop"
            for step in (("new", shop), ("ingest", shop, "catalog.jsonl", "--workers", "1")):
                assert clickscape(*step, cwd=tmp_path).code == 0
            ours = Workspace.open(tmp_path / shop)
            picture = ours.save_image("ad", np.full((64, 64, 3), 200, np.uint8))
            ours.write_creatives([Creative("ad", PRODUCTS[0], str(picture), "", {}, "studio", "tiny", 0)])
        command = ("export", "a/shop", "--placement", "google-display-200x200", "--out", "ads", "--workers", "1")
        mark = tmp_path / "ads" / ".renditions" / ".lock"
    running = subprocess.Popen([sys.executable, "-m", "clickscape", *command], cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 200
        while not (mark.exists() and mark.read_text()) and time.monotonic() < deadline and running.poll() is None:
            time.sleep(0.005)
        running.send_signal(signal.SIGSTOP)
        line = one_line(clickscape(*(part.replace("a/shop", "b/shop") for part in command), cwd=tmp_path))
        assert f"being written by another process (id {running.pid}). Wait until it ends, or stop it." in line
    finally:
        running.send_signal(signal.SIGCONT)
        code = running.wait(timeout=300)
    assert code == 0
    assert clickscape(*command, cwd=tmp_path).code == 0  # the lock went with its process
