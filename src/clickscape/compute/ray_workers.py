"""One function over many items in workers of a Ray cluster, with the same results in the same order as here.

A worker is an actor: it keeps what it has loaded (a model, a renderer) for the next items. Shards are given to workers
that have room, two at a time, and never far ahead of the results that were taken. When a worker dies, what waited for
it goes to others, and the items that it was at are done again one at a time; only one that ends a second worker is
lost. Decision 0069 says why these are actors and no `ray.data`.
"""

from __future__ import annotations

import itertools
import os
import resource
import signal
import socket
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from clickscape import __version__
from clickscape.compute.device import set_threads, thread_environment
from clickscape.compute.shards import Done, Limits, refuse, unpack, work
from clickscape.config import ComputeConfig
from clickscape.errors import LaunchError, first_line

Item = TypeVar("Item")
Result = TypeVar("Result")

OBJECT_STORE = 128 << 20
"""Bytes of shared memory of a cluster that lives as long as the command: items and results are small."""

START_SECONDS = 300.0
"""How long a cluster may take to give the first worker."""

_SHARDS_PER_WORKER, _RESULTS_PER_WORKER = 2, 4  # under way; under way or waiting for their turn
_ANSWER_SECONDS = 5.0  # of a cluster's head
_STARTS = 3  # of a cluster; of workers in a row that die before they work
_LONGEST_FOLDER, _SHORT = 40, "/tmp"  # noqa: S108  (Ray's sockets lie below, and a socket's path has 107 characters)


def map_ray(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    compute: ComputeConfig,
    workers: int,
    chunk: int,
    seconds: float,
    memory: int,
    lost: Callable[[Item, str], Result] | None,
    folder: Path | None,
) -> Iterator[Result]:
    """Yield `function(item)` in the order of `items`, as `map_shards` does; one worker is a worker, not this process.

    LaunchError for a cluster that cannot be reached, gives no worker, has another clickscape or does not see `folder`.
    """
    if workers < 1 or chunk < 1:
        raise ValueError(f"workers and chunk must be at least 1, got {workers} and {chunk}")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with session(compute, workers=workers) as ray:
        pool = _Pool(ray, function, compute=compute, workers=workers, limits=Limits(seconds, memory), folder=folder)
        try:
            yield from pool.run(iter(items), chunk=chunk, lost=lost or refuse)
        finally:
            pool.end()


def _load() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")  # a worker without a GPU sees none
    try:
        import ray
    except ImportError:
        raise LaunchError("[compute] engine 'ray' needs Ray. Run: pip install 'clickscape[ray]'") from None
    return ray


@contextmanager
def session(compute: ComputeConfig, *, workers: int) -> Iterator[Any]:
    """Be connected to a cluster within the block: the one of the settings, or one of our own, or the caller's.

    Yields the module `ray`; LaunchError where it is missing, or there is no cluster at the address.
    """
    ray = _load()
    if ray.is_initialized():
        yield ray
        return
    with ExitStack() as stack:
        how: dict[str, Any] = {"address": compute.address}
        if not compute.address:
            place = tempfile.gettempdir()
            folder = tempfile.TemporaryDirectory(
                prefix="ray-", dir=place if len(place) <= _LONGEST_FOLDER else _SHORT, ignore_cleanup_errors=True
            )
            how = {
                "address": "local",
                "num_cpus": workers,
                "object_store_memory": OBJECT_STORE,
                "include_dashboard": False,
                "_temp_dir": stack.enter_context(folder),
            }
        stack.callback(ray.shutdown)
        _connect(ray, how, tries=1 if compute.address else _STARTS)
        yield ray


def _connect(ray: Any, how: Mapping[str, Any], *, tries: int) -> None:
    """Start a cluster, or find one; a machine that is busy may not start one within the 30 s that Ray allows."""
    host, _, port = how["address"].rpartition("//")[2].rpartition(":")
    for left in reversed(range(tries)):
        try:
            if port.isdecimal() and host:  # Ray itself asks for minutes
                socket.create_connection((host, int(port)), _ANSWER_SECONDS).close()
            with thread_environment(1):
                ray.init(**how, log_to_driver=False, logging_level="ERROR")
        except Exception as error:  # Ray raises bare ones
            ray.shutdown()
            if not left:
                said = f"no Ray cluster at {how['address']!r} ({first_line(error)})"
                raise LaunchError(f"{said}. Check [compute] address, and that it runs.") from None
        else:
            _silence()
            return


def _silence() -> None:
    """Keep Ray from writing of dead workers to stdout, where the answers of `score` are; we say it of the item."""
    from ray._private import worker

    worker.print_to_stdstream = lambda *_, **__: None


class _Worker:
    """What runs in a worker of the cluster: one shard after the other."""

    def __init__(self, function: Callable[[Any], Any], limits: Limits) -> None:
        if limits.memory:
            resource.setrlimit(resource.RLIMIT_DATA, (limits.memory, limits.memory))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        set_threads(1)
        self._function, self._seconds = function, limits.seconds

    def unfit(self, version: str, folder: Path | None) -> str:
        """Why this worker is of no use, "" when it is."""
        if version != __version__:
            return f"has clickscape {__version__}, not {version}. Install the same version on all machines"
        if folder is not None and not folder.is_dir():
            return f"does not see {folder}. Put it on a file system that all machines share"
        return ""

    def work(self, shard: list[Any]) -> Done[Any]:
        """The results of a shard's items, and what ended them early."""
        return work(self._function, shard, self._seconds)


@dataclass(eq=False, slots=True)
class _Shard(Generic[Item, Result]):
    """Items under way: the worker that has them, the reference to what comes of them, and that once it is there."""

    items: list[Item]
    worker: Any = None
    reference: Any = None
    done: Done[Result] | None = None


class _Pool(Generic[Item, Result]):
    """The workers, and the shards that are under way or wait for their turn, oldest first."""

    def __init__(
        self,
        ray: Any,
        function: Callable[[Item], Result],
        *,
        compute: ComputeConfig,
        workers: int,
        limits: Limits,
        folder: Path | None,
    ) -> None:
        self._ray, self._function, self._limits, self._folder = ray, function, limits, folder
        self._class = ray.remote(num_cpus=1, num_gpus=compute.gpus)(_Worker)
        self._starting: dict[Any, Any] = {}  # reference to what makes a worker unfit → the worker
        self._working: list[Any] = []
        self._failed_starts = 0
        self._waiting: deque[_Shard[Item, Result]] = deque()
        for _ in range(workers):
            self._start()

    def run(self, items: Iterator[Item], *, chunk: int, lost: Callable[[Item, str], Result]) -> Iterator[Result]:
        """Yield the results of all items in their order."""
        self._working.append(self._next_worker())
        while True:
            while (worker := self._started(0.0)) is not None:  # those that a full cluster gives later join later
                self._working.append(worker)
            self._give(items, chunk)
            if not self._waiting:
                return
            under_way = {one.reference: one for one in self._waiting if one.done is None}
            (finished,), _ = self._ray.wait([*under_way], num_returns=1)
            self._take(under_way[finished], lost)
            while self._waiting and (done := self._waiting[0].done) is not None:
                self._waiting.popleft()
                yield from unpack(done)

    def end(self) -> None:
        """End all workers, whatever they are at."""
        for worker in [*self._working, *self._starting.values()]:
            self._ray.kill(worker)

    def _start(self) -> None:
        worker = self._class.remote(self._function, self._limits)
        self._starting[worker.unfit.remote(__version__, self._folder)] = worker

    def _started(self, seconds: float) -> Any | None:
        """A worker that has started by then, None when none has; LaunchError for one that is unfit."""
        ready, _ = self._ray.wait([*self._starting], timeout=seconds) if self._starting else ([], [])
        if not ready:
            return None
        worker = self._starting.pop(ready[0])
        try:
            problem = self._ray.get(ready[0])
        except self._ray.exceptions.RayError as error:
            self._failed_starts += 1
            if self._failed_starts == _STARTS:
                raise LaunchError(f"a worker of the Ray cluster cannot start: {first_line(error)}.") from None
            self._start()
            return self._started(seconds)
        if problem:
            raise LaunchError(f"a worker of the Ray cluster {problem}.")
        self._failed_starts = 0
        return worker

    def _next_worker(self) -> Any:
        worker = self._started(START_SECONDS)
        if worker is None:
            has = self._ray.cluster_resources()
            raise LaunchError(
                f"no worker has started within {START_SECONDS:g} s; the Ray cluster has {has.get('CPU', 0):g} CPUs and "
                f"{has.get('GPU', 0):g} GPUs. Free some, or change [compute] gpus."
            )
        return worker

    def _give(self, items: Iterator[Item], chunk: int) -> None:
        """Hand out shards while a worker has room and not too many results wait for their turn."""
        load = [sum(one.worker is worker and one.done is None for one in self._waiting) for worker in self._working]
        while len(self._waiting) < _RESULTS_PER_WORKER * len(load):
            place = load.index(min(load))
            if load[place] == _SHARDS_PER_WORKER or not (some := list(itertools.islice(items, chunk))):
                return
            load[place] += 1
            self._waiting.append(self._submitted(_Shard(some), self._working[place]))

    def _submitted(self, shard: _Shard[Item, Result], worker: Any) -> _Shard[Item, Result]:
        shard.worker, shard.reference = worker, worker.work.remote(shard.items)
        return shard

    def _take(self, shard: _Shard[Item, Result], lost: Callable[[Item, str], Result]) -> None:
        """Fetch what came of a shard; of a dead worker, do again what it was at, and what waited for it."""
        try:
            shard.done = self._ray.get(shard.reference)
        except self._ray.exceptions.RayError:
            dead = shard.worker
            self._working.remove(dead)
            suspect, *others = [one for one in self._waiting if one.done is None and one.worker is dead]
            suspect.done = self._one_by_one(suspect.items, lost)
            for one in others:
                self._submitted(one, self._working[-1])

    def _one_by_one(self, items: list[Item], lost: Callable[[Item, str], Result]) -> Done[Result]:
        """Do items again of which one may have killed a worker, each alone, in a new one that then takes part."""
        found: list[Result] = []
        problem: Exception | None = None
        worker = None
        for item in items:
            if worker is None:
                self._start()
                worker = self._next_worker()
            began = time.monotonic()
            try:
                done, problem = self._ray.get(worker.work.remote([item]))
            except self._ray.exceptions.RayError:
                worker = None
                found.append(lost(item, self._fate(time.monotonic() - began)))
                continue
            found += done
            if problem is not None:
                break
        if worker is None:
            self._start()
            worker = self._next_worker()
        self._working.append(worker)
        return found, problem

    def _fate(self, seconds: float) -> str:
        """How a worker ended that was killed: Ray does not say, the clock does."""
        if 0 < self._limits.seconds <= seconds:
            return f"took longer than {self._limits.seconds:g} s"
        return "was killed, perhaps for want of memory"
