"""A least-recently-used store that is bounded in bytes, for cut-outs and for all that the studio keeps of a scene.

One store for everything: what is used most stays, whatever it is, and the peak memory of a renderer is one number.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import fields, is_dataclass
from threading import Lock
from typing import TypeVar, cast

import numpy as np

Value = TypeVar("Value")
_RECORD_BYTES = 256  # what an entry without arrays counts


class ByteCache:
    """Values by key; the least recently used leave first when the arrays that they hold exceed `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.bytes_held = 0
        self._entries: OrderedDict[Hashable, tuple[object, int]] = OrderedDict()
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of `key`, made when it is not held; two threads may make it twice, both get a right one."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
                return cast("Value", entry[0])
        value = make()
        size = size_in_bytes(value)
        with self._lock:
            if key not in self._entries and size <= self.limit:
                self._entries[key] = (value, size)
                self.bytes_held += size
                while self.bytes_held > self.limit:
                    _, (_, freed) = self._entries.popitem(last=False)
                    self.bytes_held -= freed
        return value


def size_in_bytes(value: object) -> int:
    """Bytes of all arrays in `value`, looking into tuples, lists, dicts and dataclasses; views count what they show."""
    if isinstance(value, np.ndarray):
        return int(value.nbytes) + _RECORD_BYTES
    if isinstance(value, tuple | list):
        return _RECORD_BYTES + sum(size_in_bytes(item) for item in value)
    if isinstance(value, dict):
        return _RECORD_BYTES + sum(size_in_bytes(item) for item in value.values())
    if is_dataclass(value) and not isinstance(value, type):
        return _RECORD_BYTES + sum(size_in_bytes(getattr(value, each.name)) for each in fields(value))
    return _RECORD_BYTES
