"""What docs/howto/feeds.md says, run as it stands; its tables name what the code has."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from clickscape.catalog.download import Limits
from clickscape.catalog.formats import FORMATS
from clickscape.catalog.formats.merchant import AVAILABILITIES
from clickscape.cli import main

TEXT = (Path(__file__).parents[2] / "docs" / "howto" / "feeds.md").read_text(encoding="utf-8")
GOOGLE = """<rss xmlns:g="http://base.google.com/ns/1.0"><channel><item><g:id>A</g:id><title>Ball</title>
<g:image_link>ball.png</g:image_link><g:price>5 EUR</g:price></item></channel></rss>"""
FEEDS = {
    "google.xml": GOOGLE,
    "shopify.csv": "Handle,Title,Variant Price,Image Src\nball,Ball,5,ball.png\n",
    "meta.csv": "id,title,image[0].url,fb_product_category\nA,Ball,ball.png,Toys > Balls\nB,,ball.png,\n",
    "catalog.jsonl": '{"id": "A", "title": "Ball", "image": "ball.png", "category": "Toys"}\n',
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the feeds that the page speaks of."""
    image = Image.new("RGBA", (64, 64))
    ImageDraw.Draw(image).ellipse((8, 8, 56, 56), fill="red")
    image.save(tmp_path / "ball.png")
    for name, text in FEEDS.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.slow
def test_the_commands_work_in_their_order(folder: Path) -> None:
    (block,) = re.findall(r"^```\n(.*?)^```", TEXT, flags=re.M | re.S)
    commands = [shlex.split(line)[1:] for line in block.splitlines()]
    assert [command[2] for command in commands[1:]] == list(FEEDS)
    for command in commands:
        out = io.StringIO()
        with contextlib.chdir(folder), contextlib.redirect_stdout(out), pytest.raises(SystemExit) as stop:
            main(command)
        assert not stop.value.code, f"clickscape {' '.join(command)}"
        if command[0] == "ingest":
            assert "1 products" in out.getvalue()
        if "--skip-bad-rows" in command:
            assert "left out, line 3: product 'B' has no title" in out.getvalue()


def test_the_tables_name_what_the_code_has() -> None:
    named = {
        name for first in re.findall(r"^\| (`[^|]*`) \|", TEXT, flags=re.M) for name in re.findall(r"`(.+?)`", first)
    }
    assert set(FORMATS) <= named
    assert all(f"`{availability}`" in TEXT for availability in AVAILABILITIES)
    limits = Limits()
    for said in (
        f"| redirects | {limits.redirects} |",
        f"{limits.bytes / 1e6:g} MB, also after decompression; {limits.pixels / 1e6:g} million pixels",
        f"{limits.seconds:g} s a link from look-up to last byte, after which it is not tried again",
        f"{limits.idle_seconds:g} s without a byte",
        f"after {limits.host_failures} links in a row",
        f"{limits.attempts} with doubling waits from {limits.back_off:g} s",
        f"`Retry-After` up to {limits.retry_after:g} s",
        f"{limits.threads} downloads, {limits.per_host} from one host",
    ):
        assert said in TEXT
