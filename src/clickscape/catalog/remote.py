"""Images behind links → files: many at once, politely, and each only once.

The choice made here: a cache of plain files that any number of runs share.  ``links/<hash of the link>.json`` says
which content a link had and how to ask whether it changed; ``files/<hash of the content>.jpg`` is the content, checked
to be an image of a known format and size.  Both are renamed into place when they are whole, so a killed run
goes on where it was, and two links to the same picture keep it once.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image

from clickscape.catalog.addresses import Network
from clickscape.catalog.download import BusyError, Limits, RefusedError, download, host_of
from clickscape.catalog.images import FORMATS, check_image, open_image
from clickscape.errors import ImageError, WorkspaceError
from clickscape.files import sweep, temporary_file, write_text
from clickscape.json_files import read_json
from clickscape.regular_files import inside, read_bytes

_QUEUED = 4  # links per thread that wait


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of one link: the path of its picture, or None and the problem; ``cached``: nothing was transferred."""

    url: str
    path: Path | None
    problem: str = ""
    cached: bool = False


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the cache knows of a link."""

    url: str
    file: str
    sha256: str
    etag: str
    last_modified: str
    fetched_at: str


@dataclass(slots=True)
class _Host:
    """One server: how many ask it at the same time, and from when on it may be asked again (monotonic seconds).

    ``failures``: links in a row that it did not answer; ``problem``: what was wrong with the last of them.
    """

    gate: threading.Semaphore
    not_before: float = 0.0
    failures: int = 0
    problem: str = ""


@dataclass(slots=True)
class _Session:
    """What the threads of one run share."""

    folder: Path
    limits: Limits
    network: Network
    now: datetime
    rng: random.Random
    stop: threading.Event = field(default_factory=threading.Event)
    hosts: dict[str, _Host] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    decoding: threading.Lock = field(default_factory=threading.Lock)  # one large picture in memory, not eight

    def host(self, url: str) -> _Host:
        with self.lock:
            return self.hosts.setdefault(host_of(url), _Host(threading.Semaphore(self.limits.per_host)))


def fetch(
    urls: Iterable[str],
    *,
    folder: Path,
    limits: Limits | None = None,
    network: Network | None = None,
    now: datetime | None = None,
    seed: int = 0,
) -> Iterator[Fetched]:
    """Fetch every link once into the cache ``folder`` and yield what came of each, in the order in which they end.

    ``network`` allows public addresses only, unless told otherwise; ``now`` (UTC) decides what is still fresh, ``seed``
    the jitter of the waits.  A link that fails is a record, never an exception.
    """
    for name in ("files", "links"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    sweep(folder)
    limits = limits or Limits()
    session = _Session(folder, limits, network or Network(), now or datetime.now(UTC), random.Random(seed))
    running: set[Future[Fetched]] = set()
    pool = ThreadPoolExecutor(limits.threads, thread_name_prefix="fetch")
    try:
        for url in _by_turns(urls):
            running.add(pool.submit(_fetch_one, url, session))
            if len(running) >= limits.threads * _QUEUED:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    finally:
        session.stop.set()
        pool.shutdown(cancel_futures=True)


def _by_turns(urls: Iterable[str]) -> Iterator[str]:
    """Every link once, hosts taking turns, so that a slow one does not hold up the others."""
    waiting: dict[str, list[str]] = {}
    for url in dict.fromkeys(urls):
        waiting.setdefault(host_of(url), []).append(url)
    queues = [iter(links) for links in waiting.values()]
    while queues:
        still = []
        for queue in queues:
            for url in itertools.islice(queue, 1):
                yield url
                still.append(queue)
        queues = still


def _fetch_one(url: str, session: _Session) -> Fetched:
    known = _find(url, session)
    if known is not None and _is_fresh(known, session):
        return Fetched(url, session.folder / "files" / known.file, cached=True)
    host, limits, problem = session.host(url), session.limits, ""
    spent = waited = 0.0  # seconds in attempts, and between them
    for attempt in range(1, limits.attempts + 1):
        pause = max(0.0, host.not_before - time.monotonic())
        waited += pause
        if pause and session.stop.wait(pause):
            break
        try:
            with host.gate:
                if session.stop.is_set():
                    break
                if host.failures >= limits.host_failures:
                    return Fetched(url, None, f"given up: {host.failures} links in a row to {host_of(url)} failed "
                                   f"(the last: {host.problem})")  # fmt: skip
                started = time.monotonic()
                try:
                    found = _try(url, known, session)
                finally:
                    spent += time.monotonic() - started
                host.failures = 0
                return found
        except RefusedError as error:
            return Fetched(url, None, str(error))
        except BusyError as error:
            problem = f"{error}, after {attempt} of {limits.attempts} attempts"
            if not error.again:
                problem = str(error)
                break
            if error.wait is not None and error.wait > limits.retry_after:
                problem = f"{error}, and asks to wait {error.wait:.0f} s. Try again later"
                break
            with session.lock:
                jitter = session.rng.uniform(0.5, 1.5)
            pause = limits.back_off * 2 ** (attempt - 1) * jitter
            if error.wait is not None:  # the whole host asked for rest, not only this link
                pause = max(pause, error.wait)
                host.not_before = max(host.not_before, time.monotonic() + pause)
            waited += pause
            if attempt == limits.attempts or spent >= limits.seconds or waited > limits.retry_after:
                break
            if session.stop.wait(pause):
                break
    if problem:
        with session.lock:
            host.failures, host.problem = host.failures + 1, problem
    return Fetched(url, None, problem or "stopped")


def _try(url: str, known: _Entry | None, session: _Session) -> Fetched:
    """One attempt; what it brings lies in the cache."""
    files = session.folder / "files"
    headers = {} if known is None else {"If-None-Match": known.etag, "If-Modified-Since": known.last_modified}
    asked = {name: value for name, value in headers.items() if value}
    with temporary_file(files) as temporary:
        with temporary.open("r+b") as stream:
            answer = download(
                url,
                stream,
                known=asked,
                limits=session.limits,
                network=session.network,
                stop=session.stop,
                now=session.now,
            )
            stream.flush()
            os.fsync(stream.fileno())
        if not answer.changed and known is not None:
            _keep(known.file, known.sha256, known.etag, known.last_modified, url=url, session=session)
            return Fetched(url, files / known.file, cached=True)
        suffix = _checked(temporary, session, whole=answer.whole)
        with temporary.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        os.replace(temporary, files / f"{digest}{suffix}")
        _keep(f"{digest}{suffix}", digest, answer.etag, answer.last_modified, url=url, session=session)
        return Fetched(url, files / f"{digest}{suffix}")


def _checked(path: Path, session: _Session, *, whole: bool) -> str:
    """The suffix of the image's format, found in its content; RefusedError for anything that is no image.

    An image whose length the server did not tell is decoded, because its end may be missing.
    """
    try:
        check_image(path, max_pixels=session.limits.pixels)
        if not whole:
            with session.decoding:
                open_image(path, max_pixels=session.limits.pixels)
    except ImageError as error:
        raise RefusedError(str(error).removeprefix(f"{path}: ").rstrip(".")) from error
    with Image.open(path, formats=FORMATS) as image:
        kind = (image.format or "").lower()
    return {"jpeg": ".jpg", "tiff": ".tif"}.get(kind, f".{kind}")


def _link(url: str, session: _Session) -> Path:
    return session.folder / "links" / f"{hashlib.sha256(url.encode('utf-8', 'surrogatepass')).hexdigest()}.json"


def _find(url: str, session: _Session) -> _Entry | None:
    """What the cache knows of the link, if its file is still there as it was written."""
    try:
        entry = read_json(_link(url, session), _Entry)
        content = read_bytes(inside(session.folder / "files", entry.file))
        unharmed = hashlib.sha256(content).hexdigest() == entry.sha256
    except (OSError, WorkspaceError):
        return None
    return entry if unharmed and entry.url == url else None


def _is_fresh(entry: _Entry, session: _Session) -> bool:
    with suppress(ValueError):
        age = (session.now - datetime.fromisoformat(entry.fetched_at)).total_seconds()
        return 0 <= age < session.limits.fresh_seconds
    return False


def _keep(file: str, sha256: str, etag: str, last_modified: str, *, url: str, session: _Session) -> None:
    entry = _Entry(url, file, sha256, etag, last_modified, session.now.isoformat())
    write_text(_link(url, session), json.dumps(asdict(entry)))
