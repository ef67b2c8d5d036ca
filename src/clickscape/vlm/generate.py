"""Writing descriptions: many products at once, several candidates each.

A product's picture and instruction are read once; its K candidates share that work, because the key/value cache is
copied instead of computed again. Prompts of similar length share a batch, and finished candidates leave it. Every
product has noise of its own, from the seed and its id, so that its texts depend neither on its neighbors nor on the
batch, and no two products are written for with the same luck. A description is one line: it ends at the model's end
token, at a line break, or after `max_new_tokens`. Families whose cache nobody has proven here go through their own
`generate`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, LogitsProcessor, LogitsProcessorList

from clickscape.errors import ModelError, first_line
from clickscape.files import fingerprint
from clickscape.types import Product
from clickscape.vlm import batch as batches
from clickscape.vlm.batch import Batch, Sample
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.prompts import writing_instruction

PROMPTS = 48
"""Products whose prompts are read in one pass, at most."""

CACHE_BYTES = 8 * 2**30
"""Memory that the keys and values of one pass may take; a constant, so that a seed means the same texts everywhere."""

_COMPACT = 0.75  # drop finished candidates when fewer than this share are still being written


class Writer:
    """Writes background descriptions for products."""

    def __init__(self, vlm: VisionLanguageModel) -> None:
        self.vlm = vlm

    @property
    def model_id(self) -> str:
        """Which model it is, without saying where it lies."""
        return self.vlm.model_id

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
        brand_instructions: str = "",
    ) -> list[list[str]]:
        """``n`` descriptions per product, as sampled up to a line break; nothing but special tokens is left out.

        ``pictures`` gives a product's picture, uint8 (height, width, 3); by default its cut-out on a plain background,
        or a blank picture if it has none. ``brand_instructions`` are said to the model after the instruction.
        """
        if n < 1:
            raise ValueError(f"at least one description per product is needed, got n={n}")
        if temperature < 0:
            raise ValueError(f"the temperature must be ≥ 0, got {temperature}")
        questions = [
            writing_instruction(product, taught=self.vlm.instructions, brand_instructions=brand_instructions)
            for product in products
        ]
        order = sorted(range(len(products)), key=lambda index: (len(questions[index]), index))
        texts: list[list[str]] = [[] for _ in products]
        together = self._together(questions[order[-1]], n=n, max_new_tokens=max_new_tokens) if order else 1
        for start in range(0, len(order), together):
            chosen = order[start : start + together]
            samples = [Sample(questions[index], (_picture(self.vlm, products[index], pictures),)) for index in chosen]
            with _answering(self.vlm):
                ids = sample_ids(
                    self.vlm,
                    samples,
                    n=n,
                    seeds=[_seed_of(products[index], seed=seed) for index in chosen],
                    temperature=temperature,
                    max_new_tokens=max_new_tokens,
                    breaks=line_breaks(self.vlm.tokenizer),
                )
            written = [one_description(text) for text in self.vlm.tokenizer.batch_decode(ids, skip_special_tokens=True)]
            for place, index in enumerate(chosen):
                texts[index] = written[place * n : (place + 1) * n]
        return texts

    def _together(self, longest: str, *, n: int, max_new_tokens: int) -> int:
        """How many products one pass may hold, so that the cache of their candidates fits into CACHE_BYTES."""
        asked = batches.collate(
            self.vlm, [Sample(longest, (_blank(self.vlm),))], side="left", answers=False, pixels=False
        )
        tokens = n * (asked.input_ids.shape[1] + max_new_tokens)
        return max(1, min(PROMPTS, CACHE_BYTES // (tokens * _bytes_per_token(self.vlm))))


@contextmanager
def _answering(vlm: VisionLanguageModel) -> Iterator[None]:
    """ModelError for whatever a model raises that opens and cannot be asked: settings that its layers cannot follow."""
    try:
        yield
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise ModelError(
            f"{vlm.model_id}: opens, but fails when it is asked ({first_line(error)}). Its settings and weights do not "
            "belong together: use files that came together."
        ) from error


@torch.inference_mode()
def sample_ids(
    vlm: VisionLanguageModel,
    samples: Sequence[Sample],
    *,
    n: int,
    seeds: Sequence[int],
    temperature: float = 1.0,
    max_new_tokens: int = 48,
    breaks: frozenset[int] = frozenset(),
) -> list[list[int]]:
    """Token ids of ``n`` answers per sample, (sample · n) lists without the end token; ``seeds``: one per sample.

    An answer also ends with the first of ``breaks`` after its first token; that one belongs to it.
    """
    vlm.model.eval()
    noise = _noise(seeds, n=n, steps=max_new_tokens).to(vlm.device)
    batch = batches.collate(vlm, samples, side="left", answers=False)
    if not vlm.family.shares_prefill:
        return _generate(
            vlm, batch, n=n, temperature=temperature, max_new_tokens=max_new_tokens, noise=noise, breaks=breaks
        )
    mask, cache = batch.attention_mask, DynamicCache(config=vlm.core.config.get_text_config())
    places, position = _positions(vlm, batch)
    output = vlm.core(
        input_ids=batch.input_ids,
        attention_mask=mask,
        position_ids=places,
        **_pictures_of(vlm, batch),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    cache.batch_repeat_interleave(n)
    logits, mask = (value.repeat_interleave(n, 0) for value in (output.logits[:, -1], mask))
    position = position.repeat_interleave(n, -2)
    rows = torch.arange(len(mask), device=mask.device)
    ended = torch.zeros_like(rows, dtype=torch.bool)
    ids: list[list[int]] = [[] for _ in rows]
    ends, stops = _end_tokens(vlm), torch.tensor(sorted(breaks), dtype=torch.long, device=mask.device)
    for step in range(max_new_tokens):
        token = _draw(logits, temperature=temperature, noise=noise[rows, step])
        ended = ended | torch.isin(token, ends)
        for row, value, over in zip(rows.tolist(), token.tolist(), ended.tolist(), strict=True):
            if not over:
                ids[row].append(value)
        if step and breaks:
            ended = ended | torch.isin(token, stops)
        alive = ~ended
        if step + 1 == max_new_tokens or not alive.any():
            break
        if int(alive.sum()) < _COMPACT * len(rows):
            kept = alive.nonzero()[:, 0]
            cache.batch_select_indices(kept)
            rows, token, mask, ended = (value[kept] for value in (rows, token, mask, ended))
            position = position[..., kept, :]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        logits = vlm.core(
            input_ids=token[:, None],
            attention_mask=mask,
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
        position = position + 1
    return ids


def _positions(vlm: VisionLanguageModel, batch: Batch) -> tuple[Tensor, Tensor]:
    """Where every token of the questions stands, and where the next one will: (…, sample, token), (…, sample, 1).

    Qwen counts pieces of a picture by row and column: three numbers a token, (3, sample, token).
    """
    if not hasattr(vlm.core.model, "get_rope_index"):
        places = batches.positions(batch.attention_mask)
        return places, places[:, -1:] + 1
    grids = {name: batch.extras[name] for name in ("image_grid_thw", batches.MODALITIES)}
    places, _ = vlm.core.model.get_rope_index(batch.input_ids, attention_mask=batch.attention_mask, **grids)
    return places, (places.amax((0, 2), keepdim=True) + 1).expand(3, -1, -1)


def _pictures_of(vlm: VisionLanguageModel, batch: Batch) -> dict[str, Any]:
    """What the model is given of the pictures: ready-made features where they can be, else pixels."""
    if vlm.is_llava:
        return {"mm_encoder_outputs": batches.encoder_outputs(vlm, batch, features=None)}
    return {"pixel_values": batch.pixel_values, **batch.extras}


def _bytes_per_token(vlm: VisionLanguageModel) -> int:
    """Memory that the keys and values of one token take in all layers."""
    text = vlm.core.config.get_text_config()
    heads = int(getattr(text, "num_key_value_heads", None) or text.num_attention_heads)
    width = int(getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)
    return 2 * int(text.num_hidden_layers) * heads * width * int(vlm.core.dtype.itemsize)


@lru_cache(maxsize=8)
def line_breaks(tokenizer: Any) -> frozenset[int]:
    """Every token that holds a line break, alone or behind other letters."""
    words = tokenizer.batch_decode([[token] for token in range(len(tokenizer))])
    return frozenset(token for token, word in enumerate(words) if "\n" in word)


def one_description(text: str) -> str:
    """Return the text up to a line break; one before the first word is passed over, as in `sample_ids`."""
    line, _, rest = text.partition("\n")
    return line or rest.partition("\n")[0]


def _seed_of(product: Product, *, seed: int) -> int:
    """The product's own seed: the same id and seed always give the same, in any batch and on any machine."""
    return int(fingerprint([seed, product.product_id])[:16], 16)


def _noise(seeds: Sequence[int], *, n: int, steps: int) -> Float[Tensor, "row step"]:
    """Uniform numbers in [0, 1) for every token of the ``n`` answers to each sample, (sample · n, step).

    Every answer has a stream of its own: more answers or longer ones leave those before as they were.
    """
    drawn = [np.random.default_rng([seed, row]).random(steps, dtype=np.float32) for seed in seeds for row in range(n)]
    return torch.from_numpy(np.stack(drawn))


def _draw(logits: Tensor, *, temperature: float, noise: Float[Tensor, " row"]) -> Tensor:
    """The token at which the probabilities, added up in the order of the vocabulary, pass the row's noise: (row,)."""
    if not logits.amax(-1).isfinite().all():
        raise ModelError(
            "the model's probabilities are not numbers: its weights, or the settings of its pictures, are damaged. "
            "Download or save it again."
        )
    if temperature == 0:
        return logits.argmax(-1)
    passed = (logits.float() / temperature).softmax(-1).cumsum(-1)
    return torch.searchsorted(passed, noise[:, None] * passed[:, -1:], right=True)[:, 0]


class _Drawn(LogitsProcessor):
    """Leaves the token that our noise draws as the only one that can be sampled."""

    def __init__(self, noise: Float[Tensor, "row step"], *, start: int, temperature: float) -> None:
        self._noise, self._start, self._temperature = noise, start, temperature

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        step = input_ids.shape[1] - self._start
        token = _draw(scores, temperature=self._temperature, noise=self._noise[:, step])
        return torch.full_like(scores, -torch.inf).scatter(1, token[:, None], 0.0)


def _generate(
    vlm: VisionLanguageModel,
    batch: Batch,
    *,
    n: int,
    temperature: float,
    max_new_tokens: int,
    noise: Float[Tensor, "row step"],
    breaks: frozenset[int],
) -> list[list[int]]:
    """The same through the model's own `generate`, which also draws from the global random state: it is put back."""
    sampling: dict[str, Any] = {"do_sample": False}
    if temperature > 0:
        drawn = _Drawn(noise, start=batch.input_ids.shape[1], temperature=temperature)
        sampling = {"do_sample": True, "top_k": 0, "top_p": 1.0, "logits_processor": LogitsProcessorList([drawn])}
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, **batch.extras}
    if batch.pixel_values is not None:
        inputs["pixel_values"] = batch.pixel_values
    with torch.random.fork_rng(), _own_sampling_alone(vlm):
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
    return [_until_end(row, ends, breaks) for row in output[:, batch.input_ids.shape[1] :].tolist()]


@contextmanager
def _own_sampling_alone(vlm: VisionLanguageModel) -> Iterator[None]:
    """Set aside how a checkpoint would have itself sampled: its number of beams, penalties and lengths."""
    kept = vlm.core.generation_config
    ends = {name: getattr(kept, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    vlm.core.generation_config = GenerationConfig(**ends)
    try:
        yield
    finally:
        vlm.core.generation_config = kept


def _until_end(row: list[int], ends: set[int], breaks: frozenset[int]) -> list[int]:
    for place, token in enumerate(row):
        if token in ends:
            return row[:place]
        if place and token in breaks:
            return row[: place + 1]
    return row


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
