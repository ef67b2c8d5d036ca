"""Stages `simulate` and `draw`: the copywriter's creatives for a catalog, with or without a known world's clicks.

The truth (the log-CTR of every creative) goes to the run's folder, where only reports and benchmarks look.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from clickscape.compute.shards import map_shards
from clickscape.config import SimulateConfig
from clickscape.errors import WorkspaceError
from clickscape.simulator import changing_traffic, drawn_traffic, traffic, worlds
from clickscape.simulator.creatives import (
    CreativeJob,
    creative_seed,
    make_creative,
    segment_log_ctrs,
    spread_within_products,
)
from clickscape.simulator.family import DrawnWorld
from clickscape.stages import truth
from clickscape.stages.progress import Progress, Stage
from clickscape.stages.split import read as read_split
from clickscape.types import COPYWRITER, Creative, Product
from clickscape.workspace import Manifest, Workspace

STAGE, DRAW = "simulate", "draw"


def simulate(
    workspace: Workspace, config: SimulateConfig, *, workers: int = 1, fewer: Mapping[str, int] | None = None
) -> Stage[Manifest]:
    """Draw `creatives_per_product` creatives for every product and log their clicks; returns the run's manifest.

    `fewer`: product_id → its own number of creatives. With `hold_out_scenes`, only held-out products show the scenes
    of `simulator.unseen`. A finished run with the same settings, catalog and split is reused.
    """
    fewer = dict(fewer or {})
    catalog = workspace.products()
    split = read_split(workspace, catalog)
    inputs = {"products": workspace.products_path, "fewer": fewer, "held_out": sorted(split.held_out)}
    done = workspace.finished(STAGE, config, inputs)
    if done and done.result["creatives"] == sum(one.is_simulated for one in workspace.creatives()):
        yield Progress(STAGE, 1, 1, "reused")
        return done
    for log in (*workspace.events_folder.glob("*"), workspace.counts_path):
        if log.exists() and not workspace.made_by(STAGE, log):
            raise WorkspaceError(f"{log} is no log that `simulate` wrote, and would be replaced by an invented one. "
                                 f"Move it, or simulate in a workspace of its own.")  # fmt: skip
    with workspace.start_run(STAGE, config, inputs) as run:
        products = {product.product_id: product for product in catalog}
        jobs = _jobs(workspace, catalog, config, fewer=fewer)
        made = yield from _draw(jobs, stage=STAGE, size=config.size, world=config.world, workers=workers)
        creatives = [creative for creative, _ in made]
        shoppers = worlds.load(config.world)
        log_ctrs = segment_log_ctrs(shoppers, creatives, [figures for _, figures in made], products=products)
        known = np.log(np.exp(log_ctrs) @ np.array(list(shoppers.segments.values())))
        yield Progress(STAGE, len(jobs), len(jobs), "counting clicks")
        outputs, course = _log_clicks(workspace, creatives, log_ctrs, config)
        workspace.replace_creatives(creatives, model_id=COPYWRITER)
        truth_path = run.folder / truth.FILE
        named = {"creative_id": [one.creative_id for one in creatives], "log_ctr": known}
        workspace.write_table(truth_path, pa.table({**named, **course}))
        spread = spread_within_products(creatives, known)
        return run.finish(
            outputs=[truth_path, *outputs],  # the table of creatives also grows by other hands
            result={"creatives": len(creatives), "world": config.world, "spread": spread},
        )


def draw(workspace: Workspace, config: SimulateConfig, *, workers: int = 1) -> Stage[Manifest]:
    """Draw creatives as `simulate` does, with the products' masks and without clicks; returns the run's manifest.

    For clicks of an experiment's or a world's own, which go to clicks/ as any log does. WorkspaceError where `simulate`
    has logged clicks of what would be drawn over.
    """
    catalog = workspace.products()
    split = read_split(workspace, catalog)
    inputs = {"products": workspace.products_path, "held_out": sorted(split.held_out)}
    done = workspace.finished(DRAW, config, inputs)
    if done and done.result["creatives"] == sum(one.is_simulated for one in workspace.creatives()):
        yield Progress(DRAW, 1, 1, "reused")
        return done
    if workspace.newest(STAGE) is not None:
        raise WorkspaceError(f"{workspace.path} has simulated clicks of creatives that would be drawn over. Draw in a "
                             f"workspace of its own.")  # fmt: skip
    with workspace.start_run(DRAW, config, inputs) as run:
        jobs = [
            replace(job, mask=workspace.mask_path(job.creative_id))
            for job in _jobs(workspace, catalog, config, fewer={})
        ]
        made = yield from _draw(jobs, stage=DRAW, size=config.size, world=None, workers=workers)
        workspace.replace_creatives([creative for creative, _ in made], model_id=COPYWRITER)
        yield Progress(DRAW, len(jobs), len(jobs))
        return run.finish(result={"creatives": len(made)})


def _draw(
    jobs: Sequence[CreativeJob], *, stage: str, size: int, world: str | None, workers: int
) -> Stage[list[tuple[Creative, Any]]]:
    """Draw every creative; returns each with what the world's shoppers see of it."""
    made: list[tuple[Creative, Any]] = []
    for one in map_shards(partial(make_creative, size=size, world=world), jobs, workers=workers, chunk=32):
        made.append(one)
        if len(made) % 64 == 0:
            yield Progress(stage, len(made), len(jobs), "drawing creatives")
    return made


def _jobs(
    workspace: Workspace, catalog: Sequence[Product], config: SimulateConfig, *, fewer: Mapping[str, int]
) -> list[CreativeJob]:
    """What there is to draw; WorkspaceError where it would be drawn over a creative of somebody else."""
    split = read_split(workspace, catalog)
    jobs = [
        CreativeJob(
            creative_id=f"{product.product_id}-c{number}",
            product=product,
            image=workspace.image_path(f"{product.product_id}-c{number}"),
            seed=creative_seed(config.seed, product.product_id, number),
            any_scene=not config.hold_out_scenes or split.is_held_out(product.product_id),
        )
        for product in catalog
        for number in range(fewer.get(product.product_id, config.creatives_per_product))
    ]
    drawn_ids = {one.creative_id for one in workspace.creatives() if not one.is_simulated}
    if taken := next((job.creative_id for job in jobs if job.creative_id in drawn_ids), None):
        raise WorkspaceError(f"{workspace.path} has a creative {taken!r} that `simulate` did not draw, and would "
                             f"be drawn over. Simulate in a workspace of its own.")  # fmt: skip
    return jobs


def _log_clicks(
    workspace: Workspace, creatives: Sequence[Creative], log_ctrs: np.ndarray, config: SimulateConfig
) -> tuple[list[Path], dict[str, Any]]:
    """Show the creatives to the shoppers and write the log in the workspace's own format; an older log is replaced.

    Returns the files, and for a log that changes the true launch, fatigue, wear_out and drift of every creative, for
    one that names segments its true log CTR in each.
    """
    rng = np.random.default_rng([config.seed, 1])
    shoppers = worlds.load(config.world)
    shutil.rmtree(workspace.events_folder, ignore_errors=True)
    workspace.counts_path.unlink(missing_ok=True)
    course: dict[str, Any] = {}
    names = tuple(shoppers.segments) if config.record_segments else ()
    if names:
        course = {f"log_ctr of {name}": log_ctrs[:, place] for place, name in enumerate(names)}
    if config.is_changing:
        looks = {"examination": shoppers.structure.examination} if isinstance(shoppers, DrawnWorld) else {}
        log = changing_traffic.draw(creatives, log_ctrs, rng=rng, config=config, shares=shoppers.segments, **looks)
        counts, events, course = log.counts(), log.events(rng=rng), dict(log.truth)
    elif isinstance(shoppers, DrawnWorld):
        days = drawn_traffic.traffic_by_day(
            shoppers, creatives, log_ctrs, rng=rng, median_impressions=config.median_impressions
        )
        days = [replace(day, audiences=names) for day in days]
        counts, events = drawn_traffic.counts(days), drawn_traffic.events(shoppers, days, rng=rng)
    else:
        shown = traffic.simulate(
            creatives, log_ctrs, rng=rng, median_impressions=config.median_impressions, shares=shoppers.segments
        )
        shown = replace(shown, audiences=names)
        counts, events = shown.counts(), shown.events(rng=rng)
    if config.log == "counts":
        allocated = pa.repeat(pa.scalar(traffic.ALLOCATION), len(counts))
        return [workspace.write_counts(counts.append_column("allocation", allocated))], course
    workspace.events_folder.mkdir(parents=True)
    return list(traffic.write(events, workspace.events_folder)), course
