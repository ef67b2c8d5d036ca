"""Stage `variants`: optimize several objectives in one run of the workspace, in a process each or in this one."""

from __future__ import annotations

import multiprocessing
import queue
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
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
_Event = Step | RoundReport | Progress


def train_variants(workspace: Workspace, configs: Mapping[str, OptimizeConfig], *, workers: int) -> Stage[Manifest]:
    """Optimize every variant (name → settings) and save its policy at models/<name>; the result holds all rounds.

    A killed run goes on in the round that each variant was in. Raises what a variant raised. workers: processes; one is
    this one, which trains the variants in turn.
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
        jobs = {
            name: _Job(name, writers[name], rewards, learned, folders[name], config, workspace.settings)
            for name, config in configs.items()
        }
        reports: dict[str, list[dict[str, object]]] = {name: [] for name in configs}
        yield Progress(STAGE, 0, 1000, "round 1: sampling and scoring for all")
        sample_first_round(folders, configs, writers, rewards, learned, settings=workspace.settings, workers=workers)
        here = ((job.name, event) for job in jobs.values() for event in job.events())
        for name, event in here if workers == 1 else _in_processes(jobs, workers=workers):
            if isinstance(event, Progress):
                yield event
            elif isinstance(event, RoundReport):
                reports[name].append(asdict(event))
            else:
                run.log({"variant": name, **asdict(event)})
        targets = {name: workspace.models / name for name in configs}
        for name, target in targets.items():
            rounds.save_policy(folders[name], target)
        return run.finish(outputs=list(targets.values()), result={"rounds": reports})


@dataclass(frozen=True, slots=True)
class _Job:
    """One variant, and all that a process needs to optimize it."""

    name: str
    writer: Path | str
    rewards: Path
    products: Sequence[Product]
    folder: Path
    config: OptimizeConfig
    settings: Settings

    def events(self) -> Iterator[_Event]:
        """Load the models and optimize; yields what happens."""
        processes = Processes(device=best_device())
        reward = reward_room.load(self.rewards, device=processes.device).with_given_scenes()
        pipeline = AdPipeline(render.load(self.config.renderer, settings=self.settings), reward, processes=processes)
        writer = vlm.load(self.writer)
        for event in rounds.optimize(writer, pipeline, self.products, folder=self.folder, config=self.config):
            if isinstance(event, Step | RoundReport):
                yield event
            if not isinstance(event, RoundReport):
                yield progress_of(event, config=self.config, stage=self.name)


def _in_processes(jobs: Mapping[str, _Job], *, workers: int) -> Iterator[tuple[str, _Event]]:
    """Work on so many jobs at a time, each in a process of its own; yields the events of all with their job's name."""
    waiting = list(jobs.values())
    events: Queue[tuple[str, object]] = multiprocessing.get_context("spawn").Queue()
    working: dict[str, SpawnProcess] = {}
    try:
        while waiting or working:
            while waiting and len(working) < workers:
                job = waiting.pop(0)
                process = multiprocessing.get_context("spawn").Process(target=_work, args=(events, job), daemon=True)
                with thread_environment(1):
                    process.start()
                working[job.name] = process
            try:
                name, event = events.get(timeout=_POLL_SECONDS)
            except queue.Empty:
                _check_alive(working)
                continue
            if isinstance(event, Exception):
                raise event
            if isinstance(event, Step | RoundReport | Progress):
                yield name, event
            else:
                working.pop(name).join()
    finally:
        for process in working.values():
            process.terminate()


def _work(events: Queue[tuple[str, object]], job: _Job) -> None:
    """Do a job in a process of its own; its events go to the parent through the queue, and None when it is done."""
    set_threads(1)
    try:
        for event in job.events():
            events.put((job.name, event))
        events.put((job.name, None))
    except Exception as error:
        error.add_note(traceback.format_exc())
        events.put((job.name, error))


def _check_alive(working: Mapping[str, SpawnProcess]) -> None:
    for name, process in working.items():
        if process.exitcode not in (None, 0):
            raise PreferenceError(
                f"the process of variant {name!r} ended with {process.exitcode} (out of memory?). Run the command "
                "again: it goes on where it stopped."
            )
