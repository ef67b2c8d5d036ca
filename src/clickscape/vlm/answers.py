"""Log-probabilities of several answers to one question in one pass of the question.

A question (picture, instruction, product) is six times as long as a description. Models that cannot read several
answers in one row (`vlm.packing`) read each answer with a question of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from clickscape.vlm.batch import IGNORED, Sample, answer_log_probs, collate
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.packing import can_pack, packed_log_probs


def log_probs(
    vlm: VisionLanguageModel,
    questions: Sequence[Sample],
    answers: Sequence[tuple[int, str]],
    *,
    features: Float[Tensor, "image token width"] | None = None,
) -> tuple[Float[Tensor, " answer"], Int64[Tensor, " answer"]]:
    """log π of every answer in nats, and its number of tokens (end token included): (answer,) twice.

    `answers` are (number of the question, text), tokenized exactly as they stand; `features`: (question, token, width).
    """
    if not can_pack(vlm):
        return _separately(vlm, questions, answers, features)
    values, owners = packed_log_probs(vlm, questions, answers, features=features)
    total = values.new_zeros(len(answers)).index_add(0, owners, values)
    return total, torch.bincount(owners, minlength=len(answers))


def _separately(
    vlm: VisionLanguageModel,
    questions: Sequence[Sample],
    answers: Sequence[tuple[int, str]],
    features: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Every answer with a question of its own, for models whose questions cannot be shared."""
    given = None if features is None else features[[number for number, _ in answers]]
    samples = [Sample(questions[number].instruction, questions[number].images, text) for number, text in answers]
    batch = collate(vlm, samples, side="right", answers=True, pixels=given is None)
    return answer_log_probs(vlm, batch, features=given), (batch.labels != IGNORED).sum(1)
