"""HTTP responses that end: a limit on the time of the whole exchange and on its bytes, kept at every read.

The choice made here: the limits lie below `http.client`, at the socket, so that no slow drip, endless header, negative
chunk or endless body gets past one, wherever in the protocol it hides.  Whoever waits only for a byte waits for ever.
"""

from __future__ import annotations

import functools
import http.client
import io
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Any


class DeadlineError(Exception):
    """The whole exchange took longer than it may."""


class TooLargeError(Exception):
    """More bytes came than may come."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What one exchange may take from now on: seconds in all, seconds without a byte, bytes; ``stop`` ends it early."""

    seconds: float
    idle_seconds: float
    bytes: int
    stop: threading.Event = field(default_factory=threading.Event)
    started: float = field(default_factory=time.monotonic)

    def wait(self) -> float:
        """Seconds for which the next operation may wait; DeadlineError when there are none left."""
        left = self.started + self.seconds - time.monotonic()
        if left <= 0 or self.stop.is_set():
            raise DeadlineError(f"took longer than {self.seconds:g} s")
        return min(self.idle_seconds, left)


def limit(connection: http.client.HTTPConnection, budget: Budget) -> None:
    """Let all responses of a connection raise DeadlineError and TooLargeError as the budget says."""
    connection.response_class = functools.partial(_Response, budget=budget)  # type: ignore[assignment]


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *arguments: Any, budget: Budget, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        raw: io.RawIOBase = self.fp.detach()
        self.fp = io.BufferedReader(_Reader(raw, sock, budget))


class _Reader(io.RawIOBase):
    """The socket's own reader, each of whose reads is timed and counted."""

    def __init__(self, raw: Any, sock: socket.socket, budget: Budget) -> None:
        self._raw, self._socket, self._budget, self._left = raw, sock, budget, budget.bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._socket.settimeout(self._budget.wait())
        try:
            count: int = self._raw.readinto(buffer)
        except TimeoutError:
            self._budget.wait()  # was it the deadline, or the time without a byte?
            raise
        self._left -= count
        if self._left < 0:
            raise TooLargeError(f"more than {self._budget.bytes:,} bytes")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
