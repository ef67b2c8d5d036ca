"""Candidates that share one pass of their question are what the plain ways write, in float64, for every class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from transformers import GenerationConfig

from clickscape.types import Product
from clickscape.vlm import batch as batches
from clickscape.vlm import generate
from clickscape.vlm.batch import Sample, collate
from clickscape.vlm.generate import Writer, line_breaks, one_description, sample_ids
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.prompts import instruction

from .conftest import FAMILIES, SHARING

SEEDS = (7, 8, 9)
Opened = Callable[[str], VisionLanguageModel]


@pytest.fixture
def questions(products: list[Product], shown: Callable[[Product], np.ndarray]) -> list[Sample]:
    """Three questions of three lengths, so that two of them are padded."""
    return [
        Sample(instruction("describe", product, variant=number), (shown(product),))
        for number, product in enumerate(products)
    ]


def _plain(vlm: VisionLanguageModel, question: Sample, *, tokens: int) -> list[int]:
    """What transformers' own `generate` writes for one question, without padding."""
    batch = collate(vlm, [question], side="left", answers=False)
    ids = vlm.model.generate(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        pixel_values=batch.pixel_values,
        **batch.extras,
        max_new_tokens=tokens,
        do_sample=False,
    )[0, batch.input_ids.shape[1] :].tolist()
    end = vlm.tokenizer.eos_token_id
    return ids[: ids.index(end)] if end in ids else ids


@pytest.mark.parametrize("family", FAMILIES)
@torch.inference_mode()
def test_greedy_writing_is_that_of_generate_question_by_question(
    opened: Opened, family: str, questions: list[Sample]
) -> None:
    vlm = opened(family)
    ours = sample_ids(vlm, questions, n=2, seeds=SEEDS, temperature=0, max_new_tokens=12)
    for number, question in enumerate(questions):
        assert ours[2 * number] == ours[2 * number + 1] == _plain(vlm, question, tokens=12)


@pytest.mark.parametrize("family", SHARING)
@torch.inference_mode()
def test_sampling_with_the_cache_is_sampling_without_any(opened: Opened, family: str, questions: list[Sample]) -> None:
    """Every token is drawn again from what training says of its beginning, each row alone, with the same noise."""
    vlm, n, tokens = opened(family), 2, 5
    ours = sample_ids(vlm, questions, n=n, seeds=SEEDS, max_new_tokens=tokens)
    ends = vlm.tokenizer.eos_token_id
    assert all(len(row) == tokens and ends not in row for row in ours)  # no row leaves: every draw is of all rows
    asked = [question for question in questions for _ in range(n)]
    written: list[list[int]] = [[] for _ in asked]
    streams = [np.random.default_rng([seed, row]) for seed in SEEDS for row in range(n)]
    noise = torch.stack([torch.from_numpy(stream.random(tokens, np.float32)) for stream in streams])
    for step in range(tokens):
        logits = torch.stack([_next(vlm, *row) for row in zip(asked, written, strict=True)])
        below = logits.float().softmax(-1).cumsum(-1) <= noise[:, step, None]
        drawn = below.sum(-1)
        for row, token in zip(written, drawn.tolist(), strict=True):
            row.append(token)
    assert ours == written
    assert len({tuple(row) for row in ours}) == len(ours)


@pytest.mark.parametrize("family", ["llava", "vipllava"])
def test_a_products_texts_do_not_depend_on_its_neighbors(
    opened: Opened, family: str, products: list[Product], shown: Callable[[Product], np.ndarray]
) -> None:
    """Alone, with others or behind others, with the cache or through `generate`: the seed and the id decide."""
    writer = Writer(opened(family))
    asked = {"n": 2, "max_new_tokens": 6, "pictures": shown}
    together = writer.describe_all(products, seed=4, **asked)
    assert writer.describe_all(products[::-1], seed=4, **asked) == together[::-1]
    assert [writer.describe_all([product], seed=4, **asked)[0] for product in products] == together
    assert writer.describe_all(products, seed=5, **asked) != together
    more = writer.describe_all(products, seed=4, **{**asked, "n": 3})
    assert [own[:2] for own in more] == together, "what was asked for beside them changes nothing either"


def _next(vlm: VisionLanguageModel, question: Sample, before: list[int]) -> torch.Tensor:
    """Logits of the next token of one row: the whole sequence is read anew, without cache and without padding."""
    batch = collate(vlm, [question], side="right", answers=False)
    extras = dict(batch.extras)
    more = torch.tensor([before], dtype=torch.long)
    if batches.MODALITIES in extras:
        extras[batches.MODALITIES] = torch.cat([extras[batches.MODALITIES], torch.zeros_like(more)], 1)
    ids = torch.cat([batch.input_ids, more], 1)
    return vlm.core(input_ids=ids, pixel_values=batch.pixel_values, **extras).logits[0, -1]


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
@torch.inference_mode()
def test_candidates_that_end_early_leave_and_change_nothing(
    opened: Opened, family: str, questions: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    vlm = opened(family)
    long = sample_ids(vlm, questions, n=1, seeds=SEEDS, temperature=0, max_new_tokens=12)
    ends = sorted({long[0][2], long[1][5]})
    monkeypatch.setattr(vlm.core.generation_config, "eos_token_id", ends)
    cut = sample_ids(vlm, questions, n=1, seeds=SEEDS, temperature=0, max_new_tokens=12)
    expected = [ids[: next((place for place, token in enumerate(ids) if token in ends), len(ids))] for ids in long]
    assert cut == expected
    assert len({len(ids) for ids in cut}) > 1


@pytest.mark.parametrize("family", ["llava", "vipllava"])
@torch.inference_mode()
def test_an_answer_ends_with_a_line_break_after_its_first_token(
    opened: Opened, family: str, questions: list[Sample]
) -> None:
    vlm = opened(family)
    long = sample_ids(vlm, questions[:1], n=1, seeds=SEEDS[:1], temperature=0, max_new_tokens=12)[0]
    place = next(place for place in range(2, 12) if long[place] not in long[1:place])
    breaks = frozenset({long[0], long[place]} - set(long[1:place]))
    cut = sample_ids(vlm, questions[:1], n=1, seeds=SEEDS[:1], temperature=0, max_new_tokens=12, breaks=breaks)[0]
    assert cut == long[: place + 1]


def test_line_breaks_are_all_tokens_with_one(opened: Opened) -> None:
    tokenizer = opened("llava").tokenizer
    breaks = line_breaks(tokenizer)
    assert tokenizer("\n", add_special_tokens=False)["input_ids"][0] in breaks
    assert all(("\n" in tokenizer.decode([token])) == (token in breaks) for token in range(len(tokenizer)))


@pytest.mark.parametrize(
    ("written", "line"),
    [("oak, sun", "oak, sun"), ("oak\n- sun", "oak"), ("\noak\nsun", "oak"), (" oak ,", " oak ,"), ("\n\noak", "")],
)
def test_a_description_is_one_line_and_nothing_of_it_is_changed(written: str, line: str) -> None:
    assert one_description(written) == line


@torch.inference_mode()
def test_a_pass_holds_as_many_products_as_its_cache_may_take(
    opened: Opened, products: list[Product], monkeypatch: pytest.MonkeyPatch
) -> None:
    vlm = opened("llava")
    layers, heads, width, bytes_each = 2, 2, 8, 8
    assert generate._bytes_per_token(vlm) == 2 * layers * heads * width * bytes_each
    sizes: list[int] = []
    monkeypatch.setattr(generate, "sample_ids", lambda _, samples, **rest: sizes.append(len(samples)) or [[5]] * 6)
    many = [*products, *products]
    writer = Writer(vlm)
    question = max((instruction("describe", product, variant=0) for product in products), key=len)
    asked = collate(vlm, [Sample(question, (np.zeros((32, 32, 3), np.uint8),))], side="left", answers=False)
    one = 2 * (asked.input_ids.shape[1] + 16) * generate._bytes_per_token(vlm)
    for memory, expected in ((10**12, [6]), (4 * one, [4, 2]), (one - 1, [1] * 6)):
        monkeypatch.setattr(generate, "CACHE_BYTES", memory)
        sizes.clear()
        writer.describe_all(many, n=2, seed=0, max_new_tokens=16)
        assert sizes == expected


def test_how_a_checkpoint_would_have_itself_sampled_is_set_aside(opened: Opened, questions: list[Sample]) -> None:
    """Beams cost their number of memory; penalties and lengths would make other texts than were asked for."""
    vlm = opened("vipllava")
    arguments = {"n": 2, "temperature": 1.0, "max_new_tokens": 6}
    plain = sample_ids(vlm, questions, **arguments, seeds=SEEDS)
    kept = vlm.core.generation_config
    vlm.core.generation_config = GenerationConfig(
        eos_token_id=kept.eos_token_id, num_beams=7, repetition_penalty=9.0, min_new_tokens=5, num_return_sequences=3
    )
    try:
        assert sample_ids(vlm, questions, **arguments, seeds=SEEDS) == plain
        assert vlm.core.generation_config.num_beams == 7, "what is saved with the model stays"
    finally:
        vlm.core.generation_config = kept
