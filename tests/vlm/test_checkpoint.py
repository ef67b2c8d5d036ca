"""A checkpoint folder of somebody else: its code is not run, and what it asks for is bounded before it is opened."""

from __future__ import annotations

import io
import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clickscape.errors import ModelError
from clickscape.preference import adapter
from clickscape.reward.encoders import open_backbone
from clickscape.types import Product
from clickscape.vlm import model as models
from clickscape.vlm.generate import Writer

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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"megatron_config": {"a": 1}, "megatron_core": "evil"}, "megatron"),
        ({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4}, "PROMPT_TUNING"),
        ({"layer_replication": [[0, 1]] * 1_000}, "layer_replication"),
        ({"r": 10**9}, "r is 1000000000"),
        ({"r": 2**21}, "more weights than its files hold"),
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


TEXT, CONFIG, INDEX = "text_config", "config.json", "model.safetensors.index.json"
MANY = {str(number): {"content": f"<{number}>"} for number in range(200_000)}
ODD: dict[str, tuple[str, dict[str, Any], str]] = {
    "ten million layers": (CONFIG, {TEXT: {"num_hidden_layers": 10**7}}, "num_hidden_layers is 10000000"),
    "twenty thousand layers": (CONFIG, {TEXT: {"num_hidden_layers": 20_000}}, "more than 20,000 parts"),
    "ten million labels": (CONFIG, {"num_labels": 10**7}, "num_labels is 10000000"),
    "wider than its files": (CONFIG, {TEXT: {"hidden_size": 2**20}}, "more weights than its files hold"),
    "a word list larger than its files": (CONFIG, {TEXT: {"vocab_size": 2**25}}, "more weights than its files hold"),
    "positions": (CONFIG, {TEXT: {"max_position_embeddings": 10**12}}, "max_position_embeddings is"),
    "pictures of a million": (CONFIG, {"vision_config": {"image_size": 2**21}}, "more weights than its files hold"),
    "image tokens": ("processor_config.json", {"num_additional_image_tokens": 10**9}, "num_additional_image_tokens is"),
    "code of the hub": (CONFIG, {"attn_implementation": "evil/attention"}, "names code of the hub"),
    "a type nobody knows": (CONFIG, {"model_type": "unheard_of"}, "cannot be opened"),
    "words for numbers": (CONFIG, {TEXT: {"num_hidden_layers": "two"}}, "cannot be opened"),
    "a negative number": (CONFIG, {TEXT: {"num_attention_heads": -4}}, "cannot be opened"),
    "a list for a section": (CONFIG, {TEXT: [1, 2]}, "cannot be opened"),
    "many added tokens": ("tokenizer_config.json", {"added_tokens_decoder": MANY}, "200,000 added tokens"),
    "many added tokens beside the words": (
        "tokenizer.json", {"added_tokens": [{"id": 0, "content": name} for name in MANY]}, "200,000 added tokens",
    ),
    "a token without a row": (
        "tokenizer_config.json", {"added_tokens_decoder": {"9999": {"content": "<new>"}}}, "numbers words up to",
    ),
    "another token for pictures": (CONFIG, {"image_token_index": 7, "image_token_id": 7}, "stands in no question"),
    "a shard elsewhere": (INDEX, {"weight_map": {"a": "../out.safetensors"}}, "names a file outside"),
    "a shard by its full path": (INDEX, {"weight_map": {"a": "/etc/passwd"}}, "names a file outside"),
    "a shard that is missing": (INDEX, {"weight_map": {"a": "b.safetensors"}}, "b.safetensors: missing, but"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", ODD)
def test_a_folder_that_asks_for_too_much_or_makes_no_sense_is_one_line(checkpoint: Path, case: str) -> None:
    name, changed, message = ODD[case]
    now = json.loads((checkpoint / name).read_text()) if (checkpoint / name).exists() else {}
    for key, value in changed.items():
        whole = {**now[key], **value} if isinstance(value, dict) and isinstance(now.get(key), dict) else value
        edit(checkpoint / name, **{key: whole})
    if "shard" in case:
        (checkpoint.parent / "out.safetensors").write_bytes((checkpoint / "model.safetensors").read_bytes())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelError, match=message) as caught:
        models.load(checkpoint)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2_000_000, (
        "kilobytes; refused before it is made"
    )


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("processor_config.json", "cannot be opened|chat template"),
        ("tokenizer.json", "cannot be opened"),
        ("chat_template.jinja", "chat template of the checkpoint cannot be used: there is none"),
        ("config.json", "cannot be opened"),
    ],
)
def test_a_folder_that_lacks_a_file_is_one_line(checkpoint: Path, missing: str, message: str) -> None:
    (checkpoint / missing).unlink()
    with pytest.raises(ModelError, match=message) as caught:
        models.load(checkpoint)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("template", ["{{ 'a' * 10**10 }}", "{% for m in messages %}{{ m.content }}{% endfor %}"])
def test_a_chat_template_of_no_use_is_found_out_when_the_model_is_opened(checkpoint: Path, template: str) -> None:
    (checkpoint / "chat_template.jinja").write_text(template)
    with pytest.raises(ModelError, match="chat template of the checkpoint cannot be used"):
        models.load(checkpoint)


def test_a_backbone_and_an_encoder_are_bounded_like_a_writer(checkpoint: Path) -> None:
    for model_type in ("llava", "siglip"):
        edit(checkpoint / "config.json", model_type=model_type, num_labels=10**9)
        with pytest.raises(ModelError, match="num_labels is 1000000000"):
            open_backbone(checkpoint)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_model_that_opens_and_cannot_be_asked_is_one_line(checkpoint: Path, temperature: float) -> None:
    edit(checkpoint / CONFIG, vision_feature_layer=99)
    writer = Writer(models.load(checkpoint))
    with pytest.raises(ModelError, match=r"opens, but fails when it is asked \(tuple index") as caught:
        writer.describe(Product("a", "Red mug"), n=1, temperature=temperature)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_weights_whose_sums_overflow_write_nothing(
    build: Callable[..., models.VisionLanguageModel], temperature: float
) -> None:
    large = build(seed=0)
    with torch.no_grad():
        for weight in large.model.parameters():
            weight.mul_(1e30)
    with pytest.raises(ModelError, match="probabilities are not numbers"):
        Writer(large).describe(Product("a", "Red mug"), n=1, temperature=temperature)
