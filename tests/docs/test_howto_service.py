"""The commands of `docs/howto/service.md` work as a shop would type them, with a real server and its worker."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clickscape.stages.add_product import add_product
from clickscape.stages.draw import draw
from clickscape.stages.progress import run
from clickscape.types import Product
from clickscape.workspace import Workspace

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "service.md"


@pytest.fixture
def shop(tmp_path: Path) -> Workspace:
    made = Workspace.create(tmp_path / "my-shop")
    made.settings_path.write_text("[generate]\nsize = 96\n[serve]\nholdback = 0.2\n")
    pixels = np.zeros((96, 96, 4), np.uint8)
    pixels[20:84, 26:70] = (180, 40, 40, 255)
    Image.fromarray(pixels).save(tmp_path / "mug.png")
    run(add_product(made, Product("mug-navy", "Navy Mug", ("Home",), image=str(tmp_path / "mug.png"))))
    drawn = run(draw(made, "mug-navy", ["pale marble podium, soft morning light", "oak table, candle light"]))
    made.mark_creatives({one.creative_id: "approved" for one in drawn.creatives})
    return made


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(ready: Callable[[], object], *, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "not ready in time"
        time.sleep(0.1)


def children(pid: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(folder.name))
    return found


@pytest.mark.slow
def test_the_commands_of_the_page_serve_a_shop(
    shop: Workspace, command: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = PAGE.read_text(encoding="utf-8")
    typed_there = (
        "serve my-shop",
        "keys list my-shop",
        "keys add my-shop --role serve --label website",
        "pull my-shop",
        "forget my-shop --user 4711",
        "labels export my-shop --out labels.json",
    )
    for typed in typed_there:
        assert f"\nclickscape {typed}\n" in page
    monkeypatch.chdir(shop.path.parent)
    port = free_port()
    started = [sys.executable, "-m", "clickscape", "serve", "my-shop", "--port", str(port)]
    server = subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        first = server.stdout.readline()
        assert re.fullmatch(r"key to sign in with, shown only now: csk_\S+\n", first)
        assert server.stdout.readline() == f"serving my-shop on http://127.0.0.1:{port}; Ctrl-C ends it\n"
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            until(lambda: _answers(client))
            key = command("keys", "add", "my-shop", "--role", "serve", "--label", "website").strip()
            assert "serve  website" in command("keys", "list", "my-shop")
            headers = {"Authorization": f"Bearer {key}"}
            until(lambda: _choice(client, headers).status_code == 200)  # the worker has published the workspace
            choice = _choice(client, headers).json()
            assert client.get(choice["image"]).headers["content-type"] == "image/webp"
            event = {"event_id": "9f1c", "kind": "click", "decision_id": choice["decision_id"]}
            assert client.post("/v1/events", json={"events": [event]}, headers=headers).json()["attributed"] == 1
            assert "1 events in 1 new files" in command("pull", "my-shop")
            (file,) = shop.events_folder.glob("service-*.parquet")
            assert pq.read_table(file)["creative_id"].to_pylist() == [choice["creative_id"]]
            assert "1 pairs, 0 of them answered" in command("labels", "export", "my-shop", "--out", "labels.json")
            assert command("forget", "my-shop", "--user", "4711") == "removed from 1 events\n"
            assert pq.read_table(file)["user_key"].to_pylist() == [None]
            _compare(client, page, shop, {"Authorization": f"Bearer {_key(command, 'approve', 'read')}"})
            command("keys", "revoke", "my-shop", key.split("_")[1])
            until(lambda: _choice(client, headers).status_code == 401, seconds=30)
        family = children(server.pid)
        assert len(family) >= 2  # what answers, and what works
        server.send_signal(signal.SIGINT)
        server.wait(60)
        until(lambda: not any(os.path.exists(f"/proc/{one}") for one in family), seconds=30)
    finally:
        server.kill()
        server.wait()
        assert server.stdout is not None
        server.stdout.close()


def _key(command: Callable[..., str], *roles: str) -> str:
    return command("keys", "add", "my-shop", *(part for role in roles for part in ("--role", role))).strip()


def _compare(client: httpx.Client, page: str, shop: Workspace, headers: dict[str, str]) -> None:
    """Start the experiment of the page on the shop's two ads, and ship it; the workspace comes to know of both."""
    found = re.search(r"\nPOST /v1/experiments\n(\{.*?\})\n```", page, re.DOTALL)
    assert found
    body = json.loads(found.group(1))
    for variant, one in zip(body["variants"], shop.creatives(), strict=True):
        variant["creatives"] = {"mug-navy": one.creative_id}
    assert client.post("/v1/experiments", json=body, headers=headers).status_code == 201
    file = shop.path / "experiments" / "autumn" / "experiment.json"
    until(file.is_file)
    assert client.get("/v1/experiments/autumn", headers=headers).json()["status"] == "running"
    shipped = client.post("/v1/experiments/autumn/ship", json={"variant": "new"}, headers=headers)
    assert shipped.json()["shipped"] == "new"
    until(lambda: json.loads(file.read_text())["end"] is not None)


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def _choice(client: httpx.Client, headers: dict[str, str]) -> httpx.Response:
    asked = {"product_id": "mug-navy", "placement": "feed", "user_key": "4711"}
    return client.get("/v1/choose", params=asked, headers=headers)
