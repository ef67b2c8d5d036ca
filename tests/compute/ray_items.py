"""Functions for workers of a Ray cluster, in a module of its own that they import quickly."""

from __future__ import annotations

import os
import secrets
import signal
import time
from functools import cache
from pathlib import Path

from clickscape.errors import ImageError


def die(marker: Path) -> None:
    """End this process as the kernel does for want of memory, unless the marker says that one ended so before."""
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


@cache
def model() -> str:
    """What takes long to load: another name each time that it is loaded."""
    return secrets.token_hex(8)


def process_and_model(_: int) -> tuple[int, str]:
    """The process of a worker, and the model that it uses; it takes long enough for another worker to come by."""
    time.sleep(0.05)
    return os.getpid(), model()


def double(number: int, *, folder: Path) -> int:
    """Twice the number; the first worker that is given four dies, and every one that is given six."""
    if number == 4:
        die(folder / "four")
    if number == 6:
        die(folder / f"six-{os.getpid()}")
    if number == 9:
        time.sleep(60)
    return 2 * number


def refuse_five(number: int) -> int:
    """The number, but for five."""
    if number == 5:
        raise ImageError(f"image {number} is torn")
    return number
