"""Score ads by the reward model and by the world's true CTRs, for reports and benchmarks only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clickscape import render
from clickscape import reward as reward_room
from clickscape.compute.device import best_device
from clickscape.compute.shards import map_shards
from clickscape.generation.pipeline import AdPipeline
from clickscape.generation.score import render_and_score
from clickscape.preference.evaluate import Outcomes
from clickscape.render.scene import Scene
from clickscape.simulator import world, worlds
from clickscape.simulator.creatives import creative_seed
from clickscape.types import Product

TrueCtr = Callable[[Product, Scene, NDArray[np.uint8], NDArray[np.uint8]], float]
"""True CTR of an ad as a multiple of its product's own: product, scene, sRGB picture, product's alpha."""


@dataclass(frozen=True, slots=True)
class TrueAd:
    """One ad: its reward in logits, its true CTR as a multiple of the product's base, and whether its scene matches."""

    product_id: str
    description: str
    seed: int
    scene: str
    parsed: bool
    reward: float
    relative_ctr: float
    matching: bool


def score_ads(
    products: Sequence[Product],
    texts: Sequence[Sequence[str]],
    *,
    truth: str | TrueCtr,
    reward: Path,
    size: int,
    seed: int,
    workers: int,
) -> Iterator[list[TrueAd]]:
    """Yield the ads of one product after the other; texts: descriptions per product; truth: a world's name, or CTRs.

    The k-th ad of a product has the same image seed whoever wrote it, so that writers differ by their words alone.
    """
    job = partial(_score, truth=truth, reward=reward, size=size, seed=seed)
    return map_shards(job, list(zip(products, texts, strict=True)), workers=workers, chunk=8)


def outcomes(ads: Sequence[Sequence[TrueAd]], *, cluster: Callable[[str], str]) -> Outcomes:
    """Return the ads as `preference.evaluate` takes them; `cluster`: product id → cluster."""
    flat = [ad for each in ads for ad in each]
    return Outcomes(
        objects=tuple(cluster(ad.product_id) for ad in flat),
        product_ids=tuple(ad.product_id for ad in flat),
        parsed=np.array([ad.parsed for ad in flat]),
        scenes=tuple(ad.scene for ad in flat),
        scores=np.array([ad.reward for ad in flat]),
        values=np.array([ad.relative_ctr for ad in flat]),
        matching=np.array([ad.matching for ad in flat]),
    )


def _score(
    job: tuple[Product, Sequence[str]], *, truth: str | TrueCtr, reward: Path, size: int, seed: int
) -> list[TrueAd]:
    product, texts = job
    true_ctr = _of_world(truth) if isinstance(truth, str) else truth
    seeds = [creative_seed(seed, product.product_id, number) for number in range(len(texts))]
    ads = render_and_score([product] * len(texts), texts, pipeline=_pipeline(reward), size=size, seeds=seeds)
    scored = []
    for ad in ads:
        scene = ad.rendering.scene
        assert scene is not None  # the studio renders scenes
        scored.append(
            TrueAd(
                product_id=product.product_id,
                description=ad.description,
                seed=ad.seed,
                scene=scene.to_json(),
                parsed=ad.parsed,
                reward=ad.score,
                relative_ctr=true_ctr(product, scene, ad.rendering.image, ad.rendering.product_mask),
                matching=world.matching(product, scene),
            )
        )
    return scored


def _of_world(name: str) -> TrueCtr:
    """The world's CTRs as multiples of the product's base."""
    shoppers = worlds.load(name)
    return lambda product, scene, image, mask: shoppers.relative_ctr(product, scene, shoppers.measure(image, mask))


@lru_cache(maxsize=1)
def _pipeline(reward: Path) -> AdPipeline:
    """One renderer and one reward model per process."""
    return AdPipeline(render.load(), reward_room.load(reward, device=best_device()).with_given_scenes())
