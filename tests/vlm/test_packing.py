from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from clickscape.errors import ModelError
from clickscape.vlm import batch as batches
from clickscape.vlm.batch import Sample, collate
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.packing import attention_mask, can_pack, packed_log_probs, prefix_tree
from clickscape.vlm.prompts import instruction

TEXTS = (("oak table", " white marble podium, noon sun"), ("x",), ("sand", "oak", "ice cubes at the beach"), ("slate",))


@pytest.fixture(scope="module")
def questions(products, noise) -> list[Sample]:
    """One picture under two captions, a picture of its own, two pictures, no picture."""
    shared = noise(1)
    return [
        Sample(instruction("describe", products[0], variant=0), (shared,)),
        Sample(instruction("describe", products[1], variant=0), (shared,)),
        Sample(instruction("describe", products[3], variant=2), (noise(3), noise(4))),
        Sample(instruction("rewrite", "lemons marble", variant=1)),
    ]


def answers() -> list[tuple[int, str]]:
    """Not in order of the questions."""
    pairs = [(number, text) for number, own in enumerate(TEXTS) for text in own]
    return [*pairs[1::2], *pairs[::2]]


def separately(vlm: VisionLanguageModel, questions: Sequence[Sample]) -> tuple[torch.Tensor, torch.Tensor]:
    samples = [replace(questions[number], answer=text) for number, text in answers()]
    return batches.token_log_probs(vlm, collate(vlm, samples, side="right", answers=True))


def pulled(vlm: VisionLanguageModel, values: torch.Tensor) -> dict[str, torch.Tensor]:
    """Gradient of a weighting under which no two tokens can stand for each other."""
    vlm.model.zero_grad(set_to_none=True)
    (values * torch.linspace(-1, 2, len(values), dtype=values.dtype)).sum().backward()
    return {name: weight.grad.clone() for name, weight in vlm.model.named_parameters() if weight.grad is not None}


def double(build: Callable[..., VisionLanguageModel]) -> VisionLanguageModel:
    vlm = build(seed=8)
    with torch.no_grad():
        for weight in vlm.model.parameters():
            weight.mul_(4)
    vlm.model.double().requires_grad_(True)
    return vlm


def test_a_packed_tree_holds_every_shared_prefix_once() -> None:
    """Question 1 2 3 with answers 4 5 and 4 6 7; another question 1 2 8 with answer 4."""
    made = prefix_tree([np.array(ids) for ids in ([1, 2, 3, 4, 5], [1, 2, 3, 4, 6, 7], [1, 2, 8, 4])])
    assert made.ids.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 4]
    assert made.depths.tolist() == [0, 1, 2, 3, 4, 4, 5, 2, 3]
    assert [path.tolist() for path in made.paths] == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 5, 6], [0, 1, 7, 8]]
    shown = attention_mask([made], tokens=len(made) + 1, dtype=torch.float32, device=torch.device("cpu"))[0, 0] == 0
    seen = [row.nonzero()[:, 0].tolist() for row in shown[: len(made)]]
    assert shown[len(made)].nonzero().tolist() == [[0]]  # padding sees something
    assert seen == [
        [0],
        [0, 1],
        [0, 1, 2],
        [0, 1, 2, 3],
        [0, 1, 2, 3, 4],
        [0, 1, 2, 3, 5],
        [0, 1, 2, 3, 5, 6],
        [0, 1, 7],
        [0, 1, 7, 8],
    ]


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_packed_answers_have_the_same_log_probs_and_gradients(build, questions, attention) -> None:
    vlm = double(build)
    vlm.model.set_attn_implementation(attention)
    packed, owners = packed_log_probs(vlm, questions, answers())
    alone, numbers = separately(vlm, questions)
    torch.testing.assert_close(packed, alone, atol=1e-9, rtol=1e-9)
    assert owners.tolist() == numbers.tolist()
    found, expected = pulled(vlm, packed), pulled(vlm, alone)
    assert found.keys() == expected.keys()
    assert any("vision_tower" in name for name in found)
    for name in found:
        torch.testing.assert_close(found[name], expected[name], atol=1e-9, rtol=1e-9)


@torch.inference_mode()
def test_cached_features_can_replace_pictures(small, questions) -> None:
    shown = [picture for question in questions for picture in question.images]
    features = batches.image_features(small, shown)
    given, _ = packed_log_probs(small, questions, answers(), features=features)
    looked, _ = packed_log_probs(small, questions, answers())
    torch.testing.assert_close(given, looked, atol=1e-5, rtol=1e-5)
    other, _ = packed_log_probs(small, questions, answers(), features=features.flip(0))
    assert (other - looked).abs().max() > 0.1


@torch.inference_mode()
def test_shared_prefixes_and_pictures_are_encoded_once(small, questions, monkeypatch) -> None:
    read, looked = [], []
    hooks = [
        small.core.model.language_model.register_forward_pre_hook(
            lambda _, args, kwargs: read.append(tuple(kwargs["inputs_embeds"].shape[:2])), with_kwargs=True
        ),
        small.core.model.vision_tower.register_forward_pre_hook(lambda _, args: looked.append(len(args[0]))),
    ]
    try:
        packed_log_probs(small, questions[:2], [(0, "oak table"), (0, "slate"), (1, "oak table")])
    finally:
        for hook in hooks:
            hook.remove()
    one, two = (int(mask.sum()) for mask in collate(small, questions[:2], side="right", answers=False).attention_mask)
    oak, slate = (len(small.tokenizer(text).input_ids) for text in ("oak table", "slate"))
    first, second = (collate(small, [one], side="right", answers=False).input_ids[0].tolist() for one in questions[:2])
    common = next(place for place, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    assert common > small.image_tokens
    assert read == [(1, one + two - common + 2 * oak + slate)]
    assert looked == [1]


@torch.inference_mode()
def test_pictures_that_look_alike_but_are_others_do_not_mix(small, noise, products) -> None:
    asked = [Sample(instruction("describe", products[0], variant=0), (noise(seed),)) for seed in (1, 2)]
    values, _ = packed_log_probs(small, asked, [(0, "x"), (1, "x")])
    each = [packed_log_probs(small, [one], [(0, "x")])[0] for one in asked]
    torch.testing.assert_close(values, torch.cat(each), atol=1e-5, rtol=1e-5)
    assert (each[0] - each[1]).abs().max() > 1e-3


def test_an_answer_that_exceeds_the_context_is_refused(small, questions) -> None:
    with pytest.raises(ModelError, match="too long"):
        packed_log_probs(small, questions[:1], [(0, "x"), (0, "word " * 700)])


def test_only_full_causal_attention_under_a_mask_of_ours_can_be_packed(build) -> None:
    vlm = build(seed=0)
    assert can_pack(vlm)
    text = vlm.core.config.get_text_config()
    text.sliding_window = 16
    assert not can_pack(vlm)
    text.use_sliding_window = False
    assert can_pack(vlm)
    text.layer_types = ["full_attention", "linear_attention"]
    assert not can_pack(vlm)
    text.layer_types = None
    text._attn_implementation = "flash_attention_2"
    assert not can_pack(vlm)
