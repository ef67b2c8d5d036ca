"""Draws docs/pictures/page-*.webp: the service's four pages at 1280 and 390 px, with real ads and simulated users.

python scripts/build_page_pictures.py [WORKSPACE]     # without one, `clickscape demo --scale small` makes it first

The workspace needs products and a reward model; it is copied, and served on 127.0.0.1 until the pictures are drawn.
"""

from __future__ import annotations

import io
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from clickscape.catalog import sample

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
SIZES = {1280: (860, 1), 390: (844, 2)}  # width → height, pixels of the screen for one of the page
PHOTO, TITLE, NEW = "teapot-original", "Enamel teapot, 800 ml", "teapot-800"
SERVED, WAITING = "perfume-original", "honey_pot-original"
CTR = (0.17, 0.11, 0.07, 0.06)
USERS = 1_200


def main() -> None:
    """Serve a shop, let people and simulated users at it, and take the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        shop = Path(folder) / "my-shop"
        if sys.argv[1:]:
            shutil.copytree(sys.argv[1], shop, ignore=shutil.ignore_patterns("service", ".lock"))
        else:
            subprocess.run([sys.executable, "-m", "clickscape", "demo", "--scale", "small", "--out", shop], check=True)
        (shop / "clickscape.toml").write_text("[generate]\nsize = 512\n[serve]\nholdback = 0.2\nrefresh_seconds = 1\n")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        serve = [sys.executable, "-m", "clickscape", "serve", str(shop), "--port", str(port)]
        server = subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert server.stdout is not None
        try:
            key = server.stdout.readline().split()[-1]
            headers = {"Authorization": f"Bearer {key}"}
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60) as client:
                product = fill(client)
                take(f"http://127.0.0.1:{port}", key, product)
        finally:
            server.terminate()
            server.wait(60)


def fill(client: httpx.Client) -> str:
    """Add a product by its photo, make ads of three, decide, and let users see and click; return the new id."""
    until(lambda: answers(client))
    cutout = Image.fromarray(sample.cutout(PHOTO, 420))
    photo = Image.new("RGB", (640, 560), (238, 236, 231))
    photo.paste(cutout, ((640 - cutout.width) // 2, (560 - cutout.height) // 2), cutout)
    data = io.BytesIO()
    photo.save(data, "PNG")
    files, sent = (
        {"photo": ("photo.png", data.getvalue())},
        {"title": TITLE, "product_id": NEW, "category": "Home > Tea"},
    )
    done(client, client.post("/v1/products", data=sent, files=files))
    for name in (NEW, SERVED, WAITING):
        until(lambda name=name: any(one["product_id"] == name for one in client.get("/v1/products?limit=200").json()))
        done(client, client.post(f"/v1/products/{name}/creatives", json={"keep": 4}))
    decide(client, WAITING, "approve", "reject")
    decide(client, NEW, "approve")
    decide(client, SERVED, "approve", "approve", "approve", "approve")
    rng, waiting = random.Random(0), []
    clicked = {one["creative_id"]: ctr for one, ctr in zip(creatives(client, SERVED), CTR, strict=True)}
    for user in range(USERS):
        asked = {"product_id": SERVED, "placement": "feed", "user_key": f"user-{user}"}
        choice = client.get("/v1/choose", params=asked).json()
        kinds = ["impression"] + ["click"] * (rng.random() < clicked[choice["creative_id"]])
        decision = choice["decision_id"]
        waiting += [{"event_id": f"{kind}-{user}", "kind": kind, "decision_id": decision} for kind in kinds]
        if len(waiting) > 400 or user == USERS - 1:
            client.post("/v1/events", json={"events": waiting}).raise_for_status()
            waiting = []
    return NEW


def decide(client: httpx.Client, product: str, *decisions: str) -> None:
    """Decide about the first ads of a product."""
    for one, decision in zip(creatives(client, product), decisions, strict=False):
        given = {"decision": decision, "reason": "scene does not fit" if decision == "reject" else ""}
        client.post(f"/v1/creatives/{one['creative_id']}/review", json=given).raise_for_status()


def creatives(client: httpx.Client, product: str) -> list[dict[str, Any]]:
    """Ads of a product in the order of their ids."""
    return sorted(client.get(f"/v1/products/{product}/creatives").json(), key=lambda one: one["creative_id"])


def take(address: str, key: str, product: str) -> None:
    """Sign in, and take each page at each width, and one in the dark."""
    pages = {"create": f"create?product={product}", "review": f"review?product={WAITING}",
             "live": f"live?product={SERVED}", "catalog": "catalog?search=pot"}  # fmt: skip
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for width, (height, scale) in SIZES.items():
            page = browser.new_page(viewport={"width": width, "height": height}, device_scale_factor=scale)
            page.set_default_timeout(600_000)
            page.goto(f"{address}/catalog")
            page.fill("input[name=key]", key)
            page.keyboard.press("Enter")
            page.get_by_role("heading", name="Catalog").wait_for()
            for name, path in pages.items():
                page.goto(f"{address}/{path}")
                if name == "live":
                    page.locator(".big strong").wait_for()
                if name == "review":
                    page.keyboard.press("h")
                    page.locator("img[data-map]").first.wait_for()
                    page.mouse.move(0, 0)
                save(page, PICTURES / f"page-{name}-{width}.webp")
            if width == 1280:
                page.emulate_media(color_scheme="dark")
                page.goto(f"{address}/{pages['live']}")
                save(page, PICTURES / "page-live-dark.webp")
            page.close()
        browser.close()


def save(page: Page, path: Path) -> None:
    """Save what is seen, once all pictures are there."""
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(700)
    page.evaluate("document.activeElement?.blur?.(); document.getElementById('said').textContent = ''")
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(path, quality=74, method=6)
    print(f"{path.name}  {path.stat().st_size:,} bytes")


def answers(client: httpx.Client) -> bool:
    """Whether the service is ready."""
    try:
        return client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def done(client: httpx.Client, answer: httpx.Response) -> None:
    """Wait until a job is done."""
    job_id = answer.raise_for_status().json()["job_id"]
    until(lambda: client.get(f"/v1/jobs/{job_id}").json()["status"] in ("done", "failed"))
    found = client.get(f"/v1/jobs/{job_id}").json()
    if found["status"] == "failed":
        raise SystemExit(f"{found['kind']}: {found['message']}")


def until(ready: Any, *, seconds: float = 900.0) -> None:
    """Wait for something."""
    end = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > end:
            raise SystemExit("not ready in time")
        time.sleep(0.3)


if __name__ == "__main__":
    main()
