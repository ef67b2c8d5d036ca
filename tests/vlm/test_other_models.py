"""A checkpoint of another family, LLaVA-NeXT with pictures in tiles, goes the same way through the Auto classes."""

from __future__ import annotations

import pytest
import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
)

from clickscape.errors import ModelError
from clickscape.vlm import batch as batches
from clickscape.vlm import model as models
from clickscape.vlm.batch import Sample, collate
from clickscape.vlm.generate import Writer
from clickscape.vlm.packing import can_pack, packed_log_probs


@pytest.fixture(scope="module")
def llava_next(build, tmp_path_factory):
    base = build(seed=0)
    tokenizer = base.tokenizer
    tiles = [[32, 64], [64, 32], [64, 64]]
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=16
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlavaNextForConditionalGeneration(
            LlavaNextConfig(
                vision_config=vision,
                text_config=text,
                image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
                image_grid_pinpoints=tiles,
                vision_feature_layer=-1,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
    processor = LlavaNextProcessor(
        image_processor=LlavaNextImageProcessorPil(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_grid_pinpoints=tiles
        ),
        tokenizer=tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=models.CHAT_TEMPLATE,
    )
    folder = tmp_path_factory.mktemp("models") / "next"
    models.save(models.VisionLanguageModel(model, processor, "next"), folder)
    return models.load(folder)


@torch.inference_mode()
def test_batched_log_probs_equal_single_ones(llava_next, noise):
    samples = [
        Sample("Say what you see.", (noise(1),), "oak table, soft light"),
        Sample("Say what you see, in a few words.", (noise(2),), "x"),
    ]
    together = batches.answer_log_probs(llava_next, collate(llava_next, samples, side="right", answers=True))
    for row, sample in enumerate(samples):
        alone = batches.answer_log_probs(llava_next, collate(llava_next, [sample], side="right", answers=True))
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-4, rtol=1e-5)
    other = [Sample(samples[0].instruction, (noise(3),), samples[0].answer)]
    changed = batches.answer_log_probs(llava_next, collate(llava_next, other, side="right", answers=True))
    assert float((changed - together[0]).abs()) > 1e-4  # the picture is seen


@torch.inference_mode()
def test_its_answers_share_pictures(llava_next, noise):
    assert can_pack(llava_next)
    shared = noise(1, height=64, width=32)
    asked = [Sample("Say what you see.", (shared,)), Sample("Say it.", (noise(2),)), Sample("Say more.", (shared,))]
    answers = [(0, "oak table"), (1, "sand"), (0, "oak floor, noon"), (2, "oak table")]
    packed, owners = packed_log_probs(llava_next, asked, answers)
    samples = [Sample(asked[number].instruction, asked[number].images, text) for number, text in answers]
    alone, numbers = batches.token_log_probs(llava_next, collate(llava_next, samples, side="right", answers=True))
    torch.testing.assert_close(packed, alone, atol=1e-5, rtol=1e-5)
    assert owners.tolist() == numbers.tolist()


def test_it_writes_by_its_own_generate(llava_next, products):
    before = torch.random.get_rng_state()
    writer = Writer(llava_next)
    texts = writer.describe_all(products[:2], n=2, seed=3, max_new_tokens=6)
    assert texts == writer.describe_all(products[:2], n=2, seed=3, max_new_tokens=6)
    assert texts != writer.describe_all(products[:2], n=2, seed=4, max_new_tokens=6)
    greedy = writer.describe(products[0], n=2, temperature=0, max_new_tokens=6)
    assert greedy[0] == greedy[1]
    assert torch.equal(before, torch.random.get_rng_state())


def test_its_features_cannot_be_cached(llava_next, noise):
    with pytest.raises(ModelError, match="LLaVA models only"):
        batches.image_features(llava_next, [noise(1)])
