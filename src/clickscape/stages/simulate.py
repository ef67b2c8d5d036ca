"""Stage `simulate`: the copywriter's creatives for a catalog, and the clicks that a world with known truth gives them.

The truth (the log-CTR of every creative) goes to the run's folder, where only reports and benchmarks look.
"""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from clickscape import render
from clickscape.compute.shards import map_shards
from clickscape.config import SimulateConfig
from clickscape.render.renderer import Renderer
from clickscape.render.scene import Scene
from clickscape.simulator import traffic, world, writer
from clickscape.simulator.pixels import PixelStats, measure
from clickscape.simulator.unseen import unseen
from clickscape.stages import split, truth
from clickscape.stages.progress import Progress, Stage
from clickscape.types import Creative, Product
from clickscape.workspace import Manifest, Workspace, atomic_file

STAGE = "simulate"
COPYWRITER = "simulated-copywriter-v1"


@dataclass(frozen=True, slots=True)
class _Job:
    """One creative to draw: everything a worker needs."""

    creative_id: str
    product: Product
    image: Path
    seed: int
    any_scene: bool


def simulate(
    workspace: Workspace, config: SimulateConfig, *, workers: int = 1, fewer: Mapping[str, int] | None = None
) -> Stage[Manifest]:
    """Draw `creatives_per_product` creatives for every product and log their clicks; returns the run's manifest.

    `fewer`: product_id → its own number of creatives. With `hold_out_scenes`, only held-out products show the scenes
    of `simulator.unseen`. A finished run with the same settings, catalog and split is reused.
    """
    held = split.read(workspace, workspace.products())
    inputs = {"products": workspace.products_path, "fewer": dict(fewer or {}), "held_out": sorted(held.held_out)}
    done = workspace.finished(STAGE, config, inputs)
    if done and done.result["creatives"] == sum(one.model_id == COPYWRITER for one in workspace.creatives()):
        yield Progress(STAGE, 1, 1, "reused")
        return done
    with workspace.start_run(STAGE, config, inputs) as run:
        products = workspace.products()
        counts = {p.product_id: (fewer or {}).get(p.product_id, config.creatives_per_product) for p in products}
        jobs = [
            _Job(
                creative_id=f"{product.product_id}-c{number}",
                product=product,
                image=workspace.image_path(f"{product.product_id}-c{number}"),
                seed=_seed(config.seed, product.product_id, number),
                any_scene=not config.hold_out_scenes or held.is_held_out(product.product_id),
            )
            for product in products
            for number in range(counts[product.product_id])
        ]
        workspace.image_path("any").parent.mkdir(parents=True, exist_ok=True)
        draw = partial(_draw, size=config.size)
        creatives: list[Creative] = []
        stats: list[PixelStats] = []
        for creative, measured in map_shards(draw, jobs, workers=workers, chunk=32):
            creatives.append(creative)
            stats.append(measured)
            if len(creatives) % 64 == 0:
                yield Progress(STAGE, len(creatives), len(jobs), "drawing creatives")

        shoppers = world.load(config.world)
        by_id = {product.product_id: product for product in products}
        chances = np.array(
            [
                shoppers.segment_log_ctrs(by_id[made.product_id], scene_of(made), pixels, made.creative_id)
                for made, pixels in zip(creatives, stats, strict=True)
            ]
        )
        shares = np.array(list(world.SEGMENTS.values()))
        known = np.log(np.exp(chances) @ shares)
        yield Progress(STAGE, len(jobs), len(jobs), "counting clicks")
        outputs = _log_clicks(workspace, creatives, chances, config)
        workspace.replace_creatives(creatives, model_id=COPYWRITER)
        truth_path = run.folder / truth.FILE
        workspace.write_table(
            truth_path, pa.table({"creative_id": [c.creative_id for c in creatives], "log_ctr": known})
        )
        return run.finish(
            outputs=[truth_path, *outputs],  # the table of creatives also grows by other hands
            result={"creatives": len(creatives), "world": config.world, "spread": _spread(creatives, known)},
        )


def scene_of(creative: Creative) -> Scene:
    """The scene that a creative shows."""
    return Scene.from_json(json.dumps(dict(creative.scene)))


def _draw(job: _Job, *, size: int) -> tuple[Creative, PixelStats]:
    """Write, draw, measure and save one creative (in a worker: only small records travel)."""
    avoid = None if job.any_scene else unseen
    description, scene = writer.write(job.product, np.random.default_rng(job.seed), avoid=avoid)
    rendering = _renderer().render(job.product, description, size=(size, size), seed=job.seed)
    # Renamed when whole, but not flushed to the disk one by one: thousands of flushes cost more than the drawing, and
    # the stage counts as finished only when the tables that name these files are flushed.
    with atomic_file(job.image, flush=False) as temporary:
        Image.fromarray(rendering.image).save(temporary, format="WEBP", lossless=True, method=0)
    creative = Creative(
        creative_id=job.creative_id,
        product_id=job.product.product_id,
        image=str(job.image),
        description=description,
        scene=asdict(scene),
        renderer=_renderer().name,
        model_id=COPYWRITER,
        seed=job.seed,
        status="live",
    )
    return creative, measure(rendering.image, rendering.product_mask)


def _log_clicks(
    workspace: Workspace, creatives: list[Creative], chances: np.ndarray, config: SimulateConfig
) -> list[Path]:
    """Show the creatives to the shoppers and write the log in the workspace's own format; an older log is replaced."""
    rng = np.random.default_rng([config.seed, 1])
    shown = traffic.simulate(
        creatives, chances, rng=rng, median_impressions=config.median_impressions, shares=world.SEGMENTS
    )
    shutil.rmtree(workspace.events_folder, ignore_errors=True)
    workspace.counts_path.unlink(missing_ok=True)
    if config.log == "counts":
        return [workspace.write_counts(shown.counts())]
    workspace.events_folder.mkdir(parents=True)
    return list(traffic.write(shown.events(rng=rng), workspace.events_folder))


@lru_cache(maxsize=1)
def _renderer() -> Renderer:
    """One renderer per process, so that its caches serve every creative."""
    return render.load()


def _seed(seed: int, product_id: str, number: int) -> int:
    """A seed of its own for every creative, independent of the order in which they are drawn."""
    return zlib.crc32(f"{seed}/{product_id}/{number}".encode())


def _spread(creatives: list[Creative], truth: np.ndarray) -> float:
    """Standard deviation of the true log-CTR within products, pooled."""
    rows: dict[str, list[float]] = {}
    for creative, value in zip(creatives, truth, strict=True):
        rows.setdefault(creative.product_id, []).append(float(value))
    own = [np.var(values, ddof=1) for values in rows.values() if len(values) > 1]
    return float(np.sqrt(np.mean(own))) if own else 0.0
