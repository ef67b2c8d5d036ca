"""What a step may cost: the reference is scored once, read again by a run that goes on, never kept beside a policy."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tests.factory import Brightness
from transformers import LlavaForConditionalGeneration

from clickscape.config import OptimizeConfig
from clickscape.generation.pipeline import AdPipeline
from clickscape.preference.reference import Reference, reference_log_probs
from clickscape.preference.rounds import Event, optimize
from clickscape.preference.train import Step, TrainingPairs, pair_log_probs, question, sample_log_probs
from clickscape.render import load
from clickscape.types import Product
from clickscape.vlm.batch import Sample
from clickscape.vlm.generate import Writer
from clickscape.vlm.model import VisionLanguageModel

Build = Callable[..., VisionLanguageModel]
Pictures = Callable[[Product], np.ndarray]

SMALL = OptimizeConfig(
    rounds=2, products_per_round=6, candidates=3, max_new_tokens=40, min_margin=0.05,
    epochs=2, batch_size=3, learning_rate=2e-3, render_size=64, pairs_per_product=1, unparsed_share=1.0,
)  # fmt: skip


class Asked:
    """Opens the reference, and counts how often; `known` is what it says of training_pairs and drawn texts."""

    def __init__(self, vlm: VisionLanguageModel, file: Path) -> None:
        self.vlm, self.file, self.times = vlm, file, 0

    @contextmanager
    def opened(self) -> Iterator[VisionLanguageModel]:
        self.times += 1
        yield self.vlm

    def __call__(self, training_pairs: TrainingPairs, drawn: Sequence[Sample], **other: object) -> Reference:
        given: dict = {"weights": "abc", "product_centric": True, **other}
        return reference_log_probs(
            training_pairs, drawn, file=self.file, opened=self.opened, device=torch.device("cpu"), **given
        )


@pytest.fixture
def drawn(products: list[Product], pictures: Pictures) -> list[Sample]:
    return [Sample(question(product), (pictures(product),), "slate slab") for product in products[:3]]


def test_the_reference_is_scored_once_and_read_back_bit_for_bit(
    build: Build, training_pairs: TrainingPairs, drawn: list[Sample], tmp_path: Path
) -> None:
    asked = Asked(build(0), tmp_path / "reference.safetensors")
    first, again = asked(training_pairs, drawn), asked(training_pairs, drawn)
    assert asked.times == 1
    expected = pair_log_probs(build(0), training_pairs, product_centric=True)
    for part in ("chosen", "rejected", "corrupted"):
        assert torch.equal(getattr(first.answers, part), getattr(expected, part))
        assert torch.equal(getattr(again.answers, part), getattr(expected, part))
    assert torch.equal(again.drawn, sample_log_probs(build(0), drawn))
    with safe_open(tmp_path / "reference.safetensors", framework="pt") as saved:
        assert sorted(saved.keys()) == ["chosen", "corrupted", "drawn", "rejected"]
    assert [path.name for path in tmp_path.iterdir()] == ["reference.safetensors"]


def test_a_reference_cache_of_other_inputs_is_not_used(
    build: Build, training_pairs: TrainingPairs, drawn: list[Sample], tmp_path: Path
) -> None:
    asked = Asked(build(0), tmp_path / "reference.safetensors")
    asked(training_pairs, drawn)
    original = asked.file.read_bytes()
    first = training_pairs.pairs[0]
    darker = replace(training_pairs, pictures=(training_pairs.pictures[0] // 2, *training_pairs.pictures[1:]))
    changes: list[tuple[TrainingPairs, list[Sample], dict[str, object]]] = [
        (training_pairs, drawn, {"weights": "abd"}),
        (training_pairs, drawn, {"product_centric": False}),
        (training_pairs, drawn[:2], {}),
        (training_pairs, [replace(drawn[0], answer="oak table"), *drawn[1:]], {}),
        (replace(training_pairs, pairs=training_pairs.pairs[:-1]), drawn, {}),
        (replace(training_pairs, pairs=(replace(first, rejected="another"), *training_pairs.pairs[1:])), drawn, {}),
        (replace(training_pairs, pairs=(replace(first, corrupted_question="?"), *training_pairs.pairs[1:])), drawn, {}),
        (darker, drawn, {}),
    ]
    for times, (other, texts, settings) in enumerate(changes, start=2):
        asked.file.write_bytes(original)  # so that every change is the only one
        known = asked(other, texts, **settings)
        assert asked.times == times
        centric = bool(settings.get("product_centric", True))
        assert torch.equal(known.answers.rejected, pair_log_probs(build(0), other, product_centric=centric).rejected)


def test_a_damaged_file_is_made_again(
    build: Build, training_pairs: TrainingPairs, drawn: list[Sample], tmp_path: Path
) -> None:
    asked = Asked(build(0), tmp_path / "reference.safetensors")
    whole = asked(training_pairs, drawn)
    asked.file.write_bytes(asked.file.read_bytes()[:100])
    assert torch.equal(asked(training_pairs, drawn).answers.chosen, whole.answers.chosen)
    assert asked.times == 2
    asked(training_pairs, drawn)
    assert asked.times == 2


def go(
    folder: Path, taught: Callable[[], VisionLanguageModel], shelf: list[Product], config: OptimizeConfig
) -> Iterator[Event]:
    return optimize(Writer(taught()), AdPipeline(load("studio"), Brightness()), shelf, folder=folder, config=config)


def models() -> int:
    gc.collect()
    return sum(issubclass(type(value), LlavaForConditionalGeneration) for value in gc.get_objects())


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 2])
def test_only_one_model_is_in_memory_during_a_step(
    taught: Callable[[], VisionLanguageModel], shelf: list[Product], tmp_path: Path, rank: int
) -> None:
    config = SMALL.model_copy(update={"lora_rank": rank, "epochs": 1})
    before = models()
    counted = [
        (event.round, models() - before)
        for event in go(tmp_path, taught, shelf, config)
        if isinstance(event, Step) and event.number == 1
    ]
    assert counted == [(1, 1), (2, 1)]
