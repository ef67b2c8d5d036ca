"""What do K descriptions per product cost, shared prefill against `generate`?  python benchmarks/sampling.py

A LLaVA like `tiny`, but with 256 image tokens and random weights, writes for products of the sample catalog. Four
sides in one run, same weights, same questions, same number of tokens (no end token ever comes): four separate batch-1
calls of transformers' `generate` per product; one call per product with num_return_sequences=4; one call for all
products with it; ours. Preparing text and pictures is charged to every side. One thread, CPU-seconds, sides in turn.
Prints a table and appends one JSON row to benchmarks/results/sampling.jsonl. Goal: ≥ 5× cheaper than separate calls,
and cheaper than either form of num_return_sequences=4. On a GPU, --backbone 7b asks the same of a LLaVA-NeXT of seven
billion random weights in bfloat16 (seconds of a synchronized device).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import transformers
from PIL import Image

from _results import append_row
from backbone_step import SEVEN_BILLION, build
from clickscape.catalog import sample
from clickscape.catalog.cutout import product_picture
from clickscape.compute.device import best_device
from clickscape.config import TinyConfig
from clickscape.vlm import model as models
from clickscape.vlm.batch import Sample
from clickscape.vlm.generate import sample_ids
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.prompts import instruction

K = 4

Side = Callable[[VisionLanguageModel, Sequence[Sample], int], int]
"""Writes for the questions, so many tokens each; returns how many tokens were written in all."""


def _theirs(vlm: VisionLanguageModel, questions: Sequence[Sample], tokens: int, *, each: int) -> int:
    """One call of `generate`, prepared by the model's own processor."""
    turns = [
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question.instruction}]}]
        for question in questions
    ]
    processor: Any = vlm.processor
    processor.tokenizer.padding_side = "left"
    inputs = processor(
        text=[processor.apply_chat_template(turn, tokenize=False, add_generation_prompt=True) for turn in turns],
        images=[Image.fromarray(question.images[0]) for question in questions],
        padding=True,
        add_special_tokens=False,
        return_tensors="pt",
    ).to(vlm.device)
    with torch.inference_mode():
        made = vlm.model.generate(
            **inputs, do_sample=True, top_k=0, top_p=1.0, max_new_tokens=tokens, num_return_sequences=each
        )
    return made[:, inputs["input_ids"].shape[1] :].numel()


def _separate(vlm: VisionLanguageModel, questions: Sequence[Sample], tokens: int) -> int:
    return sum(_theirs(vlm, [question], tokens, each=1) for question in questions for _ in range(K))


def _returned(vlm: VisionLanguageModel, questions: Sequence[Sample], tokens: int) -> int:
    return sum(_theirs(vlm, [question], tokens, each=K) for question in questions)


def _batched(vlm: VisionLanguageModel, questions: Sequence[Sample], tokens: int) -> int:
    return _theirs(vlm, questions, tokens, each=K)


def _ours(vlm: VisionLanguageModel, questions: Sequence[Sample], tokens: int) -> int:
    ids = sample_ids(vlm, questions, n=K, seeds=range(len(questions)), max_new_tokens=tokens)
    return sum(map(len, ids))


SIDES: dict[str, Side] = {
    f"{K} calls of generate per product": _separate,
    f"num_return_sequences={K}, per product": _returned,
    f"num_return_sequences={K}, all products": _batched,
    "clickscape": _ours,
}


def _model(*, backbone: str, width: int, layers: int) -> VisionLanguageModel:
    vlm = build(SEVEN_BILLION, device=best_device()) if backbone == "7b" else _like_tiny(width=width, layers=layers)
    never = vlm.core.config.get_text_config().vocab_size  # no token has this number: every answer takes all its tokens
    vlm.core.generation_config.eos_token_id = never
    return vlm


def _like_tiny(*, width: int, layers: int) -> VisionLanguageModel:
    config = TinyConfig(
        image_size=256,
        patch_size=16,
        text_width=width,
        text_layers=layers,
        text_ffn=8 * width // 3,
        max_positions=1_024,
    )
    vlm = models.build_tiny(config, models.load("tiny").tokenizer, seed=0)
    assert vlm.image_tokens == 256
    return vlm


def _seconds(device: torch.device) -> float:
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def _questions(count: int, *, size: int) -> list[Sample]:
    products = sample.products()
    chosen = products[:: len(products) // count][:count]
    return [
        Sample(
            instruction("describe", product, variant=0),
            (product_picture(sample.cutout(product.product_id, 256), size=size),),
        )
        for product in chosen
    ]


def main() -> None:
    """Measure, print, and keep the row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", choices=["tiny", "7b"], default="tiny", help="7b: for a GPU")
    parser.add_argument("--products", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=32, help="new tokens of every description")
    parser.add_argument("--width", type=int, default=192, help="hidden size of the language model")
    parser.add_argument("--layers", type=int, default=4, help="layers of the language model")
    parser.add_argument("--repeats", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(1)
    vlm = _model(backbone=given.backbone, width=given.width, layers=given.layers)
    questions = _questions(given.products, size=vlm.image_size)
    seconds = dict.fromkeys(SIDES, 0.0)
    for side in SIDES.values():
        side(vlm, questions[:1], 2)  # imports and first-time work are nobody's
    for _ in range(given.repeats):
        for name, side in SIDES.items():
            started = _seconds(vlm.device)
            written = side(vlm, questions, given.tokens)
            seconds[name] += _seconds(vlm.device) - started
            assert written == given.products * K * given.tokens, (name, written)
    ours = seconds["clickscape"]
    made = given.products * given.repeats
    device = torch.cuda.get_device_name() if vlm.device.type == "cuda" else "CPU"
    print(f"{device}; {given.products} products, K = {K}, {given.tokens} new tokens, {vlm.parameters:,} weights")
    print(f"{'':<42}{'ms a product':>18}{'times ours':>12}")
    for name, value in seconds.items():
        print(f"{name:<42}{1_000 * value / made:>18.1f}{value / ours:>12.2f}")
    row = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "weights": vlm.parameters,
        **vars(given),
        "device": device,
        "ms_a_product": {name: round(1_000 * value / made, 2) for name, value in seconds.items()},
        "times_ours": {name: round(value / ours, 2) for name, value in seconds.items()},
    }
    append_row(row, by="sampling")


if __name__ == "__main__":
    main()
