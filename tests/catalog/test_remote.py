"""Links: fetched once, politely and in bounds, from a real server on this machine that misbehaves in every way."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from PIL import Image

from clickscape.catalog.addresses import Network
from clickscape.catalog.download import Limits, _trusted
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


class Server(socketserver.ThreadingTCPServer):
    """Answers a path with what was set for it, and remembers who asked for what."""

    allow_reuse_address, daemon_threads = True, True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.port: int = self.server_address[1]
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

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients hang up on a server that misbehaves; that is the point."""


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
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def here(server: Server) -> Network:
    """A network of this machine's first address only."""
    return Network(allowed=lambda address: str(address) == "127.0.0.1", ports=frozenset({server.port}))


def one(server: Server, url: str, folder: Path, limits: Limits = QUICK, now: datetime = NOW) -> Fetched:
    (fetched,) = fetch([url], folder=folder, limits=limits, network=here(server), now=now)
    leftovers = [path.name for path in folder.rglob(".tmp-*")]
    assert leftovers == []
    assert (fetched.path is None) == bool(fetched.problem)
    return fetched


@pytest.mark.parametrize(("kind", "suffix"), [("PNG", ".png"), ("JPEG", ".jpg"), ("WEBP", ".webp"), ("TIFF", ".tif")])
def test_a_picture_is_known_by_its_content(server: Server, tmp_path: Path, kind: str, suffix: str) -> None:
    body = picture(kind)
    fetched = one(server, server.says("/a b?x=1&y=%20#top".split("#")[0].replace(" ", "%20"), whole(body)), tmp_path)
    assert fetched.path is not None
    assert (fetched.path.suffix, fetched.path.read_bytes()) == (suffix, body)
    assert fetched.path.parent == tmp_path / "files"
    assert f"Host: 127.0.0.1:{server.port}" in server.requests[0]


def _drip(send: Send, request: str, count: int) -> None:
    send(head(Content_Length=10_000))
    for _ in range(200):
        send(b"x")
        time.sleep(0.05)


def _drip_headers(send: Send, request: str, count: int) -> None:
    send(b"HTTP/1.1 200 OK\r\n")
    for _ in range(200):
        send(b"X")
        time.sleep(0.05)


def _silent(send: Send, request: str, count: int) -> None:
    time.sleep(1)


def _endless(send: Send, request: str, count: int) -> None:
    send(head())
    while True:
        send(b"x" * 65536)


def _endless_chunks(send: Send, request: str, count: int) -> None:
    send(head(Transfer_Encoding="chunked"))
    while True:
        send(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")


def _negative_chunk(send: Send, request: str, count: int) -> None:
    send(head(Transfer_Encoding="chunked") + b"-1\r\n")
    while True:
        send(b"x" * 65536)


def _endless_continue(send: Send, request: str, count: int) -> None:
    while True:
        send(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


PNG = picture()
BAD: dict[str, tuple[bytes | Callable[[Send, str, int], None], str, int]] = {
    # what the server does, what is said of it, how often it is asked
    "drip": (_drip, "took longer than 1 s, after 3 of 3 attempts", 3),
    "drip-headers": (_drip_headers, "took longer than 1 s", 3),
    "silent": (_silent, "no answer in time", 3),
    "endless": (_endless, "larger than 0.2 MB", 1),
    "endless-chunks": (_endless_chunks, "larger than 0.2 MB", 1),
    "negative-chunk": (_negative_chunk, "larger than 0.2 MB", 1),
    "endless-continue": (_endless_continue, "larger than 0.2 MB", 1),
    "large": (head(Content_Length=200_001), "larger than 0.2 MB", 1),
    "truncated": (head(Content_Length=len(PNG)) + PNG[:-20], "it ended too early, after 3 of 3 attempts", 3),
    "truncated-chunks": (head(Transfer_Encoding="chunked") + b"40\r\n" + PNG[:30], "the connection failed", 3),
    "truncated-untold": (head() + PNG[:-30], "truncated or damaged", 1),
    "html": (whole(b"<html>Not a picture</html>", Content_Type="image/png"), "not an image of a known format", 1),
    "svg": (whole(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "not an image of a known format", 1),
    "empty": (whole(b""), "not an image of a known format", 1),
    "pixels": (whole(picture(size=(2000, 1000))), "2000 × 1000 = 2 million pixels", 1),
    "gzip-bomb": (whole(gzip.compress(bytes(50_000_000)), Content_Encoding="gzip"), "larger than 0.2 MB", 1),
    "gzip-cut": (whole(gzip.compress(PNG)[:-9], Content_Encoding="gzip"), "it ended too early", 3),
    "gzip-broken": (whole(b"no gzip", Content_Encoding="gzip"), "its gzip encoding is broken", 1),
    "brotli": (whole(b"x", Content_Encoding="br"), "its content encoding is br", 1),
    "404": (whole(b"", "404 Not Found"), "the server answers 404 Not Found", 1),
    "partial": (whole(PNG, "206 Partial Content"), "the server answers 206", 1),
    "500": (whole(b"", "500 Oops"), "the server answers 500 Oops, after 3 of 3 attempts", 3),
    "patient": (whole(b"", "429 Slow Down", Retry_After=3), "asks to wait 3 s. Try again later", 1),
    "garbage": (b"\x16\x03\x01 garbage\r\n\r\n", "the connection failed", 3),
    "hang-up": (b"", "the connection failed", 3),
    "headers": (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n", "the connection failed", 3),
    "not-modified": (head("304 Not Modified"), "the server answers 304", 1),
}


@pytest.mark.parametrize("case", BAD)
def test_a_server_that_misbehaves_costs_a_bounded_time_and_is_named(server: Server, tmp_path: Path, case: str) -> None:
    answer, problem, asked = BAD[case]
    url = server.says(f"/{case}", answer) if isinstance(answer, bytes) else server.does(f"/{case}", answer)
    started = time.monotonic()
    fetched = one(server, url, tmp_path)
    assert problem in fetched.problem
    assert "\n" not in fetched.problem
    assert server.asked[f"/{case}"] == asked
    assert time.monotonic() - started < 3 * 1.0 + 3
    assert list((tmp_path / "files").iterdir()) == []


def test_redirects_are_followed_and_counted(server: Server, tmp_path: Path) -> None:
    server.says("/end", whole(PNG))
    server.says("/2", head("307 Temporary", Location=f"http://127.0.0.1:{server.port}/end"))
    start = server.says("/1", head("301 Moved", Location="/2"))
    assert one(server, start, tmp_path).path is not None
    loop = server.says("/loop", head("302 Found", Location="/loop"))
    assert one(server, loop, tmp_path).problem == "more than 3 redirects"
    assert server.asked["/loop"] == 4


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("http://127.0.0.2:{port}/secret", "it leads to 127.0.0.2, which is not a public address"),
        ("http://169.254.169.254:{port}/latest/meta-data", "it leads to 169.254.169.254"),
        ("http://[::1]:{port}/secret", "it leads to ::1"),
        ("http://127.0.0.1:22/", "port 22 is not one of"),
        ("file:///etc/passwd", "not an http(s) link (file)"),
        ("ftp://127.0.0.1/x.png", "not an http(s) link (ftp)"),
        ("http://user:secret@127.0.0.1:{port}/", "a link with a user name in it"),
        ("http://[", "not a valid link"),
    ],
)
def test_a_redirect_into_the_house_is_refused(server: Server, tmp_path: Path, location: str, problem: str) -> None:
    url = server.says("/away", head("302 Found", Location=location.format(port=server.port)))
    server.says("/secret", whole(PNG))
    assert problem in one(server, url, tmp_path).problem
    assert server.asked["/secret"] == 0


def test_by_default_this_machine_is_out_of_reach(server: Server, tmp_path: Path) -> None:
    url = server.says("/a.png", whole(PNG))
    network = Network(ports=frozenset({server.port}))
    (fetched,) = fetch([url], folder=tmp_path, limits=QUICK, network=network, now=NOW)
    assert "127.0.0.1, which is not a public address" in fetched.problem
    (fetched,) = fetch([url], folder=tmp_path, limits=QUICK, now=NOW)
    assert f"port {server.port} is not one of 80, 443" in fetched.problem
    assert not server.asked


def test_garbage_instead_of_tls_and_the_name_that_tls_asks_for(tmp_path: Path) -> None:
    hellos: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def answer() -> None:
            for _ in range(2):
                connection, _ = listening.accept()
                with connection:
                    hellos.append(connection.recv(4096))
                    connection.sendall(b"HTTP/1.1 400 This is no TLS\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        network = Network(
            allowed=lambda address: str(address) == "127.0.0.1",
            ports=frozenset({port}),
            resolve=lambda host, port: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))],
        )
        limits = Limits(attempts=2, back_off=0.01, seconds=2, idle_seconds=1)
        url = f"https://cdn.shop.example:{port}/a.png"
        (fetched,) = fetch([url], folder=tmp_path, limits=limits, network=network, now=NOW)
        thread.join()
    assert "the connection failed" in fetched.problem
    assert all(b"cdn.shop.example" in hello for hello in hellos)  # the name of the link, not the address


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes a certificate with openssl")
def test_a_certificate_must_be_trusted_and_name_the_host_of_the_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=cdn.shop.example"
    command += f" -addext subjectAltName=DNS:cdn.shop.example -keyout {key} -out {certificate}"
    subprocess.run(command.split(), check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def answer() -> None:
            for _ in range(3):
                connection, _ = listening.accept()
                with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
                    secure.recv(4096)
                    secure.sendall(whole(PNG))

        thread = threading.Thread(target=answer)
        thread.start()
        network = Network(
            allowed=lambda address: str(address) == "127.0.0.1",
            ports=frozenset({port}),
            resolve=lambda host, port: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))],
        )
        found = []
        for trusted, host in ((False, "cdn.shop.example"), (True, "cdn.shop.example"), (True, "other.example")):
            if trusted:
                monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            _trusted.cache_clear()
            found += fetch([f"https://{host}:{port}/a.png"], folder=tmp_path / "cache", network=network, now=NOW)
        thread.join()
    _trusted.cache_clear()
    unknown, good, stranger = found
    assert "its certificate is not valid (self-signed certificate)" in unknown.problem
    assert good.path is not None
    assert "its certificate is not valid (Hostname mismatch" in stranger.problem


def test_too_many_requests_then_success(server: Server, tmp_path: Path) -> None:
    busy = whole(b"", "429 Slow Down", Retry_After=1)
    url = server.says("/a.png", busy, whole(PNG))
    started = time.monotonic()
    assert one(server, url, tmp_path).path is not None
    assert time.monotonic() - started >= 0.95
    later = format_datetime(NOW + timedelta(seconds=1), usegmt=True)
    url = server.says("/b.png", whole(b"", "503 Later", Retry_After=later), whole(PNG))
    started = time.monotonic()
    assert one(server, url, tmp_path).path is not None
    assert time.monotonic() - started >= 0.95


def test_gzip_around_a_picture_is_taken_off(server: Server, tmp_path: Path) -> None:
    fetched = one(server, server.says("/a.png", whole(gzip.compress(PNG), Content_Encoding="gzip")), tmp_path)
    assert fetched.path is not None
    assert fetched.path.read_bytes() == PNG


def test_the_cache_asks_only_whether_something_changed(server: Server, tmp_path: Path) -> None:
    def answer(send: Send, request: str, count: int) -> None:
        send(head("304 Not Modified") if 'If-None-Match: "v1"' in request else whole(PNG, ETag='"v1"'))

    url = server.does("/a.png", answer)
    first = one(server, url, tmp_path)
    soon, later = NOW + timedelta(minutes=59), NOW + timedelta(minutes=61)
    again = one(server, url, tmp_path, now=soon)
    assert (again.path, again.cached, server.asked["/a.png"]) == (first.path, True, 1)
    again = one(server, url, tmp_path, now=later)
    assert (again.path, again.cached, server.asked["/a.png"]) == (first.path, True, 2)
    assert one(server, url, tmp_path, now=later + timedelta(minutes=5)).cached  # what was confirmed is fresh again
    assert server.asked["/a.png"] == 2
    assert first.path is not None
    first.path.write_bytes(b"harmed")
    assert one(server, url, tmp_path, now=later).cached is False
    assert first.path.read_bytes() == PNG


def test_a_changed_picture_is_a_new_file_and_a_shared_one_is_kept_once(server: Server, tmp_path: Path) -> None:
    other = picture(size=(5, 5))
    url = server.says("/a.png", whole(PNG), whole(other))
    twin = server.says("/twin.png", whole(PNG))
    first, second = one(server, url, tmp_path), one(server, twin, tmp_path)
    assert first.path == second.path
    changed = one(server, url, tmp_path, now=NOW + timedelta(days=1))
    assert changed.path is not None
    assert changed.path != first.path
    assert changed.path.read_bytes() == other
    assert len(list((tmp_path / "files").iterdir())) == 2


@pytest.mark.parametrize("text", ["", "{", "[]", '{"url": 1}', '{"file": "../../secret", "sha256": ""}'])
def test_a_damaged_cache_is_fetched_again(server: Server, tmp_path: Path, text: str) -> None:
    url = server.says("/a.png", whole(PNG))
    one(server, url, tmp_path)
    (link,) = (tmp_path / "links").iterdir()
    link.write_text(text)
    assert one(server, url, tmp_path).path is not None
    assert json.loads(link.read_text())["url"] == url
    assert server.asked["/a.png"] == 2


def test_many_links_at_once_but_few_per_host(server: Server, tmp_path: Path) -> None:
    def answer(send: Send, request: str, count: int) -> None:
        with server.lock:
            server.now += 1
            server.most = max(server.most, server.now)
        time.sleep(0.03)
        with server.lock:  # before the client can know that it may ask for the next one
            server.now -= 1
        send(whole(PNG))

    urls = [server.does(f"/{number}.png", answer) for number in range(24)]
    limits = Limits(per_host=3, threads=8)
    found = list(fetch([*urls, *urls[:5]], folder=tmp_path, limits=limits, network=here(server), now=NOW))
    assert sorted(fetched.url for fetched in found) == sorted(urls)
    assert all(fetched.path is not None for fetched in found)
    assert 2 <= server.most <= 3
    assert set(server.asked.values()) == {1}


def test_leaving_early_stops_the_threads(server: Server, tmp_path: Path) -> None:
    urls = [server.says("/quick.png", whole(PNG)), *(server.does(f"/{number}", _drip) for number in range(30))]
    links = fetch(urls, folder=tmp_path, limits=Limits(threads=4), network=here(server), now=NOW)
    assert next(links).path is not None
    started = time.monotonic()
    links.close()
    assert time.monotonic() - started < 2
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("fetch")]


KILLED = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from clickscape.catalog.addresses import Network
from clickscape.catalog.download import Limits
from clickscape.catalog.remote import fetch
folder, port = Path(sys.argv[1]), int(sys.argv[2])
urls = [f"http://127.0.0.1:{port}/{number}.png" for number in range(12)]
network = Network(allowed=lambda address: True, ports=frozenset({port}))
now = datetime(2026, 1, 1, tzinfo=UTC)
for fetched in fetch(urls, folder=folder, limits=Limits(threads=2), network=network, now=now):
    print(fetched.url, flush=True)
"""


def test_a_killed_run_goes_on_where_it_was(server: Server, tmp_path: Path) -> None:
    def answer(send: Send, request: str, count: int) -> None:
        send(head(Content_Length=len(PNG)) + PNG[:20])
        time.sleep(0.1)
        send(PNG[20:])

    urls = [server.does(f"/{number}.png", answer) for number in range(12)]
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(server.port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        done = [process.stdout.readline().strip() for _ in range(4)]
        process.send_signal(signal.SIGKILL)
    (tmp_path / "files" / ".tmp-0123").write_bytes(PNG[:20])
    for path in (tmp_path / "files").glob(".tmp-*"):  # as if the kill was long ago
        os.utime(path, (0, 0))
    found = list(fetch(urls, folder=tmp_path, network=here(server), now=NOW))
    assert all(fetched.path is not None for fetched in found)
    assert {fetched.url for fetched in found if fetched.cached} >= set(done)
    asked = {url: server.asked[url.removeprefix(f"http://127.0.0.1:{server.port}")] for url in urls}
    assert {asked[url] for url in done} == {1}
    assert max(asked.values()) <= 2
    assert not list((tmp_path / "files").glob(".tmp-*"))
