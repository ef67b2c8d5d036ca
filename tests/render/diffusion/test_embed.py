"""Chunked prompts: a short one is what diffusers itself encodes, a long one is its parts laid end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from clickscape.render.diffusion import embed, weights

from .conftest import CONTEXT, config

LONG = ", ".join(["warm oak table", "soft light", "lemons", "mint wall", "blurred kitchen"] * 12)


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def pipeline(request: pytest.FixtureRequest, pipelines: Path) -> Any:
    return weights.load(config(pipelines, request.param, safety_checker=False)).pipeline


def own(pipeline: Any, text: str, negative: str | None) -> tuple[torch.Tensor, ...]:
    """What diffusers encodes: words, negative words and (SDXL) both pooled."""
    with torch.no_grad():
        return pipeline.encode_prompt(
            prompt=text,
            device="cpu",
            num_images_per_prompt=1,
            do_classifier_free_guidance=True,
            negative_prompt=negative,
        )


def test_a_short_prompt_is_what_diffusers_encodes(pipeline: Any) -> None:
    text, negative = "oak table, soft light", "blurred lemons"
    expected = own(pipeline, text, negative)
    wanted = embed.embed(pipeline, [embed.cut(pipeline, text)], length=1)
    unwanted = embed.embed(pipeline, [embed.cut(pipeline, negative)], length=1)
    torch.testing.assert_close(wanted.tokens, expected[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(unwanted.tokens, expected[1], atol=1e-5, rtol=0)
    if len(expected) == 4:
        assert wanted.pooled is not None
        assert unwanted.pooled is not None
        torch.testing.assert_close(wanted.pooled, expected[2], atol=1e-5, rtol=0)
        torch.testing.assert_close(unwanted.pooled, expected[3], atol=1e-5, rtol=0)
    else:
        assert wanted.pooled is None


def test_an_empty_negative_prompt_is_what_diffusers_encodes(pipeline: Any) -> None:
    expected = own(pipeline, "oak table", None)
    wanted = embed.embed(pipeline, [("oak table",)], length=1)
    unwanted = embed.unprompted(pipeline, wanted)
    torch.testing.assert_close(unwanted.tokens, expected[1], atol=1e-5, rtol=0)
    if unwanted.pooled is not None:
        torch.testing.assert_close(unwanted.pooled, expected[3], atol=1e-5, rtol=0)


def test_a_long_prompt_is_read_to_its_end(pipeline: Any) -> None:
    parts = embed.cut(pipeline, LONG)
    assert len(parts) > 1
    assert ", ".join(parts) == LONG
    whole = embed.embed(pipeline, [parts], length=len(parts))
    assert whole.tokens.shape[:2] == (1, len(parts) * CONTEXT)
    for number, part in enumerate(parts):
        expected = own(pipeline, part, None)[0]
        piece = whole.tokens[:, number * CONTEXT : (number + 1) * CONTEXT]
        torch.testing.assert_close(piece, expected, atol=1e-5, rtol=0)
    other = embed.embed(pipeline, [embed.cut(pipeline, LONG + ", marble podium")], length=len(parts) + 1)
    longer = embed.embed(pipeline, [parts], length=len(parts) + 1)
    assert not torch.allclose(longer.tokens, other.tokens), "the last word counts"
    if whole.pooled is not None:
        torch.testing.assert_close(whole.pooled, own(pipeline, parts[0], None)[2], atol=1e-5, rtol=0)


def test_prompts_of_different_length_are_padded_with_empty_texts(pipeline: Any) -> None:
    both = embed.embed(pipeline, [("oak table",), ("mint wall", "lemons")], length=2)
    torch.testing.assert_close(both.tokens[0, CONTEXT:], own(pipeline, "", None)[0][0], atol=1e-5, rtol=0)
    torch.testing.assert_close(both.tokens[1, CONTEXT:], own(pipeline, "lemons", None)[0][0], atol=1e-5, rtol=0)
