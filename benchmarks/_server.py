"""A server process that a benchmark starts, kills and reads the CPU-seconds of."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Server:
    """A server process and its port."""

    target: str
    environment: dict[str, str]
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [
            sys.executable, "-m", "granian", "--interface", "asgi", "--factory", self.target, "--port", str(self.port),
            "--workers", "1", "--loop", "uvloop", "--no-access-log", "--log-level", "critical",
        ]  # fmt: skip
        here = str(Path(__file__).parent)
        path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
        environment = os.environ | self.environment | {"PYTHONPATH": path}
        self.process = subprocess.Popen(command, env=environment, start_new_session=True, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 120
        while time.monotonic() < until:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise SystemExit("the server did not start")

    def end(self, number: int = signal.SIGTERM) -> None:
        """Send a signal to it and its children, and wait."""
        if self.process is not None:
            os.killpg(self.process.pid, number)
            self.process.wait()
            self.process = None

    def cpu_seconds(self) -> float:
        """Return the CPU-seconds of its processes so far."""
        assert self.process is not None
        total = 0
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(fields[3]) == self.process.pid:  # its session
                total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
