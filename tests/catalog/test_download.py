"""Downloads: in bounds, from a real server on this machine that misbehaves in every way."""

from __future__ import annotations

import gzip
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from clickscape.catalog.addresses import Network
from clickscape.catalog.download import Limits, _trusted
from clickscape.catalog.remote import fetch

from .conftest import NOW, PNG, QUICK, Send, Server, by_name, drip, head, one, picture, whole


@pytest.mark.parametrize(("kind", "suffix"), [("PNG", ".png"), ("JPEG", ".jpg"), ("WEBP", ".webp"), ("TIFF", ".tif")])
def test_a_picture_is_known_by_its_content(server: Server, tmp_path: Path, kind: str, suffix: str) -> None:
    body = picture(kind)
    fetched = one(server, server.says("/a b?x=1&y=%20#top".split("#")[0].replace(" ", "%20"), whole(body)), tmp_path)
    assert fetched.path is not None
    assert (fetched.path.suffix, fetched.path.read_bytes()) == (suffix, body)
    assert fetched.path.parent == tmp_path / "files"
    assert f"Host: 127.0.0.1:{server.port}" in server.requests[0]


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


BAD: dict[str, tuple[bytes | Callable[[Send, str, int], None], str, int]] = {
    # what the server does, what is said of it, how often it is asked
    "drip": (drip, "took longer than 1 s", 1),
    "drip-headers": (_drip_headers, "took longer than 1 s", 1),
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


@pytest.mark.slow
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
def test_a_redirect_to_a_private_address_is_refused(
    server: Server, tmp_path: Path, location: str, problem: str
) -> None:
    url = server.says("/away", head("302 Found", Location=location.format(port=server.port)))
    server.says("/secret", whole(PNG))
    assert problem in one(server, url, tmp_path).problem
    assert server.asked["/secret"] == 0


def test_loopback_addresses_are_refused_by_default(server: Server, tmp_path: Path) -> None:
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
        limits = Limits(attempts=2, back_off=0.01, seconds=2, idle_seconds=1)
        url = f"https://cdn.shop.example:{port}/a.png"
        (fetched,) = fetch([url], folder=tmp_path, limits=limits, network=by_name(port), now=NOW)
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
        found = []
        for trusted, host in ((False, "cdn.shop.example"), (True, "cdn.shop.example"), (True, "other.example")):
            if trusted:
                monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            _trusted.cache_clear()
            found += fetch([f"https://{host}:{port}/a.png"], folder=tmp_path / "cache", network=by_name(port), now=NOW)
        thread.join()
    _trusted.cache_clear()
    unknown, good, stranger = found
    assert "its certificate is not valid (self-signed certificate)" in unknown.problem
    assert good.path is not None
    assert "its certificate is not valid (Hostname mismatch" in stranger.problem


@pytest.mark.slow
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


def test_a_gzipped_picture_is_decompressed(server: Server, tmp_path: Path) -> None:
    fetched = one(server, server.says("/a.png", whole(gzip.compress(PNG), Content_Encoding="gzip")), tmp_path)
    assert fetched.path is not None
    assert fetched.path.read_bytes() == PNG
