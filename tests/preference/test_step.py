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
from transformers import LlavaForConditionalGeneration

from clickscape.config import OptimizeConfig
from clickscape.preference.reference import Reference, reference_log_probs
from clickscape.preference.rounds import Event, optimize
from clickscape.preference.sample import PreferencePair
from clickscape.preference.train import Lessons, Step, prepare, question, score, score_answers
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


class Brightness:
    def score(self, products: Sequence[Product], images: Sequence[np.ndarray], _scenes: object = None, /) -> np.ndarray:
        return np.array([image.mean() / 25 for image in images])


class Asked:
    """Opens the reference, and counts how often; `known` is what it says of lessons and drawn texts."""

    def __init__(self, vlm: VisionLanguageModel, file: Path) -> None:
        self.vlm, self.file, self.times = vlm, file, 0

    @contextmanager
    def opened(self) -> Iterator[VisionLanguageModel]:
        self.times += 1
        yield self.vlm

    def __call__(self, lessons: Lessons, drawn: Sequence[Sample], **other: object) -> Reference:
        given: dict = {"weights": "abc", "product_centric": True, **other}
        return reference_log_probs(
            lessons, drawn, file=self.file, opened=self.opened, device=torch.device("cpu"), **given
        )


@pytest.fixture
def lessons(build: Build, pairs: list[PreferencePair], products: list[Product], pictures: Pictures) -> Lessons:
    by_id = {product.product_id: product for product in products}
    return prepare(pairs, products=by_id, pictures=pictures, vlm=build(0))


@pytest.fixture
def drawn(products: list[Product], pictures: Pictures) -> list[Sample]:
    return [Sample(question(product), (pictures(product),), "slate slab") for product in products[:3]]


def test_the_reference_is_asked_once_and_then_read_to_the_bit(
    build: Build, lessons: Lessons, drawn: list[Sample], tmp_path: Path
) -> None:
    asked = Asked(build(0), tmp_path / "reference.safetensors")
    first, again = asked(lessons, drawn), asked(lessons, drawn)
    assert asked.times == 1
    expected = score(build(0), lessons, product_centric=True)
    for part in ("chosen", "rejected", "spoilt"):
        assert torch.equal(getattr(first.answers, part), getattr(expected, part))
        assert torch.equal(getattr(again.answers, part), getattr(expected, part))
    assert torch.equal(again.drawn, score_answers(build(0), drawn))
    with safe_open(tmp_path / "reference.safetensors", framework="pt") as saved:
        assert sorted(saved.keys()) == ["chosen", "drawn", "rejected", "spoilt"]
    assert [path.name for path in tmp_path.iterdir()] == ["reference.safetensors"]


def test_a_reference_of_something_else_is_never_read(
    build: Build, lessons: Lessons, drawn: list[Sample], tmp_path: Path
) -> None:
    asked = Asked(build(0), tmp_path / "reference.safetensors")
    asked(lessons, drawn)
    first = lessons.lessons[0]
    darker = replace(lessons, pictures=(lessons.pictures[0] // 2, *lessons.pictures[1:]))
    changes: list[tuple[Lessons, list[Sample], dict[str, object]]] = [
        (lessons, drawn, {"weights": "abd"}),
        (lessons, drawn, {"product_centric": False}),
        (lessons, drawn[:2], {}),
        (lessons, [replace(drawn[0], answer="oak table"), *drawn[1:]], {}),
        (replace(lessons, lessons=lessons.lessons[:-1]), drawn, {}),
        (replace(lessons, lessons=(replace(first, rejected="another"), *lessons.lessons[1:])), drawn, {}),
        (replace(lessons, lessons=(replace(first, spoilt_question="?"), *lessons.lessons[1:])), drawn, {}),
        (darker, drawn, {}),
    ]
    for times, (other, texts, settings) in enumerate(changes, start=2):
        known = asked(other, texts, **settings)
        assert asked.times == times
        centric = bool(settings.get("product_centric", True))
        assert torch.equal(known.answers.rejected, score(build(0), other, product_centric=centric).rejected)


def test_a_damaged_file_is_made_again(build: Build, lessons: Lessons, drawn: list[Sample], tmp_path: Path) -> None:
    asked = Asked(build(0), tmp_path / "reference.safetensors")
    whole = asked(lessons, drawn)
    asked.file.write_bytes(asked.file.read_bytes()[:100])
    assert torch.equal(asked(lessons, drawn).answers.chosen, whole.answers.chosen)
    assert asked.times == 2
    asked(lessons, drawn)
    assert asked.times == 2


def go(
    folder: Path, taught: Callable[[], VisionLanguageModel], shelf: list[Product], config: OptimizeConfig
) -> Iterator[Event]:
    return optimize(Writer(taught()), Brightness(), load("studio"), shelf, folder=folder, config=config)


def models() -> int:
    gc.collect()
    return sum(issubclass(type(value), LlavaForConditionalGeneration) for value in gc.get_objects())


@pytest.mark.parametrize("rank", [0, 2])
def test_one_model_stands_in_memory_during_a_step(
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
