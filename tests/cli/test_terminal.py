"""What the command line prints reaches every terminal: one that lacks a letter gets its escape, never a traceback."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.factory import write_feed

from clickscape.types import Creative, Product
from clickscape.vlm.shipped import TINY_FOLDER
from clickscape.workspace import COUNTS, Workspace

POOR = {
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "C": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
}
WORDS = "抹茶 Čaj, 5 € → ≥"
NAME = "čaj-抹茶"


def terminal(name: str) -> dict[str, str]:
    """The environment of a terminal that knows few letters."""
    return {**{k: v for k, v in os.environ.items() if k not in ("PYTHONIOENCODING", "LC_ALL")}, **POOR[name]}


def run(*arguments: str, cwd: Path, terminal: dict[str, str]) -> str:
    """Run a command that has to work, and return the bytes that it printed as ASCII."""
    command = [sys.executable, "-m", "clickscape", *arguments]
    done = subprocess.run(command, cwd=cwd, env=terminal, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    return done.stdout.decode("cp1252")


@pytest.fixture
def shop(tmp_path: Path) -> Workspace:
    """A workspace with one product, two creatives and their counts, all of them named in letters of three scripts."""
    shop = Workspace.create(tmp_path / "shop")
    pixels = np.zeros((96, 96, 4), np.uint8)
    pixels[20:76, 20:76] = (200, 30, 30, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "feed.csv").write_text(f'id,title,image\n{NAME},"{WORDS}",a.png\n,"{WORDS}",a.png\n', encoding="utf-8")
    shop.write_products([Product(NAME, WORDS, image=str(tmp_path / "a.png"))])
    names = [f"{NAME}-{number}" for number in (1, 2)]
    drawn = {"image": "a.webp", "description": WORDS, "scene": {}, "renderer": "studio", "model_id": "tiny", "seed": 0}
    shop.write_creatives([Creative(name, NAME, **drawn) for name in names])
    counts = {"creative_id": names, "product_id": [NAME] * 2, "position": [1, 1]}
    rows = {**counts, "impressions": [2_000, 2_000], "clicks": [100, 60], "allocation": [None, None]}
    pq.write_table(pa.table(rows, schema=COUNTS.remove(COUNTS.get_field_index("audience"))), shop.counts_path)
    return shop


@pytest.mark.slow
@pytest.mark.parametrize("name", POOR)
def test_a_poor_terminal_gets_escapes(shop: Workspace, name: str) -> None:
    assert "\\u62b9\\u8336" in run("review", "shop", cwd=shop.path.parent, terminal=terminal(name))


@pytest.mark.slow
def test_the_work_is_done_on_a_terminal_that_knows_ascii_alone(shop: Workspace) -> None:
    folder, poor = shop.path.parent, terminal("ascii")
    run("clicks", "shop", "--explain", cwd=folder, terminal=poor)
    shown = run("clicks", "shop", "--explain", "--json", cwd=folder, terminal=poor)
    assert NAME in json.dumps(json.loads(shown), ensure_ascii=False)
    shown = run("ingest", "shop", "feed.csv", "--skip-bad-rows", "--workers", "1", cwd=folder, terminal=poor)
    assert "1 products" in shown


@pytest.mark.slow
def test_what_transformers_says_of_odd_settings_of_a_checkpoint_is_not_printed(tmp_path: Path) -> None:
    write_feed(tmp_path, side=96, product_ids=("running_shoe-original",))
    writer = shutil.copytree(TINY_FOLDER, tmp_path / "writer")
    path = writer / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "clean_up_tokenization_spaces": True}))
    command = [sys.executable, "-m", "clickscape", "generate", "--catalog", "catalog.jsonl", "--model", "writer"]
    asked = [*command, "--size", "64", "--keep", "1"]
    done = subprocess.run(asked, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(re.match(r"[\w-]+: \d+ of \d+", line) for line in done.stderr.splitlines()), done.stderr
