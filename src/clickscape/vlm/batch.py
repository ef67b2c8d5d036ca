"""From samples to tensors, and from tensors to hidden states and log-probabilities of answers.

The picture is the expensive part: its features depend on it alone, so they can be computed once, kept, and given to
every pass (`features`). Answers are tokenized on their own and exactly as they stand; nothing is stripped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from torch import Tensor
from transformers.modeling_outputs import BaseModelOutputWithPooling

from clickscape.errors import ModelError
from clickscape.vlm.chat_template import around_question
from clickscape.vlm.logits import target_log_probs
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.prompts import fit_product

IGNORED = -100
"""Label of positions that are not part of an answer."""

WIDE = 1.5
"""A picture at least this much wider than high is two squares side by side."""

MODALITIES = "mm_token_type_ids"
"""What the Qwen family wants to know of every token: 0 a word, 1 a piece of a picture."""

Side = Literal["left", "right"]


@dataclass(frozen=True)
class Sample:
    """One question: the instruction, up to two pictures (uint8 RGB; a 1:2 picture takes two squares), the answer."""

    instruction: str
    images: tuple[np.ndarray, ...] = ()
    answer: str | None = None


@dataclass(frozen=True)
class Batch:
    """Padded samples: (sample, token) tensors; ``pixel_values`` (image, 3, height, width) in order of the samples."""

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor
    pixel_values: Tensor | None = None
    extras: Mapping[str, Tensor] = field(default_factory=dict)


def collate(
    vlm: VisionLanguageModel, samples: Sequence[Sample], *, side: Side, answers: bool, pixels: bool = True
) -> Batch:
    """Tokenize and pad on ``side``; with ``answers``, the answer and the end token follow the question and are labels.

    Without ``pixels`` the pictures only take their places (their features will be given to `forward`).
    """
    if not samples:
        raise ValueError("a batch needs at least one sample")
    questions, pictures, extras = _questions(vlm, samples, pixels=pixels)
    replies = [answer_ids(vlm, sample.answer) if answers else [] for sample in samples]
    rows = [question + reply for question, reply in zip(questions, replies, strict=True)]
    longest = max(map(len, rows))
    check_length(vlm, longest)
    input_ids = torch.full((len(rows), longest), _pad(vlm), dtype=torch.long)
    attention_mask = torch.zeros(len(rows), longest, dtype=torch.long)
    labels = torch.full((len(rows), longest), IGNORED, dtype=torch.long)
    for number, (row, reply) in enumerate(zip(rows, replies, strict=True)):
        start = longest - len(row) if side == "left" else 0
        end = start + len(row)
        input_ids[number, start:end] = torch.tensor(row)
        attention_mask[number, start:end] = 1
        if reply:
            labels[number, end - len(reply) : end] = torch.tensor(reply)
    if MODALITIES in extras:  # the processor knew the questions alone, and padded them in its own way
        extras[MODALITIES] = (input_ids == vlm.image_token_id).to(extras[MODALITIES].dtype)
    device = vlm.device
    return Batch(
        input_ids=input_ids.to(device),
        attention_mask=attention_mask.to(device),
        labels=labels.to(device),
        pixel_values=None if pictures is None else pictures.to(device),
        extras={name: value.to(device) for name, value in extras.items()},
    )


def check_usable(vlm: VisionLanguageModel) -> None:
    """Ask about a gray picture; ModelError unless processor, template, tokenizer and instructions fit the model."""
    rows, largest = len(vlm.core.get_input_embeddings().weight), max(vlm.tokenizer.get_vocab().values(), default=-1)
    if largest >= rows:
        raise ModelError(f"the tokenizer numbers words up to {largest}, the model has {rows} of them. The files belong "
                         f"to different checkpoints: use those that came together.")  # fmt: skip
    if vlm.tokenizer.eos_token_id is None:
        raise ModelError("the tokenizer has no end token, so no answer would end. Use the files that came together.")
    gray = np.full((224, 224, 3), 127, np.uint8)
    asked = vlm.instructions[0] if vlm.instructions else "Describe this picture."
    ids = collate(vlm, [Sample(asked, (gray,))], side="left", answers=False).input_ids
    image = getattr(vlm.core.config, "image_token_id", None)
    if int(ids.max()) >= rows or (image is not None and not bool((ids == image).any())):
        raise ModelError(f"a picture stands in no question: config.json says that the token {image} is its place, and "
                         f"processor and tokenizer write another. Use the files that came together.")  # fmt: skip


def check_length(vlm: VisionLanguageModel, tokens: int) -> None:
    """ModelError for a sample of more tokens than the model has positions for."""
    limit = _limit(vlm)
    if limit is not None and tokens > limit:
        raise ModelError(f"a sample of {tokens} tokens is too long for {vlm.model_id} ({limit}). Shorten the text.")


def pixel_values(
    vlm: VisionLanguageModel, pictures: Sequence[UInt8[np.ndarray, "height width 3"]]
) -> Float[Tensor, "image 3 height width"]:
    """What the image processor makes of pictures of one shape, square or 1:2: (image, 3, size, size or 2·size).

    Of a model that fills pictures up to a square, pictures of any shapes: (image, 3, size, size).
    """
    wide = {_is_wide(vlm, picture) for picture in pictures}
    if len(wide) != 1:
        raise ValueError("pictures of one batch must be all square or all two squares side by side")
    size = vlm.image_size
    height, width = size, 2 * size if wide.pop() else size
    return _normalized(vlm, pictures, size=(width, height))


def square_pixels(
    vlm: VisionLanguageModel, pictures: Sequence[UInt8[np.ndarray, "height width 3"]], *, side: int
) -> Float[Tensor, "image 3 side side"]:
    """What the image processor makes of pictures that are shown as squares of `side` pixels."""
    return _normalized(vlm, pictures, size=(side, side))


def _normalized(vlm: VisionLanguageModel, pictures: Sequence[np.ndarray], *, size: tuple[int, int]) -> Tensor:
    """Pictures stretched to (width, height), or filled up to a square before where the model wants that."""
    processor: Any = vlm.processor.image_processor
    if vlm.pads_pictures:
        color = [int(value * 255) for value in processor.image_mean]
        pictures = [_squared(picture, color=color) for picture in pictures]
    sized = [_resized(picture, size) for picture in pictures]
    # The processor works picture by picture; its arithmetic for pictures that have the right size is this one line.
    mean, deviation = (np.asarray(value, np.float32) for value in (processor.image_mean, processor.image_std))
    scaled = (np.stack(sized).astype(np.float32) * np.float32(processor.rescale_factor) - mean) / deviation
    return torch.from_numpy(np.ascontiguousarray(scaled.transpose(0, 3, 1, 2)))


def image_features(
    vlm: VisionLanguageModel, pictures: Sequence[UInt8[np.ndarray, "height width 3"]]
) -> Float[Tensor, "image token width"]:
    """What the language model is given of each picture, projector included: (image, token, width); cacheable."""
    if not vlm.is_llava:
        raise ModelError(f"{vlm.model_id}: image features can be cached for LLaVA models only.")
    return features_of_pixels(vlm, pixel_values(vlm, pictures).to(vlm.device))


def features_of_pixels(
    vlm: VisionLanguageModel, pixels: Float[Tensor, "image 3 height width"]
) -> Float[Tensor, "image token width"]:
    """As `image_features`, from (image, 3, height, width); positions are interpolated where that is not a square."""
    square = pixels.shape[-2:] == (vlm.image_size, vlm.image_size)
    output = vlm.core.get_image_features(
        pixel_values=pixels, return_dict=True, **({} if square else {"interpolate_pos_encoding": True})
    )
    return torch.stack(list(output.pooler_output))


def forward(
    vlm: VisionLanguageModel, batch: Batch, *, features: Float[Tensor, "image token width"] | None = None
) -> Float[Tensor, "sample token width"]:
    """Hidden states of the last layer, (sample, token, width); ``features`` replace the pass through the tower."""
    inputs: dict[str, Any] = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask, **batch.extras}
    if vlm.is_llava:
        inputs["position_ids"] = positions(batch.attention_mask)
        encoded = encoder_outputs(vlm, batch, features=features)
        if encoded is not None:
            inputs["mm_encoder_outputs"] = encoded
    elif features is not None:
        raise ModelError(f"{vlm.model_id}: image features can be cached for LLaVA models only.")
    elif batch.pixel_values is not None:
        inputs["pixel_values"] = batch.pixel_values
    return vlm.core.model(**inputs, use_cache=False).last_hidden_state


def answer_log_probs(
    vlm: VisionLanguageModel, batch: Batch, *, features: Float[Tensor, "image token width"] | None = None
) -> Float[Tensor, " sample"]:
    """log P(answer | question), summed over the answer's tokens and the end token: (sample,), nats.

    Logits are computed where an answer token is to be predicted, and nowhere else.
    """
    log_probs, rows = token_log_probs(vlm, batch, features=features)
    return log_probs.new_zeros(len(batch.labels)).index_add(0, rows, log_probs)


def token_log_probs(
    vlm: VisionLanguageModel, batch: Batch, *, features: Float[Tensor, "image token width"] | None = None
) -> tuple[Float[Tensor, " answer_token"], Int64[Tensor, " answer_token"]]:
    """Log-probability of every answer token, and the sample that it belongs to: (answer token,) twice."""
    hidden = forward(vlm, batch, features=features)[:, :-1]
    targets = batch.labels[:, 1:]
    asked = targets != IGNORED
    return target_log_probs(vlm, hidden[asked], targets[asked]), asked.nonzero()[:, 0]


def positions(attention_mask: Int64[Tensor, "sample token"]) -> Int64[Tensor, "sample token"]:
    """Position of every real token, counted from the first one, whatever side the padding is on."""
    return (attention_mask.cumsum(1) - 1).clamp(min=0)


def encoder_outputs(
    vlm: VisionLanguageModel, batch: Batch, *, features: Float[Tensor, "image token width"] | None
) -> dict[str, BaseModelOutputWithPooling] | None:
    """Image features in the shape in which transformers takes them ready-made; None for a batch without pictures."""
    if features is None and batch.pixel_values is not None:
        features = features_of_pixels(vlm, batch.pixel_values)
    if features is None:
        return None
    return {"image": BaseModelOutputWithPooling(pooler_output=list(features))}


def _questions(
    vlm: VisionLanguageModel, samples: Sequence[Sample], *, pixels: bool
) -> tuple[list[list[int]], Tensor | None, dict[str, Tensor]]:
    """Token ids of every question with its image places, the pixels of all pictures, and what else a model wants."""
    texts = [_chat(vlm, _fitted(vlm, sample.instruction, tokens=_shown(vlm, sample)), len(sample.images))
             for sample in samples]  # fmt: skip
    pictures = [picture for sample in samples for picture in sample.images]
    special = _adds_special_tokens(vlm, texts[0])
    if vlm.is_llava or not pictures:
        ids = vlm.tokenizer(texts, add_special_tokens=special)["input_ids"]
        ids = [_expand(vlm, row, sample.images) for row, sample in zip(ids, samples, strict=True)]
        return ids, pixel_values(vlm, pictures) if pictures and pixels else None, {}
    nested = [[Image.fromarray(picture) for picture in sample.images] for sample in samples]
    made = vlm.processor(text=texts, images=nested, add_special_tokens=special, padding=True, return_tensors="pt")
    rows = [
        row[mask.bool()].tolist() for row, mask in zip(made.pop("input_ids"), made.pop("attention_mask"), strict=True)
    ]
    return rows, made.pop("pixel_values"), dict(made)


def _limit(vlm: VisionLanguageModel) -> int | None:
    """Positions that the model has, where it says so."""
    return getattr(vlm.core.config.get_text_config(), "max_position_embeddings", None)


def _shown(vlm: VisionLanguageModel, sample: Sample) -> int:
    """Image tokens of a sample, where they are known beforehand."""
    return vlm.image_tokens * sum(1 + _is_wide(vlm, picture) for picture in sample.images) if vlm.is_llava else 0


def _fitted(vlm: VisionLanguageModel, instruction: str, *, tokens: int) -> str:
    """The instruction, its product shortened where pictures and words would leave less than an eighth to an answer."""
    limit = _limit(vlm)
    if limit is None:
        return instruction
    room = limit - limit // 8 - tokens

    def fits(text: str) -> bool:  # no token is less than a byte
        text = _chat(vlm, text, 0)
        return len(text.encode()) <= room or len(vlm.tokenizer(text)["input_ids"]) <= room

    return fit_product(instruction, fits=fits)


def _expand(vlm: VisionLanguageModel, row: list[int], pictures: Sequence[np.ndarray]) -> list[int]:
    """Every image token becomes as many as its picture has patches."""
    places, image_token = iter(pictures), vlm.image_token_id
    expanded: list[int] = []
    for token in row:
        if token != image_token:
            expanded.append(token)
            continue
        picture = next(places, None)
        if picture is None:
            raise ValueError("the instruction itself contains an image token; clean it first")
        expanded.extend([token] * (vlm.image_tokens * (2 if _is_wide(vlm, picture) else 1)))
    return expanded


def words_around_pictures(vlm: VisionLanguageModel, question: str, *, image_tokens: Sequence[int]) -> list[list[int]]:
    """Return the token ids before, between and after the pictures of a question that stands before them.

    image_tokens: how many each picture takes. ModelError for a sample of more tokens than the model has positions for.
    """
    before, after = around_question(vlm.processor, images=len(image_tokens), words_first=True)
    text = f"{before}{_fitted(vlm, question, tokens=sum(image_tokens))}{after}"
    parts: list[list[int]] = [[]]
    for token in vlm.tokenizer(text, add_special_tokens=_adds_special_tokens(vlm, text))["input_ids"]:
        if token == vlm.image_token_id:
            parts.append([])
        else:
            parts[-1].append(token)
    if len(parts) != len(image_tokens) + 1:
        raise ValueError("the instruction itself contains an image token; clean it first")
    check_length(vlm, sum(image_tokens) + sum(map(len, parts)))
    return parts


def answer_ids(vlm: VisionLanguageModel, answer: str | None) -> list[int]:
    """Token ids of an answer exactly as it stands, and the end token."""
    if answer is None:
        raise ValueError("a sample without an answer cannot be collated with answers")
    ids = list(vlm.tokenizer(answer, add_special_tokens=False)["input_ids"])
    if vlm.image_token_id in ids:
        raise ValueError("an answer must not contain an image token")
    return [*ids, int(vlm.tokenizer.eos_token_id)]


def _chat(vlm: VisionLanguageModel, text: str, images: int) -> str:
    before, after = around_question(vlm.processor, images=images)
    return f"{before}{text}{after}"


def _adds_special_tokens(vlm: VisionLanguageModel, text: str) -> bool:
    """Whether the tokenizer must add the begin token, because the template did not write it."""
    begin = vlm.tokenizer.bos_token
    return not (begin and text.startswith(begin))


def _pad(vlm: VisionLanguageModel) -> int:
    pad = vlm.tokenizer.pad_token_id
    return int(vlm.tokenizer.eos_token_id if pad is None else pad)


def _is_wide(vlm: VisionLanguageModel, picture: np.ndarray) -> bool:
    return not vlm.pads_pictures and bool(picture.shape[1] >= WIDE * picture.shape[0])


def _squared(picture: np.ndarray, *, color: Sequence[int]) -> np.ndarray:
    """The picture in the middle of a square of one color."""
    height, width = picture.shape[:2]
    if height == width:
        return picture
    side = max(height, width)
    square = np.full((side, side, 3), color, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = picture
    return square


def _resized(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
        raise ValueError(f"a picture is uint8 (height, width, 3), got {picture.dtype} {picture.shape}")
    if (picture.shape[1], picture.shape[0]) == size:
        return picture
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))
