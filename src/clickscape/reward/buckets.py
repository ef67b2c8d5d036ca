"""A pre-stage before the pairs: which fifth of the click rates is a creative in?

As in KwaiMind's reward model, the scores first learn to place single creatives, then to order two. The rates are
standardized within the product, so a fifth says how good a creative is for its product and not what the product is. An
ordinal loss on the score itself (proportional odds, thresholds where every fifth is as likely as any other at score 0)
has no parameters of its own, so all that it learns is there when the pairs come.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

BUCKETS = 5


def bucket_of(targets: Tensor) -> Tensor:
    """Fifth of every standardized rate among all of them, 0 (worst) … BUCKETS − 1; −100 where it is NaN. Any shape."""
    known = torch.isfinite(targets)
    if not known.any():
        return torch.full_like(targets, -100, dtype=torch.long)
    edges = torch.quantile(targets[known], torch.linspace(0, 1, BUCKETS + 1)[1:-1].to(targets))
    found = torch.bucketize(targets, edges)
    return torch.where(known, found, torch.full_like(found, -100))


def bucket_loss(scores: Tensor, buckets: Tensor, *, weight: Tensor) -> Tensor:
    """−log P(bucket > k) or −log P(bucket ≤ k), mean over the thresholds k; nats per creative, mean over the heads.

    scores: (head, row, side), logits. buckets: (row, side), −100 where unknown. weight: (head, row), averaged.
    """
    levels = torch.arange(1, BUCKETS, device=scores.device)
    thresholds = torch.log(levels / (BUCKETS - levels))
    above = (buckets[..., None] >= levels).to(scores.dtype).expand(*scores.shape, len(levels))
    each = functional.binary_cross_entropy_with_logits(scores[..., None] - thresholds, above, reduction="none").mean(-1)
    known = weight[..., None] * (buckets >= 0)
    return (known * each).sum() / known.sum().clamp(min=math.ulp(1.0))
