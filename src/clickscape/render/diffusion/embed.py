"""Prompts of any length as embeddings: each chunk encoded as diffusers encodes a prompt, then laid end to end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from clickscape.render.diffusion.words import chunks


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """Prompt embeddings for a pipeline: tokens (prompt, chunk · 77, width); pooled (prompt, width), SDXL's.

    Pooled is the first chunk's: descriptions say what matters most first. None stands for "not used by this model".
    """

    tokens: Tensor
    pooled: Tensor | None


def cut(pipeline: Any, text: str) -> tuple[str, ...]:
    """The text in chunks that every tokenizer of the pipeline reads whole."""
    readers = [(tokenizer, _longest(tokenizer, encoder)) for tokenizer, encoder in _encoders(pipeline)]

    def fits(part: str) -> bool:
        return all(len(tokenizer(part, verbose=False).input_ids) <= longest for tokenizer, longest in readers)

    return tuple(chunks(text, fits=fits))


def embed(pipeline: Any, prompts: Sequence[Sequence[str]], *, length: int) -> Embeddings:
    """Prompts in chunks → embeddings of `length` chunks each; missing ones are empty texts, as padding would be."""
    padded = [[*prompt, *[""] * (length - len(prompt))] for prompt in prompts]
    distinct = list(dict.fromkeys(chunk for prompt in padded for chunk in prompt))
    with torch.no_grad():
        encoded = pipeline.encode_prompt(
            prompt=distinct,
            device=pipeline._execution_device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=False,
        )
    row = {chunk: number for number, chunk in enumerate(distinct)}
    tokens = torch.stack([torch.cat([encoded[0][row[chunk]] for chunk in prompt]) for prompt in padded])
    pooled = encoded[2] if len(encoded) > 2 else None
    return Embeddings(tokens, None if pooled is None else torch.stack([pooled[row[prompt[0]]] for prompt in padded]))


def unprompted(pipeline: Any, like: Embeddings) -> Embeddings:
    """Return the embeddings of an empty negative prompt: zeros if the model was trained so, else of no words."""
    count, length = len(like.tokens), like.tokens.shape[1] // _encoded_length(pipeline)
    if like.pooled is not None and pipeline.config.get("force_zeros_for_empty_prompt", False):
        return Embeddings(torch.zeros_like(like.tokens), torch.zeros_like(like.pooled))
    return embed(pipeline, [("",)] * count, length=length)


def _encoders(pipeline: Any) -> list[tuple[Any, Any]]:
    """Tokenizer and text encoder, one pair or (SDXL) two."""
    pairs = [(pipeline.tokenizer, pipeline.text_encoder)]
    if hasattr(pipeline, "tokenizer_2"):
        pairs.append((pipeline.tokenizer_2, pipeline.text_encoder_2))
    return [(tokenizer, encoder) for tokenizer, encoder in pairs if tokenizer is not None]


def _longest(tokenizer: Any, encoder: Any) -> int:
    return min(int(tokenizer.model_max_length), int(encoder.config.max_position_embeddings))


def _encoded_length(pipeline: Any) -> int:
    """Tokens of one encoded chunk."""
    return min(_longest(tokenizer, encoder) for tokenizer, encoder in _encoders(pipeline))
