"""One function over many items: here, or in worker processes, with the same results in the same order.

Workers are spawned, not forked (torch and OpenCV do not survive a fork), take one thread each, ignore Ctrl-C (their
parent ends them) and end by themselves when their parent dies. A script that uses them needs the usual
`if __name__ == "__main__":`. When a worker is killed, for want of memory or for its time, the items that were under
way are done again one at a time, so that it is known which of them it was.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import pickle
import resource
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any, NamedTuple, NoReturn, Self, TypeVar, cast

from clickscape.compute.device import set_threads, thread_environment
from clickscape.errors import LaunchError

Item = TypeVar("Item")
Result = TypeVar("Result")
Done = tuple[list[Result], Exception | None]
"""The results of a shard's items up to one that raised, and what it raised."""

_OUT_OF_MEMORY = 77  # exit code of a worker


class Limits(NamedTuple):
    """What a worker may take: seconds for an item, bytes of memory of its own; 0 for any."""

    seconds: float
    memory: int


def map_shards(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int = 2,
    chunk: int = 8,
    seconds: float = 0.0,
    memory: int = 0,
    lost: Callable[[Item, str], Result] | None = None,
) -> Iterator[Result]:
    """Yield `function(item)` in the order of `items`; one worker means this process.

    `items` is read lazily, a few chunks ahead. An exception of a worker is raised here with its class and message,
    after the results before it; leaving the generator early ends the workers. An item may take `seconds` in a worker,
    and the worker `memory` bytes of its own (0: any time, all memory); one whose worker is ended by that, or killed,
    gives `lost(item, reason)`, by default a LaunchError with the reason.
    """
    if workers < 1 or chunk < 1:
        raise ValueError(f"workers and chunk must be at least 1, got {workers} and {chunk}")
    if workers == 1:
        return map(function, items)
    limits = Limits(seconds, memory)
    return _processes(function, items, workers=workers, chunk=chunk, limits=limits, lost=lost or refuse)


def _processes(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    chunk: int,
    limits: Limits,
    lost: Callable[[Item, str], Result],
) -> Iterator[Result]:
    try:
        pickle.dumps(function)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(
            f"{function!r} cannot be sent to another process ({error}). Use a function at the top of a module, "
            "or functools.partial of one, or workers=1."
        ) from None
    source = iter(items)
    again: deque[list[Item]] = deque()  # shards that were under way when a worker was killed
    while True:
        with _Workers(workers, limits) as group:
            waiting: deque[tuple[list[Item], Future[Done[Result]]]] = deque()
            while True:
                while len(waiting) < 2 * workers and (
                    shard := again.popleft() if again else list(itertools.islice(source, chunk))
                ):
                    waiting.append((shard, group.submit(function, shard)))
                if not waiting:
                    return
                try:
                    done = waiting[0][1].result()
                except BrokenProcessPool:
                    break
                waiting.popleft()
                yield from unpack(done)
        first, *others = [shard for shard, _ in waiting]
        again.extend(others)
        yield from _one_by_one(function, first, limits=limits, lost=lost)


def _one_by_one(
    function: Callable[[Item], Result], items: Iterable[Item], *, limits: Limits, lost: Callable[[Item, str], Result]
) -> Iterator[Result]:
    """The results of items of which one has killed a worker, each item alone in a worker."""
    left = deque(items)
    while left:
        with _Workers(1, limits) as worker:
            worker.start()
            while left:
                item = left.popleft()
                try:
                    done = worker.submit(function, [item]).result()
                except BrokenProcessPool:
                    yield lost(item, worker.fate())
                    break
                yield from unpack(done)


def unpack(done: Done[Result]) -> Iterator[Result]:
    """Yield the results of a shard, then raise what ended it early."""
    results, problem = done
    yield from results
    if problem is not None:
        raise problem


def refuse(_: object, reason: str) -> NoReturn:
    """Raise a LaunchError for a worker that did not survive an item."""
    raise LaunchError(f"a worker process {reason}. Use fewer workers, smaller inputs or a machine of more memory.")


class _Workers:
    """A group of worker processes that ends with its block; a pool of Python 3.11 has no public way to end them."""

    def __init__(self, count: int, limits: Limits) -> None:
        self._context, self._limits = _Context(), limits
        self._pool = ProcessPoolExecutor(
            count, mp_context=self._context, initializer=_start_worker, initargs=(limits.memory,)
        )

    def start(self) -> None:
        """Start a worker that has nothing to do; when even that fails, the items are not to blame."""
        try:
            self._pool.submit(os.getpid).result()
        except BrokenProcessPool:
            refuse(None, f"cannot start: it {self.fate()}")

    def submit(self, function: Callable[[Item], Result], shard: list[Item]) -> Future[Done[Result]]:
        """Give a shard to the next free worker; of a group that is broken, what comes of it is `BrokenProcessPool`."""
        with thread_environment(1):  # read when a worker loads its libraries, so it must be there when it starts
            try:
                return self._pool.submit(work, function, shard, self._limits.seconds)
            except BrokenProcessPool as error:  # a worker has died since the last shard was given
                failed: Future[Done[Result]] = Future()
                failed.set_exception(error)
                return failed

    def fate(self) -> str:
        """How the worker ended that was killed."""
        self._pool.shutdown(wait=True)
        codes = [process.exitcode for process in self._context.started]
        if -signal.SIGALRM in codes:
            return f"took longer than {self._limits.seconds:g} s"
        if _OUT_OF_MEMORY in codes:
            return f"needed more than {self._limits.memory / 1e9:g} GB" if self._limits.memory else "ran out of memory"
        if -signal.SIGKILL in codes:
            return "was killed, perhaps for want of memory"
        return f"died (exit code {next((code for code in codes if code), 0)})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._context.terminate()
        self._pool.shutdown(wait=True, cancel_futures=True)


class _Context(SpawnContext):
    """Spawns processes and remembers them."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[SpawnProcess] = []

    def Process(self, *arguments: Any, **options: Any) -> SpawnProcess:  # type: ignore[override]  # noqa: N802
        process = SpawnProcess(*arguments, **options)
        self.started.append(process)
        return process

    def terminate(self) -> None:
        for process in self.started:
            if process.pid is not None and process.is_alive():
                process.terminate()


def _start_worker(memory: int) -> None:
    if memory:
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    set_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def work(function: Callable[[Item], Result], shard: Sequence[Item], seconds: float) -> Done[Result]:
    """Return the results of a shard's items, and what ended it early; in a worker, which an item may end."""
    results: list[Result] = []
    set_threads(1)  # again: libraries that the function's module imported after the start
    try:
        for item in shard:
            signal.setitimer(signal.ITIMER_REAL, seconds)  # nobody handles its signal: it ends even a library's loop
            result = function(item)
            results.append(cast("Result", [*result]) if isinstance(result, Generator) else result)
    except MemoryError:
        os._exit(_OUT_OF_MEMORY)  # with what this item has taken; the parent finds out which one it was
    except Exception as error:
        return results, portable(error)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return results, None


def portable(error: Exception) -> Exception:
    """Return the error itself when it survives the journey between processes, else one that says the same."""
    try:
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes of a line ago
        if type(copy) is type(error) and str(copy) == str(error):
            return error
    except Exception:  # noqa: S110 - any failure means that it does not survive
        pass
    return RuntimeError(f"{type(error).__name__}: {error}")
