"""Simulated users, a server that is killed twice, and what was acknowledged is what `clicks` learns from."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest

from clickscape.service import publishing
from clickscape.service.keys import create_key
from clickscape.service.run import open_service
from clickscape.types import Creative, Product
from clickscape.workspace import Workspace

CTR = {"a": 0.5, "b": 0.3, "c": 0.1}
USERS, VISITS = 300, 3


def make_shop(folder: Path) -> tuple[Workspace, str]:
    """Two products of three approved creatives each, in the workspace and in the store, and a key that serves."""
    shop = Workspace.create(folder / "my-shop")
    shop.settings_path.write_text("[serve]\nrefresh_seconds = 0.5\nholdback = 0.2\n")
    products = [Product(name, name.title()) for name in ("mug", "lamp")]
    made = [
        Creative(f"{one.product_id}-{name}", one.product_id, f"creatives/images/{one.product_id}-{name}.webp", "a desk",
                 {}, "own", "own", 0, status="approved")
        for one in products for name in CTR
    ]  # fmt: skip
    shop.write_products(products)
    shop.write_creatives(made)
    _, engine, _, _ = open_service(shop.path)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        images = {one.creative_id: one.image for one in made}
        publishing.publish(connection, products, made, images=images, scores={}, now=1)
        key = create_key(connection, roles=["serve"], label="", now=1)
    engine.dispose()
    return shop, key


class Server:
    """`clickscape serve`, in a session of its own, so that all of it can be killed."""

    def __init__(self, shop: Workspace) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._command = [sys.executable, "-m", "clickscape", "serve", str(shop.path), "--port", str(self.port)]
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(self._command, start_new_session=True, stdout=quiet, stderr=quiet)

    def kill(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def close(self) -> None:
        self.kill()
        self._client.close()

    def ask(self, method: str, path: str, headers: dict[str, str], **more: object) -> httpx.Response:
        """Ask until there is an answer, as a client that loses nothing does."""
        end = time.monotonic() + 120
        while True:
            try:
                answer = self._client.request(method, path, headers=headers, **more)  # type: ignore[arg-type]
                if answer.status_code != 503:
                    assert answer.status_code == 200, answer.text
                    return answer
            except httpx.TransportError:
                pass
            assert time.monotonic() < end, "no answer"
            time.sleep(0.1)


@pytest.mark.slow
def test_what_was_acknowledged_is_counted_once_and_learned_from(tmp_path: Path, command: Callable[..., str]) -> None:
    shop, key = make_shop(tmp_path)
    headers, rng = {"Authorization": f"Bearer {key}"}, random.Random(0)
    server = Server(shop)
    server.start()
    sent: Counter[tuple[str, str]] = Counter()
    groups: dict[str, set[str]] = {}
    try:
        waiting: list[dict[str, str]] = []
        for turn in range(USERS * VISITS):
            if turn in (USERS * VISITS // 3, 2 * USERS * VISITS // 3):
                server.kill()
                server.start()
            user, product = f"user-{rng.randrange(USERS)}", rng.choice(("mug", "lamp"))
            choice = server.ask("GET", "/v1/choose", headers, params={"product_id": product, "user_key": user}).json()
            groups.setdefault(user, set()).add(choice["group"])
            name = choice["creative_id"]
            kinds = ["impression"] + ["click"] * (rng.random() < CTR[name[-1]])
            for kind in kinds:
                waiting.append({"event_id": f"{kind}-{turn}", "kind": kind, "decision_id": choice["decision_id"]})
                sent[name, kind] += 1
            if len(waiting) >= 40 or turn == USERS * VISITS - 1:
                for _ in range(1 + (rng.random() < 0.2)):
                    receipt = server.ask("POST", "/v1/events", headers, json={"events": waiting}).json()
                    assert receipt["attributed"] == len(waiting)
                waiting = []
    finally:
        server.close()
    assert all(len(group) == 1 for group in groups.values())  # nobody changes sides
    assert {"bandit"} in groups.values()
    assert {"holdback"} in groups.values()

    command("pull", str(shop.path))
    log = pq.read_table(shop.events_folder)
    pulled = Counter(zip(log["creative_id"].to_pylist(), log["kind"].to_pylist(), strict=True))
    assert pulled == sent
    shown = {name: sent[name, "impression"] for name, kind in sent if kind == "impression"}
    assert shown["mug-a"] > shown["mug-c"]  # the bandit noticed
    assert shown["lamp-a"] > shown["lamp-c"]
    command("clicks", str(shop.path))
    ctrs = pq.read_table(shop.clicks / "estimates.parquet").to_pydict()
    learned = dict(zip(ctrs["creative_id"], ctrs["impressions"], strict=True))
    assert learned == shown
