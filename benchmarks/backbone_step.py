"""What does a preference step of a 7 B LLaVA-NeXT cost on a GPU?  python benchmarks/backbone_step.py

The architecture of llava-v1.6-vicuna-7b with random weights in bfloat16, a LoRA on its language model, gradient
checkpointing; one round of pairs, two epochs, reference scoring charged. Sides in one run, each in a process of its
own: clickscape's step; the straightforward one as TRL takes it (y+|x, y−|x and y+|x̃ whole, logits of all words
everywhere, the reference asked in every step with the adapter off); with `--sides clickscape compiled` ours with its
layers compiled by torch.compile. Tokens are those of the three whole sequences on all sides: a token that a side does
not have to read counts as read. Every side learns from the same pairs once before, at no rate: kernels, caches and a
compiler are `warm-up`. Prints a table and appends one JSON row to benchmarks/results/backbone_step.jsonl. Without a
GPU (float32, CPU-seconds), --layers 2 --width 128 shows that it runs; --model qwen2 has the language model of Qwen2,
--model tiny is the shipped model, all of whose weights learn.
"""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessorPil,
    LlavaNextProcessor,
    Qwen2Config,
)
from transformers.modeling_layers import GradientCheckpointingLayer

from _plain_step import lessons_of, preference_pairs, straightforward
from _results import append_row
from clickscape.compute.device import best_device
from clickscape.config import OptimizeConfig
from clickscape.preference import adapter
from clickscape.preference.pairs import PreferencePair
from clickscape.preference.precision import to_device_and_dtype
from clickscape.preference.train import TrainingPairs, pair_log_probs, train, trainable_parameters
from clickscape.vlm import model as vlm_model
from clickscape.vlm.batch import Sample, collate
from clickscape.vlm.model import VisionLanguageModel

SIDE, PATCH = 336, 14
TILES = [[336, 672], [672, 336], [672, 672], [1_008, 336], [336, 1_008]]
VOCABULARY = 32_064


@dataclass(frozen=True)
class Size:
    """What is measured: layers and width of both towers' larger part, pairs of the round, pairs per step and pass."""

    layers: int
    width: int
    pairs: int
    batch: int
    per_pass: int
    rank: int
    model: str = "vicuna"


SEVEN_BILLION = Size(layers=32, width=4_096, pairs=8, batch=4, per_pass=4, rank=16)
LANGUAGE_MODELS: dict[str, Any] = {"vicuna": LlamaConfig, "qwen2": Qwen2Config}


def main() -> None:
    """Measure both sides, print, and keep the row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=SEVEN_BILLION.layers)
    parser.add_argument("--width", type=int, default=SEVEN_BILLION.width)
    parser.add_argument("--pairs", type=int, default=SEVEN_BILLION.pairs)
    parser.add_argument("--batch", type=int, default=SEVEN_BILLION.batch, help="pairs of a step")
    parser.add_argument(
        "--per-pass", type=int, default=SEVEN_BILLION.per_pass, help="pairs in memory at once, on both sides"
    )
    parser.add_argument("--rank", type=int, default=SEVEN_BILLION.rank)
    parser.add_argument("--model", choices=("tiny", *LANGUAGE_MODELS), default=SEVEN_BILLION.model)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=["clickscape", "straightforward"])
    asked = vars(parser.parse_args())
    sides = asked.pop("sides")
    size = Size(**asked)
    device = best_device()
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    measured: dict[str, dict[str, float]] = {}
    print(f"{name}; {asdict(size)}")
    print(f"{'':17s}{'warm-up':>9s}{'seconds':>9s}{'pairs/s':>9s}{'tokens/s':>10s}{'peak GiB':>10s}"
          f"{'of it weights':>15s}{'loss':>9s}")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        patches = vlm_model.load("tiny").image_tokens if size.model == "tiny" else (SIDE // PATCH) ** 2
        pairs, products = preference_pairs(Path(folder), patches=patches, count=size.pairs, seed=0)
        for side in sides:
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                measured[side] = one = pool.apply(_measure, (side, size, device, pairs, products))
            print(
                f"{side:17s}{one['warm_up']:9.2f}{one['seconds']:9.2f}{one['pairs_per_second']:9.2f}"
                f"{one['tokens_per_second']:10,.0f}{one['peak_gib']:10.1f}{one['weights_gib']:15.1f}{one['last_loss']:9.4f}",
                flush=True,
            )
    ours, ratios = measured["clickscape"], dict[str, float]()
    if plain := measured.get("straightforward"):
        above = (ours["peak_gib"] - ours["weights_gib"]) / (plain["peak_gib"] - plain["weights_gib"])
        ratios |= {"speed": plain["seconds"] / ours["seconds"], "peak": ours["peak_gib"] / plain["peak_gib"]}
        ratios["above"] = above
        print(
            f"× {ratios['speed']:.2f} pairs per second, {ratios['peak']:.0%} of the peak memory, "
            f"{above:.0%} of what stands above the weights"
        )
    if compiled := measured.get("compiled"):
        ratios["compiled"] = ours["seconds"] / compiled["seconds"]
        print(f"× {ratios['compiled']:.2f} pairs per second with compiled layers")
    row = {"device": name, "torch": torch.__version__}
    append_row({**row, "size": asdict(size), "sides": measured, "ratios": ratios}, by="backbone_step")


def build(size: Size, *, device: str) -> VisionLanguageModel:
    """A LLaVA-NeXT with random weights on a device; seven billion with the sizes of the hub's."""
    if size.model == "tiny":
        return vlm_model.load("tiny", trainable=True, device=device)
    tiny = vlm_model.load("tiny")
    processor = LlavaNextProcessor(
        LlavaNextImageProcessorPil(
            size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}, image_grid_pinpoints=TILES
        ),
        tiny.tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token=vlm_model.IMAGE,
        chat_template=vlm_model.CHAT_TEMPLATE,
    )
    full = size.width == 4_096
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=1_024 if full else size.width,
            intermediate_size=4_096 if full else 4 * size.width,
            num_hidden_layers=24 if full else size.layers,
            num_attention_heads=16 if full else 4,
            image_size=SIDE,
            patch_size=PATCH,
        ),
        text_config=LANGUAGE_MODELS[size.model](
            vocab_size=VOCABULARY,
            hidden_size=size.width,
            intermediate_size=11_008 if full else 3 * size.width,
            num_hidden_layers=size.layers,
            num_attention_heads=size.width // 128 if full else 4,
            num_key_value_heads=size.width // 128 if full else 4,
            max_position_embeddings=4_096,
            pad_token_id=tiny.tokenizer.pad_token_id,
            eos_token_id=tiny.tokenizer.eos_token_id,
        ),
        image_token_index=tiny.tokenizer.convert_tokens_to_ids(vlm_model.IMAGE),
        image_grid_pinpoints=TILES,
        pad_token_id=tiny.tokenizer.pad_token_id,
        eos_token_id=tiny.tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16 if device == "cuda" else torch.float32)
    try:
        with torch.device(device):
            model = LlavaNextForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    return VisionLanguageModel(model.eval(), processor, "llava_next, random")


def _measure(
    side: str, size: Size, device: str, pairs: Sequence[PreferencePair], products: dict[str, Any]
) -> dict[str, float]:
    config = OptimizeConfig(
        epochs=2,
        batch_size=size.batch,
        pairs_per_pass=size.per_pass,
        lora_rank=0 if size.model == "tiny" else size.rank,
        gradient_checkpointing=size.model != "tiny",
    )
    policy = build(size, device=device)
    policy = adapter.attach(policy, rank=size.rank, seed=0) if config.lora_rank else policy
    to_device_and_dtype(policy, config=config, device=device)
    training_pairs = lessons_of(policy, pairs, products)
    weights = _peak(device, reset=True)
    still = config.model_copy(update={"learning_rate": 1e-12})
    started = _now(device)
    for _ in SIDES[side](policy, training_pairs, still):
        pass
    warm_up = _now(device) - started
    _peak(device, reset=True)
    started = _now(device)
    losses = list(SIDES[side](policy, training_pairs, config))
    seconds = _now(device) - started
    read = config.epochs * _tokens(policy, training_pairs)
    return {
        "warm_up": warm_up,
        "seconds": seconds,
        "pairs_per_second": config.epochs * len(training_pairs) / seconds,
        "tokens_per_second": read / seconds,
        "peak_gib": _peak(device),
        "weights_gib": weights,
        "last_loss": losses[-1],
    }


def _ours(policy: VisionLanguageModel, training_pairs: TrainingPairs, config: OptimizeConfig) -> Iterator[float]:
    trainable_parameters(policy, config=config)
    with adapter.disabled(policy) if config.lora_rank else nullcontext():
        reference = pair_log_probs(policy, training_pairs, product_centric=True)
    for step in train(policy, training_pairs, reference=reference, config=config, rng=np.random.default_rng(0)):
        yield step.loss


def _compiled(policy: VisionLanguageModel, training_pairs: TrainingPairs, config: OptimizeConfig) -> Iterator[float]:
    torch._inductor.config.compile_threads = 1  # or its helpers outlive this process
    for layer in policy.core.modules():
        if isinstance(layer, GradientCheckpointingLayer):
            layer.compile(dynamic=True)  # rows have other lengths in every pass
    return _ours(policy, training_pairs, config)


def _straightforward(
    policy: VisionLanguageModel, training_pairs: TrainingPairs, config: OptimizeConfig
) -> Iterator[float]:
    still = copy.deepcopy(policy) if not config.lora_rank else policy
    return straightforward(policy, lambda: _without_adapter(still), training_pairs, config)


@contextmanager
def _without_adapter(policy: VisionLanguageModel) -> Iterator[VisionLanguageModel]:
    with adapter.disabled(policy) if hasattr(policy.model, "disable_adapter") else nullcontext():
        yield policy


SIDES: dict[str, Callable[[VisionLanguageModel, TrainingPairs, OptimizeConfig], Iterator[float]]] = {
    "clickscape": _ours,
    "compiled": _compiled,
    "straightforward": _straightforward,
}


def _tokens(vlm: VisionLanguageModel, training_pairs: TrainingPairs) -> int:
    """Tokens of the three whole sequences of every pair."""
    count = 0
    for one in training_pairs.pairs:
        asked = [(one.question, one.picture, one.chosen), (one.question, one.picture, one.rejected)]
        asked.append((one.corrupted_question or "", one.corrupted_picture, one.chosen))
        samples = [Sample(question, (training_pairs.pictures[picture],), answer) for question, picture, answer in asked]
        count += int(collate(vlm, samples, side="right", answers=True).attention_mask.sum())
    return count


def _peak(device: str, *, reset: bool = False) -> float:
    """GiB at their peak since the last reset: of the GPU's memory, or of this process's."""
    if device == "cpu":
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 2**20
    _wait(device)
    peak = torch.cuda.max_memory_allocated() / 2**30
    if reset:
        torch.cuda.reset_peak_memory_stats()
    return peak


def _now(device: str) -> float:
    """Seconds of the clock on a GPU, where all is done by then; else CPU-seconds of this process and its children."""
    _wait(device)
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    spent = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    return time.perf_counter() if device == "cuda" else spent


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
