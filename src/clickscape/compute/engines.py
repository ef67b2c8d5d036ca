"""One function over many items, by the engine that the settings name; stages know this and no engine.

What an item raises can be its own result (`attempt`), so that one bad product does not end the work on a catalog.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from clickscape.compute.shards import map_shards, portable
from clickscape.config import ComputeConfig
from clickscape.errors import ClickscapeError, ConfigError, LaunchError, ModelError, first_line

Item = TypeVar("Item")
Result = TypeVar("Result")

HERE = ComputeConfig()
"""Processes of this machine: what a library call means unless it is told otherwise."""


_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class Failure:
    """What an item raised in the place of a result; it travels between processes."""

    error: Exception

    @property
    def reason(self) -> str:
        """What happened, in one line, and what to do where that is known."""
        if isinstance(self.error, ClickscapeError):
            return str(self.error)
        return f"{type(self.error).__name__}: {first_line(self.error)}"


def map_items(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    compute: ComputeConfig = HERE,
    workers: int = 1,
    chunk: int = 8,
    seconds: float = 0.0,
    memory: int = 0,
    lost: Callable[[Item, str], Result] | None = None,
    folder: Path | None = None,
) -> Iterator[Result]:
    """Yield `function(item)` in the order of `items`, as `map_shards` does, by the engine of the settings.

    A function that is a generator gives iterators here, and whole lists where they come from workers. folder: where the
    function writes, which all machines have to share. Raises what `map_shards` raises, and LaunchError for a cluster
    that cannot be reached or has no room for a worker.
    """
    run = ENGINES[compute.engine](compute, folder)
    return run(function, items, workers=workers, chunk=chunk, seconds=seconds, memory=memory, lost=lost)


def is_of_item(error: Exception) -> bool:
    """Whether an error is about the item; else about the settings or the machine, which end the work."""
    if isinstance(error, OSError) and error.errno in _MACHINE:
        return False
    return not isinstance(error, ConfigError | LaunchError | ModelError | MemoryError)


def attempt(function: Callable[[Item], Result], item: Item) -> Result | Failure:
    """Return `function(item)`, or what it raised about the item."""
    try:
        return function(item)
    except Exception as error:
        if not is_of_item(error):
            raise
        return Failure(portable(error))


def failure_of_loss(_: object, reason: str) -> Failure:
    """Return the failure of an item that its worker did not survive: an argument `lost` of `map_items`."""
    return Failure(LaunchError(f"the process that worked on it {reason}."))


def _ray(compute: ComputeConfig, folder: Path | None) -> Callable[..., Iterator[Any]]:
    from clickscape.compute.ray_workers import map_ray

    return partial(map_ray, compute=compute, folder=folder)


ENGINES: dict[str, Callable[[ComputeConfig, Path | None], Callable[..., Iterator[Any]]]] = {
    "process": lambda *_: map_shards,
    "ray": _ray,
}
