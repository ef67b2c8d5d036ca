"""What docs/howto/paper.md says, run as it stands on tiny checkpoints."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from clickscape.cli import main
from clickscape.types import Product

TEXT = (Path(__file__).parents[3] / "docs" / "howto" / "paper.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", TEXT, flags=re.M | re.S)
    return [text for called, text in fenced if called == language]


def test_the_commands_and_the_python_of_the_page_work(original, reward_original, tmp_path: Path) -> None:
    prompt = original(reward=False)
    downloaded = tmp_path / "shop" / "downloaded"
    for source, name in (
        (prompt.folder, "prompt"),
        (reward_original.folder, "reward"),
        (reward_original.tower, "clip"),
    ):
        shutil.copytree(source, downloaded / name)
    shop = tmp_path / "shop"
    for number, file in enumerate(sorted((downloaded / "prompt").glob("*.safetensors"))):  # as it is published
        torch.save(load_file(file), file.with_name(f"pytorch_model-{number}.bin"))
        file.unlink()
    (shop / "pictures").mkdir()
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(2)]
    for row in json.loads(blocks("json")[0]):
        Image.fromarray(np.concatenate(pictures, axis=1)).save(shop / "pictures" / row["image"])
    (shop / "pairs.json").write_text(blocks("json")[0], encoding="utf-8")
    commands = [line for block in blocks("") for line in block.splitlines() if line.startswith("clickscape ")]
    assert len(commands) == 3
    pickles_to_safetensors, use = blocks("python")
    told = io.StringIO()
    with contextlib.chdir(shop), contextlib.redirect_stdout(told), contextlib.redirect_stderr(io.StringIO()):
        exec(compile(pickles_to_safetensors, "paper.md", "exec"), {})
        for command in commands:
            with contextlib.suppress(SystemExit):
                main(shlex.split(command)[1:])
        names = {"product": Product("A", "Red Mug"), "images": pictures}
        exec(compile(use, "paper.md", "exec"), names)
    assert "caig prompt model" in told.getvalue()
    assert "caig reward model" in told.getvalue()
    assert "1 pairs of 1 products; the list says left for 100.0%" in told.getvalue()
    assert sorted(place.index for place in names["ranking"]) == [0, 1]
