"""Creatives of the simulated copywriter: written, rendered, measured, and their true log-CTRs in a world."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clickscape import render
from clickscape.files import atomic_file
from clickscape.render.renderer import Renderer
from clickscape.render.scene import Scene
from clickscape.simulator import worlds, writer
from clickscape.simulator.unseen import unseen
from clickscape.simulator.worlds import ClickWorld
from clickscape.types import COPYWRITER, Creative, Product


@dataclass(frozen=True, slots=True)
class CreativeJob:
    """One creative to make: everything a worker needs. any_scene: those of `simulator.unseen`, too.

    mask: file for the product's alpha, if it is wanted.
    """

    creative_id: str
    product: Product
    image: Path
    seed: int
    any_scene: bool
    mask: Path | None = None


def make_creative(job: CreativeJob, *, size: int, world: str | None) -> tuple[Creative, Any]:
    """Write, render and save one creative of `size` × `size` pixels, and measure it as its world does, if it has one.

    Small records travel from workers.
    """
    avoid = None if job.any_scene else unseen
    description, _ = writer.write(job.product, np.random.default_rng(job.seed), avoid=avoid)
    rendering = _renderer().render(job.product, description, size=(size, size), seed=job.seed)
    assert rendering.scene is not None  # the studio draws scenes
    # Renamed when whole, but not flushed to the disk one by one: thousands of flushes cost more than the drawing, and
    # the stage counts as finished only when the tables that name these files are flushed.
    with atomic_file(job.image, flush=False) as temporary:
        Image.fromarray(rendering.image).save(temporary, format="WEBP", lossless=True, method=0)
    if job.mask is not None:
        with atomic_file(job.mask, flush=False) as temporary:
            Image.fromarray(rendering.product_mask).save(temporary, format="PNG")
    creative = Creative(
        creative_id=job.creative_id,
        product_id=job.product.product_id,
        image=str(job.image),
        description=description,
        scene=asdict(rendering.scene),
        renderer=_renderer().name,
        model_id=COPYWRITER,
        seed=job.seed,
        status="live",
    )
    if world is None:
        return creative, None
    return creative, worlds.load(world).measure(rendering.image, rendering.product_mask)


def creative_seed(seed: int, product_id: str, number: int) -> int:
    """Return a seed of its own for every creative, independent of the order in which they are made."""
    return zlib.crc32(f"{seed}/{product_id}/{number}".encode())


def segment_log_ctrs(
    world: ClickWorld, creatives: Sequence[Creative], figures: Sequence[Any], *, products: Mapping[str, Product]
) -> NDArray[np.float64]:
    """Return the true log-CTR of every creative in every segment of shoppers, (creative, segment)."""
    return np.array(
        [
            world.segment_log_ctrs(products[made.product_id], Scene.of(made.scene), seen, made.creative_id)
            for made, seen in zip(creatives, figures, strict=True)
        ]
    )


def spread_within_products(creatives: Sequence[Creative], log_ctr: NDArray[np.float64]) -> float:
    """Return the standard deviation of log-CTR within products, pooled; 0 where no product has two creatives."""
    rows: dict[str, list[float]] = {}
    for creative, value in zip(creatives, log_ctr, strict=True):
        rows.setdefault(creative.product_id, []).append(float(value))
    variances = [np.var(values, ddof=1) for values in rows.values() if len(values) > 1]
    return float(np.sqrt(np.mean(variances))) if variances else 0.0


@lru_cache(maxsize=1)
def _renderer() -> Renderer:
    """One renderer per process, so that its caches serve every creative."""
    return render.load()
