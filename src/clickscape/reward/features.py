"""Features of products and pictures, as fixed-size vectors that can be cached.

The image tokens pooled on a 3 × 3 grid (what is in the picture, and where), how the picture looks as a whole, the
embeddings of the product's words (what it is: the same for all its pictures), its department, what its price says, and
of a language model the last hidden state of the full multimodal pass.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np
import torch
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor
from torch.nn import functional

from clickscape.errors import ModelError
from clickscape.reward.encoders import Backbone, VisionEncoder, patch_tokens
from clickscape.reward.heads import Features, slot_targets
from clickscape.reward.image_statistics import STATISTICS, image_statistics
from clickscape.reward.prices import PRICE_FEATURES, Prices
from clickscape.types import Product
from clickscape.vlm import batch as vlm_batch
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.prompts import MAX_LEVELS, MAX_WORD, instruction, product_text, sanitize

CELLS = 3
"""Image tokens are pooled to CELLS × CELLS: fine enough to tell surface from wall, coarse enough to learn from."""

CHUNK = 64
"""Pictures in one pass of the backbone."""

Pictures = tuple[np.ndarray, ...]
"""One picture (single form) or two (pair form: left, right), each uint8 (height, width, 3) sRGB."""

Slots = Mapping[str, str | None]
Scenes = tuple[Slots | None, ...]
"""The scenes of as many pictures, slot → value, None where none was given."""


def widths(backbone: Backbone, *, last_token: bool) -> dict[str, int]:
    """The widths of the features that `extract` will give, by the names that `HeadShape` has for them.

    ModelError for the last token of an encoder: it reads no words, so it has none.
    """
    width = backbone.hidden_size
    known = {"vision_width": CELLS * CELLS * width, "fact_width": PRICE_FEATURES, "statistic_width": len(STATISTICS)}
    if not isinstance(backbone, VisionEncoder):
        return {**known, "text_width": 3 * width, "hidden_width": width if last_token else 0}
    if last_token:
        raise ModelError(f"{backbone.model_id}: an encoder has no last token that read the words. "
                         f"Leave last_token out, or take a vision-language model.")  # fmt: skip
    return {**known, "text_width": 3 * backbone.words.embedding_dim, "hidden_width": 0}


def extract(
    backbone: Backbone,
    products: Sequence[Product],
    pictures: Sequence[Pictures],
    *,
    prices: Prices,
    departments: Sequence[str],
    slots: Mapping[str, tuple[str, ...]],
    last_token: bool,
    scenes: Sequence[Scenes] | None = None,
) -> Features:
    """Return features of every (product, pictures) row, in chunks; gradients flow if torch is recording them.

    `prices`, `departments` and `slots` are what the model knows of each; `scenes` the given scenes of the pictures.
    """
    parts = []
    for start in range(0, len(products), CHUNK):
        chunk_products, chunk_pictures = products[start : start + CHUNK], pictures[start : start + CHUNK]
        if isinstance(backbone, VisionEncoder):
            vision = _encoder_tokens(backbone, chunk_pictures)
            hidden = vision.new_zeros(len(vision), 0)
        else:
            read = _llava_tokens if backbone.is_llava else _other_tokens
            vision, hidden = read(backbone, chunk_products, chunk_pictures, last_token=last_token)
        statistics = image_statistics([view for views in chunk_pictures for view in views])
        parts.append(
            Features(
                vision=vision,
                text=text_features(backbone, chunk_products),
                hidden=hidden,
                price_features=price_features(chunk_products, prices=prices).to(vision.device),
                image_statistics=torch.from_numpy(statistics)
                .to(vision.device)
                .reshape(len(vision), -1, len(STATISTICS)),
                department=department_numbers(chunk_products, departments=departments).to(vision.device),
                scene=_given_classes(
                    chunk_pictures, None if scenes is None else scenes[start : start + CHUNK], slots=slots
                ).to(vision.device),
            )
        )
    return concatenate(parts)


def concatenate(parts: Sequence[Features]) -> Features:
    """Return features of several chunks as one."""
    return Features(**{one.name: torch.cat([getattr(part, one.name) for part in parts]) for one in fields(Features)})


def _given_classes(
    pictures: Sequence[Pictures], scenes: Sequence[Scenes] | None, *, slots: Mapping[str, tuple[str, ...]]
) -> Tensor:
    """Classes of every picture's given slots, (sample, side, slot), negative where there are none."""
    sides = len(pictures[0])
    flat = [{}] * (len(pictures) * sides) if scenes is None else [scene or {} for pair in scenes for scene in pair]
    return slot_targets(slots, flat).reshape(len(pictures), sides, len(slots))


def price_features(products: Sequence[Product], *, prices: Prices) -> Float[Tensor, "product price_feature"]:
    """Return what the products' prices say; see `prices`."""
    return torch.tensor([prices.features(product) for product in products], dtype=torch.float32).reshape(
        -1, PRICE_FEATURES
    )


def department_numbers(products: Sequence[Product], *, departments: Sequence[str]) -> Int64[Tensor, " product"]:
    """Return the index of each product's department among the known ones, −1 for another."""
    numbers = {name: number for number, name in enumerate(departments)}
    return torch.tensor([numbers.get(product.department, -1) for product in products], dtype=torch.long)


def text_features(backbone: Backbone, products: Sequence[Product]) -> Float[Tensor, "product text_width"]:
    """Return mean embeddings of each product's text: all words (title, category, attributes), department, whole path.

    Plain embeddings generalize to objects that training did not hold better than hidden states do: single words stay
    apart. A product without a category is described three times by all its words.
    """
    unique = list(dict.fromkeys(products))
    place = {product: row for row, product in enumerate(unique)}
    words = _mean_embeddings(backbone, [product_text(product) for product in unique])
    shelves = _mean_embeddings(backbone, [sanitize(item.department, limit=80) or product_text(item) for item in unique])
    paths = _mean_embeddings(backbone, [_path(item) or product_text(item) for item in unique])
    return torch.cat([words, shelves, paths], dim=1)[torch.tensor([place[product] for product in products])]


def _path(product: Product) -> str:
    """The category from coarse to fine, as far as `product_text` goes."""
    return " > ".join(filter(None, (sanitize(level, limit=MAX_WORD) for level in product.category[:MAX_LEVELS])))


def _mean_embeddings(backbone: Backbone, texts: Sequence[str]) -> Tensor:
    """Mean input embedding of every text's tokens, (text, width)."""
    embeddings = backbone.words if isinstance(backbone, VisionEncoder) else backbone.core.get_input_embeddings()
    known = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    rows = backbone.tokenizer(list(known), add_special_tokens=False, verbose=False)["input_ids"]
    means = [embeddings(torch.tensor(row, device=backbone.device)).float().mean(0) for row in rows]
    return torch.stack(means)[torch.tensor([known[text] for text in texts])]


def pool(tokens: Float[Tensor, "picture token width"], *, sides: int) -> Float[Tensor, "picture side cells_width"]:
    """Return image tokens averaged in CELLS² cells a side; row-major tokens of a square, or of two side by side."""
    pictures, count, width = tokens.shape
    rows = math.isqrt(count // sides)
    grid = tokens.float().reshape(pictures, rows, sides, rows, width).permute(0, 2, 4, 1, 3)
    cells = functional.adaptive_avg_pool2d(grid.flatten(0, 1), CELLS).flatten(2)
    return cells.transpose(1, 2).reshape(pictures, sides, CELLS * CELLS * width)


def _shown(views: Pictures, *, size: int) -> np.ndarray:
    """The picture that the tower sees: the image itself as a square, or two of one size side by side (1:2)."""
    if len(views) == 1 and views[0].shape[0] == views[0].shape[1]:
        return views[0]
    squares = [np.asarray(Image.fromarray(view).resize((size, size), Image.Resampling.BICUBIC)) for view in views]
    return np.concatenate(squares, axis=1)


def _encoder_tokens(encoder: VisionEncoder, pictures: Sequence[Pictures]) -> Tensor:
    """Pooled tokens of the patches of every picture, each seen alone: (sample, side, CELLS² · width)."""
    tokens = patch_tokens(encoder, [view for views in pictures for view in views])
    return pool(tokens, sides=1).reshape(len(pictures), len(pictures[0]), -1)


def _llava_tokens(
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


def _other_tokens(
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
