"""The warm-ups of the shipped model, in the order that works at a few million weights: `pretrain_tiny.py` runs them.

1. The tower (with the projector) learns to name what a scene shows: captions alone, through the language model, would
   destroy what it sees.  2. The language model learns to write from text alone.  1 and 2 do not need each other.
3. Both are joined (`clickscape.vlm.pretrain`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from clickscape.config import PretrainConfig
from clickscape.reward.features import CELLS
from clickscape.types import Product
from clickscape.vlm import batch as batches
from clickscape.vlm import tasks
from clickscape.vlm.batch import Sample
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.pretrain import CHUNK, Step, answer_loss, train_jointly, train_part
from clickscape.vlm.prompts import instruction
from clickscape.vlm.slots import NamedSlots
from clickscape.vlm.tasks import Corpus, Question

DEPARTMENT = "department"
"""The one thing the tower names besides the scene's slots: what kind of product it is."""

PLAIN_SHARE = 0.85
"""Share of the text warm-up in the course of which plain wordings fade out."""

_TOWER, _TEXT = 1, 2
_SHIFT = 3  # pixels
_GLOW = 0.12  # brightness and contrast vary by this share
_UNKNOWN = -100
_LABEL_SMOOTHING = 0.05  # probability spread over the other values of a slot
_WIDE_SHARE = 0.1  # share of the tower's steps that show pictures two by two, as the pair form will


class WarmUpConfig(PretrainConfig):
    """Sizes of all three stages."""

    ads: int = Field(9_600, ge=64, description="rendered ads that the tower and the captioning task learn from")
    tower_steps: int = Field(7_000, ge=0, description="steps of the warm-up of the vision tower (slot classification)")
    tower_learning_rate: float = Field(1e-3, gt=0, description="AdamW's learning rate of the tower's warm-up")
    tower_batch_size: int = Field(36, ge=12, description="pictures per step of the tower's warm-up")
    text_steps: int = Field(900, ge=0, description="steps of the text-only warm-up of the language model")


class PlainCorpus(Corpus, Protocol):
    """A corpus whose copywriter can also use the plainest words in one fixed order."""

    def describe(self, product: Product, rng: np.random.Generator, *, plain: bool = False) -> str:
        """As `Corpus.describe`; ``plain`` words are about a scene that is chosen in the same way."""
        ...


class SlotHeads(nn.Module):
    """One linear classifier per slot on image tokens pooled to a 3 × 3 grid; reward models begin with them."""

    def __init__(self, values: Mapping[str, Sequence[str]], *, width: int) -> None:
        super().__init__()
        self.values = {slot: tuple(names) for slot, names in values.items()}
        self.width = width
        self.heads = nn.ModuleDict({slot: nn.Linear(CELLS * CELLS * width, len(v)) for slot, v in values.items()})

    def forward(self, tokens: Float[Tensor, "picture token width"]) -> dict[str, Float[Tensor, "picture value"]]:
        """Image tokens of one square, (picture, token, width) → logits per slot, (picture, value)."""
        side = math.isqrt(tokens.shape[1])
        grid = tokens.transpose(1, 2).unflatten(2, (side, side))
        pooled = functional.adaptive_avg_pool2d(grid, CELLS).flatten(1)
        return {slot: head(pooled) for slot, head in self.heads.items()}

    def map_of(self, slot: str) -> nn.Linear:
        """The classifier of one slot, (value, width · cell)."""
        return cast("nn.Linear", self.heads[slot])


def named_slots(heads: SlotHeads) -> NamedSlots:
    """Return the warm-up's classifiers without that of the product's department."""
    kept = [slot for slot in heads.values if slot != DEPARTMENT]
    maps = [heads.map_of(slot) for slot in kept]
    by_cell = [one.weight.detach().unflatten(1, (heads.width, -1)).transpose(1, 2).flatten(1) for one in maps]
    biases = [one.bias.detach() for one in maps]
    return NamedSlots({slot: heads.values[slot] for slot in kept}, torch.cat(by_cell), torch.cat(biases))


def pretrain(
    vlm: VisionLanguageModel, corpus: PlainCorpus, *, config: WarmUpConfig, folder: Path | None = None
) -> Iterator[Step]:
    """All three stages in place; with a ``folder``, finished stages and steps are taken from their checkpoints."""
    heads = slot_heads(vlm, corpus, seed=config.seed)
    yield from warm_up_tower(vlm, heads, corpus, config=config, checkpoint=_file(folder, "tower"))
    yield from warm_up_text(vlm, corpus, config=config, checkpoint=_file(folder, "text"))
    yield from train_jointly(vlm, corpus, config=config, checkpoint=_file(folder, "joint"))


def slot_heads(vlm: VisionLanguageModel, corpus: Corpus, *, seed: int) -> SlotHeads:
    """Untrained classifiers for the corpus's slots and departments."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SlotHeads({**corpus.slots, DEPARTMENT: departments(corpus)}, width=vlm.hidden_size)


def departments(corpus: Corpus) -> tuple[str, ...]:
    """The departments of the products that have pictures, in alphabetical order."""
    return tuple(sorted({product.department for product in corpus.products}))


def warm_up_tower(
    vlm: VisionLanguageModel,
    heads: SlotHeads,
    corpus: PlainCorpus,
    *,
    config: WarmUpConfig,
    checkpoint: Path | None = None,
) -> Iterator[Step]:
    """Classify scene slots on ads and departments on everything; flipped, shifted and brightened at random."""
    parts = nn.ModuleDict(
        {"tower": vlm.core.model.vision_tower, "projector": vlm.core.model.multi_modal_projector, "heads": heads}
    )
    ads = slot_labels(heads, corpus.ad_slots, [product.department for product in corpus.ad_products])
    nothing: dict[str, str | None] = dict.fromkeys(corpus.slots)
    bare = slot_labels(heads, [nothing] * len(corpus.products), [product.department for product in corpus.products])
    labels = {slot: torch.cat([ads[slot], bare[slot]]) for slot in ads}
    bare_count = config.tower_batch_size // 6

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([config.seed, _TOWER, step])
        rows = rng.integers(len(corpus.ads), size=config.tower_batch_size - bare_count)
        products = rng.integers(len(corpus.products), size=bare_count)
        pictures = augment(np.concatenate([corpus.ads[rows], corpus.pictures[products]]), rng)
        chosen = torch.from_numpy(np.concatenate([rows, len(corpus.ads) + products]))
        wide = rng.random() < _WIDE_SHARE
        logits = heads(_tokens(vlm, pictures, wide=wide))
        if wide:
            chosen = chosen[: len(chosen) // 2 * 2]
        losses = {
            slot: functional.cross_entropy(
                logits[slot],
                labels[slot][chosen].to(vlm.device),
                ignore_index=_UNKNOWN,
                label_smoothing=_LABEL_SMOOTHING,
            )
            for slot in logits
            if bool((labels[slot][chosen] != _UNKNOWN).any())
        }
        return torch.stack(list(losses.values())).sum(), {slot: float(value.detach()) for slot, value in losses.items()}

    yield from train_part(
        "tower",
        parts,
        loss,
        steps=config.tower_steps,
        learning_rate=config.tower_learning_rate,
        weight_decay=0.05,
        config=config,
        checkpoint=checkpoint,
    )


def warm_up_text(
    vlm: VisionLanguageModel, corpus: PlainCorpus, *, config: WarmUpConfig, checkpoint: Path | None = None
) -> Iterator[Step]:
    """Teach the language model to write from product text and rough prompts, without pictures."""

    def loss(step: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([config.seed, _TEXT, step])
        plain = plain_share(step / config.text_steps, end=PLAIN_SHARE)
        questions = [
            draw_text(corpus, rng, answers=config.answers, plain=bool(rng.random() < plain))
            for _ in range(config.batch_size)
        ]
        return answer_loss(vlm, questions, None)

    yield from train_part(
        "text",
        vlm.core.model.language_model,
        loss,
        steps=config.text_steps,
        learning_rate=config.learning_rate,
        weight_decay=0.02,
        config=config,
        checkpoint=checkpoint,
    )


def draw_text(corpus: PlainCorpus, rng: np.random.Generator, *, answers: int, plain: bool = False) -> Question:
    """One question of the text-only warm-up: a product without its picture, or a rough prompt.

    ``plain`` descriptions come first: where every slot has its place, it is easier to see that the product matters.
    """
    if rng.random() < tasks.MIX["rewrite"]:
        return tasks.rewrite(corpus, rng)
    product = tasks.random_product(corpus, rng)
    words = instruction("describe", tasks.forgetful(product, rng), variant=tasks.random_variant("describe", rng))
    written = tuple(corpus.describe(product, rng, plain=plain) for _ in range(answers))
    return Question("describe", Sample(words), None, written)


@torch.inference_mode()
def slot_accuracy(
    vlm: VisionLanguageModel,
    heads: SlotHeads,
    pictures: UInt8[np.ndarray, "picture size size 3"],
    slots: Sequence[Mapping[str, str | None]],
    departments: Sequence[str],
) -> dict[str, float]:
    """Share of pictures whose slot the warm-up's classifiers name rightly; slots that do not apply are left out."""
    labels = slot_labels(heads, slots, departments)
    vlm.model.eval()
    parts = [
        heads(_tokens(vlm, pictures[start : start + CHUNK], wide=False)) for start in range(0, len(pictures), CHUNK)
    ]
    result = {}
    for slot, truth in labels.items():
        named = torch.cat([part[slot] for part in parts]).argmax(1).cpu()
        known = truth != _UNKNOWN
        result[slot] = float((named == truth)[known].float().mean())
    return result


def slot_labels(
    heads: SlotHeads, slots: Sequence[Mapping[str, str | None]], departments: Sequence[str]
) -> dict[str, Int64[Tensor, " picture"]]:
    """Index of every picture's value per slot, (picture,) int64; −100 where the slot does not apply."""
    rows = [{**values, DEPARTMENT: department} for values, department in zip(slots, departments, strict=True)]
    places = {slot: {name: place for place, name in enumerate(names)} for slot, names in heads.values.items()}
    labels = {}
    for slot, place in places.items():
        values = [row.get(slot) for row in rows]
        labels[slot] = torch.tensor([_UNKNOWN if value is None else place.get(value, _UNKNOWN) for value in values])
    return labels


def augment(
    pictures: UInt8[np.ndarray, "picture size size 3"], rng: np.random.Generator
) -> UInt8[np.ndarray, "picture size size 3"]:
    """Mirror half of the pictures, shift each by up to three pixels, vary brightness and contrast a little."""
    count, height, width, _ = pictures.shape
    padded = np.pad(pictures, ((0, 0), (_SHIFT, _SHIFT), (_SHIFT, _SHIFT), (0, 0)), mode="edge")
    result = np.empty_like(pictures)
    corners, mirrored = rng.integers(0, 2 * _SHIFT + 1, size=(count, 2)), np.less(rng.random(count), 0.5)
    gains, lifts = 1 + _GLOW * rng.uniform(-1, 1, (count, 1)), 128 * _GLOW * rng.uniform(-1, 1, (count, 1))
    for number, ((top, left), turned) in enumerate(zip(corners, mirrored, strict=True)):
        picture = padded[number, top : top + height, left : left + width]
        result[number] = picture[:, ::-1] if turned else picture
    levels = np.arange(256)
    tables = np.clip((levels - 128) * gains + 128 + lifts, 0, 255).astype(np.uint8)
    return tables[np.arange(count)[:, None, None, None], result]


def plain_share(done: float, *, end: float) -> float:
    """Share of plain wording after ``done`` of the text warm-up: all at first, then ever less, none from ``end`` on."""
    return float(np.clip(1.5 * (1 - done / end), 0, 1)) if end > 0 else 0.0


def _tokens(vlm: VisionLanguageModel, pictures: np.ndarray, *, wide: bool) -> Tensor:
    """Image tokens per square, (picture, token, width); ``wide`` shows them to the tower two by two, side by side."""
    if not wide:
        return batches.image_features(vlm, list(pictures))
    pairs = [np.concatenate(list(pictures[row : row + 2]), axis=1) for row in range(0, len(pictures) - 1, 2)]
    tokens = batches.image_features(vlm, pairs)
    side = math.isqrt(tokens.shape[1] // 2)
    grid = tokens.unflatten(1, (side, 2, side)).transpose(1, 2)
    return grid.flatten(2, 3).flatten(0, 1)


def _file(folder: Path | None, stage: str) -> Path | None:
    return None if folder is None else folder / f"{stage}.safetensors"
