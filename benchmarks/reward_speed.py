"""What does a pair cost the two-branch reward model?

    python benchmarks/reward_speed.py --page docs/experiments/reward.md

A LLaVA like `tiny`, but with 256 image tokens and random weights; the same weights, branches and questions on all
sides. The reference is the plain way: both ads in one square picture of 256 image tokens, each pair whole through
tower and language model, in one order (one pair at a time as the paper's code asks, or eight in a batch). Ours at two
squares of 121 tokens a pair (242) and at two whole ones (512), in both orders and in one. Preparing text and pictures
is charged to every side. One thread, CPU-seconds, sides in turn, all in one run. That shared states are those of whole
pairs is checked on the way. Appends one row to results/reward_speed.jsonl and writes the table to --page.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from PIL import Image as PillowImage

from _results import append_row, write_part
from clickscape.catalog import sample
from clickscape.config import TinyConfig
from clickscape.reward import pair_states
from clickscape.reward.protocol import Image
from clickscape.reward.two_branch import Branches, TwoBranch, Views
from clickscape.types import Product
from clickscape.vlm import model as models
from clickscape.vlm.model import VisionLanguageModel

SIDE, SMALL, BATCH = 256, 176, 8
"""Pixels of the tower's square, and of squares of which two take no more tokens; pairs of a batch."""


class Group(NamedTuple):
    """Images of one product, all of which are compared with each other."""

    product: Product
    images: list[Image]

    @property
    def pairs(self) -> list[Views]:
        """All pairs, each in one order."""
        return list(combinations(self.images, 2))


Side = Callable[[Sequence[Group]], None]


def _reference(model: TwoBranch, *, batch: int) -> Side:
    vlm, processor = model.backbone, model.backbone.processor

    def ask(groups: Sequence[Group]) -> None:
        asked = [(model.question(group.product), views) for group in groups for views in group.pairs]
        for start in range(0, len(asked), batch):
            questions, pairs = zip(*asked[start : start + batch], strict=True)
            inputs: Any = processor(
                text=[f"<s>USER: <image>\n{question}\nASSISTANT:\n" for question in questions],
                images=[_both_in_one_square(views) for views in pairs],
                padding=True,
                padding_side="left",
                add_special_tokens=False,
                return_tensors="pt",
            )
            with torch.inference_mode():
                model.branches(vlm.core.model(**inputs, use_cache=False).last_hidden_state[:, -1].float())

    return ask


def _both_in_one_square(views: Views) -> PillowImage.Image:
    square = PillowImage.new("RGB", (SIDE, SIDE))
    for place, view in enumerate(views):
        half = PillowImage.fromarray(view).resize((SIDE // 2, SIDE), PillowImage.Resampling.BICUBIC)
        square.paste(half, (place * SIDE // 2, 0))
    return square


def _ours(model: TwoBranch) -> Side:
    def ask(groups: Sequence[Group]) -> None:
        for group in groups:
            if len(group.images) > 2:
                model.rank(group.product, group.images)
        lone = [group for group in groups if len(group.images) == 2]
        if lone:
            model.odds([one.product for one in lone], *zip(*(one.images for one in lone), strict=True))

    return ask


def main() -> None:
    """Measure, check, print, and keep the row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=192, help="hidden size of the language model")
    parser.add_argument("--layers", type=int, default=4, help="layers of tower and language model, each")
    parser.add_argument("--page", type=Path, help="also write the table into this Markdown file")
    given = parser.parse_args()
    torch.set_num_threads(1)
    vlm = _model(width=given.width, layers=given.layers)
    torch.manual_seed(0)
    branches = Branches(torch.randn(6, 2, vlm.hidden_size), torch.randn(6, 2, vlm.hidden_size)).requires_grad_(False)
    tasks = _tasks(np.random.default_rng(0))
    _check(vlm, tasks)

    def two_branch(side: int, orders: int) -> Side:
        return _ours(TwoBranch(vlm, branches, side=side, orders=orders))

    reference = TwoBranch(vlm, branches)
    sides: dict[str, Side] = {
        "reference, one pair at a time": _reference(reference, batch=1),
        f"reference, {BATCH} pairs in a batch": _reference(reference, batch=BATCH),
        "clickscape, 242 tokens a pair, both orders": two_branch(SMALL, 2),
        "clickscape, 242 tokens a pair, one order": two_branch(SMALL, 1),
        "clickscape, 512 tokens a pair, both orders": two_branch(SIDE, 2),
        "clickscape, 512 tokens a pair, one order": two_branch(SIDE, 1),
    }
    seconds: dict[str, dict[str, float]] = {}
    for name, side in sides.items():
        side([Group(tasks["two"][0].product, tasks["two"][0].images)])  # imports and first-time work are nobody's
        seconds[name] = {}
    for task, groups in tasks.items():
        for name, side in sides.items():
            started = time.process_time()
            side(groups)
            seconds[name][task] = time.process_time() - started
    counts = {task: sum(len(group.pairs) for group in groups) for task, groups in tasks.items()}
    text = _table(seconds, counts, weights=vlm.parameters)
    print(text)
    row = {"torch": torch.__version__, "transformers": transformers.__version__, "weights": vlm.parameters}
    append_row({**row, "width": given.width, "layers": given.layers, "pairs": counts, "cpu_seconds": seconds},
               by="reward_speed")  # fmt: skip
    if given.page:
        write_part(given.page, text, by="reward_speed")


def _table(seconds: dict[str, dict[str, float]], counts: dict[str, int], *, weights: int) -> str:
    best = {task: min(seconds[name][task] for name in list(seconds)[:2]) for task in counts}
    about = (
        f"The two-branch form on a LLaVA of {weights / 1e6:.1f} million random weights, 256 image tokens a square, the "
        "same weights on all sides, one thread. The *reference* reads every pair whole, both ads in one square, in one "
        "order. Pairs per CPU-second; in brackets × the faster reference. Shared states equal those of whole pairs to "
        "1e-4. Written by `python benchmarks/reward_speed.py --page docs/experiments/reward.md`."
    )
    heads = (
        f"8 images of a product ({counts['eight']} pairs)", "CPU-s",
        f"4 images each of 6 products ({counts['four']} pairs)", f"{counts['two']} pairs of as many products",
    )  # fmt: skip
    lines = ["## What a pair costs", "", about, "", f"| | {' | '.join(heads)} |", "| --- | --- | ---: | --- | --- |"]
    for name, taken in seconds.items():
        cells = {task: f"{counts[task] / taken[task]:.1f} (× {best[task] / taken[task]:.2f})" for task in counts}
        lines.append(f"| {name} | {cells['eight']} | {taken['eight']:.1f} | {cells['four']} | {cells['two']} |")
    return "\n".join(lines)


@torch.no_grad()
def _check(vlm: VisionLanguageModel, tasks: dict[str, list[Group]]) -> None:
    """AssertionError unless shared states are those of whole pairs."""
    group = tasks["four"][0]
    pairs = [(first, second) for first in group.images[:3] for second in group.images[:3]]
    questions = [group.product.title] * len(pairs)
    for side in (SMALL, SIDE):
        plain = pair_states.whole(vlm, questions, pairs, side=side)
        found = pair_states.shared(vlm, questions, pairs, side=side, together=4)
        assert float((plain - found).abs().max()) < 1e-4, side


def _tasks(rng: np.random.Generator) -> dict[str, list[Group]]:
    products = sample.products()[:22]

    def drawn(product: Product, count: int) -> Group:
        return Group(product, [rng.integers(0, 256, (512, 512, 3), dtype=np.uint8) for _ in range(count)])

    return {
        "eight": [drawn(products[0], 8)],
        "four": [drawn(product, 4) for product in products[:6]],
        "two": [drawn(product, 2) for product in products[6:]],
    }


def _model(*, width: int, layers: int) -> VisionLanguageModel:
    config = TinyConfig(
        image_size=SIDE, patch_size=16, max_positions=1_024,
        vision_width=2 * width // 3, vision_layers=layers,
        text_width=width, text_layers=layers, text_ffn=8 * width // 3,
    )  # fmt: skip
    return models.build_tiny(config, models.load("tiny").tokenizer, seed=0)


if __name__ == "__main__":
    main()
