from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from clickscape.errors import ModelError
from clickscape.vlm import batch as batches
from clickscape.vlm import model as models
from clickscape.vlm.batch import Sample, collate

PLAIN_TRANSFORMERS = """
import sys
import numpy as np, torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoModelForImageTextToText, AutoProcessor
assert "clickscape" not in sys.modules
folder, out = sys.argv[1:]
model = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True).eval()
processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
assert type(model).__name__ == "LlavaForConditionalGeneration", type(model)
picture = Image.fromarray(np.random.default_rng(1).integers(0, 256, (96, 96, 3), dtype=np.uint8))
turn = {"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": "Say what you see."}]}
inputs = processor.apply_chat_template(
    [turn], tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True
)
with torch.inference_mode():
    logits = model(**inputs).logits.contiguous()
text = processor.decode(model.generate(**inputs, max_new_tokens=5, do_sample=False)[0], skip_special_tokens=True)
assert text.startswith("USER: "), text
save_file({"input_ids": inputs["input_ids"], "logits": logits}, out)
assert "clickscape" not in sys.modules
"""


@settings(max_examples=60)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=80))
def test_the_tokenizer_gives_every_text_back(text):
    tokenizer = _tokenizer()
    ids = tokenizer(text.replace("<", ""), add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text.replace("<", "")


def _tokenizer(cache=[]):  # noqa: B006
    if not cache:
        cache.append(models.train_tokenizer(["oak table, soft light", "white marble"] * 20, vocabulary=300))
    return cache[0]


def test_weights_depend_on_the_seed_alone(build):
    before = torch.random.get_rng_state()
    first, same, other = build(seed=1), build(seed=1), build(seed=2)
    assert torch.equal(before, torch.random.get_rng_state())
    weight = "model.multi_modal_projector.linear_1.weight"
    assert torch.equal(first.model.state_dict()[weight], same.model.state_dict()[weight])
    assert not torch.equal(first.model.state_dict()[weight], other.model.state_dict()[weight])


def test_saving_and_loading_keep_every_weight(small, tmp_path):
    models.save(small, tmp_path / "here" / "model")
    opened = models.load(tmp_path / "here" / "model")
    assert opened.model_id == "model"
    for name, weight in small.model.state_dict().items():
        assert torch.equal(weight, opened.model.state_dict()[name]), name
    assert [path.name for path in (tmp_path / "here").iterdir()] == ["model"]
    names = {path.name for path in (tmp_path / "here" / "model").iterdir()}
    assert "model.safetensors" in names
    assert not any(name.endswith((".bin", ".pkl", ".pt", ".py")) for name in names)
    assert not any(weight.requires_grad for weight in opened.model.parameters())
    assert all(
        weight.requires_grad for weight in models.load(tmp_path / "here" / "model", trainable=True).model.parameters()
    )


def test_saving_replaces_an_older_model_whole(small, build, tmp_path):
    models.save(build(seed=9), tmp_path / "model")
    (tmp_path / "model" / "stale.txt").write_text("old", encoding="utf-8")
    models.save(small, tmp_path / "model")
    assert not (tmp_path / "model" / "stale.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.slow
def test_plain_transformers_opens_it_and_computes_the_same(small, noise, tmp_path):
    models.save(small, tmp_path / "model")
    environment = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "PYTHONHOME"}}
    done = subprocess.run(
        [sys.executable, "-c", PLAIN_TRANSFORMERS, str(tmp_path / "model"), str(tmp_path / "out.safetensors")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    theirs = load_file(tmp_path / "out.safetensors")
    batch = collate(small, [Sample("Say what you see.", (noise(1),))], side="right", answers=False)
    assert theirs["input_ids"].tolist() == batch.input_ids.tolist()
    with torch.inference_mode():
        logits = small.model.get_output_embeddings()(batches.forward(small, batch))
    torch.testing.assert_close(theirs["logits"], logits, atol=1e-4, rtol=1e-4)


def test_embeddings_are_tied_and_stored_once(small, tmp_path):
    models.save(small, tmp_path / "model")
    stored = load_file(tmp_path / "model" / "model.safetensors")
    assert sum(value.numel() for value in stored.values()) == small.parameters
    assert small.model.lm_head.weight is small.model.get_input_embeddings().weight


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "nobody/no-such-model"])
def test_a_missing_model_is_one_clear_error(name):
    with pytest.raises(ModelError, match="Name a"):
        models.load(name)


def test_damaged_folders_are_one_clear_error(small, tmp_path):
    with pytest.raises(ModelError, match=r"no \*\.safetensors"):
        models.load(tmp_path)
    models.save(small, tmp_path / "cut")
    weights = tmp_path / "cut" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1_000])
    with pytest.raises(ModelError, match="cannot be opened"):
        models.load(tmp_path / "cut")
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="cannot be opened"):
        models.load(tmp_path)
