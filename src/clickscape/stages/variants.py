"""Several objectives optimized side by side, one process each, in one run of a workspace: the arms of a comparison."""

from __future__ import annotations

import multiprocessing
import queue
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import zip_longest
from multiprocessing.context import SpawnProcess
from multiprocessing.queues import Queue
from pathlib import Path

from clickscape import render, vlm
from clickscape import reward as reward_room
from clickscape.compute.device import Processes, best_device, set_threads, thread_environment
from clickscape.compute.shards import map_shards
from clickscape.config import OptimizeConfig
from clickscape.errors import PreferenceError
from clickscape.preference import records, rounds
from clickscape.preference.candidates import sampled
from clickscape.preference.precision import placed
from clickscape.preference.records import Round
from clickscape.preference.rounds import RoundReport
from clickscape.preference.sample import Candidate
from clickscape.preference.train import Step
from clickscape.stages import split
from clickscape.stages.optimize import place
from clickscape.stages.progress import Progress, Stage
from clickscape.stages.reward import start_source
from clickscape.types import Product
from clickscape.workspace import Manifest, Workspace, fingerprint_of

STAGE = "arms"
_PATIENCE = 0.5  # seconds between looks at whether a worker died


def arms(workspace: Workspace, configs: Mapping[str, OptimizeConfig], *, workers: int) -> Stage[Manifest]:
    """Optimize every arm and save its policy at models/<arm>; the manifest's result holds the rounds of each.

    A killed run goes on in the round that each arm was in. Raises what an arm raised.
    """
    rewards = workspace.models / "reward"
    writers = {name: start_source(workspace, config) for name, config in configs.items()}
    inputs: dict[str, Path | str] = {"products": workspace.products_path, "reward": rewards}
    inputs |= {f"writer of {name}": source for name, source in writers.items()}
    settings = {name: config.model_dump() for name, config in configs.items()}
    if done := workspace.finished(STAGE, fingerprint_of(STAGE, settings, inputs)):
        yield Progress(STAGE, 1, 1, "reused")
        return done
    with workspace.start_run(STAGE, settings, inputs) as run:
        products = workspace.products()
        learned = split.read(workspace, products).training(products)
        folders = {name: run.folder / name for name in configs}
        waiting = list(configs)
        events: Queue[tuple[str, object]] = multiprocessing.get_context("spawn").Queue()
        working: dict[str, SpawnProcess] = {}
        reports: dict[str, list[dict[str, object]]] = {name: [] for name in configs}
        yield Progress(STAGE, 0, 1000, "round 1: writing and judging for all")
        _sample_together(folders, configs, writers, rewards, learned, workers=workers)
        try:
            while waiting or working:
                while waiting and len(working) < workers:
                    name = waiting.pop(0)
                    process = multiprocessing.get_context("spawn").Process(
                        target=_work,
                        args=(events, name, writers[name], rewards, learned, folders[name], configs[name]),
                        daemon=True,
                    )
                    with thread_environment(1):
                        process.start()
                    working[name] = process
                try:
                    name, event = events.get(timeout=_PATIENCE)
                except queue.Empty:
                    _check_alive(working)
                    continue
                if isinstance(event, Progress):
                    yield event
                elif isinstance(event, RoundReport):
                    reports[name].append(asdict(event))
                elif isinstance(event, Step):
                    run.log({"arm": name, **asdict(event)})
                elif isinstance(event, Exception):
                    raise event
                else:
                    working.pop(name).join()
        finally:
            for process in working.values():
                process.terminate()
        targets = {name: workspace.models / name for name in configs}
        for name, target in targets.items():
            rounds.save_policy(folders[name], target)
        return run.finish(outputs=list(targets.values()), result={"rounds": reports})


_ALIKE = ("start", "seed", "products_per_round", "candidates", "temperature", "max_new_tokens", "render_size", "dtype")
"""Settings that decide what the first round samples; nothing has been learned by then."""


def _sample_together(
    folders: Mapping[str, Path],
    configs: Mapping[str, OptimizeConfig],
    writers: Mapping[str, Path | str],
    rewards: Path,
    products: Sequence[Product],
    *,
    workers: int,
) -> None:
    """Where all arms would sample the same first round, do it once, all workers at it, and give it to every arm."""
    files = [folder / "round-1" / records.CANDIDATES for folder in folders.values()]
    alike = {tuple(getattr(config, name) for name in _ALIKE) for config in configs.values()}
    if len(configs) < 2 or len(alike) > 1 or all(file.exists() for file in files):
        return
    config, writer = next(iter(configs.values())), next(iter(writers.values()))
    work = partial(_sample, config=config, writer=writer, rewards=rewards, products=products)
    parts = [Processes(number, workers) for number in range(workers)]
    shares = list(map_shards(work, parts, workers=workers, chunk=1))
    passes = [one for some in zip_longest(*shares) for one in some if one is not None]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        records.write_lines(file, [candidate for some in passes for own in some for candidate in own])


def _sample(
    processes: Processes, *, config: OptimizeConfig, writer: Path | str, rewards: Path, products: Sequence[Product]
) -> list[list[list[Candidate]]]:
    """One worker's passes of the first round."""
    device = best_device()
    policy = placed(vlm.load(writer).vlm, config=config, device=device)
    return list(
        sampled(
            policy,
            products,
            current=Round(Path(), 1, config, processes),
            reward=reward_room.load(rewards, device=device),
            renderer=render.load("studio"),
            pictures=rounds.product_pictures(policy.image_size),
        )
    )


def _work(
    events: Queue[tuple[str, object]],
    name: str,
    writer: Path | str,
    rewards: Path,
    products: Sequence[Product],
    folder: Path,
    config: OptimizeConfig,
) -> None:
    """Run one arm in a process of its own and tell the parent about it."""
    set_threads(1)
    processes = Processes(device=best_device())
    try:
        for event in rounds.optimize(
            vlm.load(writer),
            reward_room.load(rewards, device=processes.device),
            render.load("studio"),
            products,
            folder=folder,
            config=config,
            processes=processes,
        ):
            if isinstance(event, Step | RoundReport):
                events.put((name, event))
            if not isinstance(event, RoundReport):
                events.put((name, Progress(name, *place(event, config=config))))
        events.put((name, None))
    except Exception as error:
        error.add_note(traceback.format_exc())
        events.put((name, error))


def _check_alive(working: Mapping[str, SpawnProcess]) -> None:
    for name, process in working.items():
        if process.exitcode not in (None, 0):
            raise PreferenceError(
                f"the process of arm {name!r} ended with {process.exitcode} (out of memory?). Run the command again: "
                "it goes on where it stopped."
            )
