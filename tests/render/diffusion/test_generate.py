"""`clickscape generate --renderer diffusion`: settings from clickscape.toml, nothing repeated, nothing half-written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from tests.factory import clickscape

from .conftest import disc


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    Image.fromarray(disc((200, 30, 30))).save(tmp_path / "a.png")
    (tmp_path / "good.csv").write_text("id,title,category,image\nA,Red Ball,Toys,a.png\n")
    assert clickscape("new", "shop", cwd=tmp_path)[0] == 0
    assert clickscape("ingest", "shop", "good.csv", cwd=tmp_path)[0] == 0
    return tmp_path


def settings(shop: Path, pipelines: Path, *, steps: int) -> None:
    lines = {
        "model": str(pipelines / "sd15"),
        "controlnet": str(pipelines / "sd15-canny"),
        "variant": "",
        "device": "cpu",
        "side": 32,
        "steps": steps,
    }
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in lines.items())
    generate = "[generate]\nper_product = 2\nkeep = 2\ntries = 64\n"  # random weights: many a picture has no ground
    (shop / "shop" / "clickscape.toml").write_text(f"{generate}[diffusion]\n{text}")


@pytest.mark.slow
def test_images_are_drawn_as_the_settings_say_and_never_twice(shop: Path, pipelines: Path) -> None:
    settings(shop, pipelines, steps=2)
    command = ("generate", "shop", "--renderer", "diffusion", "--size", "72", "--out", "ads")
    code, _, said = clickscape(*command, cwd=shop)
    assert code == 0, said
    assert all(line.startswith("generate: ") for line in said.splitlines()), "the libraries keep quiet"
    rows = [json.loads(line) for line in (shop / "ads" / "creatives.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    for row in rows:
        assert (row["renderer"], row["digital_source"]) == ("diffusion", "trainedAlgorithmicMedia")
        assert row["renderer_settings"]["steps"] == 2
        assert "batch_size" not in row["renderer_settings"]
        with Image.open(shop / "ads" / row["image"]) as image:
            assert image.size == (72, 72)
            assert list(image.get_flattened_data()).count((200, 30, 30)) > 500
    before = {path: path.stat().st_mtime_ns for path in (shop / "ads").glob("*.png")}
    assert clickscape(*command, cwd=shop)[0] == 0
    assert before == {path: path.stat().st_mtime_ns for path in (shop / "ads").glob("*.png")}
    settings(shop, pipelines, steps=3)
    assert clickscape(*command, cwd=shop)[0] == 0
    after = {path: path.stat().st_mtime_ns for path in (shop / "ads").glob("*.png")}
    assert after.items() > before.items(), "another recipe gives other creatives beside the old ones"
    assert len(after) == 2 * len(before)


def test_a_model_that_is_not_here_is_one_line_and_leaves_nothing(shop: Path, pipelines: Path) -> None:
    (shop / "shop" / "clickscape.toml").write_text(
        '[diffusion]\nmodel = "nowhere"\n' + f'controlnet = "{pipelines}/sd15-canny"\n'
    )
    code, _, said = clickscape("generate", "shop", "--renderer", "diffusion", "--out", "ads", cwd=shop)
    assert code == 2
    assert said == "clickscape: nowhere: no such folder. Name a folder, a .safetensors file or a hub id.\n"
    assert not (shop / "ads").exists()
