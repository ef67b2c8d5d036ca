"""A tiny random checkpoint of every class goes the same way: it opens, sees, writes, is scored, and is saved."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.damaged_weights import damage_file, every_damage

from clickscape import vlm as room
from clickscape.errors import ModelError
from clickscape.types import Product
from clickscape.vlm import backbones
from clickscape.vlm import batch as batches
from clickscape.vlm import model as models
from clickscape.vlm.batch import Sample, collate
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.prompts import instruction

from .conftest import FAMILIES

Opened = Callable[[str], VisionLanguageModel]
Folder = Callable[[str], Path]
Shown = Callable[[Product], np.ndarray]


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def samples(products: list[Product], shown: Shown) -> list[Sample]:
    texts = ("white marble podium, soft light", "x", " oak table,  noon sun")
    return [
        Sample(instruction("describe", product, variant=number), (shown(product),), text)
        for number, (product, text) in enumerate(zip(products, texts, strict=True))
    ]


@pytest.mark.parametrize("side", ["left", "right"])
@torch.inference_mode()
def test_log_probs_of_a_batch_are_those_of_single_samples(
    opened: Opened, family: str, samples: list[Sample], side: batches.Side
) -> None:
    vlm = opened(family)
    if side == "left" and not vlm.family.shares_prefill:
        pytest.skip("nobody pads this class on the left but its own generate")
    together = batches.answer_log_probs(vlm, collate(vlm, samples, side=side, answers=True))
    alone = [batches.answer_log_probs(vlm, collate(vlm, [one], side="right", answers=True)) for one in samples]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-6)


@torch.inference_mode()
def test_the_answer_depends_on_the_picture(opened: Opened, family: str, samples: list[Sample]) -> None:
    vlm, (first, second, _) = opened(family), samples
    other = replace(first, images=second.images)
    mine, others = (
        batches.answer_log_probs(vlm, collate(vlm, [one], side="right", answers=True)) for one in (first, other)
    )
    assert float((mine - others).abs()) > 1e-4


def test_it_writes_four_descriptions_a_product(
    folder: Folder, family: str, products: list[Product], shown: Shown
) -> None:
    writer = room.load(folder(family))
    before = torch.random.get_rng_state()
    texts = writer.describe_all(products, n=4, seed=3, max_new_tokens=8, pictures=shown)
    assert torch.equal(before, torch.random.get_rng_state())
    assert [len(own) for own in texts] == [4, 4, 4]
    assert len({text for own in texts for text in own}) > 6
    assert not any("\n" in text for own in texts for text in own)
    assert texts == writer.describe_all(products, n=4, seed=3, max_new_tokens=8, pictures=shown)
    assert texts != writer.describe_all(products, n=4, seed=4, max_new_tokens=8, pictures=shown)


def test_a_saved_copy_is_the_same_model(folder: Folder, family: str, samples: list[Sample], tmp_path: Path) -> None:
    vlm = models.load(folder(family))
    models.save(vlm, tmp_path / "copy")
    copy = models.load(tmp_path / "copy")
    assert type(copy.processor).__name__ == type(vlm.processor).__name__
    assert str(tmp_path) not in (tmp_path / "copy" / "config.json").read_text()
    with torch.inference_mode():
        first, second = (
            batches.answer_log_probs(one, collate(one, samples, side="right", answers=True)) for one in (vlm, copy)
        )
    assert torch.equal(first, second)


def test_the_model_class_decides_the_family() -> None:
    assert backbones.family("qwen2_5_vl").max_pixels == 1_003_520
    assert not backbones.family("smolvlm").splits_pictures
    assert backbones.family("vipllava") is backbones.OTHER


def test_a_picture_of_qwen_takes_no_more_than_its_limit(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits are lowered, never raised: the checkpoint's own 112 × 112 stay; a lower limit of the family holds."""
    picture = np.zeros((500, 500, 3), np.uint8)

    def tokens() -> int:
        vlm = models.load(folder("qwen2_5_vl"))
        batch = collate(vlm, [Sample("what is it?", (picture,))], side="right", answers=False)
        return int((batch.input_ids == vlm.image_token_id).sum())

    assert tokens() == (112 // 28) ** 2
    lower = replace(backbones.family("qwen2_5_vl"), max_pixels=56 * 56)
    monkeypatch.setattr(backbones, "FAMILIES", {**backbones.FAMILIES, "qwen2_5_vl": lower})
    assert tokens() == (56 // 28) ** 2


@pytest.mark.parametrize("name", ["idefics3", "smolvlm"])
def test_a_picture_is_one_tile_where_that_can_be_chosen(folder: Folder, name: str) -> None:
    vlm = models.load(folder(name))
    batch = collate(vlm, [Sample("?", (np.zeros((200, 200, 3), np.uint8),))], side="right", answers=False)
    assert int((batch.input_ids == vlm.image_token_id).sum()) == 4


def test_weights_come_in_the_format_that_is_asked_for(folder: Folder, products: list[Product]) -> None:
    for name in ("llava", "qwen2_5_vl"):
        assert models.load(folder(name)).core.dtype == torch.float32
        half = room.load(folder(name), dtype="bfloat16")
        assert half.vlm.core.dtype == torch.bfloat16
        assert len(half.describe(products[0], n=2, max_new_tokens=4)) == 2
        models.save(half.vlm, folder(name).parent / f"{name}-half")
        assert models.load(folder(name).parent / f"{name}-half", dtype="stored").core.dtype == torch.bfloat16
        assert models.load(folder(name).parent / f"{name}-half").core.dtype == torch.float32


def test_quantization_without_its_package_is_one_clear_error(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"8bit weights need bitsandbytes.*clickscape\[quantization\]"):
        room.load(folder("llava"), quantization="8bit")


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
def test_quantized_weights_write(folder: Folder, products: list[Product], quantization: models.Quantization) -> None:
    pytest.importorskip("bitsandbytes")
    writer = room.load(folder("llava"), quantization=quantization)
    layer = writer.vlm.core.model.language_model.layers[0].self_attn.q_proj
    assert type(layer).__module__.startswith("bitsandbytes")
    assert len(writer.describe(products[0], n=2, max_new_tokens=4)) == 2


def test_a_preset_that_is_not_here_is_one_clear_error() -> None:
    with pytest.raises(
        ModelError, match=r"Qwen2\.5-VL-7B-Instruct: neither a folder nor a model in the local hub cache"
    ):
        room.load("qwen2.5-vl-7b")
    with pytest.raises(ModelError, match=r"one of tiny, llava-1\.5-7b"):
        room.load("gpt")


def test_an_adapter_is_not_taken_for_a_model(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match=r"a LoRA adapter, not a model\. `clickscape merge"):
        models.load(tmp_path)


def test_features_are_cached_for_llava_alone(opened: Opened, shown: Shown, products: list[Product]) -> None:
    for name in FAMILIES[1:]:
        with pytest.raises(ModelError, match="LLaVA models only"):
            batches.image_features(opened(name), [shown(products[0])])


@pytest.mark.slow
@every_damage
def test_weights_that_do_not_fill_the_model_are_refused(
    folder: Folder, family: str, damage: str, tmp_path: Path
) -> None:
    copy = shutil.copytree(folder(family), tmp_path / "model")
    damage_file(copy / "model.safetensors", damage)
    with pytest.raises(ModelError, match=str(copy)):
        models.load(copy)
