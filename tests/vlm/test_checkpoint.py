"""A checkpoint folder of somebody else: its code is not run, and what it asks for is bounded before it is opened."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clickscape.errors import ModelError
from clickscape.preference import adapter
from clickscape.reward.encoders import open_backbone
from clickscape.vlm import model as models

OPENERS: dict[str, Callable[[Path], object]] = {"writer": models.load, "backbone": open_backbone}
AUTO = (
    "AutoConfig", "AutoModel", "AutoModelForImageTextToText", "AutoTokenizer", "AutoProcessor", "AutoImageProcessor",
    "AutoModelForCausalLM",
)  # fmt: skip
EVIL = """
from pathlib import Path
Path({marker!r}).write_text("run")
class Own:
    def __init__(self, *a, **k): pass
    @classmethod
    def from_pretrained(cls, *a, **k): return cls()
    @classmethod
    def register_for_auto_class(cls, *a, **k): pass
"""


@pytest.fixture
def checkpoint(small: models.VisionLanguageModel, tmp_path: Path) -> Path:
    """A good checkpoint to spoil."""
    models.save(small, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def edit(file: Path, **changed: Any) -> None:
    """Change a JSON file of a checkpoint; it is made where it is missing."""
    now = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(json.dumps({**now, **changed}), encoding="utf-8")


@pytest.mark.parametrize("opener", OPENERS)
@pytest.mark.parametrize("known", [True, False], ids=["known-type", "own-type"])
def test_a_checkpoints_own_code_is_never_run_nor_asked_about(
    checkpoint: Path, opener: str, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = checkpoint.parent / "marker"
    (checkpoint / "evil.py").write_text(EVIL.format(marker=str(marker)))
    own = {"auto_map": dict.fromkeys(AUTO, "evil.Own") | {"AutoTokenizer": ["evil.Own", "evil.Own"]}}
    for name in ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json"):
        edit(checkpoint / name, **own)
    if not known:
        edit(checkpoint / "config.json", model_type="own", architectures=["Own"])
        edit(checkpoint / "tokenizer_config.json", tokenizer_class="Own")
    said = io.StringIO("y\n" * 20)
    monkeypatch.setattr(sys, "stdin", said)
    if known:
        OPENERS[opener](checkpoint)
    else:
        with pytest.raises(ModelError) as caught:
            OPENERS[opener](checkpoint)
        assert "\n" not in str(caught.value)
    assert not marker.exists()
    assert said.tell() == 0, "somebody was asked"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"megatron_config": {"a": 1}, "megatron_core": "evil"}, "megatron"),
        ({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4}, "PROMPT_TUNING"),
        ({"layer_replication": [[0, 1]] * 1_000}, "layer_replication"),
    ],
)
def test_an_adapter_is_lora_and_nothing_else(
    small: models.VisionLanguageModel,
    build: Callable[..., models.VisionLanguageModel],
    checkpoint: Path,
    tmp_path: Path,
    changed: dict[str, object],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    marker = tmp_path / "marker"
    (tmp_path / "evil.py").write_text(EVIL.format(marker=str(marker)))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "adapter").mkdir()
    adapter.save(adapter.attach(build(seed=0), rank=2, seed=0), tmp_path / "adapter")
    edit(tmp_path / "adapter" / adapter.SETTINGS, **changed)
    with pytest.raises(ModelError, match=message) as caught:
        adapter.merge(tmp_path / "adapter", base=checkpoint)
    assert "\n" not in str(caught.value)
    assert not marker.exists()
