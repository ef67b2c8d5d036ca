"""What a writer is worth on held-out products: its ads drawn once, judged by the reward model and by the world's truth.

Only simulated workspaces can be appraised so; the figures are for reports and benchmarks, and nothing learns from them.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from clickscape import render
from clickscape import reward as reward_room
from clickscape.compute.device import best_device
from clickscape.compute.shards import map_shards
from clickscape.preference.evaluate import Outcomes
from clickscape.render.renderer import Renderer
from clickscape.render.studio.parse import parse
from clickscape.reward.model import RewardModel
from clickscape.simulator import world
from clickscape.simulator.pixels import measure
from clickscape.types import Product


@dataclass(frozen=True, slots=True)
class Ad:
    """One held-out ad: its reward in logits, its true CTR as a multiple of the product's base, and what it shows."""

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
    world_name: str,
    reward: Path,
    size: int,
    seed: int,
    workers: int,
) -> Iterator[list[Ad]]:
    """The ads of one product after the other; texts: descriptions per product.

    The k-th ad of a product has the same image seed whoever wrote it, so that writers differ by their words alone.
    """
    judge = partial(_judge, world_name=world_name, reward=reward, size=size, seed=seed)
    return map_shards(judge, list(zip(products, texts, strict=True)), workers=workers, chunk=8)


def outcomes(ads: Sequence[Sequence[Ad]], *, group: Callable[[str], str]) -> Outcomes:
    """The ads as `preference.evaluate` takes them; `group` names the cluster of a product."""
    flat = [ad for own in ads for ad in own]
    return Outcomes(
        objects=tuple(group(ad.product_id) for ad in flat),
        product_ids=tuple(ad.product_id for ad in flat),
        parsed=np.array([ad.parsed for ad in flat]),
        scenes=tuple(ad.scene for ad in flat),
        scores=np.array([ad.reward for ad in flat]),
        values=np.array([ad.relative_ctr for ad in flat]),
        matching=np.array([ad.matching for ad in flat]),
    )


def _judge(job: tuple[Product, Sequence[str]], *, world_name: str, reward: Path, size: int, seed: int) -> list[Ad]:
    product, texts = job
    shoppers = world.load(world_name)
    renderer, judge = _tools(reward)
    seeds = [zlib.crc32(f"{seed}/{product.product_id}/{number}".encode()) for number in range(len(texts))]
    drawn = [
        renderer.render(product, text, size=(size, size), seed=own) for text, own in zip(texts, seeds, strict=True)
    ]
    read = [parse(text) for text in texts]
    scores = judge.score([product] * len(drawn), [one.image for one in drawn], [meant.scene.slots for meant in read])
    return [
        Ad(
            product_id=product.product_id,
            description=text,
            seed=own,
            scene=meant.scene.to_json(),
            parsed=meant.parses,
            reward=float(score),
            relative_ctr=shoppers.relative_ctr(product, meant.scene, measure(one.image, one.product_mask)),
            matching=world.matching(product, meant.scene),
        )
        for text, meant, own, one, score in zip(texts, read, seeds, drawn, scores, strict=True)
    ]


@lru_cache(maxsize=1)
def _tools(reward: Path) -> tuple[Renderer, RewardModel]:
    """One renderer and one reward model per process."""
    return render.load("studio"), reward_room.load(reward, device=best_device())
