"""A server that drips, floods or nests its answers costs one request's time and is one clear error."""

from __future__ import annotations

import gzip
import json
import re
import socket
import socketserver
import time
from collections.abc import Callable, Iterator

import pytest
from tests.factory import LocalServer

from clickscape.errors import ModelError
from clickscape.vlm.endpoint import Endpoint, RetryPolicy

Send = Callable[[bytes], None]
HEAD, CHUNKED = b"HTTP/1.1 200 OK\r\n", b"Transfer-Encoding: chunked\r\n\r\n"
SECONDS = 0.3


class Server(LocalServer):
    """Answers every request as a test says."""

    answer: Callable[[Send], None]

    def __init__(self) -> None:
        super().__init__(Handler)
        self.asked = 0


class Handler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        server: Server = self.server  # type: ignore[assignment]
        server.asked += 1
        _read_request(self.request)
        server.answer(self.request.sendall)


def _read_request(request: socket.socket) -> None:
    """Head and body: to close with something unread would reset the connection, and the answer with it."""
    read = b""
    while b"\r\n\r\n" not in read:
        read += request.recv(4096)
    head, _, body = read.partition(b"\r\n\r\n")
    size = re.search(rb"(?i)content-length: (\d+)", head)  # a GET has none
    while size and len(body) < int(size[1]):
        body += request.recv(4096)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on this machine."""
    with Server().running() as running:
        yield running


def _drip(start: bytes, *, every: float = 0.02) -> Callable[[Send], None]:
    def answer(send: Send) -> None:
        send(start)
        for _ in range(500):
            send(b"x")
            time.sleep(every)

    return answer


def _flood(start: bytes, block: bytes) -> Callable[[Send], None]:
    def answer(send: Send) -> None:
        send(start)
        while True:
            send(block)

    return answer


def _once(data: bytes) -> Callable[[Send], None]:
    return lambda send: send(data)


LATE, MANY, ODD = "one answer took longer than 0.3 s", "answered more than", "something else than a JSON object"
CASES: dict[str, tuple[Callable[[Send], None], str]] = {
    "status drips": (_drip(b""), LATE),
    "headers drip": (_drip(HEAD + b"X-"), LATE),
    "body drips": (_drip(HEAD + b"Content-Length: 400\r\n\r\n{"), LATE),
    "body without an end drips": (_drip(HEAD + b"\r\n{"), LATE),
    "chunk drips": (_drip(HEAD + CHUNKED + b"190\r\n{"), LATE),
    "chunk of giant size drips": (_drip(HEAD + CHUNKED + b"7fffffff\r\n{"), LATE),
    "giant length drips": (_drip(HEAD + b"Content-Length: 99999999999\r\n\r\n{"), LATE),
    "error drips": (_drip(b"HTTP/1.1 400 No\r\nContent-Length: 400\r\n\r\n"), LATE),
    "busy drips": (_drip(b"HTTP/1.1 503 No\r\nContent-Length: 400\r\n\r\n"), LATE),
    "endless continue": (_flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000), MANY),
    "endless body": (_flood(HEAD + b"\r\n", b" " * 65536), MANY),
    "endless chunks": (_flood(HEAD + CHUNKED, b"8000\r\n" + b" " * 32768 + b"\r\n"), MANY),
    "endless error": (_flood(b"HTTP/1.1 400 No\r\n\r\n", b"x" * 65536), MANY),
    "redirects to itself": (_once(b"HTTP/1.1 302 No\r\nLocation: /v1/x\r\n\r\n"), "refused, HTTP 302"),
    "nested": (_once(HEAD + b"\r\n" + b'{"a":[' * 200_000), ODD),
    "half a letter": (_once(HEAD + b"\r\n" + rb'{"choices": [{"message": {"content": "oak \ud800"}}]}'), ODD),
    "packed": (_once(HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"{}")), ODD),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_server_that_misbehaves_costs_one_request_and_is_one_line(server: Server, case: str) -> None:
    server.answer, problem = CASES[case]
    patience = RetryPolicy(seconds=SECONDS if problem == LATE else 30.0, tries=4)
    address = f"http://127.0.0.1:{server.port}"
    waited: list[float] = []
    with pytest.raises(ModelError, match=problem) as told:
        Endpoint(address, key_variable="NONE", patience=patience, sleep=waited.append).ask("/x", {"a": 1})
    assert "\n" not in str(told.value)
    assert server.asked == 1
    assert not waited


def test_an_answer_that_comes_slowly_but_in_time_is_read(server: Server) -> None:
    body = json.dumps({"data": ["x" * 20]}).encode()

    def answer(send: Send) -> None:
        send(HEAD + b"Content-Length: %d\r\n\r\n" % len(body))
        for at in range(0, len(body), 8):
            send(body[at : at + 8])
            time.sleep(0.01)

    server.answer = answer
    address = f"http://127.0.0.1:{server.port}"
    asked = Endpoint(address, key_variable="NONE", patience=RetryPolicy(seconds=30)).ask("/x", None)
    assert asked == {"data": ["x" * 20]}
