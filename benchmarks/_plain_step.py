"""What both benchmarks of a preference step share: pairs by the shipped model, and the straightforward loss.

Straightforward: y+|x, y−|x and y+|x̃ are three whole sequences, each with its picture through the tower, and the
reference is asked again in every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clickscape.catalog import sample
from clickscape.catalog.cutout import open_cutout, product_picture
from clickscape.compute.optimizer import BETAS, GRADIENT_CLIP
from clickscape.config import OptimizeConfig
from clickscape.preference.corruption import Captions, draw
from clickscape.preference.loss import AnswerLogProbs, pcpo_loss
from clickscape.preference.pairs import PreferencePair
from clickscape.preference.precision import gradient_checkpointing
from clickscape.preference.train import TrainingPairs, build_training_pairs, trainable_parameters
from clickscape.vlm import model as vlm_model
from clickscape.vlm.batch import IGNORED, Sample, collate
from clickscape.vlm.generate import Writer
from clickscape.vlm.model import VisionLanguageModel


def preference_pairs(
    folder: Path, *, patches: int, count: int, seed: int
) -> tuple[list[PreferencePair], dict[str, Any]]:
    """Descriptions by the shipped model, first over second; half of the inputs are masked, half have other words."""
    rng = np.random.default_rng(seed)
    known = sample.products()
    chosen = [known[int(row)].product_id for row in rng.choice(len(known), count, replace=False)]
    products = sample.write(folder, 256, product_ids=chosen)
    captions = Captions(products)
    written = Writer(vlm_model.load("tiny")).describe_all(products, n=4, seed=seed)
    pairs = []
    for number, (product, texts) in enumerate(zip(products, written, strict=True)):
        first, second = list(dict.fromkeys([*texts, "sand floor, noon sun"]))[:2]
        share = float(number % 2)  # exactly half
        corrupted = draw(
            product, captions=captions, patches=patches, mask_ratio=0.75, caption_swap_share=share, rng=rng
        )
        pairs.append(PreferencePair(product.product_id, first, second, 1.0, corrupted))
    return pairs, {product.product_id: product for product in products}


def lessons_of(vlm: VisionLanguageModel, pairs: Sequence[PreferencePair], products: dict[str, Any]) -> TrainingPairs:
    """The pairs as sequences, with their products on a plain ground."""
    size = vlm.image_size
    return build_training_pairs(
        pairs,
        products=products,
        pictures=lambda product: product_picture(open_cutout(product.image), size=size),
        vlm=vlm,
    )


def straightforward(
    policy: VisionLanguageModel,
    reference: Callable[[], AbstractContextManager[VisionLanguageModel]],
    training_pairs: TrainingPairs,
    config: OptimizeConfig,
) -> Iterator[float]:
    """Train the policy in place on a round's pairs, the plain way; yields the mean loss of every step."""
    parameters = list(trainable_parameters(policy, config=config).values())
    optimizer = torch.optim.AdamW(parameters, lr=config.learning_rate, betas=BETAS, weight_decay=0.0)
    rng = np.random.default_rng(0)
    for _ in range(config.epochs):
        order = rng.permutation(len(training_pairs))
        for start in range(0, len(order), config.batch_size):
            rows = order[start : start + config.batch_size]
            optimizer.zero_grad(set_to_none=True)
            total = 0.0
            for place in range(0, len(rows), config.pairs_per_pass):
                some = rows[place : place + config.pairs_per_pass]
                with gradient_checkpointing(policy) if config.gradient_checkpointing else nullcontext():
                    loss = plain_loss(policy, reference(), training_pairs, some, config) * len(some) / len(rows)
                    loss.backward()
                total += loss.item()
            torch.nn.utils.clip_grad_norm_(parameters, GRADIENT_CLIP)
            optimizer.step()
            yield total


def plain_loss(
    policy: VisionLanguageModel,
    reference: AbstractContextManager[VisionLanguageModel],
    training_pairs: TrainingPairs,
    rows: Sequence[int],
    config: OptimizeConfig,
) -> Tensor:
    """Mean loss of some pairs; `reference` gives the model that is asked beside the policy, for as long as it is."""
    some = [training_pairs.pairs[int(row)] for row in rows]
    asked = [(one.question, one.picture, one.chosen) for one in some]
    asked += [(one.question, one.picture, one.rejected) for one in some]
    asked += [(one.corrupted_question or "", one.corrupted_picture, one.chosen) for one in some]
    samples = [Sample(question, (training_pairs.pictures[picture],), answer) for question, picture, answer in asked]
    now, tokens = plain_log_probs(policy, samples)
    with torch.no_grad(), reference as other:
        then, _ = plain_log_probs(other, samples)
    return pcpo_loss(
        AnswerLogProbs(*now.chunk(3)),
        AnswerLogProbs(*then.chunk(3)),
        beta=config.beta,
        weight=config.product_weight,
        anchor=config.anchor,
        anchor_weight=config.anchor_weight,
        chosen_tokens=tokens.chunk(3)[0],
    ).total.mean()


def plain_log_probs(vlm: VisionLanguageModel, samples: Sequence[Sample]) -> tuple[Tensor, Tensor]:
    """log π of every answer, and its number of tokens: (sample,) twice; logits of all words at every position."""
    batch = collate(vlm, samples, side="right", answers=True)
    logits = vlm.model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        pixel_values=batch.pixel_values,
        **batch.extras,
        use_cache=False,
    ).logits
    targets = batch.labels[:, 1:]
    asked = targets != IGNORED
    log_probs = logits[:, :-1].log_softmax(-1).gather(2, targets.clamp(min=0)[..., None])[..., 0]
    return (log_probs * asked).sum(1), asked.sum(1)
