"""A library in Rust that panics over a file of somebody else is one line, as any fault is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.factory import clickscape

from clickscape.vlm.shipped import TINY_FOLDER


@pytest.mark.slow
def test_a_tokenizer_that_panics_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its pattern needs exponential time; the library gives up, and raises what is no Exception."""
    shutil.copytree(TINY_FOLDER, tmp_path / "model")
    file = tmp_path / "model" / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    split = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, content["pre_tokenizer"]]}
    file.write_text(json.dumps(content), encoding="utf-8")
    pixels = np.zeros((96, 96, 4), np.uint8)
    pixels[20:76, 20:76] = (200, 30, 30, 255)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (tmp_path / "my.csv").write_text(f"id,title,image\nA,{'a' * 50}!,a.png\n")
    done = clickscape("generate", "--catalog", "my.csv", "--model", "model", cwd=tmp_path)
    assert done.code == 2
    assert "Traceback" not in done.err + capfd.readouterr().err
    assert done.err.splitlines()[-1].startswith("clickscape: ")
    assert "retry-limit" in done.err.splitlines()[-1]
