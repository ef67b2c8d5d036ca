"""Stage `variants`: optimize several objectives side by side, one process each, in one run of the workspace."""

from __future__ import annotations

import multiprocessing
import queue
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from multiprocessing.context import SpawnProcess
from multiprocessing.queues import Queue
from pathlib import Path

from clickscape import render, vlm
from clickscape import reward as reward_room
from clickscape.compute.device import Processes, best_device, set_threads, thread_environment
from clickscape.config import OptimizeConfig, Settings
from clickscape.errors import PreferenceError
from clickscape.generation.pipeline import AdPipeline
from clickscape.preference import rounds
from clickscape.preference.first_round import sample_first_round
from clickscape.preference.rounds import RoundReport
from clickscape.preference.train import Step
from clickscape.stages import split
from clickscape.stages.optimize import progress_of
from clickscape.stages.progress import Progress, Stage
from clickscape.stages.reward import start_source
from clickscape.types import Product
from clickscape.workspace import Manifest, Workspace

STAGE = "variants"
_POLL_SECONDS = 0.5  # between two checks whether a worker died


def train_variants(workspace: Workspace, configs: Mapping[str, OptimizeConfig], *, workers: int) -> Stage[Manifest]:
    """Optimize every variant (name → settings) and save its policy at models/<name>; the result holds all rounds.

    A killed run goes on in the round that each variant was in. Raises what a variant raised.
    """
    rewards = workspace.models / "reward"
    writers = {name: start_source(workspace, config) for name, config in configs.items()}
    inputs: dict[str, Path | str] = {"products": workspace.products_path, "reward": rewards}
    inputs |= {f"writer of {name}": source for name, source in writers.items()}
    settings = {name: config.model_dump() for name, config in configs.items()}
    if done := workspace.finished(STAGE, settings, inputs):
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
        yield Progress(STAGE, 0, 1000, "round 1: sampling and scoring for all")
        sample_first_round(folders, configs, writers, rewards, learned, settings=workspace.settings, workers=workers)
        try:
            while waiting or working:
                while waiting and len(working) < workers:
                    name = waiting.pop(0)
                    process = multiprocessing.get_context("spawn").Process(
                        target=_work,
                        args=(
                            events,
                            name,
                            writers[name],
                            rewards,
                            learned,
                            folders[name],
                            configs[name],
                            workspace.settings,
                        ),
                        daemon=True,
                    )
                    with thread_environment(1):
                        process.start()
                    working[name] = process
                try:
                    name, event = events.get(timeout=_POLL_SECONDS)
                except queue.Empty:
                    _check_alive(working)
                    continue
                if isinstance(event, Progress):
                    yield event
                elif isinstance(event, RoundReport):
                    reports[name].append(asdict(event))
                elif isinstance(event, Step):
                    run.log({"variant": name, **asdict(event)})
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


def _work(
    events: Queue[tuple[str, object]],
    name: str,
    writer: Path | str,
    rewards: Path,
    products: Sequence[Product],
    folder: Path,
    config: OptimizeConfig,
    settings: Settings,
) -> None:
    """Optimize one variant in a process of its own; its events go to the parent through the queue."""
    set_threads(1)
    processes = Processes(device=best_device())
    try:
        reward = reward_room.load(rewards, device=processes.device).with_given_scenes()
        pipeline = AdPipeline(render.load(config.renderer, settings=settings), reward, processes=processes)
        for event in rounds.optimize(vlm.load(writer), pipeline, products, folder=folder, config=config):
            if isinstance(event, Step | RoundReport):
                events.put((name, event))
            if not isinstance(event, RoundReport):
                events.put((name, progress_of(event, config=config, stage=name)))
        events.put((name, None))
    except Exception as error:
        error.add_note(traceback.format_exc())
        events.put((name, error))


def _check_alive(working: Mapping[str, SpawnProcess]) -> None:
    for name, process in working.items():
        if process.exitcode not in (None, 0):
            raise PreferenceError(
                f"the process of variant {name!r} ended with {process.exitcode} (out of memory?). Run the command "
                "again: it goes on where it stopped."
            )
