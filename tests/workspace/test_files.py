"""Names stay inside their folder, and a folder is replaced whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clickscape.errors import WorkspaceError
from clickscape.workspace import Workspace, atomic_folder, file_name, fingerprint

from .conftest import files


@given(st.text(min_size=1, max_size=300), st.text(min_size=1))
def test_any_id_names_a_file_inside_its_folder_and_no_two_share_one(one: str, other: str) -> None:
    try:
        name = file_name(one)
        assert name == os.path.basename(name) == os.path.normpath(name)
        assert name.isascii()
        assert not set(name) & set('<>:"/\\|?*\0')
        assert len(name) < 200
        assert not name.startswith((".", "~", " "))
        assert (name == file_name(other)) == (one == other)
    except WorkspaceError as error:
        assert "not valid Unicode" in str(error)  # noqa: PT017 - lone surrogates


@pytest.mark.parametrize(
    ("identifier", "name"),
    [
        ("A-17", "A-17"),
        ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
        (".tmp-x", "%2Etmp-x"),
        ("con", "%63on"),
        ("NUL.png", "%4EUL.png"),
        ("lpt1", "%6Cpt1"),
        ("a.", "a%2E"),
        ("ü b", "%C3%BC b"),
        ("..", "%2E%2E"),
    ],
)
def test_dangerous_ids_are_escaped(identifier: str, name: str) -> None:
    assert file_name(identifier) == name


def test_long_ids_stay_apart_and_empty_ones_are_refused() -> None:
    assert file_name("a" * 500) != file_name("a" * 501)
    with pytest.raises(WorkspaceError, match="empty id"):
        file_name("")


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with atomic_folder(target) as folder:
        (folder / "old").write_text("1")
    with pytest.raises(ZeroDivisionError), atomic_folder(target) as folder:
        (folder / "new").write_text(str(1 / 0))
    assert files(tmp_path) == {"model/old": b"1"}
    with atomic_folder(target) as folder:
        (folder / "new").write_text("2")
    assert files(tmp_path) == {"model/new": b"2"}


def test_temporary_files_of_killed_writers_are_removed_and_of_running_ones_kept(tmp_path: Path) -> None:
    """Left by a kill: a folder that nobody locks. Other targets' folders and other people's files are left alone."""
    for name in (".tmp-model-0a1b2c3d4e5f", ".tmp-model-2-0a1b2c3d4e5f", ".tmp-other-0a1b2c3d4e5f"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("x")
    (tmp_path / ".tmp-model-notes").write_text("a file")
    with atomic_folder(tmp_path / "model") as living:
        (living / "first").write_text("1")
        with atomic_folder(tmp_path / "model") as second:
            (second / "second").write_text("2")
        assert (living / "first").exists()
    assert files(tmp_path) == {
        "model/first": b"1",
        ".tmp-model-2-0a1b2c3d4e5f/half": b"x",
        ".tmp-other-0a1b2c3d4e5f/half": b"x",
        ".tmp-model-notes": b"a file",
    }


@pytest.mark.parametrize("target_there", [True, False])
def test_a_kill_between_the_two_renames_is_recovered_from(workspace: Workspace, target_there: bool) -> None:
    replaced = workspace.models / ".tmp-replaced-reward"
    replaced.mkdir()
    (replaced / "weights").write_text("old")
    if target_there:
        (workspace.models / "reward").mkdir()
        (workspace.models / "reward" / "weights").write_text("new")
    Workspace.open(workspace.path)
    assert files(workspace.models) == {"reward/weights": b"new" if target_there else b"old"}


def test_fingerprints_follow_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    folder, file = fingerprint(tmp_path), fingerprint(tmp_path / "a")
    (tmp_path / ".tmp-1").write_text("ignored")
    os.utime(tmp_path / "a", (0, 0))
    assert (fingerprint(tmp_path), fingerprint(tmp_path / "a")) == (folder, file)
    (tmp_path / "a").rename(tmp_path / "b")
    assert fingerprint(tmp_path) != folder
    assert fingerprint(tmp_path / "b") == file
    assert fingerprint({"x": 1, "y": (2,)}) == fingerprint({"y": [2], "x": 1}) != fingerprint({"x": 1, "y": [3]})
    with pytest.raises(WorkspaceError, match="missing"):
        fingerprint(tmp_path / "c")
