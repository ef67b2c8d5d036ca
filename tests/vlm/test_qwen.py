"""Qwen2.5-VL: a tiny random checkpoint of the real class opens without torchvision, sees its picture and writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
)

from clickscape.vlm import batch as batches
from clickscape.vlm import model as vlm_model
from clickscape.vlm.batch import Sample
from clickscape.vlm.generate import Writer
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.packing import can_pack, packed_log_probs
from clickscape.vlm.qwen import Qwen2_5_VLProcessor

from .conftest import PRODUCTS

SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}{% if c['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder as the hub's look, with random weights."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(["describe a background for this product"] * 20, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        extra_special_tokens={"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"},
    )
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in SPECIAL}
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 64,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 1_024,
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10_000.0},
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 4,
            "out_hidden_size": 64,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Qwen2_5_VLForConditionalGeneration(config)
    images = Qwen2VLImageProcessorPil(patch_size=14, merge_size=2, min_pixels=56 * 56, max_pixels=112 * 112)
    target = tmp_path_factory.mktemp("qwen") / "model"
    model.save_pretrained(target)
    Qwen2_5_VLProcessor(images, tokenizer, chat_template=TEMPLATE).save_pretrained(target)
    return target


@pytest.fixture(scope="module")
def qwen(folder: Path) -> VisionLanguageModel:
    return vlm_model.load(folder)


def _picture(color: tuple[int, int, int]) -> np.ndarray:
    return np.full((96, 96, 3), color, np.uint8)


def _samples() -> list[Sample]:
    return [
        Sample("describe a background", (_picture((200, 30, 30)),), "oak table"),
        Sample("a background for this product, please", (_picture((20, 30, 200)),), "sand floor at the beach"),
    ]


def test_batched_and_single_log_probabilities_agree(qwen: VisionLanguageModel) -> None:
    together = batches.answer_log_probs(qwen, batches.collate(qwen, _samples(), side="right", answers=True))
    alone = [
        batches.answer_log_probs(qwen, batches.collate(qwen, [sample], side="right", answers=True))[0]
        for sample in _samples()
    ]
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-4, rtol=0)


def test_answers_share_pictures_and_their_two_dimensional_places(qwen: VisionLanguageModel) -> None:
    assert can_pack(qwen)
    first, second = _samples()
    other = Sample("the background of something else", first.images)
    asked, answers = [first, second, other], [(0, "oak table"), (1, "sand"), (0, "oak floor, noon"), (2, "oak table")]
    packed, owners = packed_log_probs(qwen, asked, answers)
    alone, numbers = batches.token_log_probs(
        qwen,
        batches.collate(
            qwen,
            [Sample(asked[number].instruction, asked[number].images, text) for number, text in answers],
            side="right",
            answers=True,
        ),
    )
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-5)
    assert owners.tolist() == numbers.tolist()


def test_the_picture_matters(qwen: VisionLanguageModel) -> None:
    (first, _) = _samples()
    other = Sample(first.instruction, (_picture((240, 240, 20)),), first.answer)
    values = [
        float(batches.answer_log_probs(qwen, batches.collate(qwen, [sample], side="right", answers=True))[0].detach())
        for sample in (first, other)
    ]
    assert values[0] != values[1]


def test_it_writes(qwen: VisionLanguageModel) -> None:
    texts = Writer(qwen).describe_all(
        PRODUCTS[:2], n=2, seed=0, max_new_tokens=6, pictures=lambda product: _picture((200, 30, 30))
    )
    assert [len(own) for own in texts] == [2, 2]
    again = Writer(qwen).describe_all(
        PRODUCTS[:2], n=2, seed=0, max_new_tokens=6, pictures=lambda product: _picture((200, 30, 30))
    )
    assert texts == again


def test_a_saved_checkpoint_keeps_the_original_names(qwen: VisionLanguageModel, tmp_path: Path) -> None:
    vlm_model.save(qwen, tmp_path / "copy")
    assert '"Qwen2_5_VLProcessor"' in (tmp_path / "copy" / "processor_config.json").read_text()
    copy = vlm_model.load(tmp_path / "copy")
    batch = batches.collate(qwen, _samples(), side="right", answers=True)
    torch.testing.assert_close(batches.answer_log_probs(copy, batch), batches.answer_log_probs(qwen, batch))
