"""CPU-seconds and memory of a command and of everything that it starts, daemons of other programs included."""

from __future__ import annotations

import os
import secrets
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

_MARK = "CLICKSCAPE_MEASURED"
_TICKS = os.sysconf("SC_CLK_TCK")
_EVERY = 0.25  # seconds between two looks: what a process spends after the last one is not seen


@dataclass(slots=True)
class Used:
    """What was used: by process, CPU-seconds and the peak of its resident memory in MiB; the first is the command."""

    cpu: dict[int, float] = field(default_factory=dict)
    peak: dict[int, float] = field(default_factory=dict)
    command: int = 0
    output: str = ""

    @property
    def cpu_seconds(self) -> float:
        """Of all processes."""
        return sum(self.cpu.values())

    @property
    def worker_mib(self) -> float:
        """Of the largest process but the command, 0 without one."""
        return max((mib for process, mib in self.peak.items() if process != self.command), default=0.0)


def measure(command: Sequence[str]) -> Used:
    """Run a command to its end; a mark in the environment tells its descendants, whoever their parent is by then."""
    mark = f"{_MARK}={secrets.token_hex(8)}"
    name, _, value = mark.partition("=")
    used, ended = Used(), threading.Event()
    with subprocess.Popen(command, env={**os.environ, name: value}, stdout=subprocess.PIPE, text=True) as process:
        used.command = process.pid
        watcher = threading.Thread(target=_watch, args=(mark.encode(), used, ended))
        watcher.start()
        used.output = process.communicate()[0]
        ended.set()
        watcher.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: ended with {process.returncode}")
    return used


def _watch(mark: bytes, used: Used, ended: threading.Event) -> None:
    others: set[str] = set()
    while not ended.wait(_EVERY):
        for folder in Path("/proc").iterdir():
            if not folder.name.isdecimal() or folder.name in others:
                continue
            try:
                number = int(folder.name)
                if number not in used.cpu and mark not in (folder / "environ").read_bytes():
                    others.add(folder.name)
                    continue
                times = (folder / "stat").read_text().rsplit(")", 1)[1].split()
                used.cpu[number] = (int(times[11]) + int(times[12])) / _TICKS
                status = (folder / "status").read_text()
                if "VmHWM:" in status:
                    used.peak[number] = int(status.partition("VmHWM:")[2].split()[0]) / 1024
            except (OSError, ValueError):  # ended meanwhile, or somebody else's
                continue
