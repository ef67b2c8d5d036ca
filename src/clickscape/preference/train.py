"""One round's training: pairs and cached reference log-probabilities in, a better policy out, one record per step.

Three choices keep a step cheap.  The reference is scored once per round (x̃ is fixed for it), so two models never stand
in memory while gradients do.  A frozen tower encodes every picture once per round; the projector behind it learns with
the language model.  The chosen and the rejected answer of a pair share one pass of their question (`answers`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clickscape.compute import fsdp
from clickscape.compute.device import ALONE, Processes
from clickscape.compute.schedules import warmup_cosine
from clickscape.config import OptimizeConfig
from clickscape.generation.pipeline import ProductImages
from clickscape.preference import adapter
from clickscape.preference.corruption import hide_patches
from clickscape.preference.loss import AnswerLogProbs, PreferenceLoss, pcpo_loss
from clickscape.preference.optimizer import PreferenceOptimizer
from clickscape.preference.pairs import PreferencePair
from clickscape.preference.precision import gradient_checkpointing
from clickscape.types import Product
from clickscape.vlm.answers import log_probs
from clickscape.vlm.batch import Sample, image_features
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.prompts import writing_instruction

SEQUENCES_PER_PASS = 64
"""Sequences or pictures per pass where no gradient is kept."""


@dataclass(frozen=True, slots=True)
class Step:
    """One optimizer step: batch means in nats; ``margin`` = chosen − rejected, ``accuracy``: share of positive margins.

    ``chosen`` = Δ(y+|x), ``rejected`` = Δ(y−|x), ``corrupted`` = Δ(y+|x̃) (None: not scored), before the step.
    ``kl``: estimate of KL(policy after the step ‖ reference), ``kl_error`` its standard error; None: not estimated.
    """

    round: int
    number: int
    steps: int
    loss: float
    preference: float
    product: float
    anchor: float
    margin: float
    chosen: float
    rejected: float
    corrupted: float | None
    accuracy: float
    learning_rate: float
    gradient_norm: float
    kl: float | None = None
    kl_error: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TrainingPair:
    """A pair as sequences: the question, the picture (a number in `TrainingPairs.pictures`) and both answers.

    ``probability``: P(chosen ≻ rejected), as the reward model sees it.
    """

    question: str
    picture: int
    corrupted_question: str | None
    corrupted_picture: int
    chosen: str
    rejected: str
    probability: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class TrainingPairs:
    """All pairs of a round as sequences, every different picture held once: (picture) of uint8 (height, width, 3)."""

    pairs: tuple[TrainingPair, ...]
    pictures: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.pairs)

    def subset(self, rows: Sequence[int]) -> TrainingPairs:
        """Return some of the pairs, with the pictures that they need."""
        some = [self.pairs[row] for row in rows]
        shown = sorted({number for one in some for number in (one.picture, one.corrupted_picture)})
        renamed = {old: new for new, old in enumerate(shown)}
        return TrainingPairs(
            tuple(
                replace(one, picture=renamed[one.picture], corrupted_picture=renamed[one.corrupted_picture])
                for one in some
            ),
            tuple(self.pictures[number] for number in shown),
        )


def patch_grid(vlm: VisionLanguageModel) -> int:
    """Return the number of patches along one side of this model's square input."""
    return vlm.image_size // _patch_size(vlm)


def build_training_pairs(
    pairs: Sequence[PreferencePair],
    *,
    products: Mapping[str, Product],
    pictures: ProductImages,
    vlm: VisionLanguageModel,
) -> TrainingPairs:
    """Turn pairs into sequences; answers stay exactly as sampled, corrupted pictures follow the tower's grid."""
    size, patch, taught = vlm.image_size, _patch_size(vlm), vlm.instructions
    shown: list[np.ndarray] = []
    numbers: dict[tuple[str, tuple[int, ...]], int] = {}

    def number(product: Product, hidden: tuple[int, ...]) -> int:
        key = (product.product_id, hidden)
        if key not in numbers:
            picture = pictures(product)
            numbers[key] = len(shown)
            shown.append(hide_patches(picture, hidden, patch=patch, size=size) if hidden else picture)
        return numbers[key]

    training_pairs = []
    for pair in pairs:
        product, corrupted = products[pair.product_id], pair.corrupted
        described = (
            products[corrupted.caption_of] if corrupted is not None and corrupted.caption_of is not None else product
        )
        training_pairs.append(
            TrainingPair(
                question=question(product, taught=taught),
                picture=number(product, ()),
                corrupted_question=None if corrupted is None else question(described, taught=taught, worded_as=product),
                corrupted_picture=number(product, () if corrupted is None else corrupted.hidden),
                chosen=pair.chosen,
                rejected=pair.rejected,
                probability=pair.probability,
            )
        )
    return TrainingPairs(tuple(training_pairs), tuple(shown))


def question(product: Product, *, taught: Sequence[str] = (), worded_as: Product | None = None) -> str:
    """Return the instruction that the writer samples with; training on another would train another distribution.

    taught: the policy's `instructions`. worded_as: the product whose wording is used for another's caption.
    """
    return writing_instruction(product, taught=taught, worded_as=worded_as)


@torch.no_grad()
def tower_features(
    vlm: VisionLanguageModel, pictures: Sequence[np.ndarray]
) -> Float[Tensor, "picture token width"] | None:
    """Return the vision tower's output for every picture, before the projector: (picture, token, tower width).

    None for a model whose tower cannot be run alone (only LLaVA's can): then every pass runs it again.
    """
    if not vlm.is_llava:
        return None
    outputs: list[Tensor] = []
    hook = vlm.core.model.multi_modal_projector.register_forward_pre_hook(lambda _, inputs: outputs.append(inputs[0]))
    try:
        for start in range(0, len(pictures), SEQUENCES_PER_PASS):
            image_features(vlm, pictures[start : start + SEQUENCES_PER_PASS])
    finally:
        hook.remove()
    return torch.cat(outputs)


@torch.no_grad()
def pair_log_probs(vlm: VisionLanguageModel, training_pairs: TrainingPairs, *, product_centric: bool) -> AnswerLogProbs:
    """Return log π of every answer of the round under one model and its tower, (pair,) nats, without gradient."""
    vlm.model.eval()
    features = tower_features(vlm, training_pairs.pictures) if len(training_pairs) else None
    rows = max(1, SEQUENCES_PER_PASS // (3 if product_centric else 2))
    parts = [
        _log_probs(
            vlm, training_pairs, range(start, min(start + rows, len(training_pairs))), features, product_centric
        )[0]
        for start in range(0, len(training_pairs), rows)
    ]
    nothing = torch.zeros(0, device=vlm.device)
    return AnswerLogProbs(
        chosen=torch.cat([nothing, *(part.chosen for part in parts)]),
        rejected=torch.cat([nothing, *(part.rejected for part in parts)]),
        corrupted=torch.cat([nothing, *(part.corrupted for part in parts if part.corrupted is not None)])
        if product_centric
        else None,
    )


@torch.no_grad()
def sample_log_probs(vlm: VisionLanguageModel, samples: Sequence[Sample]) -> Float[Tensor, " sample"]:
    """Return log π of every sample's answer, (sample,) nats, without gradient."""
    vlm.model.eval()
    parts = [torch.zeros(0, device=vlm.device)]
    for start in range(0, len(samples), SEQUENCES_PER_PASS):
        some = samples[start : start + SEQUENCES_PER_PASS]
        answers = [(number, sample.answer or "") for number, sample in enumerate(some)]
        parts.append(log_probs(vlm, some, answers)[0])
    return torch.cat(parts)


def train(
    policy: VisionLanguageModel,
    training_pairs: TrainingPairs,
    *,
    reference: AnswerLogProbs,
    config: OptimizeConfig,
    rng: np.random.Generator,
    round_number: int = 1,
    optimizer: PreferenceOptimizer | None = None,
    done: int = 0,
    processes: Processes = ALONE,
) -> Iterator[Step]:
    """Train the policy in place on one round's pairs.

    `reference`: what `pair_log_probs` gives for the same pairs under π_ref.

    Yields after every optimizer step.  The model stays in evaluation mode: dropout would move π_θ away from π_ref.
    `optimizer` and `done`: go on after so many steps of the same round.  Of several processes, each takes its share of
    every batch.
    """
    optimizer = optimizer or PreferenceOptimizer(trainable_parameters(policy, config=config), processes=processes)
    policy.model.eval()
    with fsdp.gathered(policy.core):
        features = None if config.train_tower else tower_features(policy, training_pairs.pictures)
    orders = [rng.permutation(len(training_pairs)) for _ in range(config.epochs)]
    batches = [
        [int(row) for row in order[start : start + config.batch_size]]
        for order in orders
        for start in range(0, len(order), config.batch_size)
    ]
    for number, rows in enumerate(batches[done:], start=done + 1):
        rate = config.learning_rate * warmup_cosine(number - 1, len(batches), warmup_share=config.warmup_share, floor=1)
        optimizer.zero_grad()
        own, counted = processes.even_share(rows) if fsdp.is_sharded(policy.core) else (processes.share(rows), None)
        with fsdp.passes(policy.core):
            losses = backward_in_chunks(
                policy,
                training_pairs,
                own,
                reference=reference,
                features=features,
                config=config,
                batch=len(rows),
                counted=counted,
            )
        norm = optimizer.step(rate=rate)
        means = _means(losses, pairs=len(rows), centric=config.product_weight > 0, processes=processes)
        yield Step(
            round=round_number, number=number, steps=len(batches), **means, learning_rate=rate, gradient_norm=norm
        )
    optimizer.zero_grad()


def backward_in_chunks(
    policy: VisionLanguageModel,
    training_pairs: TrainingPairs,
    rows: Sequence[int],
    *,
    reference: AnswerLogProbs,
    features: Tensor | None,
    config: OptimizeConfig,
    batch: int | None = None,
    counted: int | None = None,
) -> list[PreferenceLoss]:
    """Add the gradient of the mean loss over `rows`, some pairs at a time; the same gradient as in one pass.

    `features`: `tower_features` of this policy; None runs the tower here, with gradient.  `batch`: pairs of the whole
    batch, of which `rows` are one process's share (None: all of it).  `counted`: how many of the rows count; the others
    are read to keep step with other processes (None: all count).
    """
    weight = config.product_weight
    counts = torch.arange(len(rows)) < (len(rows) if counted is None else counted)
    losses = []
    for start in range(0, len(rows), config.pairs_per_pass):
        some = list(rows[start : start + config.pairs_per_pass])
        fsdp.begin_pass(policy.core)
        with gradient_checkpointing(policy) if config.gradient_checkpointing else nullcontext():
            values, tokens = _log_probs(policy, training_pairs, some, features, weight > 0)
            loss = pcpo_loss(
                values,
                reference.each(itemgetter(some)),
                beta=config.beta,
                weight=weight,
                anchor=config.anchor,
                anchor_weight=config.anchor_weight,
                chosen_tokens=tokens,
                probability=_probabilities(training_pairs, some) if config.preference == "margin_dpo" else None,
            )
            own = counts[start : start + config.pairs_per_pass].to(loss.total.device)
            ((loss.total * own).sum() / (batch or len(rows))).backward()
        losses.append(loss.some(own))
    return losses


def trainable_parameters(policy: VisionLanguageModel, *, config: OptimizeConfig) -> dict[str, torch.nn.Parameter]:
    """Freeze what this run does not train and return the rest: adapters if there are any, else all but the tower."""
    parameters = dict(policy.model.named_parameters())
    adapted = any(adapter.is_adapter(name) for name in parameters)
    for name, parameter in parameters.items():
        learns = adapter.is_adapter(name) if adapted else config.train_tower or not _is_tower(name)
        parameter.requires_grad_(learns)
    return {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}


def _is_tower(name: str) -> bool:
    return "vision_tower" in name or "visual" in name or "vision_model" in name


def _patch_size(vlm: VisionLanguageModel) -> int:
    return int(vlm.core.config.vision_config.patch_size)


def _log_probs(
    vlm: VisionLanguageModel,
    training_pairs: TrainingPairs,
    rows: Sequence[int],
    features: Tensor | None,
    product_centric: bool,
) -> tuple[AnswerLogProbs, Tensor]:
    """log π of the answers of some pairs in one pass, and the number of tokens of every chosen answer, both (pair,)."""
    some = [training_pairs.pairs[row] for row in rows]
    count = len(some)
    questions = [(one.question, one.picture) for one in some]
    answers = [(number, one.chosen) for number, one in enumerate(some)]
    answers += [(number, one.rejected) for number, one in enumerate(some)]
    if product_centric:
        for number, one in enumerate(some):
            if one.corrupted_question is None:
                raise ValueError(
                    "the product-centric term needs a corrupted input for every pair; draw one, or use weight 0"
                )
            questions.append((one.corrupted_question, one.corrupted_picture))
            answers.append((count + number, one.chosen))
    images = None
    if features is not None:
        numbers, inverse = torch.tensor([picture for _, picture in questions]).unique(return_inverse=True)
        images = vlm.core.model.multi_modal_projector(features[numbers])[inverse]
    samples = [Sample(asked, (training_pairs.pictures[picture],)) for asked, picture in questions]
    values, tokens = log_probs(vlm, samples, answers, features=images)
    corrupted = values[2 * count :] if product_centric else None
    return AnswerLogProbs(values[:count], values[count : 2 * count], corrupted), tokens[:count]


def _probabilities(training_pairs: TrainingPairs, rows: Sequence[int]) -> Tensor:
    return torch.tensor([training_pairs.pairs[row].probability for row in rows], dtype=torch.float64)


_COLUMNS = {
    "loss": "total",
    "preference": "preference",
    "product": "product",
    "anchor": "anchor",
    "margin": "margin",
    "chosen": "chosen_log_ratio",
    "rejected": "rejected_log_ratio",
}
"""Field of a step → field of the loss whose mean over the batch it is."""


def _means(losses: Sequence[PreferenceLoss], *, pairs: int, centric: bool, processes: Processes) -> dict[str, Any]:
    """Means over the batch of all processes, by the name that a step gives them."""
    sums = {field: [getattr(loss, name).detach() for loss in losses] for field, name in _COLUMNS.items()}
    sums["corrupted"] = [loss.corrupted_log_ratio for loss in losses if loss.corrupted_log_ratio is not None]
    sums["accuracy"] = [loss.margin > 0 for loss in losses]
    totals = [sum(float(part.double().sum()) for part in parts) for parts in sums.values()]
    total = torch.tensor(totals, dtype=torch.float64, device=processes.device)
    processes.all_reduce([total])
    means: dict[str, Any] = dict(zip(sums, (total / pairs).tolist(), strict=True))
    return means if centric else {**means, "corrupted": None}
