"""The pages in a real Chromium, with a real server, worker and reward model: a photo becomes an approved ad.

By mouse and by key; axe-core finds nothing on any page, light and dark.
"""

from __future__ import annotations

import base64
import io
import json
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
from PIL import Image
from tests.service.conftest import give_reward

from clickscape.catalog.feed_report import FeedReportBuilder, FeedWarning
from clickscape.reward.explain.scale import Scale
from clickscape.workspace import Workspace

if TYPE_CHECKING:
    from playwright.sync_api import Download, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt install chromium"),
]
EVIL = "Mug <img src=x onerror=document.title='hacked'>"
DROP = """([selector, name, data]) => {
  const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
  const moved = new DataTransfer();
  moved.items.add(new File([bytes], name, { type: "image/png" }));
  document.querySelector(selector).dispatchEvent(new DragEvent("drop", { dataTransfer: moved, bubbles: true }));
}"""


@pytest.fixture
def served(tmp_path: Path, small_reward: Path) -> Iterator[tuple[str, str]]:
    """The address of `clickscape serve` on a shop with a reward model and no product, and the key that it printed."""
    shop = Workspace.create(tmp_path / "my-shop")
    shop.settings_path.write_text("[generate]\nsize = 128\n")
    give_reward(shop, small_reward, Scale(slope=0.02, error=0.002, misfit=0.05, products=12))
    report = FeedReportBuilder()
    report.add_product(FeedWarning("no price", "line 14", EVIL))
    report.add_skipped("line 15", f"product {EVIL} has no title.")
    (shop.path / "feed-report.json").write_text(json.dumps({"feed": "feed.csv", **asdict(report.build())}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "clickscape", "serve", str(shop.path), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    try:
        key = server.stdout.readline().split()[-1]
        address, end = f"http://127.0.0.1:{port}", time.monotonic() + 400
        while True:
            try:
                if httpx.get(f"{address}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            assert time.monotonic() < end
            time.sleep(0.2)
        yield address, key
    finally:
        server.terminate()
        server.wait(60)
        server.stdout.close()


def photo() -> bytes:
    """A mug, and beside it a speck that does not belong to it."""
    pixels = np.zeros((160, 160, 4), np.uint8)
    pixels[30:140, 40:120] = (180, 40, 40, 255)
    pixels[60:80, 130:150] = (30, 60, 160, 255)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def test_a_photo_becomes_an_approved_ad_on_every_page(served: tuple[str, str]) -> None:
    from playwright.sync_api import sync_playwright

    address, key = served
    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.set_default_timeout(200_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        page.goto(f"{address}/create")
        problems += faults(page, "sign in")
        page.fill("input[name=key]", key)
        page.keyboard.press("Enter")
        product = create(page, address)
        review(page)
        labels(page)
        page.goto(f"{address}/create?product={product}")
        placements(page)
        headers = {"Authorization": f"Bearer {key}"}
        asked = {"product_id": product, "user_key": "ann"}
        choice = httpx.get(f"{address}/v1/choose", params=asked, headers=headers).json()
        event = {"event_id": "1", "kind": "impression", "decision_id": choice["decision_id"]}
        httpx.post(f"{address}/v1/events", json={"events": [event]}, headers=headers).raise_for_status()
        everywhere = ("create", f"create?product={product}", f"review?product={product}", f"live?product={product}")
        for name in (*everywhere, "catalog", "catalog?show=feed"):
            for width, scheme in ((390, "dark"), (1280, "light")):
                page.set_viewport_size({"width": width, "height": 800})
                page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
                page.goto(f"{address}/{name}")
                page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true })")
                assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
                assert "hacked" not in page.title()
                problems += faults(page, f"{name} {scheme}")
        browser.close()
    assert not problems


def faults(page: Page, where: str) -> list[str]:
    """What axe-core finds on a page, a line each."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [f"{where}: {one['id']} {node['html'][:120]}" for one in found for node in one["nodes"]]


def create(page: Page, address: str) -> str:
    """Drop a photo, correct its cut-out by two clicks, make ads and edit one; return the product's id."""
    from playwright.sync_api import expect

    page.get_by_role("heading", name="Create ads from a photo").wait_for()
    page.evaluate(DROP, ["[data-drop]", "<svg onload=alert(1)>.png", base64.b64encode(photo()).decode()])
    expect(page.get_by_alt_text("The photo that you chose")).to_be_visible()
    page.fill("input[name=title]", EVIL)
    page.get_by_role("button", name="Cut it out").click()
    page.locator("summary", has_text="Correct it").click()
    picture = page.locator("[data-points] img")
    box = picture.bounding_box()
    assert box is not None
    product = page.locator("input[name=product]").first.input_value()

    def alpha(x: int, y: int) -> int:
        got = page.request.get(f"{address}/page/picture", params={"cutout": product}).body()
        with Image.open(io.BytesIO(got)) as cutout:
            return int(np.asarray(cutout)[..., 3][min(y, cutout.height - 1), min(x, cutout.width - 1)])

    wide = Image.open(io.BytesIO(page.request.get(f"{address}/page/picture", params={"cutout": product}).body())).width
    picture.click(position={"x": 80 / 160 * box["width"], "y": 90 / 160 * box["height"]})
    page.get_by_label("does not").check()
    picture.click(position={"x": 140 / 160 * box["width"], "y": 70 / 160 * box["height"]})
    expect(page.get_by_text("1 to keep, 1 to drop")).to_be_visible()
    page.get_by_role("button", name="Cut out again").click()
    expect(page.locator("#job")).to_be_visible()
    expect(page.locator("#job")).to_have_count(0, timeout=200_000)
    cut = Image.open(io.BytesIO(page.request.get(f"{address}/page/picture", params={"cutout": product}).body()))
    assert cut.width < wide, "the speck is gone"
    assert alpha(cut.width // 2, cut.height // 2) == 255

    page.get_by_role("button", name="Make four ads").click()
    expect(page.get_by_role("link", name="Review them")).to_be_visible(timeout=200_000)
    assert page.get_by_role("heading", level=1).inner_text() == "Mug"
    assert page.locator(".card").count() == 4
    assert page.locator(".card .lift", has_text="predicted").filter(has_text="95 %:").count() == 4
    page.locator(".card summary", has_text="Edit").first.click()
    page.locator(".card textarea").first.fill("pale marble podium, soft morning light")
    page.get_by_role("button", name="Draw it").first.click()
    expect(page.locator(".card")).to_have_count(5, timeout=200_000)
    expect(page.get_by_role("heading", name="pale marble podium, soft morning light")).to_be_visible()
    return product


def review(page: Page) -> None:
    """Look at a heat map, approve an ad and reject another with a reason, all by keys."""
    from playwright.sync_api import expect

    page.get_by_role("link", name="Review them").click()
    expect(page.locator("[data-card]").first).to_be_visible()
    page.keyboard.press("j")
    page.keyboard.press("h")
    heat = page.locator("[data-card]").first.locator("img[data-map]")
    expect(heat).to_be_visible(timeout=200_000)
    assert heat.evaluate("async (one) => { await one.decode(); return one.naturalWidth }") == 512
    expect(page.locator("[data-card]").first.get_by_text("not enough evidence", exact=False)).to_be_visible()
    page.keyboard.press("h")
    expect(heat).to_be_hidden()
    page.get_by_role("button", name="Heat map").first.click()
    expect(heat).to_be_visible()
    page.locator("[data-card]").first.focus()
    page.keyboard.press("a")
    expect(page.locator("[data-card] .tag.approved").first).to_be_visible(timeout=200_000)
    page.keyboard.press("j")
    page.keyboard.press("r")
    page.keyboard.type(EVIL)
    page.keyboard.press("Enter")
    expect(page.get_by_text(EVIL)).to_be_visible(timeout=200_000)  # as words, not as a picture


def labels(page: Page) -> None:
    """Take labels out for Label Studio, and the same file's answers in again."""
    from playwright.sync_api import expect

    page.locator("summary", has_text="Label Studio").click()
    page.get_by_role("button", name="Collect tasks").click()
    with page.expect_download() as taken:
        page.get_by_role("link", name="pairs").click(timeout=200_000)
    tasks = unpacked(taken.value)["labels.json"]
    answered = sum("annotations" in one for one in json.loads(tasks))
    assert answered == 1, "one ad approved, one rejected"
    page.set_input_files("#labels", {"name": f"{EVIL}.json", "mimeType": "application/json", "buffer": tasks})
    page.get_by_role("button", name="Read answers").click()
    expect(page.get_by_text("1 answers are kept.")).to_be_visible(timeout=200_000)
    page.set_input_files("#labels", {"name": "x.json", "mimeType": "application/json", "buffer": b'[{"data": {}}]'})
    page.get_by_role("button", name="Read answers").click()
    expect(page.get_by_text("Reading labels failed: the file: 0.data.left_id")).to_be_visible(timeout=200_000)


def placements(page: Page) -> None:
    """Take an approved ad in the sizes of its placements."""
    page.locator("summary", has_text="Download for placements").click()
    page.get_by_role("button", name="Draw these sizes").click()
    with page.expect_download() as taken:
        page.get_by_role("link", name="4 pictures").click(timeout=200_000)
    files = unpacked(taken.value)
    assert len(files) == 5
    assert len(json.loads(files["manifest.json"])["renditions"]) == 4


def unpacked(taken: Download) -> dict[str, bytes]:
    with zipfile.ZipFile(taken.path()) as packed:
        return {name: packed.read(name) for name in packed.namelist()}
