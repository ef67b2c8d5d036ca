"""What does a step of product-centric preference optimization cost?  python benchmarks/pcpo.py

One round (reference scoring, then two epochs over the same pairs) in clickscape's way and in the straightforward one:
y+|x, y−|x and y+|x̃ as three whole sequences, each with its picture through the tower, a second full model as reference
that is asked again in every step, logits of the whole vocabulary at every position. The same pairs, batches, optimizer
and frozen tower. `tiny` is the shipped model; `wide` has 8 layers × 512, 32,000 tokens of vocabulary and 256 image
tokens. Every side runs in a process of its own, so that its peak memory is its own (above what the process holds once
everything is imported). Loss and gradients are compared in float64 on a policy that has moved. Prints a table and
appends one JSON row to benchmarks/results/pcpo.jsonl. Goal: half the CPU-seconds per pair, 60 % of the memory.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from _plain_step import lessons_of, plain_loss, preference_pairs, straightforward
from _results import append_row
from clickscape.config import OptimizeConfig, TinyConfig
from clickscape.preference.pairs import PreferencePair
from clickscape.preference.train import (
    backward_in_chunks,
    pair_log_probs,
    tower_features,
    train,
    trainable_parameters,
)
from clickscape.vlm import model as vlm_model
from clickscape.vlm.model import VisionLanguageModel

WIDE = TinyConfig(
    image_size=256, patch_size=16, text_width=512, text_layers=8, text_heads=8, text_kv_heads=8, text_ffn=1_408
)
VOCABULARY = 32_000
PAIRS = {"tiny": 64, "wide": 8}
BATCH = {"tiny": 16, "wide": 4}
PATCHES = {"tiny": TinyConfig().image_tokens, "wide": WIDE.image_tokens}
CHECKED = {"tiny": 8, "wide": 2}
"""Pairs whose gradient is compared in float64."""


def _model(name: str, *, moved: bool = False) -> VisionLanguageModel:
    vlm = vlm_model.load("tiny", trainable=True)
    if name == "wide":
        vlm = vlm_model.build_tiny(WIDE, vlm.tokenizer, seed=0)
        vlm.model.resize_token_embeddings(VOCABULARY, mean_resizing=False)
    if moved:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in vlm.model.parameters():
                parameter.add_(0.02 * parameter.std() * torch.randn(parameter.shape, generator=generator))
    return vlm


def _config(name: str) -> OptimizeConfig:
    return OptimizeConfig(epochs=2, batch_size=BATCH[name], pairs_per_pass=BATCH[name])


def _ours(name: str, pairs: Sequence[PreferencePair], products: dict[str, Any]) -> None:
    policy, config = _model(name), _config(name)
    training_pairs = lessons_of(policy, pairs, products)
    reference = pair_log_probs(_model(name), training_pairs, product_centric=True)
    for _ in train(policy, training_pairs, reference=reference, config=config, rng=np.random.default_rng(0)):
        pass


def _straightforward(name: str, pairs: Sequence[PreferencePair], products: dict[str, Any]) -> None:
    policy, reference, config = _model(name), _model(name), _config(name)
    for _ in straightforward(policy, lambda: nullcontext(reference), lessons_of(policy, pairs, products), config):
        pass


SIDES: dict[str, Callable[..., None]] = {"clickscape": _ours, "straightforward": _straightforward}


def _measure(side: str, name: str, pairs: Sequence[PreferencePair], products: dict[str, Any]) -> dict[str, float]:
    torch.set_num_threads(1)
    _ours("tiny", pairs[:1], products)  # the same warm-up on both sides: imports, kernels, allocators
    base, _ = _memory()
    cpu = time.process_time()
    SIDES[side](name, pairs, products)
    seconds = time.process_time() - cpu
    return {"cpu_ms_per_pair": round(1_000 * seconds / len(pairs), 1), "peak_mib": round(_memory()[1] - base)}


def _memory() -> tuple[float, float]:
    """Resident memory of this process now and at its peak, MiB (ru_maxrss would count its parent's)."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmRSS"].split()[0]) / 1024, int(lines["VmHWM"].split()[0]) / 1024


def _compare(name: str, pairs: Sequence[PreferencePair], products: dict[str, Any]) -> dict[str, float]:
    """Loss and gradient of both sides in float64, where models go down to float32, too; the policy has moved."""
    torch.set_num_threads(1)
    policy, reference = _model(name, moved=True), _model(name)
    training_pairs = lessons_of(policy, pairs, products)
    config = _config(name)
    torch.Tensor.float, torch.float32 = torch.Tensor.double, torch.float64  # type: ignore[method-assign, misc]
    policy.model.double(), reference.model.double()
    trainable_parameters(policy, config=config)
    known = pair_log_probs(reference, training_pairs, product_centric=True)
    features = tower_features(policy, training_pairs.pictures)
    losses = backward_in_chunks(
        policy, training_pairs, range(len(pairs)), reference=known, features=features, config=config
    )
    ours = {key: value.grad.clone() for key, value in policy.model.named_parameters() if value.grad is not None}
    policy.model.zero_grad(set_to_none=True)
    plain = plain_loss(policy, nullcontext(reference), training_pairs, range(len(pairs)), config)
    plain.backward()
    theirs = {key: value.grad for key, value in policy.model.named_parameters() if value.grad is not None}
    assert ours.keys() == theirs.keys()
    largest = max(float(value.abs().max()) for value in theirs.values())
    return {
        "loss": plain.item(),
        "loss_difference": abs(plain.item() - float(torch.cat([loss.total.detach() for loss in losses]).mean())),
        "gradient_difference": max(float((ours[key] - theirs[key]).abs().max()) for key in theirs) / largest,
    }


def main() -> None:
    """Measure, print, and keep the row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["tiny", "wide"], choices=["tiny", "wide"])
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    row: dict[str, Any] = {"seed": asked.seed, "models": {}}
    print(f"{'':6s}{'':17s}{'CPU-ms a pair':>14s}{'MiB above the base':>20s}")
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.models:
            pairs, products = preference_pairs(
                Path(folder) / name, patches=PATCHES[name], count=PAIRS[name], seed=asked.seed
            )
            measured: dict[str, Any] = {}
            for side in SIDES:
                measured[side] = _alone(_measure, side, name, pairs, products)
                cost, memory = measured[side].values()
                print(f"{name:6s}{side:17s}{cost:14,.1f}{memory:20,d}", flush=True)
            ours, plain = measured["clickscape"], measured["straightforward"]
            measured["speed"] = round(plain["cpu_ms_per_pair"] / ours["cpu_ms_per_pair"], 2)
            measured["memory"] = round(ours["peak_mib"] / plain["peak_mib"], 3)
            measured |= _alone(_compare, name, pairs[: CHECKED[name]], products)
            print(
                f"{name:6s}× {measured['speed']:.2f} pairs per CPU-second, {measured['memory']:.0%} of the memory; "
                f"float64: loss {measured['loss']:.6f} ± {measured['loss_difference']:.0e}, "
                f"gradients within {measured['gradient_difference']:.0e} of the largest"
            )
            row["models"][name] = measured
    append_row(row, by="pcpo")


def _alone(function: Callable[..., dict[str, float]], *arguments: object) -> dict[str, float]:
    """The function's result from a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


if __name__ == "__main__":
    main()
