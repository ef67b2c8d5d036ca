"""What a round learns from: descriptions that the policy writes and the reward judges, and pairs with their x̃."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace

from clickscape.gates.relevance import Relevance
from clickscape.preference import records
from clickscape.preference.corruption import Captions, draw
from clickscape.preference.records import Round, Sampled
from clickscape.preference.sample import Candidate, Pictures, PreferencePair, Reward, choose_pairs, sample_candidates
from clickscape.preference.train import patch_grid
from clickscape.render.renderer import Renderer
from clickscape.types import Product
from clickscape.vlm.generate import Writer
from clickscape.vlm.model import VisionLanguageModel


def sample_round(
    policy: VisionLanguageModel,
    products: Sequence[Product],
    *,
    current: Round,
    reward: Reward,
    renderer: Renderer,
    pictures: Pictures,
    relevance: Relevance | None,
) -> Generator[Sampled, None, list[list[Candidate]]]:
    """Sample and judge a round's candidates, a list per product, or read those that an interrupted run has finished."""
    config, processes = current.config, current.processes
    file = current.place / records.CANDIDATES
    if known := processes.broadcast(records.read_candidates(file) if processes.is_main and file.exists() else None):
        return known
    count = min(config.products_per_round, len(products))
    own: list[list[list[Candidate]]] = []
    for some in sampled(
        policy,
        products,
        current=current,
        reward=reward,
        renderer=renderer,
        pictures=pictures,
        relevance=relevance,
    ):
        own.append(some)
        yield Sampled(current.number, min(count, processes.count * sum(map(len, own))), count)
    judged = [product for some in processes.gather(own) for product in some]
    if processes.is_main:
        records.write_lines(file, [candidate for product in judged for candidate in product])
    return judged


def sampled(
    policy: VisionLanguageModel,
    products: Sequence[Product],
    *,
    current: Round,
    reward: Reward,
    renderer: Renderer,
    pictures: Pictures,
    relevance: Relevance | None = None,
) -> Iterator[list[list[Candidate]]]:
    """This process's passes of a round's sampling: for some products a list of candidates each."""
    config = current.config
    count = min(config.products_per_round, len(products))
    chosen = current.stream(records.PRODUCTS).choice(len(products), size=count, replace=False)
    policy.model.eval()
    return sample_candidates(
        Writer(policy),
        [products[int(row)] for row in chosen],
        reward=reward,
        renderer=renderer,
        candidates=config.candidates,
        temperature=config.temperature,
        max_new_tokens=config.max_new_tokens,
        render_size=config.render_size,
        pictures=pictures,
        rng=current.stream(records.SAMPLING),
        relevance=relevance,
        processes=current.processes,
    )


def round_pairs(
    judged: Sequence[Sequence[Candidate]],
    products: Sequence[Product],
    *,
    current: Round,
    captions: Captions | None,
    vlm: VisionLanguageModel,
) -> list[PreferencePair]:
    """The pairs of every product, each with the corrupted input that it keeps for this round (None: without)."""
    config = current.config
    pairs = choose_pairs(
        judged,
        min_margin=config.min_margin,
        per_product=config.pairs_per_product,
        unparsed_share=config.unparsed_share,
    )
    if captions is not None:
        patches, rng = patch_grid(vlm) ** 2, current.stream(records.CORRUPTING)
        by_id = {product.product_id: product for product in products}
        pairs = [
            replace(
                pair,
                corrupted=draw(
                    by_id[pair.product_id],
                    captions=captions,
                    patches=patches,
                    mask_ratio=config.mask_ratio,
                    caption_swap_share=config.caption_swap_share,
                    rng=rng,
                ),
            )
            for pair in pairs
        ]
    if current.processes.is_main:
        records.write_lines(current.place / "pairs.jsonl", pairs)
    return pairs
