"""Writing descriptions: many products at once, several candidates each.

A product's picture and instruction are read once; its K candidates share that work, because the key/value cache is
copied instead of computed again. Prompts of similar length share a batch, and finished candidates leave it. Models that
are not LLaVA go through their own `generate`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from clickscape.types import Product
from clickscape.vlm import batch as batches
from clickscape.vlm.batch import Batch, Sample
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.prompts import instruction

PROMPTS = 48
"""Products whose prompts are read in one pass."""

_COMPACT = 0.75  # drop finished candidates when fewer than this share are still being written


class Writer:
    """Writes background descriptions for products."""

    def __init__(self, vlm: VisionLanguageModel) -> None:
        self.vlm = vlm

    def describe(
        self, product: Product, *, n: int = 4, seed: int = 0, temperature: float = 1.0, max_new_tokens: int = 48
    ) -> list[str]:
        """``n`` descriptions for one product, exactly as sampled; temperature 0 takes the most probable words."""
        return self.describe_all([product], n=n, seed=seed, temperature=temperature, max_new_tokens=max_new_tokens)[0]

    def describe_all(
        self,
        products: Sequence[Product],
        *,
        n: int,
        seed: int,
        temperature: float = 1.0,
        max_new_tokens: int = 48,
        pictures: Callable[[Product], np.ndarray] | None = None,
        features: Mapping[str, Tensor] | None = None,
        instruction_variant: int = 0,
        wishes: str = "",
    ) -> list[list[str]]:
        """``n`` descriptions per product, as sampled: special tokens are left out, nothing else is changed.

        ``pictures`` gives a product's picture, uint8 (height, width, 3); by default its cut-out on a plain background,
        or a blank picture if it has none. ``features`` by product_id, (token, width), replace the tower. ``wishes`` are
        said to the model after the instruction.
        """
        if n < 1:
            raise ValueError(f"at least one description per product is needed, got n={n}")
        if temperature < 0:
            raise ValueError(f"the temperature must be ≥ 0, got {temperature}")
        generator = torch.Generator(device=self.vlm.device).manual_seed(seed)
        questions = [
            instruction("describe", product, variant=instruction_variant, wishes=wishes) for product in products
        ]
        order = sorted(range(len(products)), key=lambda index: (len(questions[index]), index))
        texts: list[list[str]] = [[] for _ in products]
        for start in range(0, len(order), PROMPTS):
            chosen = order[start : start + PROMPTS]
            ready = None
            if features is not None:
                ready = torch.stack([features[products[index].product_id] for index in chosen])
            shown = [
                _blank(self.vlm) if ready is not None else _picture(self.vlm, products[index], pictures)
                for index in chosen
            ]
            samples = [Sample(questions[index], (picture,)) for index, picture in zip(chosen, shown, strict=True)]
            ids = sample_ids(
                self.vlm,
                samples,
                n=n,
                generator=generator,
                temperature=temperature,
                max_new_tokens=max_new_tokens,
                features=ready,
            )
            written = self.vlm.tokenizer.batch_decode(ids, skip_special_tokens=True)
            for place, index in enumerate(chosen):
                texts[index] = written[place * n : (place + 1) * n]
        return texts


@torch.inference_mode()
def sample_ids(
    vlm: VisionLanguageModel,
    samples: Sequence[Sample],
    *,
    n: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    max_new_tokens: int = 48,
    features: Tensor | None = None,
) -> list[list[int]]:
    """Token ids of ``n`` answers per sample, (sample · n) lists without the end token."""
    vlm.model.eval()
    batch = batches.collate(vlm, samples, side="left", answers=False, pixels=features is None)
    if not vlm.is_llava:
        return _generate(vlm, batch, n=n, temperature=temperature, max_new_tokens=max_new_tokens, generator=generator)
    if features is not None:
        features = features.to(vlm.device, vlm.core.dtype)
    mask, cache = batch.attention_mask, DynamicCache(config=vlm.core.config.get_text_config())
    output = vlm.core(
        input_ids=batch.input_ids,
        attention_mask=mask,
        position_ids=batches.positions(mask),
        mm_encoder_outputs=batches.encoder_outputs(vlm, batch, features=features),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    cache.batch_repeat_interleave(n)
    logits, mask = (value.repeat_interleave(n, 0) for value in (output.logits[:, -1], mask))
    position = mask.sum(1)
    rows = torch.arange(len(mask), device=mask.device)
    ended = torch.zeros_like(rows, dtype=torch.bool)
    ids: list[list[int]] = [[] for _ in rows]
    ends = _end_tokens(vlm)
    for step in range(max_new_tokens):
        token = _draw(logits, temperature=temperature, generator=generator)
        ended = ended | torch.isin(token, ends)
        for row, value, over in zip(rows.tolist(), token.tolist(), ended.tolist(), strict=True):
            if not over:
                ids[row].append(value)
        alive = ~ended
        if step + 1 == max_new_tokens or not alive.any():
            break
        if int(alive.sum()) < _COMPACT * len(rows):
            kept = alive.nonzero()[:, 0]
            cache.batch_select_indices(kept)
            rows, token, mask, position, ended = (value[kept] for value in (rows, token, mask, position, ended))
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        logits = vlm.core(
            input_ids=token[:, None],
            attention_mask=mask,
            position_ids=position[:, None],
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
        position = position + 1
    return ids


def _draw(logits: Tensor, *, temperature: float, generator: torch.Generator) -> Tensor:
    if temperature == 0:
        return logits.argmax(-1)
    return torch.multinomial((logits.float() / temperature).softmax(-1), 1, generator=generator)[:, 0]


def _generate(
    vlm: VisionLanguageModel,
    batch: Batch,
    *,
    n: int,
    temperature: float,
    max_new_tokens: int,
    generator: torch.Generator,
) -> list[list[int]]:
    """The same through the model's own `generate`, which knows only the global random state: it is put back after."""
    sampling = {"do_sample": False} if temperature == 0 else {
        "do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0
    }  # fmt: skip
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, **batch.extras}
    if batch.pixel_values is not None:
        inputs["pixel_values"] = batch.pixel_values
    with torch.random.fork_rng():
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator, device=generator.device)))
        output = vlm.model.generate(
            **inputs,
            **sampling,
            max_new_tokens=max_new_tokens,
            num_return_sequences=n if temperature > 0 else 1,
            pad_token_id=vlm.tokenizer.pad_token_id,
        )
    if temperature == 0:
        output = output.repeat_interleave(n, 0)
    ends = set(_end_tokens(vlm).tolist())
    answers = output[:, batch.input_ids.shape[1] :].tolist()
    return [row[: next((place for place, token in enumerate(row) if token in ends), len(row))] for row in answers]


def _end_tokens(vlm: VisionLanguageModel) -> Tensor:
    ends = vlm.core.generation_config.eos_token_id
    ends = vlm.tokenizer.eos_token_id if ends is None else ends
    return torch.tensor(ends if isinstance(ends, list) else [ends], device=vlm.device)


def _picture(
    vlm: VisionLanguageModel, product: Product, pictures: Callable[[Product], np.ndarray] | None
) -> np.ndarray:
    if pictures is not None:
        return pictures(product)
    if not product.image:
        return _blank(vlm)
    from clickscape.catalog.cutout import open_cutout, product_picture

    return product_picture(open_cutout(product.image), size=vlm.image_size)


def _blank(vlm: VisionLanguageModel) -> np.ndarray:
    """The picture of a product that has none: the plain background on which products stand."""
    return np.full((vlm.image_size, vlm.image_size, 3), BLANK, np.uint8)


BLANK = 245
"""Gray level of the background of `catalog.cutout.product_picture`."""
