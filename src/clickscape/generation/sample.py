"""Candidates: the prompt model writes descriptions, the pipeline renders and scores each.

Every description is rendered with a seed of its own, so that no accident of one seed decides a whole product.  A
description that did not parse is never eligible (its image shows something else than its words), and neither is one
that the relevance gate refuses (it would suit any product).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clickscape.generation.pipeline import AdPipeline
from clickscape.generation.score import image_seeds, render_and_score
from clickscape.types import Product

if TYPE_CHECKING:
    from clickscape.vlm.generate import Writer
    from clickscape.vlm.served_policy import ServedPolicy

PRODUCTS_PER_PASS = 32
"""Products that are written for, rendered and scored together: enough to fill a batch, few enough to show progress."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One description exactly as it was sampled, the scene that the renderer made of it, and its reward (logits).

    ``relevant``: whether it suits its product; True where no gate was asked. ``searched``: the policy did not write it;
    search over scenes proposed it.
    """

    product_id: str
    text: str
    seed: int
    scene: str
    parsed: bool
    score: float
    relevant: bool = True
    searched: bool = False

    @property
    def eligible(self) -> bool:
        """Whether it may be the chosen one of a pair: it parsed, and it is relevant."""
        return self.parsed and self.relevant


def sample_candidates(
    writer: Writer | ServedPolicy,
    products: Sequence[Product],
    *,
    pipeline: AdPipeline,
    candidates: int,
    temperature: float,
    max_new_tokens: int,
    render_size: int,
    rng: np.random.Generator,
    done: Collection[int] = (),
) -> Iterator[list[list[Candidate]]]:
    """Sample, render and score `candidates` descriptions per product; yields a list per product for some products.

    `done`: numbers of passes to leave out. Of several processes, each does every n-th of the others; what comes of a
    pass does not depend on who does it, and on which others are done.
    """
    passes = [products[start : start + PRODUCTS_PER_PASS] for start in range(0, len(products), PRODUCTS_PER_PASS)]
    shared = pipeline.processes.share([number for number in range(len(passes)) if number not in done])
    for number, some in enumerate(passes):
        seed = int(rng.integers(2**31))
        if number not in shared:
            image_seeds(len(some) * candidates, rng=rng)  # keeps the stream where the next pass expects it
            continue
        texts = writer.describe_all(
            some,
            n=candidates,
            seed=seed,
            temperature=temperature,
            max_new_tokens=max_new_tokens,
            pictures=pipeline.product_images,
        )
        # Cut off at the limit is not what the model wanted to say: such a text may be rejected, never chosen.
        tokenizer = writer.vlm.processor.tokenizer
        truncated = [
            [len(tokenizer(text, add_special_tokens=False).input_ids) >= max_new_tokens for text in each]
            for each in texts
        ]
        yield score_candidates(some, texts, pipeline=pipeline, render_size=render_size, rng=rng, truncated=truncated)


def score_candidates(
    products: Sequence[Product],
    texts: Sequence[Sequence[str]],
    *,
    pipeline: AdPipeline,
    render_size: int,
    rng: np.random.Generator,
    truncated: Sequence[Sequence[bool]] | None = None,
) -> list[list[Candidate]]:
    """Render, score and gate descriptions, a list per product; `truncated`: which ones the token limit cut off."""
    flat = [(product, text) for product, each in zip(products, texts, strict=True) for text in each]
    shown, written = [product for product, _ in flat], [text for _, text in flat]
    ads = render_and_score(shown, written, pipeline=pipeline, size=render_size, seeds=image_seeds(len(flat), rng=rng))
    cut = [flag for each in truncated for flag in each] if truncated is not None else [False] * len(flat)
    relevant = [True] * len(flat)
    if pipeline.relevance is not None:
        relevant = [result.passed for result in pipeline.relevance.check(shown, written)]
    scored = iter(
        Candidate(
            product_id=ad.product.product_id,
            text=ad.description,
            seed=ad.seed,
            scene=ad.rendering.content or ad.description,
            parsed=ad.parsed and not short,
            score=ad.score,
            relevant=suits,
        )
        for ad, short, suits in zip(ads, cut, relevant, strict=True)
    )
    return [[next(scored) for _ in each] for each in texts]
