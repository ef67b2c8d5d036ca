"""A real server on this machine that answers as a test says, and links fetched from it."""

from __future__ import annotations

import io
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image
from tests.factory import LocalServer

from clickscape.catalog.addresses import Network
from clickscape.catalog.download import Limits
from clickscape.catalog.remote import Fetched, fetch

NOW = datetime(2026, 1, 1, tzinfo=UTC)
QUICK = Limits(
    bytes=200_000,
    seconds=1.0,
    idle_seconds=0.4,
    redirects=3,
    attempts=3,
    back_off=0.01,
    retry_after=2.0,
    pixels=1_000_000,
)


def picture(kind: str = "PNG", size: tuple[int, int] = (16, 12)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 30, 40)).save(buffer, kind)
    return buffer.getvalue()


def head(status: str = "200 OK", **headers: object) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def whole(body: bytes, status: str = "200 OK", **headers: object) -> bytes:
    return head(status, Content_Length=len(body), **headers) + body


Send = Callable[[bytes], None]


class Server(LocalServer):
    """Answers a path with what was set for it, and remembers who asked for what."""

    def __init__(self) -> None:
        super().__init__(Handler)
        self.asked: Counter[str] = Counter()
        self.requests: list[str] = []
        self.answers: dict[str, Callable[[Send, str, int], None]] = {}
        self.now, self.most = 0, 0
        self.lock = threading.Lock()

    def says(self, path: str, *answers: bytes) -> str:
        """The link of a path that answers with these bytes, one after the other, the last one for ever."""

        def answer(send: Send, request: str, count: int) -> None:
            send(answers[min(count, len(answers)) - 1])

        return self.does(path, answer)

    def does(self, path: str, answer: Callable[[Send, str, int], None]) -> str:
        """The link of a path that answers with what a function sends."""
        self.answers[path] = answer
        return f"http://127.0.0.1:{self.port}{path}"


class Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        server: Server = self.server  # type: ignore[assignment]
        request = b""
        while b"\r\n\r\n" not in request and (part := self.request.recv(4096)):
            request += part
        path = request.split(b" ")[1].decode() if request.count(b" ") > 1 else ""
        with server.lock:
            server.asked[path] += 1
            server.requests.append(request.decode("latin-1"))
            count = server.asked[path]
        server.answers[path](self.request.sendall, request.decode("latin-1"), count)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on this machine."""
    with Server().running() as running:
        yield running


def here(server: Server) -> Network:
    """A network of this machine's first address only."""
    return Network(allowed=lambda address: str(address) == "127.0.0.1", ports=frozenset({server.port}))


def one(server: Server, url: str, folder: Path, limits: Limits = QUICK, now: datetime = NOW) -> Fetched:
    (fetched,) = fetch([url], folder=folder, limits=limits, network=here(server), now=now)
    leftovers = [path.name for path in folder.rglob(".tmp-*")]
    assert leftovers == []
    assert (fetched.path is None) == bool(fetched.problem)
    return fetched


PNG = picture()


def drip(send: Send, request: str, count: int) -> None:
    send(head(Content_Length=10_000))
    for _ in range(200):
        send(b"x")
        time.sleep(0.05)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A folder with three pictures."""
    for name in "abc":
        Image.new("RGB", (8, 8), (200, 0, 0)).save(tmp_path / f"{name}.png")
    return tmp_path
