"""The whole circle once: ads that users click by a CTR that is known, a service killed twice, a writer taught by it.

Ads of the sample catalog are served by `clickscape serve`; simulated users choose, look and click by the true CTRs of
the frozen world *harmony*, five times as large, so that 50,000 decisions suffice. The server and its worker are killed
(−9) at a third and at two thirds. Then: was every acknowledged event counted once, does the reported lift of choosing
over the held-back users hold the true one, does the page *Live* show it, and do `clicks`, `reward` and `optimize` run
on what the service pulled? Prints Markdown, appends a JSON row to results/closed_loop.jsonl, and writes into a page
between its markers. tests/service/test_closed_loop.py goes round the same circle with fewer products.

    python benchmarks/closed_loop.py --page docs/experiments/service.md --screenshot live.png
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pyarrow.parquet as pq

from _results import Row, append_row, write_part
from _server import free_port
from clickscape.catalog import sample
from clickscape.config import SimulateConfig
from clickscape.experiment.reading import ExperimentReading
from clickscape.service import read_events
from clickscape.service.keys import create_key
from clickscape.service.page import words
from clickscape.service.run import open_service
from clickscape.stages import truth
from clickscape.stages.ingest import ingest
from clickscape.stages.progress import run
from clickscape.stages.simulate import simulate
from clickscape.workspace import Workspace

OBJECTS = ("running_shoe", "coffee_mug", "soccer_ball", "lipstick", "doughnut", "camera")
COLORS = ("original", "crimson", "navy")
HOLDBACK = 0.2
TIMES = 5.0  # the world's CTRs
SETTINGS = f"""
[serve]
refresh_seconds = 0.5
holdback = {HOLDBACK}
requests_per_second = 1000000
[reward]
epochs = 2
[optimize]
rounds = 1
products_per_round = 8
candidates = 3
epochs = 1
batch_size = 4
max_new_tokens = 32
pairs_per_product = 1
"""


def main() -> None:
    """Serve, kill, count, learn; print, keep the row, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decisions", type=int, default=50_000)
    parser.add_argument("--users", type=int, default=8_000)
    parser.add_argument("--creatives", type=int, default=5, help="of each of 18 products")
    parser.add_argument("--batch", type=int, default=100, help="events of a request")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--screenshot", type=Path, help="PNG of the page Live at the end")
    parser.add_argument("--page", type=Path, help="Markdown page with the markers")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        shop, ctrs = make_shop(Path(folder), creatives=asked.creatives, seed=asked.seed)
        row: Row = {"decisions": asked.decisions, "users": asked.users, "seed": asked.seed}
        row |= serve_users(
            shop, ctrs, decisions=asked.decisions, users=asked.users, batch=asked.batch, seed=asked.seed,
            screenshot=asked.screenshot,
        )  # fmt: skip
        row |= {"seconds": {name: learn(shop, name) for name in ("pull", "clicks", "reward", "optimize")}}
        row |= counted(shop, row.pop("sent"))
        row["changed_sides"] = sum(len(groups) > 1 for groups in row.pop("sides").values())
    text = table(row)
    print(text)
    append_row(row, by="closed_loop")
    if asked.page:
        write_part(asked.page, text, by="closed_loop")


def make_shop(
    folder: Path, *, creatives: int, seed: int, objects: Sequence[str] = OBJECTS
) -> tuple[Workspace, dict[str, float]]:
    """A workspace whose simulated ads are its own approved ones, without their log, and the true CTR of each."""
    rows = [
        {"id": one.product_id, "title": one.title, "category": list(one.category), "image": one.image,
         "attributes": {**one.attributes, "item_group_id": one.product_id.rpartition("-")[0]}}
        for one in sample.write(folder, 160, product_ids=[f"{name}-{color}" for name in objects for color in COLORS])
    ]  # fmt: skip
    feed = folder / "catalog.jsonl"
    feed.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    shop = Workspace.create(folder / "my-shop")
    shop.settings_path.write_text(SETTINGS, encoding="utf-8")
    run(ingest(shop, feed))
    run(simulate(shop, SimulateConfig(creatives_per_product=creatives, size=256, seed=seed)))
    known = truth.read(shop)
    assert known is not None
    made = shop.creatives()
    shop.write_creatives([replace(one, model_id="tiny", status="approved") for one in made])
    shutil.rmtree(shop.events_folder, ignore_errors=True)
    shop.counts_path.unlink(missing_ok=True)
    return shop, {name: min(TIMES * math.exp(value), 0.9) for name, value in known.items()}


class Service:
    """`clickscape serve` with its worker, in a session of its own, so that all of it can be killed."""

    def __init__(self, shop: Workspace) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self._command = [sys.executable, "-m", "clickscape", "serve", str(shop.path), "--port", str(self.port)]
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)  # a third of httpx's CPU
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; whoever asks waits."""
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(self._command, start_new_session=True, stdout=quiet, stderr=quiet)

    def end(self, number: int = signal.SIGTERM) -> None:
        """Send a signal to all of it, and wait."""
        if self._process is not None:
            os.killpg(self._process.pid, number)
            self._process.wait()
            self._process = None
        self._connection.close()

    def ask(self, path: str, key: str, body: object = None) -> Any:
        """Ask until there is an answer, as a client that loses nothing does; with a body by POST. Return its JSON."""
        sent = None if body is None else json.dumps(body)
        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        end = time.monotonic() + 300
        while time.monotonic() < end:
            try:
                self._connection.request("GET" if sent is None else "POST", path, sent, headers)
                answer = self._connection.getresponse()
                text = answer.read()
                if answer.status == 200:
                    return json.loads(text)
            except (OSError, http.client.HTTPException):
                self._connection.close()
            time.sleep(0.1)
        raise SystemExit(f"no answer to {path}")


def serve_users(
    shop: Workspace, ctrs: dict[str, float], *, decisions: int, users: int, batch: int, seed: int,
    screenshot: Path | None = None,
) -> Row:  # fmt: skip
    """Send users to the service and kill it twice; what was sent, and each product's lift, reported and true.

    A tenth of the batches are sent again though they were acknowledged. sides: user → the groups that it was in.
    """
    _, engine, _, _ = open_service(shop.path)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        key = create_key(connection, roles=["admin"], label="closed loop", now=0)
    rng, service = random.Random(seed), Service(shop)
    products = [one.product_id for one in shop.products()]
    kills = {decisions // 3, 2 * decisions // 3}
    sent: Counter[tuple[str, str]] = Counter()
    sides: defaultdict[str, set[str]] = defaultdict(set)
    expected: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    waiting: list[dict[str, str]] = []
    service.start()
    service.ask("/v1/choose?" + urlencode({"product_id": products[-1], "user_key": "first"}), key)
    began = time.perf_counter()
    try:
        for turn in range(decisions):
            if turn in kills:
                service.end(signal.SIGKILL)
                service.start()
            product = rng.choice(products)
            user = f"user-{rng.randrange(users)}"
            choice = service.ask("/v1/choose?" + urlencode({"product_id": product, "user_key": user}), key)
            shown = choice["creative_id"]
            sides[user].add(choice["group"])
            expected[product, choice["group"]].append(ctrs[shown])
            for kind in ("impression", "click")[: 1 + (rng.random() < ctrs[shown])]:
                waiting.append({"event_id": f"{kind}-{turn}", "kind": kind, "decision_id": choice["decision_id"]})
                sent[shown, kind] += 1
            if len(waiting) >= batch or turn == decisions - 1:
                for _ in range(1 + (rng.random() < 0.1)):
                    receipt = service.ask("/v1/events", key, {"events": waiting})
                    assert receipt["attributed"] == len(waiting), receipt
                waiting = []
        took = time.perf_counter() - began
        with engine.connect() as connection:
            readings = {one: read_events.of_choosing(connection, one, holdback=HOLDBACK) for one in products}
        seen = shown_on_page(service, key, readings)
        if screenshot:
            picture_of(service, key, screenshot)
    finally:
        service.end(signal.SIGKILL)
        engine.dispose()
    found = {"per_second": round(decisions / took), "lifts": lifts(readings, expected), "on_page": seen}
    return {"sent": sent, "sides": sides, **found}


def shown_on_page(service: Service, key: str, readings: dict[str, ExperimentReading | None]) -> int:
    """Sign in and count the products whose lift and interval *Live* shows as they were read from the store."""
    held = {name: one.variant("bandit").latest.always_valid for name, one in readings.items() if one is not None}
    wanted = {
        name: f"<strong>{words.change(one.value, 1)}</strong> clicks per impression <span class=\"quiet\">"
              f"between {words.change(one.low, 1)} and {words.change(one.high, 1)} "
        for name, one in held.items() if one is not None
    }  # fmt: skip
    with httpx.Client(base_url=service.address, timeout=60, follow_redirects=True) as visitor:
        visitor.post("/sign-in", data={"key": key}).raise_for_status()
        until = time.monotonic() + 300
        left = set(wanted)
        while left and time.monotonic() < until:  # the worker reads, the page asks again
            left = {one for one in left if wanted[one] not in visitor.get("/live", params={"product": one}).text}
            time.sleep(0.5)
    return len(wanted) - len(left)


def lifts(
    readings: dict[str, ExperimentReading | None], expected: dict[tuple[str, str], list[float]]
) -> list[dict[str, float]]:
    """Return each product's reported lift of choosing with its always-valid interval, and the true one."""
    found = []
    for product, reading in readings.items():
        latest = reading.variant("bandit").latest.always_valid if reading else None
        if latest is None:
            continue
        bandit, even = (expected[product, group] for group in ("bandit", "holdback"))
        true = (sum(bandit) / len(bandit)) / (sum(even) / len(even)) - 1
        found.append({"true": true, "value": latest.value, "low": latest.low, "high": latest.high})
    return found


def picture_of(service: Service, key: str, path: Path) -> None:
    """Sign in to the page and take a picture of Live."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(120_000)
        page.goto(f"{service.address}/live")
        page.fill("input[name=key]", key)
        page.keyboard.press("Enter")
        page.wait_for_load_state("networkidle")
        time.sleep(20)  # the worker reads, the page asks again
        page.screenshot(path=path, full_page=True)
        browser.close()


def learn(shop: Workspace, command: str) -> int:
    """Run a command on the workspace and return how many seconds it took; SystemExit with its words if it fails."""
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "clickscape", command, str(shop.path)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"clickscape {command}: {done.stderr}")
    print(done.stdout, flush=True)
    return round(time.perf_counter() - began)


def counted(shop: Workspace, sent: Counter[tuple[str, str]]) -> Row:
    """Compare what was sent with the pulled log and with what `clicks` counted."""
    log = pq.read_table(shop.events_folder)
    pulled = Counter(zip(log["creative_id"].to_pylist(), log["kind"].to_pylist(), strict=True))
    estimates = pq.read_table(shop.clicks / "estimates.parquet").to_pydict()
    learned = dict(zip(estimates["creative_id"], estimates["impressions"], strict=True))
    shown = {name: count for (name, kind), count in sent.items() if kind == "impression"}
    return {"events": sent.total(), "pulled": pulled.total(), "equal": pulled == sent, "counted": learned == shown}


def table(row: Row) -> str:
    """Markdown of the row."""
    held = sum(one["low"] <= one["true"] <= one["high"] for one in row["lifts"])
    clear = sum(one["low"] > 0 for one in row["lifts"])
    true = sorted(one["true"] for one in row["lifts"])
    took = ", ".join(f"{one} s" for one in row["seconds"].values())
    return "\n".join(
        [
            "| what | found |",
            "| --- | --- |",
            f"| decisions, users | {row['decisions']:,}, {row['users']:,} |",
            f"| events acknowledged, pulled | {row['events']:,}, {row['pulled']:,} |",
            f"| every one counted once, for the creative that was shown | {'yes' if row['equal'] else 'no'} |",
            f"| users who changed sides | {row['changed_sides']} |",
            f"| `clicks` counts the same impressions | {'yes' if row['counted'] else 'no'} |",
            f"| products whose true lift of choosing is in the reported interval | {held} of {len(row['lifts'])} |",
            f"| of them with a lift that is clear of 0 | {clear} |",
            f"| products whose lift and interval the page *Live* shows | {row['on_page']} of {len(row['lifts'])} |",
            f"| true lifts, least, median, largest | {true[0]:+.1%}, {true[len(true) // 2]:+.1%}, {true[-1]:+.1%} |",
            f"| `pull`, `clicks`, `reward`, `optimize` on that log | {took} |",
        ]
    )


if __name__ == "__main__":
    main()
