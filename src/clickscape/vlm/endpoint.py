"""HTTP client for servers that speak OpenAI's protocol: descriptions (`server`) and relevance scores (gates).

The choice made here: the standard library's HTTP client, as the catalog's downloads, with the limits of `bounded_http`
on every read; nothing but the address that the user named is ever asked, and redirects are not followed, so that
pictures and key go nowhere else. The key comes from the environment alone, and travels over https or within this
machine only.
"""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from clickscape.bounded_http import Budget, DeadlineError, TooLargeError, limit
from clickscape.errors import ModelError
from clickscape.json_files import parse_json

_BUSY = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_LARGEST_ANSWER = 4 << 20  # bytes
_LARGEST_HEAD = 1 << 18  # bytes of headers and chunk marks beside the answer
_LONGEST_WAIT = 60.0  # seconds that a server may ask for


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Timeout and retries of requests: seconds per request in all, tries per request, seconds before the second try.

    A request that took all its seconds is not tried again. The wait doubles with every further try, unless the server
    names one; ``threads`` requests are under way at once.
    """

    seconds: float = 60.0
    tries: int = 4
    first_wait: float = 0.5
    threads: int = 8


class Endpoint:
    """One address, with the key that the environment variable ``key_variable`` holds, if any.

    ModelError for what is no address, and for a key that would travel in the clear.
    """

    def __init__(
        self, address: str, *, key_variable: str, patience: RetryPolicy, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self.address = _checked(address, key_variable=key_variable)
        self.patience = patience
        self._key_variable, self._sleep = key_variable, sleep
        self._key = os.environ.get(key_variable, "")
        if self._key and not self.is_private:
            raise ModelError(f"{self.address}: {key_variable} is set, and a key is not sent in the clear. Use https, "
                             f"or unset {key_variable} for a server that asks for none.")  # fmt: skip
        handlers: list[urllib.request.BaseHandler] = [_EveryStatus(), _Http(), _Https()]
        if _is_here(self.address):
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    @property
    def is_private(self) -> bool:
        """Whether nobody on the way can read what is said: https, or within this machine."""
        return self.address.startswith("https://") or _is_here(self.address)

    def ask(self, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        """The server's JSON object; busy servers and broken connections are tried again. ModelError for the rest."""
        raw = self._tried(path, self.address + path, body)
        try:
            return parse_json(raw, dict[str, Any], where=path, error=ModelError, remedy="")
        except ModelError:
            raise ModelError(f"{self.address}{path}: answered something else than a JSON object "
                             f"({self._clean(raw[:200])}). Is this the address of its API?") from None  # fmt: skip

    def tell(self, path: str, body: Mapping[str, Any], *, root: bool = False) -> None:
        """Say what is answered by a status alone, tried as `ask` does. RefusedError for what the server will not do.

        root: below the server's root, and not its API's.
        """
        parts = urlsplit(self.address)
        self._tried(path, (f"{parts.scheme}://{parts.netloc}" if root else self.address) + path, body)

    def _tried(self, path: str, url: str, body: Mapping[str, Any] | None) -> bytes:
        problem = ""
        for number in range(self.patience.tries):
            try:
                return self._once(path, url, body)
            except _BusyError as busy:
                problem = str(busy)
                if number + 1 < self.patience.tries:
                    self._sleep(busy.wait or self.patience.first_wait * 2**number)
        raise ModelError(f"{self.address}: {problem}, {self.patience.tries} times. Is the server running, and is this "
                         f"its address?")  # fmt: skip

    def _once(self, path: str, url: str, body: Mapping[str, Any] | None) -> bytes:
        headers = {"Content-Type": "application/json", "User-Agent": "clickscape"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(url, data=data, headers=headers)  # noqa: S310  (_checked)
        try:
            with self._opener.open(request, timeout=self.patience.seconds) as response:
                status, wait = response.status, _seconds(response.headers.get("Retry-After"))
                raw = response.read(_LARGEST_ANSWER + 1)
        except DeadlineError as error:
            raise ModelError(f"{self.address}{path}: one answer {error}. Is it the API of a model, and not too busy?"
                             ) from None  # fmt: skip
        except TooLargeError:
            raw = bytes(_LARGEST_ANSWER + 1)
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise _BusyError(f"no answer ({one_line(str(reason)) or type(error).__name__})") from None
        if len(raw) > _LARGEST_ANSWER:
            raise ModelError(f"{self.address}{path}: answered more than {_LARGEST_ANSWER:,} bytes. Is this its API?")
        if not 200 <= status < 300:
            said = self._clean(raw)
            if status in _BUSY:
                raise _BusyError(f"HTTP {status} {said}", wait=wait)
            hint = f" Set {self._key_variable} to its key." if status in {401, 403} else ""
            raise RefusedError(f"{self.address}{path}: refused, HTTP {status} {said}.{hint}", status=status)
        return raw

    def _clean(self, raw: bytes) -> str:
        """What a server said, on one line and without the key."""
        text = raw.decode("utf-8", "replace")
        return one_line(text.replace(self._key, "***") if self._key else text)


def data_url(picture: UInt8[np.ndarray, "height width 3"]) -> str:
    """A picture, uint8 (height, width, 3), as messages hold one: PNG in base64."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def one_line(text: str) -> str:
    """At most 200 characters on one line, and none that a terminal would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:200]).strip()


class RefusedError(ModelError):
    """A server's answer that is no success: its HTTP ``status``."""

    def __init__(self, problem: str, *, status: int) -> None:
        super().__init__(problem)
        self.status = status


class _BusyError(Exception):
    """A request that may be tried again, after ``wait`` seconds if the server said so."""

    def __init__(self, problem: str, *, wait: float = 0.0) -> None:
        super().__init__(problem)
        self.wait = wait


class _EveryStatus(urllib.request.HTTPErrorProcessor):
    """A status is looked at by whoever asks; a redirect is a refusal: pictures and key are for the named address."""

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:  # noqa: ARG002
        return response

    https_response = http_response


class _Http(urllib.request.HTTPHandler):
    """Connections whose answers take no longer in all than the time that a request has."""

    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_connection(http.client.HTTPConnection), req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_connection(http.client.HTTPSConnection), req)


def _connection(kind: type[http.client.HTTPConnection]) -> Any:
    def make(host: str, *, timeout: float, **more: Any) -> http.client.HTTPConnection:
        connection = kind(host, timeout=timeout, **more)
        limit(connection, Budget(timeout, timeout, _LARGEST_ANSWER + _LARGEST_HEAD))
        return connection

    return make


def _checked(address: str, *, key_variable: str) -> str:
    """The address without its last slash, with /v1 where it names no path; ModelError for what is none."""
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0 or parts.query or parts.fragment:
        raise ModelError(f"{one_line(address)}: no address of a server. One looks like http://localhost:8000/v1.")
    if parts.username is not None or parts.password is not None:
        raise ModelError(f"{parts.hostname}: an address is written into files, so it must hold no user and password. "
                         f"Put the key into the environment variable {key_variable}.")  # fmt: skip
    path = parts.path.rstrip("/") or "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}"


def _is_here(address: str) -> bool:
    return urlsplit(address).hostname in {"localhost", "127.0.0.1", "::1"}


def _seconds(retry_after: str | None) -> float:
    try:
        return min(max(float(retry_after or 0), 0.0), _LONGEST_WAIT)
    except ValueError:
        return 0.0
