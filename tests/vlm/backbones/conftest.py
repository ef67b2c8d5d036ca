"""A checkpoint folder of every class, as the hub's look, built from its configuration with random weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.factory import noise_picture
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPImageProcessorPil,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessorPil,
    Idefics3Processor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessorPil,
    VipLlavaConfig,
    VipLlavaForConditionalGeneration,
)

from clickscape.types import Product
from clickscape.vlm import model as models_of
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.processors import Qwen2_5_VLProcessor, SmolVLMProcessor
from clickscape.vlm.prompts import INSTRUCTIONS, product_text

SHARING = ("llava", "llava_next", "qwen2_5_vl", "idefics3", "smolvlm")
"""Families whose candidates share one pass of their question."""

FAMILIES = (*SHARING, "vipllava")
"""The last one is nobody's preset: whatever else AutoModelForImageTextToText opens."""

PRODUCTS = [
    Product("mug-1", "Everline Blue Coffee Mug, Set of 2", ("Home", "Kitchen"), {"material": "stoneware"}),
    Product("shoe-1", "Mesh Runner", ("Sports", "Shoes"), {"color": "red", "material": "mesh"}),
    Product("saw-1", "Pinecrest Hand Saw", ("Tools",)),
]
_IDEFICS_WORDS = ("<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>", "<|im_start|>")
_QWEN_WORDS = ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
_IDEFICS_TEMPLATE = (
    "<|im_start|>{% for m in messages %}{{ m['role'] | capitalize }}:{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)
_QWEN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}{% if c['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="session")
def products() -> list[Product]:
    return PRODUCTS


@pytest.fixture(scope="session")
def shown() -> Callable[[Product], np.ndarray]:
    """A picture of noise for every product."""

    return partial(noise_picture, side=64)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The checkpoint folder of a family, made when it is first asked for."""
    root, made = tmp_path_factory.mktemp("checkpoints"), {}

    def of(name: str) -> Path:
        if name not in made:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                model, processor = _BUILDERS[name]()
            with torch.no_grad():
                for weight in model.parameters():
                    weight.mul_(3)  # random weights as large as it takes for words to differ
            model.save_pretrained(root / name)
            processor.save_pretrained(root / name)
            made[name] = root / name
        return made[name]

    return of


@pytest.fixture(scope="session")
def opened(folder: Callable[[str], Path]) -> Callable[[str], VisionLanguageModel]:
    """A family's model in float64, for exact comparisons; read-only."""
    made: dict[str, VisionLanguageModel] = {}

    def of(name: str) -> VisionLanguageModel:
        if name not in made:
            vlm = models_of.load(folder(name))
            made[name] = VisionLanguageModel(vlm.model.double(), vlm.processor, vlm.model_id)
        return made[name]

    return of


def _tokenizer(words: tuple[str, ...], *, end: str, **more: Any) -> PreTrainedTokenizerFast:
    special = ["<pad>", "<s>", "</s>", *words]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    texts = [product_text(product) for product in PRODUCTS] + [*INSTRUCTIONS["describe"]]
    made.train_from_iterator([*texts, "white marble podium, soft light"] * 10, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token=end, clean_up_tokenization_spaces=False, **more
    )


def _text(tokenizer: PreTrainedTokenizerFast, **more: Any) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1_024,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **more,
    }


_CLIP = {
    "model_type": "clip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 16,
}


def _llava(
    config: type = LlavaConfig, model: type = LlavaForConditionalGeneration, **more: Any
) -> tuple[torch.nn.Module, Any]:
    tokenizer = _tokenizer(("<image>",), end="</s>", extra_special_tokens={"image_token": "<image>"})
    tokens = {"image_token_index": tokenizer.convert_tokens_to_ids("<image>"), "pad_token_id": tokenizer.pad_token_id}
    square = {"height": 32, "width": 32}
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size=square, crop_size=square, do_center_crop=False),
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=models_of.CHAT_TEMPLATE.replace("{{ bos_token }}", ""),
    )
    return model(config(vision_config=_CLIP, text_config=_text(tokenizer), **tokens, **more)), processor


def _llava_next() -> tuple[torch.nn.Module, Any]:
    tiles = [[32, 64], [64, 32], [64, 64]]
    more = {"image_grid_pinpoints": tiles, "vision_feature_layer": -1}
    model, plain = _llava(LlavaNextConfig, LlavaNextForConditionalGeneration, **more)
    images = LlavaNextImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_grid_pinpoints=tiles
    )
    return model, LlavaNextProcessor(
        images,
        plain.tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=plain.chat_template,
    )


def _vipllava() -> tuple[torch.nn.Module, Any]:
    return _llava(VipLlavaConfig, VipLlavaForConditionalGeneration, vision_feature_layers=[-1, -2])


def _qwen() -> tuple[torch.nn.Module, Any]:
    own = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"}
    tokenizer = _tokenizer(_QWEN_WORDS, end="<|im_end|>", extra_special_tokens=own)
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10_000.0}
    text = {**_text(tokenizer), "model_type": "qwen2_5_vl_text", "rope_parameters": rope}
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 4,
        "out_hidden_size": 32,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "window_size": 56,
        "fullatt_block_indexes": [1],
    }
    names = {"image": "<|image_pad|>", "video": "<|video_pad|>"}
    names |= {"vision_start": "<|vision_start|>", "vision_end": "<|vision_end|>"}
    ids = {f"{name}_token_id": tokenizer.convert_tokens_to_ids(word) for name, word in names.items()}
    images = Qwen2VLImageProcessorPil(patch_size=14, merge_size=2, min_pixels=56 * 56, max_pixels=112 * 112)
    model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids))
    return model, Qwen2_5_VLProcessor(images, tokenizer, chat_template=_QWEN_TEMPLATE)


def _idefics(
    config: type = Idefics3Config,
    model: type = Idefics3ForConditionalGeneration,
    images: type = Idefics3ImageProcessorPil,
    processor: type = Idefics3Processor,
) -> tuple[torch.nn.Module, Any]:
    tokenizer = _tokenizer(_IDEFICS_WORDS, end="<end_of_utterance>")
    vision = {key: value for key, value in _CLIP.items() if key != "model_type"} | {"patch_size": 8}
    made = config(
        vision_config=vision,
        text_config=_text(tokenizer),
        scale_factor=2,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
    )
    looks = images(size={"longest_edge": 128}, max_image_size={"longest_edge": 32})  # splits pictures, as it comes
    return model(made), processor(looks, tokenizer, image_seq_len=4, chat_template=_IDEFICS_TEMPLATE)


def _smolvlm() -> tuple[torch.nn.Module, Any]:
    return _idefics(SmolVLMConfig, SmolVLMForConditionalGeneration, SmolVLMImageProcessorPil, SmolVLMProcessor)


_BUILDERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "llava": _llava,
    "llava_next": _llava_next,
    "qwen2_5_vl": _qwen,
    "idefics3": _idefics,
    "smolvlm": _smolvlm,
    "vipllava": _vipllava,
}
