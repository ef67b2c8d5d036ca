"""Where preference pairs come from: the prompt model writes, the renderer draws, the reward model judges.

Every description is drawn with a seed of its own, so that no accident of one seed decides a whole product.  What the
renderer does not understand can lose but never win: its picture shows something else than its words. What the relevance
gate refuses can lose but never win, either: it would please beside any product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

from clickscape.catalog.cutout import open_cutout, product_picture
from clickscape.compute.device import ALONE, Processes
from clickscape.errors import PreferenceError
from clickscape.gates.relevance import Relevance
from clickscape.preference.corruption import CorruptedInput
from clickscape.render.renderer import Renderer, Rendering, render_all
from clickscape.render.studio.parse import parse
from clickscape.types import Product

if TYPE_CHECKING:
    from clickscape.reward.features import Slots
    from clickscape.vlm.generate import Writer

Pictures = Callable[[Product], np.ndarray]
"""The picture of a product that the prompt model looks at: uint8 (height, width, 3) sRGB."""

PRODUCTS_PER_PASS = 32
"""Products that are written for, drawn and judged together: enough to fill a batch, few enough to show progress."""


def product_pictures(size: int) -> Pictures:
    """The bare product on a plain ground, `size` pixels square, from its cut-out file; the ground alone without one."""
    from clickscape.vlm.generate import BLANK

    @lru_cache(maxsize=512)  # a round asks for each up to three times: to write, to learn, to estimate the KL
    def picture(image: str) -> np.ndarray:
        return product_picture(open_cutout(image), size=size)

    blank = np.full((size, size, 3), BLANK, np.uint8)
    return lambda product: picture(product.image) if product.image else blank


class Reward(Protocol):
    """Whatever scores images: one number per image, in logits; only differences within one product mean something."""

    def score(
        self, products: Sequence[Product], images: Sequence[np.ndarray], scenes: Sequence[Slots | None] | None = None, /
    ) -> np.ndarray:
        """(image,) float; `scenes`: those that were drawn, None where nobody knows."""
        ...


@dataclass(frozen=True, slots=True)
class Candidate:
    """One description exactly as it was sampled, what the renderer made of it, and its reward (logits).

    ``relevant``: whether it suits its product; True where no gate was asked.
    """

    product_id: str
    text: str
    seed: int
    scene: str
    parsed: bool
    score: float
    relevant: bool = True

    @property
    def eligible(self) -> bool:
        """Whether it may be chosen over another: parsed by the renderer, and relevant."""
        return self.parsed and self.relevant


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two descriptions of one product, the better one first, and the corrupted input x̃ of this pair in this round.

    ``margin`` is the difference of reward in logits; None where the rejected one was not parsed, or not relevant.
    """

    product_id: str
    chosen: str
    rejected: str
    margin: float | None
    corrupted: CorruptedInput | None = None

    def __post_init__(self) -> None:
        if self.chosen == self.rejected:
            raise ValueError(f"a pair needs two different descriptions, got {self.chosen!r} twice")

    @property
    def probability(self) -> float:
        """P(chosen ≻ rejected) by the reward model, σ(margin); 1 where the rejected one was not parsed."""
        return 1.0 if self.margin is None else 1.0 / (1.0 + math.exp(-self.margin))


def sample_candidates(
    writer: Writer,
    products: Sequence[Product],
    *,
    reward: Reward,
    renderer: Renderer,
    candidates: int,
    temperature: float,
    max_new_tokens: int,
    render_size: int,
    pictures: Pictures,
    rng: np.random.Generator,
    relevance: Relevance | None = None,
    processes: Processes = ALONE,
) -> Iterator[list[list[Candidate]]]:
    """Sample, draw and judge `candidates` descriptions per product; yields a list per product for some products.

    Of several processes, each does every so-manieth pass; what comes of a pass does not depend on who does it.
    """
    passes = [products[start : start + PRODUCTS_PER_PASS] for start in range(0, len(products), PRODUCTS_PER_PASS)]
    own = processes.share(range(len(passes)))
    for number, some in enumerate(passes):
        seed = int(rng.integers(2**31))
        if number not in own:
            image_seeds(len(some) * candidates, rng=rng)  # drawn all the same, so that the next pass finds its own
            continue
        texts = writer.describe_all(
            some,
            n=candidates,
            seed=seed,
            temperature=temperature,
            max_new_tokens=max_new_tokens,
            pictures=pictures,
        )
        # Cut off at the limit is not what the model wanted to say: such a text may lose, never win.
        tokenizer = writer.vlm.processor.tokenizer
        cut = [
            [len(tokenizer(text, add_special_tokens=False).input_ids) >= max_new_tokens for text in own]
            for own in texts
        ]
        yield judge(
            some,
            texts,
            reward=reward,
            renderer=renderer,
            render_size=render_size,
            rng=rng,
            cut=cut,
            relevance=relevance,
        )


def judge(
    products: Sequence[Product],
    texts: Sequence[Sequence[str]],
    *,
    reward: Reward,
    renderer: Renderer,
    render_size: int,
    rng: np.random.Generator,
    cut: Sequence[Sequence[bool]] | None = None,
    relevance: Relevance | None = None,
) -> list[list[Candidate]]:
    """Draw and score descriptions, a list per product; `cut`: which ones the token limit ended (never parsed)."""
    flat = [(product, text) for product, own in zip(products, texts, strict=True) for text in own]
    seeds = image_seeds(len(flat), rng=rng)
    pictured = [product for product, _ in flat]
    drawn = render_all(renderer, pictured, [text for _, text in flat], size=(render_size, render_size), seeds=seeds)
    scenes = [one.scene.slots if one.scene is not None else None for one in drawn]
    scores = np.asarray(reward.score(pictured, [one.image for one in drawn], scenes), dtype=np.float64)
    if scores.shape != (len(flat),) or not np.isfinite(scores).all():
        raise PreferenceError(
            f"the reward model gave {scores.shape} scores, {int(np.isnan(scores).sum())} of them not a number, for "
            f"{len(flat)} images; one finite number per image is expected. Train the reward model again."
        )
    ended = [flag for own in cut for flag in own] if cut is not None else [False] * len(flat)
    suits = [True] * len(flat)
    if relevance is not None:
        suits = [verdict.passed for verdict in relevance.judge(pictured, [text for _, text in flat])]
    judged = iter(
        Candidate(
            product_id=product.product_id,
            text=text,
            seed=seed,
            scene=one.content or text,
            parsed=not short and _reads(renderer, text, one),
            score=float(score),
            relevant=suit,
        )
        for (product, text), seed, one, short, score, suit in zip(flat, seeds, drawn, ended, scores, suits, strict=True)
    )
    return [[next(judged) for _ in own] for own in texts]


def _reads(renderer: Renderer, text: str, drawn: Rendering) -> bool:
    """Whether the picture shows what the text says: no unknown word and, for the studio, enough named slots."""
    return not drawn.unknown and (renderer.name != "studio" or parse(text).parses)


def image_seeds(count: int, *, rng: np.random.Generator) -> list[int]:
    """A seed for every image, no two the same."""
    first = int(rng.integers(2**31 - count))
    return list(range(first, first + count))


def best_of_n(candidates: Sequence[Candidate]) -> Candidate:
    """The candidate with the highest reward among those that may win (among all, if none does)."""
    if not candidates:
        raise ValueError("the best of no candidates was asked for")
    return max(candidates, key=lambda candidate: (candidate.eligible, candidate.score))


def choose_pairs(
    judged: Sequence[Sequence[Candidate]], *, min_margin: float, per_product: int = 1, unparsed_share: float = 1.0
) -> list[PreferencePair]:
    """Best over worst of every product, then second best over second worst …: at most `per_product` pairs of each.

    None for ties, equal texts and margins below `min_margin`. Of all pairs, at most `unparsed_share` may have a loser
    that was not parsed; beyond it, a product's pairs are made of its parsed candidates alone, and the first to
    change are those whose parsed candidates lie furthest apart, because there the least is lost.
    """
    mixed = [_ranked_pairs(own, min_margin=min_margin, count=per_product) for own in judged]
    if unparsed_share >= 1:
        return [pair for own in mixed for pair in own]
    clean = [
        _ranked_pairs([one for one in own if one.eligible], min_margin=min_margin, count=per_product) for own in judged
    ]
    order = sorted(range(len(judged)), key=lambda row: -max((pair.margin or 0.0 for pair in clean[row]), default=0.0))
    unparsed, total = sum(map(_unparsed, mixed)), sum(map(len, mixed))
    for row in order:
        if unparsed <= unparsed_share * total:
            break
        if _unparsed(mixed[row]):
            unparsed -= _unparsed(mixed[row])
            total += len(clean[row]) - len(mixed[row])
            mixed[row] = clean[row]
    return [pair for own in mixed for pair in own]


def _ranked_pairs(candidates: Sequence[Candidate], *, min_margin: float, count: int) -> list[PreferencePair]:
    """First over last of one product's ranking, second over last but one …; no two pairs of the same two texts."""

    def rank(candidate: Candidate) -> tuple[bool, float]:
        return candidate.eligible, candidate.score

    best_first, worst_first = sorted(candidates, key=rank, reverse=True), sorted(candidates, key=rank)
    pairs: dict[tuple[str, str], PreferencePair] = {}
    for place in range(min(count, len(candidates) // 2)):
        better, worse = best_first[place], worst_first[place]
        if not better.eligible or better.text == worse.text:
            continue
        margin = better.score - worse.score if worse.eligible else None
        if margin is not None and (margin <= 0 or margin < min_margin):
            continue
        pairs.setdefault((better.text, worse.text), PreferencePair(better.product_id, better.text, worse.text, margin))
    return list(pairs.values())


def _unparsed(pairs: Sequence[PreferencePair]) -> int:
    return sum(pair.margin is None for pair in pairs)
