"""What a round learns from: candidates that the policy samples, and preference pairs with their corrupted inputs."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace

from clickscape.config import OptimizeConfig
from clickscape.generation import sample
from clickscape.generation.pipeline import AdPipeline
from clickscape.generation.sample import Candidate, sample_candidates, score_candidates
from clickscape.json_files import write_json_lines
from clickscape.preference import records
from clickscape.preference.corruption import Captions, draw
from clickscape.preference.pairs import PreferencePair, choose_pairs
from clickscape.preference.records import Round, Sampled
from clickscape.preference.search import propose
from clickscape.preference.train import patch_grid
from clickscape.types import Product
from clickscape.vlm import served_policy
from clickscape.vlm.generate import Writer
from clickscape.vlm.model import VisionLanguageModel
from clickscape.vlm.served_policy import ServedPolicy


def sample_round(
    policy: VisionLanguageModel, products: Sequence[Product], *, current: Round, pipeline: AdPipeline
) -> Generator[Sampled, None, list[list[Candidate]]]:
    """Sample a round's candidates, a list per product; passes that an interrupted run has finished are read."""
    config, processes = current.config, current.processes
    file, folder = current.folder / records.CANDIDATES, current.folder / records.PASSES
    if known := processes.broadcast(records.read_candidates(file) if processes.is_main and file.exists() else None):
        return known
    count = min(config.products_per_round, len(products))
    total = -(-count // sample.PRODUCTS_PER_PASS)
    done = processes.broadcast(records.read_passes(folder, total=total) if processes.is_main else {})
    missing = [number for number in range(total) if number not in done]
    before = sum(map(len, done.values()))
    fresh: list[list[list[Candidate]]] = []
    with _writing(policy, current=current) as writer:
        for number, some in zip(
            processes.share(missing),
            sample_passes(writer, products, current=current, pipeline=pipeline, done=done),
            strict=True,
        ):
            write_json_lines(records.pass_file(folder, number, total=total), [one for each in some for one in each])
            fresh.append(some)
            yield Sampled(current.number, min(count, before + processes.count * sum(map(len, fresh))), count)
        passes = {**done, **dict(zip(missing, processes.gather(fresh), strict=True))}
    candidates = [each for number in range(total) for each in passes[number]]
    if searched_count(config):
        candidates = _with_searched(candidates, products, current=current, pipeline=pipeline)
    if processes.is_main:
        write_json_lines(file, [candidate for each in candidates for candidate in each])
        shutil.rmtree(folder, ignore_errors=True)
    return candidates


@contextmanager
def _writing(policy: VisionLanguageModel, *, current: Round) -> Iterator[Writer | ServedPolicy]:
    """What writes as the policy does: the policy itself, or a server that has its adapter as long as all need it."""
    address, processes = current.config.server, current.processes
    if not address:
        yield Writer(policy)
        return
    adapter = current.run / f"round-{current.number - 1}" / records.ADAPTER_FOLDER
    with served_policy.loaded(adapter, address=address) if processes.is_main else nullcontext() as name:
        yield ServedPolicy(policy, address, model=processes.broadcast(name) or "")


def searched_count(config: OptimizeConfig) -> int:
    """Return how many of a product's candidates search may propose."""
    return int(config.searched_share * config.candidates)


def _with_searched(
    candidates: Sequence[list[Candidate]], products: Sequence[Product], *, current: Round, pipeline: AdPipeline
) -> list[list[Candidate]]:
    """Add what search over scenes proposes, drawn and scored; the processes share the products."""
    by_id = {product.product_id: product for product in products}
    asked = [by_id[each[0].product_id] for each in candidates]
    proposed = propose(
        candidates,
        [product.department for product in asked],
        count=searched_count(current.config),
        rng=current.stream(records.SEARCHING),
    )
    places = [place for place, texts in enumerate(proposed) if texts]
    found: list[list[list[Candidate]]] = []
    for start in current.processes.share(range(0, len(places), sample.PRODUCTS_PER_PASS)):
        some = places[start : start + sample.PRODUCTS_PER_PASS]
        found.append(
            score_candidates(
                [asked[place] for place in some],
                [proposed[place] for place in some],
                pipeline=pipeline,
                render_size=current.config.render_size,
                rng=current.stream(records.SEARCHING, start),
            )
        )
    added = dict(zip(places, (each for some in current.processes.gather(found) for each in some), strict=True))
    return [
        [*each, *(replace(one, searched=True) for one in added.get(place, ()))] for place, each in enumerate(candidates)
    ]


def sample_passes(
    writer: Writer | ServedPolicy,
    products: Sequence[Product],
    *,
    current: Round,
    pipeline: AdPipeline,
    done: Collection[int] = (),
) -> Iterator[list[list[Candidate]]]:
    """Yield this process's passes of a round's sampling, but those `done`: for some products a list of candidates."""
    config = current.config
    count = min(config.products_per_round, len(products))
    chosen = current.stream(records.PRODUCTS).choice(len(products), size=count, replace=False)
    return sample_candidates(
        writer,
        [products[int(row)] for row in chosen],
        pipeline=replace(pipeline, processes=current.processes),
        candidates=config.candidates - searched_count(config),
        temperature=config.temperature,
        max_new_tokens=config.max_new_tokens,
        render_size=config.render_size,
        rng=current.stream(records.SAMPLING),
        done=done,
    )


def round_pairs(
    candidates: Sequence[Sequence[Candidate]],
    products: Sequence[Product],
    *,
    current: Round,
    captions: Captions | None,
    vlm: VisionLanguageModel,
) -> list[PreferencePair]:
    """Choose the pairs of every product, each with the corrupted input that it keeps for this round (None: without)."""
    config = current.config
    pairs = choose_pairs(
        candidates,
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
        write_json_lines(current.folder / "pairs.jsonl", pairs)
    return pairs
