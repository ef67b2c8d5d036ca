"""Whatever goes wrong on the command line is one line and exit code 2; --debug shows the traceback."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
from tests.factory import clickscape

from clickscape.cli.failures import FAULT, describe
from clickscape.workspace import Workspace

LIMITS = {"file size": (resource.RLIMIT_FSIZE, 0), "open files": (resource.RLIMIT_NOFILE, 4)}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "words"), [("file size", "File too large"), ("open files", "Too many open files")])
def test_a_limit_of_the_machine_is_one_line(tmp_path: Path, kind: str, words: str) -> None:
    """The limit holds from the moment when everything is imported: before, Python itself would fail."""
    what, value = LIMITS[kind]
    code = (
        f"import resource, sys, clickscape.cli, clickscape.workspace\n"
        f"resource.setrlimit({what}, ({value}, {value}))\n"
        f"clickscape.cli.main(['new', 'shop'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("clickscape: ")
    assert words in line


@pytest.mark.parametrize("folder", ["/proc/shop", "/dev/null/shop", "x" * 300])
def test_a_folder_that_cannot_be_made_is_one_line(folder: str, tmp_path: Path) -> None:
    done = clickscape("new", folder, cwd=tmp_path)
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert done.err.startswith("clickscape: ")
    assert FAULT not in done.err


def test_a_fault_is_one_line_and_debug_shows_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Workspace, "create", lambda _path: 1 / 0)
    done = clickscape("new", "shop", cwd=tmp_path)
    assert (done.code, done.err) == (2, f"clickscape: ZeroDivisionError: division by zero. {FAULT}\n")
    for arguments in (("--debug", "new", "shop"), ("new", "shop", "--debug")):
        with pytest.raises(ZeroDivisionError):
            clickscape(*arguments, cwd=tmp_path)


def test_descriptions_are_the_first_line_of_a_library_and_name_files() -> None:
    assert describe(ValueError("odd\nTraceback")) == f"ValueError: odd. {FAULT}"
    assert describe(OSError(28, "No space left on device", "a.png")).startswith("a.png: No space left on device. Free")
    assert describe(RuntimeError("I/O error: No space left on device (os error 28)")) == (
        "No space left on device. Free some space and run the command again."
    )
    assert describe(KeyError()) == f"KeyError. {FAULT}"
    assert describe(MemoryError()).startswith("out of memory")


def test_a_text_that_is_no_unicode_is_named_and_no_fault() -> None:
    with pytest.raises(UnicodeEncodeError) as told:
        ("a long path " * 50 + "shop-\udcff.parquet").encode()
    said = describe(told.value)
    assert said.startswith("'...")
    assert r"a long path shop-\udcff.parquet' is not valid Unicode. Rename" in said
    assert len(said) < 200
    assert FAULT not in said


@pytest.mark.parametrize("name", ["x" * 100_000, "a\udcff"])
def test_a_very_long_or_odd_argument_is_one_line_that_a_person_can_read(tmp_path: Path, name: str) -> None:
    done = clickscape("report", name, cwd=tmp_path)
    (line,) = done.err.splitlines()
    assert done.code == 2
    assert len(line) < 2_000
    assert line.startswith("clickscape: ")
    assert "Make one with `clickscape new" in line or "shorter path" in line


def test_no_name_reaches_the_terminal_with_its_control_characters(tmp_path: Path) -> None:
    name = "shop\x1b]0;owned\x07\n[red]\u202e\udc80"
    done = clickscape("new", name, cwd=tmp_path)
    assert done.code == 0
    assert r"shop\x1b]0;owned\x07\n[red]\u202e\udc80" in done.out
    assert not set("\x1b\x07\u202e\udc80") & set(done.out)


@pytest.mark.parametrize("debug", [False, True])
def test_a_librarys_warning_is_no_line_of_ours_but_with_debug(tmp_path: Path, debug: bool) -> None:
    code = (
        "import sys, warnings, clickscape.cli, clickscape.workspace as rooms\n"
        "create = rooms.Workspace.create\n"
        "rooms.Workspace.create = lambda path: warnings.warn('zero-element tensors') or create(path)\n"
        "clickscape.cli.main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "new", "shop", *(["--debug"] if debug else [])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ("zero-element" in done.stderr, bool(done.stderr)) == (debug, debug)
