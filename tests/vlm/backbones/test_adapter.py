"""LoRA on every class: it learns by a preference step, and its folder is one that PEFT and plain transformers open."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tests.damaged_weights import damage_file, every_damage
from tests.factory import clickscape
from transformers import AutoModelForImageTextToText

from clickscape.config import OptimizeConfig
from clickscape.errors import ModelError
from clickscape.preference import adapter
from clickscape.preference.corruption import CorruptedInput
from clickscape.preference.pairs import PreferencePair
from clickscape.preference.train import build_training_pairs, pair_log_probs, train
from clickscape.types import Product
from clickscape.vlm import model as models
from clickscape.vlm.batch import Sample, collate
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.prompts import instruction

from .conftest import FAMILIES

Folder = Callable[[str], Path]
Shown = Callable[[Product], np.ndarray]
IGNORE = "ignore:.*is_gradient_checkpointing:FutureWarning"


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def sample(products: list[Product], shown: Shown) -> Sample:
    return Sample(instruction("describe", products[0], variant=0), (shown(products[0]),), "oak table")


@torch.inference_mode()
def _logits(model: torch.nn.Module, vlm: VisionLanguageModel, sample: Sample) -> torch.Tensor:
    batch = collate(vlm, [sample], side="right", answers=True)
    return model(input_ids=batch.input_ids, pixel_values=batch.pixel_values, **batch.extras).logits


def _stir(vlm: VisionLanguageModel) -> None:
    """Make an adapter say something: at first its B is zero."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, weight in vlm.model.named_parameters():
            if ".lora_B." in name:
                weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))


@pytest.mark.slow
def test_a_preference_step_moves_the_adapter_and_nothing_else(
    folder: Folder, family: str, products: list[Product], shown: Shown
) -> None:
    policy = adapter.attach(models.load(folder(family)), rank=2, seed=1)
    frozen = {name: value.clone() for name, value in policy.model.state_dict().items() if not adapter.is_adapter(name)}
    pairs = [
        PreferencePair(products[0].product_id, "white marble podium", "oak", 1.0, CorruptedInput((0, 1), None)),
        PreferencePair(
            products[1].product_id, "sand, noon sun", "soft light", 1.0, CorruptedInput((), products[2].product_id)
        ),
    ]
    training_pairs = build_training_pairs(
        pairs, products={one.product_id: one for one in products}, pictures=shown, vlm=policy
    )
    reference = pair_log_probs(policy, training_pairs, product_centric=True)
    config = OptimizeConfig(lora_rank=2, batch_size=2, epochs=4, learning_rate=4e-2, anchor_weight=0.5)
    steps = list(train(policy, training_pairs, reference=reference, config=config, rng=np.random.default_rng(0)))
    assert steps[0].margin == pytest.approx(0, abs=1e-3)
    assert steps[-1].margin > 0.3
    assert steps[-1].loss < steps[0].loss - 0.1
    moved = policy.model.state_dict()
    assert all(torch.equal(value, moved[name]) for name, value in frozen.items())
    assert not any(tower in name for name, _ in adapter.weights(policy).items() for tower in ("vision", "visual"))
    with adapter.disabled(policy):
        back = pair_log_probs(policy, training_pairs, product_centric=True)
    torch.testing.assert_close(back.chosen, reference.chosen, atol=1e-4, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings(IGNORE)
def test_plain_peft_and_plain_transformers_open_what_is_saved(
    folder: Folder, family: str, sample: Sample, tmp_path: Path
) -> None:
    policy = adapter.attach(models.load(folder(family)), rank=2, seed=1)
    plain = _logits(policy.core, policy, sample)
    _stir(policy)
    expected = _logits(policy.core, policy, sample)
    assert float((expected - plain).abs().max()) > 0.1
    (tmp_path / "adapter").mkdir()
    adapter.save(policy, tmp_path / "adapter")
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {adapter.SETTINGS, adapter.WEIGHTS}
    assert json.loads((tmp_path / "adapter" / adapter.SETTINGS).read_text())["base_model_name_or_path"] == str(
        folder(family).resolve()
    )
    base = AutoModelForImageTextToText.from_pretrained(folder(family), local_files_only=True).eval()
    theirs = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    torch.testing.assert_close(_logits(theirs, policy, sample), expected, atol=1e-4, rtol=1e-5)
    again = adapter.attach(models.load(folder(family)), rank=2, seed=9)
    adapter.restore(again, tmp_path / "adapter")
    torch.testing.assert_close(_logits(again.core, policy, sample), expected, atol=0, rtol=0)
    done = clickscape("merge", tmp_path / "adapter", "--out", tmp_path / "merged")
    assert done.code == 0
    assert f"weights on {family}" in done.out
    whole = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged", local_files_only=True).eval()
    assert not any(adapter.is_adapter(name) for name, _ in whole.named_parameters())
    torch.testing.assert_close(_logits(whole, policy, sample), expected, atol=1e-3, rtol=1e-4)
    assert not (tmp_path / "merged" / adapter.SETTINGS).exists()


def test_a_model_is_saved_with_its_adapter_folded_in_and_keeps_it(
    folder: Folder, sample: Sample, tmp_path: Path
) -> None:
    policy = adapter.attach(models.load(folder("llava")), rank=2, seed=1)
    _stir(policy)
    expected = _logits(policy.core, policy, sample)
    models.save(policy, tmp_path / "model")
    saved = models.load(tmp_path / "model")
    torch.testing.assert_close(_logits(saved.core, saved, sample), expected, atol=1e-3, rtol=1e-4)
    assert torch.equal(_logits(policy.core, policy, sample), expected)
    assert any(adapter.is_adapter(name) for name, _ in policy.model.named_parameters())


@pytest.mark.filterwarnings(IGNORE)
def test_adapters_made_elsewhere_are_merged_too(folder: Folder, sample: Sample, tmp_path: Path) -> None:
    """Another program's choice of layers and scaling, and a base that moved since."""
    vlm = models.load(folder("llava"))
    settings = LoraConfig(r=3, lora_alpha=5, target_modules=["q_proj", "fc1"], init_lora_weights=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        theirs = get_peft_model(vlm.core, settings).eval()
    theirs.peft_config["default"].base_model_name_or_path = "somebody/else"
    theirs.save_pretrained(tmp_path / "adapter", save_embedding_layers=False)  # else it asks the hub
    expected = _logits(theirs, vlm, sample)
    with pytest.raises(ModelError, match="somebody/else: neither a folder nor"):
        adapter.merge(tmp_path / "adapter")
    whole = adapter.merge(tmp_path / "adapter", base=folder("llava"))
    torch.testing.assert_close(_logits(whole.model, vlm, sample), expected, atol=1e-3, rtol=1e-4)


@pytest.mark.filterwarnings(IGNORE)
def test_what_cannot_be_merged_is_one_line_and_leaves_nothing(folder: Folder, tmp_path: Path) -> None:
    policy = adapter.attach(models.load(folder("llava")), rank=2, seed=1)
    good = tmp_path / "adapter"
    good.mkdir()
    adapter.save(policy, good)
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / adapter.SETTINGS).write_bytes((good / adapter.SETTINGS).read_bytes())
    (tmp_path / "pickled" / "adapter_model.bin").write_bytes(b"\x80\x04.")
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / adapter.SETTINGS).write_bytes((good / adapter.SETTINGS).read_bytes())
    (tmp_path / "cut" / adapter.WEIGHTS).write_bytes((good / adapter.WEIGHTS).read_bytes()[:200])
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep me")
    before = sorted(path.name for path in tmp_path.iterdir())
    for arguments, said in (
        ([tmp_path / "nowhere", "--out", tmp_path / "new"], "no such folder. Correct the path of ADAPTER."),
        ([tmp_path / "pickled", "--out", tmp_path / "new"], "no LoRA adapter here"),
        ([tmp_path / "cut", "--out", tmp_path / "new"], "damaged"),
        ([good, "--out", tmp_path / "new", "--base", folder("idefics3")], "does not fit"),
        ([good, "--out", good], "would replace what it is made from"),
        ([good, "--out", tmp_path / "notes"], "exists and is no checkpoint"),
    ):
        done = clickscape("merge", *arguments)
        assert done.code == 2
        assert said in done.err.splitlines()[-1]
        assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert (tmp_path / "notes" / "mine.txt").exists()


def test_a_model_with_other_names_is_one_clear_error(folder: Folder) -> None:
    vlm = models.load(folder("vipllava"))
    other = models.VisionLanguageModel(vlm.core.model.vision_tower, vlm.processor, "towers only")
    with pytest.raises(ModelError, match=r"towers only: no linear map.*lora_rank = 0"):
        adapter.attach(other, rank=2, seed=0)


@pytest.mark.slow
@every_damage
@pytest.mark.filterwarnings(IGNORE)
def test_a_damaged_adapter_is_neither_merged_nor_restored(folder: Folder, damage: str, tmp_path: Path) -> None:
    policy = adapter.attach(models.load(folder("llava")), rank=2, seed=1)
    adapter.save(policy, tmp_path)
    damage_file(tmp_path / adapter.WEIGHTS, damage)
    with pytest.raises(ModelError, match=str(tmp_path)):
        adapter.merge(tmp_path)
    with pytest.raises(ModelError, match=str(tmp_path)):
        adapter.restore(policy, tmp_path)
