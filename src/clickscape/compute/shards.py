"""One function over many items: here, or in worker processes, with the same results in the same order.

Workers are spawned, not forked (torch and OpenCV do not survive a fork), take one thread each, ignore Ctrl-C (their
parent ends them) and end by themselves when their parent dies. A script that uses them needs the usual
`if __name__ == "__main__":`.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import pickle
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, Protocol, TypeVar

from clickscape.compute.device import set_threads, thread_environment

Item = TypeVar("Item")
Result = TypeVar("Result")


class Backend(Protocol):
    """A way to spread work: yields `function(item)` in the order of the items, then raises what an item raised."""

    def __call__(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, workers: int, chunk: int
    ) -> Iterator[Result]:
        """Do the work; `chunk` items travel to a worker at once."""
        ...


def map_shards(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int = 2,
    chunk: int = 8,
    backend: str | None = None,
) -> Iterator[Result]:
    """Yield `function(item)` in the order of `items`; one worker means this process unless `backend` names another.

    `items` is read lazily, a few chunks ahead. An exception of a worker is raised here with its class and message,
    after the results before it; leaving the generator early ends the workers.
    """
    if workers < 1 or chunk < 1:
        raise ValueError(f"workers and chunk must be at least 1, got {workers} and {chunk}")
    name = backend or ("in_process" if workers == 1 else "processes")
    if name not in BACKENDS:
        raise ValueError(f"unknown backend {name!r}; expected one of {', '.join(BACKENDS)}")
    return BACKENDS[name](function, items, workers=workers, chunk=chunk)


def _in_process(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,  # noqa: ARG001 - part of the protocol
    chunk: int,  # noqa: ARG001
) -> Iterator[Result]:
    yield from map(function, items)


def _processes(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int, chunk: int
) -> Iterator[Result]:
    try:
        pickle.dumps(function)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(
            f"{function!r} cannot be sent to another process ({error}). Use a function at the top of a module, "
            "or functools.partial of one, or workers=1."
        ) from None
    context = _Context()
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    source = iter(items)
    waiting: deque[Future[tuple[list[Result], Exception | None]]] = deque()

    def refill() -> None:
        while len(waiting) < 2 * workers and (shard := list(itertools.islice(source, chunk))):
            with thread_environment(1):  # read when a worker loads its libraries, so it must be there when it starts
                waiting.append(pool.submit(_work, function, shard))

    finished = False
    try:
        refill()
        while waiting:
            results, problem = waiting.popleft().result()
            refill()
            yield from results
            if problem is not None:
                raise problem
        finished = True
    except BrokenProcessPool:
        raise RuntimeError(
            "a worker process died, perhaps for want of memory. Use fewer workers or a smaller chunk."
        ) from None
    finally:
        if not finished:
            context.terminate()
        pool.shutdown(wait=True, cancel_futures=True)


class _Context(SpawnContext):
    """Spawns processes and remembers them: a pool of Python 3.11 has no public way to end its workers."""

    def __init__(self) -> None:
        super().__init__()
        self._started: list[SpawnProcess] = []

    def Process(self, *arguments: Any, **options: Any) -> SpawnProcess:  # type: ignore[override]  # noqa: N802
        process = SpawnProcess(*arguments, **options)
        self._started.append(process)
        return process

    def terminate(self) -> None:
        for process in self._started:
            if process.pid is not None and process.is_alive():
                process.terminate()


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _work(function: Callable[[Item], Result], shard: Sequence[Item]) -> tuple[list[Result], Exception | None]:
    results: list[Result] = []
    set_threads(1)  # again: libraries that the function's module imported after the start
    for item in shard:
        try:
            results.append(function(item))
        except Exception as error:
            return results, _portable(error)
    return results, None


def _portable(error: Exception) -> Exception:
    """The error itself when it survives the journey between processes, else one that says the same."""
    try:
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes of a line ago
        if type(copy) is type(error) and str(copy) == str(error):
            return error
    except Exception:  # noqa: S110 - any failure means that it does not survive
        pass
    return RuntimeError(f"{type(error).__name__}: {error}")


BACKENDS: dict[str, Backend] = {"in_process": _in_process, "processes": _processes}
