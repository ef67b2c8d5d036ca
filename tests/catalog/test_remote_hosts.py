"""A host that does not answer costs a few links' time, not every link's; other hosts do not notice."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from pathlib import Path

from clickscape.catalog.download import Limits
from clickscape.catalog.remote import fetch

from .conftest import NOW, PNG, QUICK, Send, Server, by_name, drip, head, whole


def problems(server: Server, folder: Path, links: list[str], limits: Limits) -> dict[str, str]:
    """What is said of each path, of links as host/path."""
    urls = [f"http://{link.replace('/', f':{server.port}/', 1)}" for link in links]
    found = fetch(urls, folder=folder, limits=limits, network=by_name(server.port), now=NOW)
    return {one.url.partition("//")[2].replace(f":{server.port}", ""): one.problem for one in found}


def test_a_host_of_dripping_links_is_given_up_and_named_and_others_go_on(server: Server, tmp_path: Path) -> None:
    links = [f"slow.example/{number}" for number in range(30)] + [f"good.example/ok{number}" for number in range(30)]
    for number in range(30):
        server.does(f"/{number}", drip)
        server.says(f"/ok{number}", whole(PNG))
    limits = dataclasses.replace(QUICK, seconds=0.2, per_host=2, host_failures=3)
    found = problems(server, tmp_path, links, limits)
    assert sum(server.asked[f"/{number}"] for number in range(30)) <= 3 + 1  # and one more that was under way
    slow = Counter(problem for link, problem in found.items() if link.startswith("slow"))
    assert slow.pop("took longer than 0.2 s") <= 3 + 1
    assert all(text.startswith("given up: ") and "links in a row to slow.example failed" in text for text in slow)
    assert all("(the last: took longer than 0.2 s)" in text for text in slow)
    assert {problem for link, problem in found.items() if link.startswith("good")} == {""}


def test_a_picture_in_between_keeps_a_host(server: Server, tmp_path: Path) -> None:
    for number in range(9):
        server.says(f"/{number}", whole(PNG) if number % 3 == 2 else b"")
    limits = dataclasses.replace(QUICK, attempts=1, threads=1, host_failures=3)
    found = problems(server, tmp_path, [f"shop.example/{number}" for number in range(9)], limits)
    assert sum(not problem for problem in found.values()) == 3
    assert all(server.asked[f"/{number}"] == 1 for number in range(9))


def test_links_that_lead_nowhere_do_not_end_a_host_that_answers(server: Server, tmp_path: Path) -> None:
    for number in range(8):
        server.says(f"/{number}", whole(b"", "404 Not Found") if number < 7 else whole(PNG))
    limits = dataclasses.replace(QUICK, threads=1, host_failures=3)
    found = problems(server, tmp_path, [f"shop.example/{number}" for number in range(8)], limits)
    assert found["shop.example/7"] == ""


def test_attempts_together_take_no_longer_than_one_may(server: Server, tmp_path: Path) -> None:
    def hang_up_late(send: Send, request: str, count: int) -> None:
        send(head(Content_Length=100))
        time.sleep(0.25)

    server.does("/late", hang_up_late)
    limits = dataclasses.replace(QUICK, attempts=20, seconds=0.4, idle_seconds=0.4)
    assert problems(server, tmp_path, ["shop.example/late"], limits)["shop.example/late"]
    assert server.asked["/late"] <= 2


def test_a_server_that_asks_for_patience_again_and_again_gets_it_once(server: Server, tmp_path: Path) -> None:
    server.says("/later", whole(b"", "503 Later", Retry_After=1))
    limits = dataclasses.replace(QUICK, attempts=20, retry_after=1.5)
    assert "503 Later" in problems(server, tmp_path, ["shop.example/later"], limits)["shop.example/later"]
    assert server.asked["/later"] <= 2
