"""Links: fetched once, politely, many at a time, and a killed run goes on where it was."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from clickscape.catalog.download import Limits
from clickscape.catalog.remote import fetch

from .conftest import NOW, PNG, Send, Server, drip, head, here, one, picture, whole


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
    urls = [server.says("/quick.png", whole(PNG)), *(server.does(f"/{number}", drip) for number in range(30))]
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


@pytest.mark.slow
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
    (tmp_path / "files" / ".tmp-0123456789ab").write_bytes(PNG[:20])
    found = list(fetch(urls, folder=tmp_path, network=here(server), now=NOW))
    assert all(fetched.path is not None for fetched in found)
    assert {fetched.url for fetched in found if fetched.cached} >= set(done)
    asked = {url: server.asked[url.removeprefix(f"http://127.0.0.1:{server.port}")] for url in urls}
    assert {asked[url] for url in done} == {1}
    assert max(asked.values()) <= 2
    assert not list((tmp_path / "files").glob(".tmp-*"))
