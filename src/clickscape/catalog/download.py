"""Download one image from an untrusted server, within limits of time, bytes and redirects.

The choice made here: the standard library's HTTP client on a socket of our own, because the connection must go to the
address that was checked, with the limits of `bounded_http` on every read.
"""

from __future__ import annotations

import email.utils
import http.client
import socket
import ssl
import threading
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import BinaryIO
from urllib.parse import quote, urljoin, urlsplit

from clickscape.bounded_http import Budget, DeadlineError, TooLargeError, limit
from clickscape.catalog.addresses import AddressError, Network
from clickscape.catalog.images import MAX_PIXELS

_BLOCK = 1 << 16
_HEADERS = 1 << 18  # bytes of headers and chunk marks beside the body
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_PLAIN = "/%:@!$&'()*+,;=~-._"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a download may take; times in seconds."""

    bytes: int = 20_000_000
    pixels: int = MAX_PIXELS
    seconds: float = 60.0  # from the look-up of the name to the last byte, redirects included
    idle_seconds: float = 10.0  # without a byte
    redirects: int = 5
    attempts: int = 4
    back_off: float = 1.0  # before the second attempt; doubled for each further one, ± 50 %
    retry_after: float = 120.0  # the longest that a server may have a link wait, in all
    threads: int = 8
    per_host: int = 4  # at the same time
    host_failures: int = 5  # links in a row that fail before a host's other links fail unasked
    fresh_seconds: float = 3600.0  # how long a cached file is used without asking the server again


@dataclass(frozen=True, slots=True)
class Answer:
    """A file that came (or, ``changed`` False, that the known one is still current), and how to ask for it again.

    ``whole``: its length was told, so that a missing end would have been noticed.
    """

    changed: bool
    etag: str = ""
    last_modified: str = ""
    whole: bool = True


class RefusedError(Exception):
    """A link that will not work however often it is tried."""


class BusyError(Exception):
    """A failure that may pass; ``wait``: seconds that the server asks for, ``again``: whether to try again at all."""

    def __init__(self, problem: str, wait: float | None = None, *, again: bool = True) -> None:
        super().__init__(problem)
        self.wait, self.again = wait, again


def download(
    url: str,
    target: BinaryIO,
    *,
    known: Mapping[str, str],
    limits: Limits,
    network: Network,
    stop: threading.Event,
    now: datetime,
) -> Answer:
    """Write what the link gives into ``target``; ``known``: headers that ask for it only if it changed.

    Redirects are followed, each to an address that is checked anew.  RefusedError or BusyError when it does not work.
    """
    budget = Budget(limits.seconds, limits.idle_seconds, limits.bytes + _HEADERS, stop)
    for _ in range(limits.redirects + 1):
        with _asked(url, known, limits, network, budget) as response:
            location = response.headers.get("Location", "")
            if response.status in _REDIRECTS and location:
                url = _joined(url, location.strip())
                continue
            if response.status == 304 and known:
                return Answer(changed=False)
            _check_status(response, now)
            for block in _body(response, limits):
                target.write(block)
            headers = response.headers
            return Answer(
                True,
                _printable(headers.get("ETag", "")),
                _printable(headers.get("Last-Modified", "")),
                whole=response.chunked or "Content-Length" in headers or "Content-Encoding" in headers,
            )
    raise RefusedError(f"more than {limits.redirects} redirects")


def host_of(url: str) -> str:
    """The host that a link leads to, or "" for what is no link."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


@contextmanager
def _asked(
    url: str, known: Mapping[str, str], limits: Limits, network: Network, budget: Budget
) -> Iterator[http.client.HTTPResponse]:
    """The response to one request, its body not read yet; the connection is closed at the end."""
    secure, host, port, path = _parts(url)
    connection = http.client.HTTPConnection(host, port)
    connection.default_port = 443 if secure else 80  # so that the Host header names only an unusual port
    connection.auto_open = 0  # the checked connection, or none
    raw: socket.socket | None = None
    response: http.client.HTTPResponse | None = None
    try:
        with _network_trouble(limits):
            raw = network.connect(host, port, seconds=budget.wait())
            raw.settimeout(budget.wait())
            if secure:
                raw = _trusted().wrap_socket(raw, server_hostname=host)
            connection.sock = raw
            limit(connection, budget)
            headers = {"User-Agent": "clickscape", "Accept": "image/*", "Accept-Encoding": "identity"}
            connection.request("GET", path, headers={**headers, "Connection": "close", **known})
            response = connection.getresponse()
        yield response
    finally:
        connection.close()
        if response is not None:
            response.close()
        if raw is not None:
            raw.close()


@lru_cache(maxsize=1)
def _trusted() -> ssl.SSLContext:
    """The certificates that this machine trusts; reading them takes longer than many a download."""
    return ssl.create_default_context()


def _parts(url: str) -> tuple[bool, str, int, str]:
    """Whether it is https, the host as it is looked up, the port and the path; RefusedError for what is no link."""
    try:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        host = (parts.hostname or "").encode("idna").decode("ascii") if parts.hostname else ""
    except ValueError:  # also UnicodeError of a name that cannot be encoded
        raise RefusedError("not a valid link") from None
    if parts.scheme not in ("http", "https") or not host:
        raise RefusedError(f"not an http(s) link ({parts.scheme or 'no scheme'})")
    if parts.username is not None or parts.password is not None:
        raise RefusedError("a link with a user name in it")
    query = f"?{quote(parts.query, safe=_PLAIN + '?')}" if parts.query else ""
    return secure, host, port, (quote(parts.path, safe=_PLAIN) or "/") + query


@contextmanager
def _network_trouble(limits: Limits) -> Iterator[None]:
    """Turn what the network and the protocol throw into the two errors of this module."""
    try:
        yield
    except DeadlineError as error:
        raise BusyError(str(error), again=False) from error
    except TooLargeError as error:
        raise RefusedError(_too_large(limits)) from error
    except AddressError as error:
        raise RefusedError(str(error)) from error
    except ssl.SSLCertVerificationError as error:
        raise RefusedError(f"its certificate is not valid ({_short(error.verify_message)})") from error
    except socket.gaierror as error:
        if error.errno == socket.EAI_AGAIN:
            raise BusyError("its host cannot be looked up now") from error
        raise RefusedError("its host is not known") from error
    except TimeoutError as error:
        raise BusyError("no answer in time") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise BusyError(f"the connection failed ({_short(error) or type(error).__name__})") from error


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise RefusedError("it redirects to what is not a valid link") from None


def _check_status(response: http.client.HTTPResponse, now: datetime) -> None:
    if response.status == 200:
        return
    problem = f"the server answers {response.status} {_short(response.reason)}".rstrip()
    if response.status in (408, 425, 429) or response.status >= 500:
        raise BusyError(problem, _retry_after(response.headers.get("Retry-After", ""), now))
    raise RefusedError(problem)


def _retry_after(text: str, now: datetime) -> float | None:
    """Seconds that the server asks to wait, from a number or a date; None when it says nothing that can be read."""
    if text.strip().isdecimal():
        return float(text.strip()[:9])
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())


def _body(response: http.client.HTTPResponse, limits: Limits) -> Iterator[bytes]:
    """The decoded body in blocks, never more of it than allowed."""
    if (response.length or 0) > limits.bytes:
        raise RefusedError(_too_large(limits))
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in ("identity", "", "gzip", "x-gzip", "deflate"):
        raise RefusedError(f"its content encoding is {_short(coding)}, expected none or gzip")
    inflate = zlib.decompressobj(zlib.MAX_WBITS + 32) if coding not in ("identity", "") else None
    written = 0
    while True:
        with _network_trouble(limits):
            block = response.read(_BLOCK)
        if not block:
            break
        while block:
            part, block = block, b""
            if inflate is not None:
                try:
                    part = inflate.decompress(part, limits.bytes - written + 1)
                except zlib.error as error:
                    raise RefusedError("its gzip encoding is broken") from error
                block = b"" if inflate.eof else inflate.unconsumed_tail
            written += len(part)
            if written > limits.bytes:
                raise RefusedError(_too_large(limits))
            yield part
    if response.length or (inflate is not None and not inflate.eof):
        raise BusyError("it ended too early")


def _too_large(limits: Limits) -> str:
    return f"larger than {limits.bytes / 1e6:g} MB"


def _printable(header: str) -> str:
    """A header that can be sent back, or "": a folded or endless one is better forgotten."""
    return header if header.isascii() and header.isprintable() and len(header) < 1000 else ""


def _short(value: object) -> str:
    """What a server or a library said, as one short line of printable characters."""
    return "".join(character for character in str(value)[:80] if character.isprintable())
