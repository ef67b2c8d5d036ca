"""The whole circle once: ads that users click by a CTR that is known, a service killed twice, a writer taught by it.

Ads of the sample catalog are served by `clickscape serve`; simulated users choose, look and click by the true CTRs of
the frozen world *harmony*, five times as large, so that 50,000 decisions suffice. The server and its worker are killed
(−9) at a third and at two thirds. Then: was every acknowledged event counted once, does the reported lift of choosing
over the held-back users hold the true one, and do `clicks`, `reward` and `optimize` run on what the service pulled?
Prints Markdown, appends a JSON row to results/closed_loop.jsonl, and writes into a page between its markers.

    python benchmarks/closed_loop.py --page docs/experiments/service.md --screenshot live.png
"""

from __future__ import annotations

import argparse
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
from dataclasses import replace
from pathlib import Path

import httpx
import pyarrow.parquet as pq

from _results import Row, append_row, write_part
from _server import free_port
from clickscape.catalog import sample
from clickscape.config import SimulateConfig
from clickscape.experiment.reading import ExperimentReading
from clickscape.service import read_events
from clickscape.service.keys import create_key
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
        row |= serve_users(shop, ctrs, asked)
        row |= {"seconds": {name: learn(shop, name) for name in ("pull", "clicks", "reward", "optimize")}}
        row |= counted(shop, row.pop("sent"))
    text = table(row)
    print(text)
    append_row(row, by="closed_loop")
    if asked.page:
        write_part(asked.page, text, by="closed_loop")


def make_shop(folder: Path, *, creatives: int, seed: int) -> tuple[Workspace, dict[str, float]]:
    """A workspace whose simulated ads are its own approved ones, without their log, and the true CTR of each."""
    rows = [
        {"id": one.product_id, "title": one.title, "category": list(one.category), "image": one.image,
         "attributes": {**one.attributes, "item_group_id": one.product_id.rpartition("-")[0]}}
        for one in sample.write(folder, 160, product_ids=[f"{name}-{color}" for name in OBJECTS for color in COLORS])
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
        self.address = f"http://127.0.0.1:{free_port()}"
        port = self.address.rpartition(":")[2]
        self._command = [sys.executable, "-m", "clickscape", "serve", str(shop.path), "--port", port]
        self._client = httpx.Client(base_url=self.address, timeout=60)
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

    def ask(self, method: str, path: str, key: str, **more: object) -> httpx.Response:
        """Ask until there is an answer, as a client that loses nothing does."""
        end = time.monotonic() + 300
        while time.monotonic() < end:
            try:
                answer = self._client.request(method, path, headers={"Authorization": f"Bearer {key}"}, **more)  # type: ignore[arg-type]
                if answer.status_code == 200:
                    return answer
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise SystemExit(f"no answer to {method} {path}")


def serve_users(shop: Workspace, ctrs: dict[str, float], asked: argparse.Namespace) -> Row:
    """Send users to the service and kill it twice; what was sent, and each product's lift, reported and true."""
    _, engine, _, _ = open_service(shop.path)
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        key = create_key(connection, roles=["admin"], label="closed loop", now=0)
    rng, service = random.Random(asked.seed), Service(shop)
    products = [one.product_id for one in shop.products()]
    kills = {asked.decisions // 3, 2 * asked.decisions // 3}
    sent: Counter[tuple[str, str]] = Counter()
    expected: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    waiting: list[dict[str, str]] = []
    service.start()
    service.ask("GET", "/v1/choose", key, params={"product_id": products[-1], "user_key": "first"})
    began = time.perf_counter()
    try:
        for turn in range(asked.decisions):
            if turn in kills:
                service.end(signal.SIGKILL)
                service.start()
            product = rng.choice(products)
            user = f"user-{rng.randrange(asked.users)}"
            choice = service.ask("GET", "/v1/choose", key, params={"product_id": product, "user_key": user}).json()
            shown = choice["creative_id"]
            expected[product, choice["group"]].append(ctrs[shown])
            for kind in ("impression", "click")[: 1 + (rng.random() < ctrs[shown])]:
                waiting.append({"event_id": f"{kind}-{turn}", "kind": kind, "decision_id": choice["decision_id"]})
                sent[shown, kind] += 1
            if len(waiting) >= asked.batch or turn == asked.decisions - 1:
                service.ask("POST", "/v1/events", key, json={"events": waiting})
                waiting = []
        took = time.perf_counter() - began
        with engine.connect() as connection:
            readings = {one: read_events.of_choosing(connection, one, holdback=HOLDBACK) for one in products}
        if asked.screenshot:
            picture_of(service, key, asked.screenshot)
    finally:
        service.end(signal.SIGKILL)
        engine.dispose()
    return {"sent": sent, "per_second": round(asked.decisions / took), "lifts": lifts(readings, expected)}


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
            f"| `clicks` counts the same impressions | {'yes' if row['counted'] else 'no'} |",
            f"| products whose true lift of choosing is in the reported interval | {held} of {len(row['lifts'])} |",
            f"| of them with a lift that is clear of 0 | {clear} |",
            f"| true lifts, least, median, largest | {true[0]:+.1%}, {true[len(true) // 2]:+.1%}, {true[-1]:+.1%} |",
            f"| `pull`, `clicks`, `reward`, `optimize` on that log | {took} |",
        ]
    )


if __name__ == "__main__":
    main()
