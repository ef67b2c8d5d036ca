"""What the multimodal backbone says about products and pictures, as fixed-size vectors that can be cached.

Three views: the image tokens pooled on a 3 × 3 grid (what is in the picture, and where), the hidden states of a text-
only pass (what the product is: the same for all its pictures) and the last hidden state of the full multimodal pass.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from clickscape.reward.heads import Features
from clickscape.types import Product
from clickscape.vlm import batch as vlm_batch
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.prompts import clean, instruction, product_text

CELLS = 3
"""Image tokens are pooled to CELLS × CELLS: fine enough to tell surface from wall, coarse enough to learn from."""

CHUNK = 64
"""Pictures in one pass of the backbone."""

Pictures = tuple[np.ndarray, ...]
"""One picture (single form) or two (pair form: left, right), each uint8 (height, width, 3) sRGB."""


def widths(backbone: VisionLanguageModel, *, last_token: bool) -> tuple[int, int, int]:
    """vision_width, text_width and hidden_width of the features that `extract` will give."""
    width = backbone.hidden_size
    return CELLS * CELLS * width, 2 * width, width if last_token else 0


def extract(
    backbone: VisionLanguageModel,
    products: Sequence[Product],
    pictures: Sequence[Pictures],
    *,
    last_token: bool,
) -> Features:
    """Features of every (product, pictures) sample, in chunks; gradients flow if torch is recording them."""
    parts = []
    for start in range(0, len(products), CHUNK):
        chunk_products, chunk_pictures = products[start : start + CHUNK], pictures[start : start + CHUNK]
        look = _look_llava if backbone.is_llava else _look
        vision, hidden = look(backbone, chunk_products, chunk_pictures, last_token=last_token)
        parts.append(Features(vision=vision, text=text_features(backbone, chunk_products), hidden=hidden))
    return concatenate(parts)


def concatenate(parts: Sequence[Features]) -> Features:
    """Features of several chunks as one."""
    return Features(
        vision=torch.cat([part.vision for part in parts]),
        text=torch.cat([part.text for part in parts]),
        hidden=torch.cat([part.hidden for part in parts]),
    )


def text_features(backbone: VisionLanguageModel, products: Sequence[Product]) -> Tensor:
    """What the product is, from its text alone: (sample, 2 · width), mean embedding of all its words and of its
    department.

    Plain embeddings generalize to objects that training did not hold better than hidden states do: single words stay
    apart. A product without a category is described twice by all its words.
    """
    unique = list(dict.fromkeys(products))
    place = {product: row for row, product in enumerate(unique)}
    words = _mean_embeddings(backbone, [product_text(product) for product in unique])
    shelves = _mean_embeddings(backbone, [clean(item.department, limit=80) or product_text(item) for item in unique])
    return torch.cat([words, shelves], dim=1)[torch.tensor([place[product] for product in products])]


def _mean_embeddings(backbone: VisionLanguageModel, texts: Sequence[str]) -> Tensor:
    """Mean input embedding of every text's tokens, (text, width)."""
    embeddings = backbone.core.get_input_embeddings()
    known = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    rows = backbone.tokenizer(list(known), add_special_tokens=False)["input_ids"]
    means = [embeddings(torch.tensor(row, device=backbone.device)).float().mean(0) for row in rows]
    return torch.stack(means)[torch.tensor([known[text] for text in texts])]


def pool(tokens: Tensor, *, sides: int) -> Tensor:
    """Image tokens → (picture, side, CELLS² · width); row-major tokens of a square, or of two squares side by side."""
    pictures, count, width = tokens.shape
    rows = math.isqrt(count // sides)
    grid = tokens.float().reshape(pictures, rows, sides, rows, width).permute(0, 2, 4, 1, 3)
    cells = functional.adaptive_avg_pool2d(grid.flatten(0, 1), CELLS).flatten(2)
    return cells.transpose(1, 2).reshape(pictures, sides, CELLS * CELLS * width)


def _shown(views: Pictures, *, size: int) -> np.ndarray:
    """The picture that the tower sees: the image itself, or two of one size side by side (1:2)."""
    if len(views) == 1:
        return views[0]
    halves = [np.asarray(Image.fromarray(view).resize((size, size), Image.Resampling.BICUBIC)) for view in views]
    return np.concatenate(halves, axis=1)


def _look_llava(
    backbone: VisionLanguageModel, products: Sequence[Product], pictures: Sequence[Pictures], *, last_token: bool
) -> tuple[Tensor, Tensor]:
    """Pooled tokens of the tower and projector; the language model is passed only if its last token is asked for."""
    shown = [_shown(views, size=backbone.image_size) for views in pictures]
    tokens = vlm_batch.image_features(backbone, shown)
    vision = pool(tokens, sides=len(pictures[0]))
    if not last_token:
        return vision, vision.new_zeros(len(vision), 0)
    samples = [
        vlm_batch.Sample(_question(product), (picture,)) for product, picture in zip(products, shown, strict=True)
    ]
    batch = vlm_batch.collate(backbone, samples, side="right", answers=False, pixels=False)
    return vision, _last(vlm_batch.forward(backbone, batch, features=tokens).float(), batch.attention_mask)


def _look(
    backbone: VisionLanguageModel, products: Sequence[Product], pictures: Sequence[Pictures], *, last_token: bool
) -> tuple[Tensor, Tensor]:
    """Any other backbone: the hidden states where its image tokens stand, in their order, pooled to as many cells."""
    samples = [vlm_batch.Sample(_question(product), views) for product, views in zip(products, pictures, strict=True)]
    batch = vlm_batch.collate(backbone, samples, side="right", answers=False)
    states = vlm_batch.forward(backbone, batch).float()
    seen = batch.input_ids == backbone.image_token_id
    sides = len(pictures[0])
    rows = []
    for state, here in zip(states, seen, strict=True):
        line = state[here].reshape(sides, -1, state.shape[-1]).transpose(1, 2)
        rows.append(functional.adaptive_avg_pool1d(line, CELLS * CELLS).transpose(1, 2).flatten(1))
    vision = torch.stack(rows)
    return vision, _last(states, batch.attention_mask) if last_token else vision.new_zeros(len(vision), 0)


def _last(states: Tensor, attention_mask: Tensor) -> Tensor:
    """Hidden state of the last real token, wherever the padding is: (sample, width)."""
    last = attention_mask.shape[1] - 1 - attention_mask.flip(1).argmax(1)
    return states[torch.arange(len(states)), last]


def _question(product: Product) -> str:
    """The instruction that names caption and attributes; it is one of pre-training's, so its end is full of meaning."""
    return instruction("describe", product, variant=0)
