"""What backbones see in pictures: image tokens pooled on a 3 × 3 grid (what is there, and where), and the last token.

The last hidden state after picture and question is what the two-branch model reads (Chen et al. 2025); pooled tokens
are what the slot probe reads, and need no words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32
from PIL import Image as PillowImage
from torch import Tensor
from torch.nn import functional

from clickscape.reward.encoders import Backbone, VisionEncoder, patch_tokens
from clickscape.reward.protocol import Image
from clickscape.vlm import batch as vlm_batch
from clickscape.vlm.model import VisionLanguageModel

CELLS = 3
"""Image tokens are pooled to CELLS × CELLS: fine enough to tell surface from wall, coarse enough to learn from."""

CHUNK = 64
"""Pictures in one pass of the backbone."""


def token_width(backbone: Backbone) -> int:
    """Return how many numbers `picture_tokens` gives of a picture."""
    return CELLS * CELLS * backbone.hidden_size


@torch.inference_mode()
def picture_tokens(backbone: Backbone, images: Sequence[Image]) -> Float32[np.ndarray, "picture token"]:
    """Return the pooled image tokens of every picture, whatever its product."""
    read = _encoder_tokens if isinstance(backbone, VisionEncoder) else _language_model_tokens
    parts = [read(backbone, images[start : start + CHUNK]) for start in range(0, len(images), CHUNK)]  # type: ignore[arg-type]
    return np.concatenate([np.zeros((0, token_width(backbone)), np.float32), *(part.cpu().numpy() for part in parts)])


def pool(tokens: Float[Tensor, "picture token width"]) -> Float[Tensor, "picture cells_width"]:
    """Return row-major tokens of a square averaged in CELLS² cells."""
    rows = math.isqrt(tokens.shape[1])
    grid = tokens.float().reshape(len(tokens), rows, rows, -1).permute(0, 3, 1, 2)
    return functional.adaptive_avg_pool2d(grid, CELLS).flatten(2).transpose(1, 2).flatten(1)


def side_by_side(views: Sequence[Image], *, size: int) -> Image:
    """Return pictures beside each other, each a square of `size` pixels; other shapes are stretched."""
    sized = [PillowImage.fromarray(view).resize((size, size), PillowImage.Resampling.BICUBIC) for view in views]
    return np.concatenate([np.asarray(view) for view in sized], axis=1)


def last_hidden(
    backbone: VisionLanguageModel, questions: Sequence[str], pictures: Sequence[Sequence[Image]]
) -> Float[Tensor, "sample hidden"]:
    """Return the hidden state of the last token after pictures and question; gradients flow if torch records them."""
    samples = [vlm_batch.Sample(question, tuple(views)) for question, views in zip(questions, pictures, strict=True)]
    batch = vlm_batch.collate(backbone, samples, side="right", answers=False)
    states = vlm_batch.forward(backbone, batch).float()
    last = batch.attention_mask.shape[1] - 1 - batch.attention_mask.flip(1).argmax(1)  # wherever the padding is
    return states[torch.arange(len(states), device=states.device), last]


def _encoder_tokens(encoder: VisionEncoder, images: Sequence[Image]) -> Tensor:
    """Tokens of the patches of every picture."""
    return pool(patch_tokens(encoder, images))


def _language_model_tokens(backbone: VisionLanguageModel, images: Sequence[Image]) -> Tensor:
    """Tokens of tower and projector; of others than LLaVA the hidden states at the image tokens, in their order."""
    if backbone.is_llava:
        shown = [
            image if image.shape[0] == image.shape[1] else side_by_side([image], size=backbone.image_size)
            for image in images
        ]
        return pool(vlm_batch.image_features(backbone, shown))
    batch = vlm_batch.collate(
        backbone, [vlm_batch.Sample("", (image,)) for image in images], side="right", answers=False
    )
    states = vlm_batch.forward(backbone, batch).float()
    here = batch.input_ids == backbone.image_token_id
    lines = [state[own].T[None] for state, own in zip(states, here, strict=True)]
    return torch.cat([functional.adaptive_avg_pool1d(line, CELLS * CELLS).transpose(1, 2).flatten(1) for line in lines])
