"""Symlinks, hard links, pipes and folders in the place of files that a workspace writes are refused, never followed."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from clickscape.errors import WorkspaceError
from clickscape.files import atomic_file, atomic_folder, sweep
from clickscape.regular_files import inside, read_bytes
from clickscape.workspace import Workspace

PLANTED: dict[str, Callable[[Path, Path], object]] = {
    "symlink": lambda path, victim: path.symlink_to(victim),
    "dangling symlink": lambda path, victim: path.symlink_to(victim.with_name("new")),
    "hard link": lambda path, victim: path.hardlink_to(victim),
    "pipe": lambda path, _: os.mkfifo(path),
    "folder": lambda path, _: path.mkdir(),
}


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "victim"
    path.write_text("precious\n")
    return path


@pytest.mark.parametrize("kind", PLANTED)
def test_what_stands_in_the_place_of_the_lock_is_refused(workspace: Workspace, victim: Path, kind: str) -> None:
    (workspace.path / ".lock").unlink()
    PLANTED[kind](workspace.path / ".lock", victim)
    Workspace.open(workspace.path)  # reading goes on
    with pytest.raises(WorkspaceError, match=r"\.lock is no regular file.*Remove it"), workspace.lock():
        pass
    assert victim.read_text() == "precious\n"
    assert not victim.with_name("new").exists()


@pytest.mark.parametrize("kind", PLANTED)
def test_what_stands_in_the_place_of_the_metrics_is_refused(workspace: Workspace, victim: Path, kind: str) -> None:
    run = workspace.start_run("train", None, {})
    PLANTED[kind](run.metrics_path, victim)
    with pytest.raises(WorkspaceError, match="no regular file"):
        run.log({"loss": 1.0})
    run.close()
    if kind != "dangling symlink":
        with pytest.raises(WorkspaceError, match="no regular file"):  # a killed run, taken up again
            workspace.start_run("train", None, {})
    assert victim.read_text() == "precious\n"


def test_a_table_replaces_a_symlink_and_leaves_what_it_led_to(workspace: Workspace, victim: Path) -> None:
    workspace.counts_path.symlink_to(victim)
    with atomic_file(workspace.counts_path) as temporary:
        temporary.write_text("new")
    assert (victim.read_text(), workspace.counts_path.is_symlink()) == ("precious\n", False)


def test_a_folder_replaces_a_symlink_and_leaves_what_it_led_to(tmp_path: Path) -> None:
    elsewhere, target = tmp_path / "elsewhere", tmp_path / "model"
    elsewhere.mkdir()
    (elsewhere / "weights").write_text("precious")
    target.symlink_to(elsewhere)
    with atomic_folder(target) as waiting:
        (waiting / "weights").write_text("new")
    assert ((elsewhere / "weights").read_text(), (target / "weights").read_text()) == ("precious", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "model"]


@pytest.mark.parametrize("name", ["models", "creatives", "catalog", "runs", "clicks", "models/reward"])
def test_a_workspace_writes_through_no_symlinked_folder(workspace: Workspace, tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder = workspace.path / name
    if folder.exists():
        folder.rmdir()
    folder.symlink_to(tmp_path / "elsewhere")
    again = Workspace.open(workspace.path)
    with pytest.raises(WorkspaceError, match=f"{name} is a symlink"), again.lock():
        pass


def test_sweep_removes_what_killed_writers_left_and_nothing_else(tmp_path: Path, victim: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    for name in (".tmp-0123456789ab.png", ".tmp-0123456789ab"):
        (folder / name).write_text("half")
    (folder / ".tmp-model-0123456789ab").mkdir()
    foreign = [".tmp-notes", ".tmp-0123.png", ".tmp-0123456789AB", "a.tmp-0123456789ab", ".old-file", "a.part"]
    for name in foreign:
        (folder / name).write_text("precious")
    for name in ("backup", ".old-backup"):
        (folder / name).mkdir()
        (folder / name / "own").write_text("precious")
    os.mkfifo(folder / ".tmp-0123456789cd")
    (folder / ".tmp-0123456789ef").symlink_to(victim)
    (folder / "below").mkdir()
    (folder / "below" / ".tmp-0123456789ab.png").write_text("half")
    sweep(folder, deep=False)
    left = {path.name for path in folder.iterdir()}
    assert left - {".tmp-0123456789cd"} == {*foreign, "backup", ".old-backup", "below", ".tmp-0123456789ef"}
    assert (folder / ".old-backup" / "own").exists()
    assert (folder / "below" / ".tmp-0123456789ab.png").exists()
    sweep(folder)
    assert not list((folder / "below").iterdir())
    assert victim.exists()


def _write_slowly(folder: Path, started: object, end: object) -> None:
    with atomic_file(folder / "model.bin") as file, atomic_folder(folder / "model"):
        file.write_text("half")
        started.set()  # type: ignore[attr-defined]
        end.wait(60)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_sweep_leaves_what_a_living_process_writes_and_removes_it_after_a_kill(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    started, end = context.Event(), context.Event()
    writer = context.Process(target=_write_slowly, args=(tmp_path, started, end))
    writer.start()
    assert started.wait(60)
    sweep(tmp_path)
    assert len(list(tmp_path.glob(".tmp-*"))) == 2
    writer.kill()
    writer.join()
    sweep(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "", ".", "a\0b", "link/x", "link"])
def test_a_path_that_leaves_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to(tmp_path)
    with pytest.raises(WorkspaceError, match=r"leaves the folder|is a symlink"):
        inside(tmp_path / "folder", name)


def test_a_path_below_its_folder_is_joined(tmp_path: Path) -> None:
    assert inside(tmp_path, "a/b.png") == tmp_path / "a" / "b.png"


def test_reading_a_pipe_or_a_folder_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(WorkspaceError, match="no regular file"):
            read_bytes(path)
