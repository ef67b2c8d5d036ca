"""How many threads the numeric libraries of this process take; one each is fastest when processes share the cores."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


def set_threads(count: int) -> None:
    """Give torch and OpenCV `count` threads each, whether they are imported already or later (also by children)."""
    if count < 1:
        raise ValueError(f"a library needs at least one thread, got {count}")
    os.environ.update(dict.fromkeys(_VARIABLES, str(count)))
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(count)
    if (cv2 := sys.modules.get("cv2")) is not None:
        cv2.setNumThreads(count)


@contextmanager
def thread_environment(count: int) -> Iterator[None]:
    """Let processes that start inside the block take `count` threads; this process keeps its own."""
    before = {name: os.environ.get(name) for name in _VARIABLES}
    os.environ.update(dict.fromkeys(_VARIABLES, str(count)))
    try:
        yield
    finally:
        _restore(before)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """`set_threads` for the length of a block; what was set before comes back."""
    before = {name: os.environ.get(name) for name in _VARIABLES}
    torch, cv2 = sys.modules.get("torch"), sys.modules.get("cv2")
    torch_before = torch.get_num_threads() if torch else 0
    cv2_before = cv2.getNumThreads() if cv2 else 0
    set_threads(count)
    try:
        yield
    finally:
        _restore(before)
        if torch:
            torch.set_num_threads(torch_before)
        if cv2:
            cv2.setNumThreads(cv2_before)


def _restore(before: dict[str, str | None]) -> None:
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
