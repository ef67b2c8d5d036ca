"""A real server on this machine that answers as a test says, links fetched from it, and feeds of two products."""

from __future__ import annotations

import io
import json
import socket
import socketserver
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image
from tests.factory import LocalServer, saliency_by_color

from clickscape.catalog import cutout, feeds, full_bleed
from clickscape.catalog.addresses import Network
from clickscape.catalog.download import Limits
from clickscape.catalog.remote import Fetched, fetch
from clickscape.errors import FeedError

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


@pytest.fixture(params=["stand-in", pytest.param("u2netp", marks=pytest.mark.slow)])
def network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What sees the product in a photo: by color alone among the fast tests, the network that is shipped in all."""
    if request.param == "stand-in":
        for module in (cutout, full_bleed):
            monkeypatch.setattr(module, "saliency", saliency_by_color)


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


def by_name(port: int) -> Network:
    """A network in which every name leads to this port of this machine."""
    return Network(
        allowed=lambda address: str(address) == "127.0.0.1",
        ports=frozenset({port}),
        resolve=lambda host, port: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))],
    )


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


ROWS = [
    {
        "product_id": "A-1",
        "title": "Aurora Crimson Running Shoe, Lightweight Mesh",
        "category": ["Bags & Shoes", "Shoes"],
        "attributes": {"material": "mesh", "use": "running"},
        "tags": ["fitness", "light"],
        "price": 99.0,
        "currency": "USD",
        "image": "shoe.png",
    },
    {"product_id": "B-2", "title": "Plain Mug", "image": "pictures/mug.png"},
]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A catalog folder with the pictures of `ROWS`, and three more."""
    folder = tmp_path / "shop"
    (folder / "pictures").mkdir(parents=True)
    Image.new("RGBA", (8, 8), (200, 0, 0, 255)).save(folder / "shoe.png")
    Image.new("RGBA", (8, 8), (0, 0, 200, 255)).save(folder / "pictures" / "mug.png")
    for name in "abc":
        Image.new("RGB", (8, 8), (200, 0, 0)).save(folder / f"{name}.png")
    return folder


def write_jsonl(shop: Path, rows: Iterable[Mapping[str, object]] | str) -> Path:
    path = shop / "catalog.jsonl"
    text = rows if isinstance(rows, str) else "\n".join(json.dumps(row) for row in rows)
    path.write_text(text, encoding="utf-8")
    return path


def write(shop: Path, content: str | bytes, name: str = "feed") -> Path:
    path = shop / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_csv(shop: Path, text: str) -> Path:
    path = shop / "catalog.csv"
    path.write_text(text, encoding="utf-8")
    return path


def feed_error(path: Path) -> str:
    """The one line by which a feed is refused."""
    with pytest.raises(FeedError) as caught:
        feeds.read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message
