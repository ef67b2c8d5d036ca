"""How far a policy has moved from its reference: KL(π_θ ‖ π_ref) in nats per description, on fresh samples of π_θ.

The mean of log π_θ(y|x) − log π_ref(y|x) over y ~ π_θ(·|x) is unbiased.  Samples that a choice was made among (the
candidates of a pair) or that an older policy drew would not be; so a few new ones are drawn wherever it is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from torch import Tensor

from clickscape.compute.device import ALONE, Processes
from clickscape.generation.pipeline import ProductImages
from clickscape.preference.train import question, sample_log_probs
from clickscape.types import Product
from clickscape.vlm.batch import Sample
from clickscape.vlm.generate import Writer
from clickscape.vlm.model import VisionLanguageModel

PRODUCTS_PER_PASS = 16
"""Products that one process writes for at once: what it draws does not depend on how many processes there are."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """An estimate of the KL in nats, and its standard error."""

    nats: float
    error: float

    @classmethod
    def of(cls, log_ratios: np.ndarray) -> Self:
        """Estimate it from log π_θ − log π_ref of at least two samples, (sample,) nats."""
        return cls(float(log_ratios.mean()), float(log_ratios.std(ddof=1) / np.sqrt(len(log_ratios))))


def log_ratios(
    policy: VisionLanguageModel, drawn: Sequence[Sample], *, before: Tensor, processes: Processes = ALONE
) -> np.ndarray:
    """Return log π_θ − log π_ref of all processes' texts, (text,) nats, given this one's texts and their log π_ref."""
    return np.array(processes.gather((sample_log_probs(policy, drawn) - before).double().tolist()))


def sample(
    writer: Writer,
    products: Sequence[Product],
    *,
    pictures: ProductImages,
    max_new_tokens: int,
    rng: np.random.Generator,
    processes: Processes = ALONE,
) -> list[Sample]:
    """Sample one description per product at temperature 1, as questions with answers; returns this process's share."""
    drawn: list[Sample] = []
    passes = [products[start : start + PRODUCTS_PER_PASS] for start in range(0, len(products), PRODUCTS_PER_PASS)]
    seeds = [int(rng.integers(2**31)) for _ in passes]
    for some, seed in processes.share(list(zip(passes, seeds, strict=True))):
        texts = writer.describe_all(some, n=1, seed=seed, max_new_tokens=max_new_tokens, pictures=pictures)
        drawn += [
            Sample(question(product, taught=writer.vlm.instructions), (pictures(product),), written[0])
            for product, written in zip(some, texts, strict=True)
        ]
    return drawn
