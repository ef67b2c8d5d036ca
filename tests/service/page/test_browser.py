"""The pages in a real Chromium, with a real server and worker: a photo becomes an approved ad, by mouse and by key."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from clickscape.workspace import Workspace

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt install chromium"),
]
EVIL = "Mug <img src=x onerror=document.title='hacked'>"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """The address of `clickscape serve` on an empty shop, and the key that it printed."""
    shop = Workspace.create(tmp_path / "my-shop")
    shop.settings_path.write_text("[generate]\nsize = 128\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "clickscape", "serve", str(shop.path), "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None
    try:
        key = server.stdout.readline().split()[-1]
        address, end = f"http://127.0.0.1:{port}", time.monotonic() + 120
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


def test_a_photo_becomes_an_approved_ad_on_every_page(served: tuple[str, str], tmp_path: Path) -> None:
    from playwright.sync_api import expect, sync_playwright

    address, key = served
    pixels = np.zeros((160, 160, 4), np.uint8)
    pixels[30:140, 40:120] = (180, 40, 40, 255)
    Image.fromarray(pixels).save(tmp_path / "mug.png")
    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.set_default_timeout(120_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
        page.goto(f"{address}/create")
        page.fill("input[name=key]", key)
        page.keyboard.press("Enter")
        page.set_input_files("input[type=file]", str(tmp_path / "mug.png"))
        page.fill("input[name=title]", EVIL)
        page.get_by_role("button", name="Cut it out").click()
        page.get_by_role("button", name="Make four ads").click()
        expect(page.get_by_role("link", name="Review them")).to_be_visible(timeout=120_000)
        assert page.get_by_role("heading", level=1).inner_text() == "Mug"
        page.get_by_role("link", name="Review them").click()
        expect(page.locator("[data-card]").first).to_be_visible()
        page.keyboard.press("j")
        page.keyboard.press("a")
        expect(page.locator("[data-card] .tag.approved").first).to_be_visible(timeout=30_000)
        page.keyboard.press("j")
        page.keyboard.press("r")
        page.keyboard.type(EVIL)
        page.keyboard.press("Enter")
        expect(page.get_by_text(EVIL)).to_be_visible(timeout=30_000)  # as words, not as a picture
        for width in (390, 1280):
            page.set_viewport_size({"width": width, "height": 800})
            for name in ("create", "review", "live", "catalog"):
                page.goto(f"{address}/{name}")
                assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
                assert "hacked" not in page.title()
        browser.close()
    assert not problems
