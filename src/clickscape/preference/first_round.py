"""The first round of several optimizations side by side: sampled once, where each of them would sample the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import zip_longest
from pathlib import Path

from clickscape import render, vlm
from clickscape import reward as reward_room
from clickscape.compute.device import Processes, best_device
from clickscape.compute.shards import map_shards
from clickscape.config import OptimizeConfig, Settings
from clickscape.generation.pipeline import AdPipeline, cutout_images
from clickscape.generation.sample import Candidate
from clickscape.json_files import write_json_lines
from clickscape.preference import records
from clickscape.preference.candidates import sample_passes
from clickscape.preference.precision import to_device_and_dtype
from clickscape.preference.records import Round
from clickscape.types import Product

_SETTINGS = (
    "model",
    "seed",
    "products_per_round",
    "candidates",
    "searched_share",
    "temperature",
    "max_new_tokens",
    "render_size",
    "renderer",
    "dtype",
)
"""Settings that decide what the policy writes in the first round, before any training."""


def sample_first_round(
    folders: Mapping[str, Path],
    configs: Mapping[str, OptimizeConfig],
    writers: Mapping[str, Path | str],
    rewards: Path,
    products: Sequence[Product],
    *,
    settings: Settings,
    workers: int,
) -> None:
    """Sample the first round once, with all workers, where every variant would sample the same, and copy it to each."""
    rounds = [folder / "round-1" for folder in folders.values()]
    waiting = [folder for folder in rounds if not (folder / records.CANDIDATES).exists()]
    alike = {tuple(getattr(config, name) for name in _SETTINGS) for config in configs.values()}
    if len(configs) < 2 or len(alike) > 1 or not waiting:
        return
    config, writer = next(iter(configs.values())), next(iter(writers.values()))
    work = partial(_sample, config=config, settings=settings, writer=writer, rewards=rewards, products=products)
    parts = [Processes(number, workers) for number in range(workers)]
    shares = list(map_shards(work, parts, workers=workers, chunk=1))
    passes = [one for some in zip_longest(*shares) for one in some if one is not None]
    for folder in waiting:
        for number, some in enumerate(passes):
            file = records.pass_file(folder / records.PASSES, number, total=len(passes))
            file.parent.mkdir(parents=True, exist_ok=True)
            write_json_lines(file, [candidate for each in some for candidate in each])


def _sample(
    processes: Processes,
    *,
    config: OptimizeConfig,
    settings: Settings,
    writer: Path | str,
    rewards: Path,
    products: Sequence[Product],
) -> list[list[list[Candidate]]]:
    """Return one worker's passes of the first round."""
    device = best_device()
    model = vlm.load(writer)
    policy = to_device_and_dtype(model.vlm, config=config, device=device)
    pipeline = AdPipeline(
        render.load(config.renderer, settings=settings),
        reward_room.load(rewards, device=device).with_given_scenes(),
        cutout_images(policy.image_size),
    )
    return list(sample_passes(model, products, current=Round(Path(), 1, config, processes), pipeline=pipeline))
