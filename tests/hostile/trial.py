"""One command line on one odd input, in a process of its own with limits, and the verdict on how it ended.

A trial is `worked` (exit code 0 and the right result), `refused` (exit code 2 and one line that a person can read) or a
fault: `traceback` (any other end, a second line, control characters), `wrong` (exit code 0 with another result than the
input means, or a file changed that is none of the command's) or `hung` (more time or memory than the limits).
"""

from __future__ import annotations

import hashlib
import importlib
import os
import pkgutil
import re
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from clickscape.cli.failures import FAULT

CPU_SECONDS, WALL_SECONDS, MEMORY_BYTES = 30, 120, 12 << 30
_OURS = re.compile(r"clickscape: (?!warning: )")
_EXPECTED = re.compile(r"clickscape: |[\w ,-]+: \d+ of \d+")


@dataclass(frozen=True)
class Case:
    """Arguments of the command line; what must hold when it worked; and whether refusing the input is allowed."""

    arguments: list[str]
    wrong: Callable[[], str] = field(default=lambda: "")
    may_refuse: bool = True


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, with the line or the complaint that says why."""

    kind: Literal["worked", "refused", "traceback", "wrong", "hung"]
    detail: str = ""


def preload() -> None:
    """Import every stage once, so that a forked trial starts within milliseconds."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # as the command line does before it imports anything
    stages = importlib.import_module("clickscape.stages")
    for module in pkgutil.iter_modules(stages.__path__, "clickscape.stages."):
        importlib.import_module(module.name)


def run_trial(case: Case, *, folder: Path) -> Outcome:
    """Run `clickscape` with the arguments of the case in a fork, working in `folder`; watch what lies beside it."""
    before = _contents(folder.parent, without=folder)
    out, err = folder.parent / "stdout.txt", folder.parent / "stderr.txt"
    code = in_child(lambda: _command_line(case.arguments, folder=folder, out=out, err=err))
    lines = err.read_text("utf-8", "replace").splitlines() if err.exists() else []
    changed = _contents(folder.parent, without=folder)
    changed = {name: digest for name, digest in changed.items() if name not in (out.name, err.name)}
    for path in (out, err):
        path.unlink(missing_ok=True)
    if changed != before:
        return Outcome("wrong", f"changed files outside: {sorted(set(changed.items()) ^ set(before.items()))}")
    if code is None:
        return Outcome("hung", " | ".join(lines[-2:]))
    return _verdict(case, code, lines)


def in_child(action: Callable[[], int]) -> int | None:
    """Exit code of `action` in a forked process; minus the signal if one ended it; None when it ran past the limits."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.setsid()
            resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            code = action()
        finally:
            os._exit(code)
    deadline = time.monotonic() + WALL_SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            return None if -code in (signal.SIGXCPU, signal.SIGKILL) else code
        time.sleep(0.005)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _command_line(arguments: list[str], *, folder: Path, out: Path, err: Path) -> int:
    from clickscape.cli import main

    os.chdir(folder)
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  (the process ends with them)
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    code = 1
    try:
        main(arguments)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _verdict(case: Case, code: int, lines: list[str]) -> Outcome:
    last = lines[-1] if lines else "nothing on stderr"
    if code not in (0, 2) or any("Traceback" in line or FAULT in line for line in lines):
        return Outcome("traceback", f"exit code {code}: {last}")
    if noise := [line for line in lines if not _EXPECTED.match(line)]:
        return Outcome("traceback", f"not our line: {noise[0]}")
    if unprintable := [line for line in lines if not line.isprintable()]:
        return Outcome("traceback", f"control characters: {unprintable[0]!r}")
    if code == 2:
        said = [line for line in lines if _OURS.match(line)]
        if len(said) != 1 or len(said[0]) > 2_000:
            return Outcome("traceback", f"{len(said)} lines, expected one: {last[:200]}")
        return Outcome("refused" if case.may_refuse else "wrong", said[0])
    complaint = case.wrong()
    return Outcome("wrong", complaint) if complaint else Outcome("worked")


def _contents(folder: Path, *, without: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_relative_to(without):
            found[path.relative_to(folder).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
