"""Log-probabilities of target tokens, without ever holding positions × vocabulary logits in memory.

Logits are the largest tensor in a step of a model with a large vocabulary: only the targets' log-probabilities are
kept, and the logits are computed again in the backward pass.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from clickscape.vlm.model import VisionLanguageModel

LOGITS = 2**22
"""Logits in memory at once; 16 MiB in float32."""


def target_log_probs(
    vlm: VisionLanguageModel,
    hidden: Float[Tensor, "place width"],
    targets: Int64[Tensor, " place"],
    *,
    at_once: int = LOGITS,
) -> Float[Tensor, " place"]:
    """log P of every target after its hidden state, nats, at least float32; hidden (place, width), targets (place,).

    More than `at_once` logits are made part by part, and each part again in the backward pass.
    """
    head = vlm.core.get_output_embeddings()
    places = max(1, at_once // int(vlm.core.config.get_text_config().vocab_size))
    if len(targets) <= places:
        return _log_probs(head, hidden, targets)
    parts = zip(hidden.split(places), targets.split(places), strict=True)
    return torch.cat(
        [checkpoint(_log_probs, head, *part, use_reentrant=False, preserve_rng_state=False) for part in parts]
    )


def _log_probs(head: nn.Module, hidden: Tensor, targets: Tensor) -> Tensor:
    logits = head(hidden)
    return -cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), targets, reduction="none")
