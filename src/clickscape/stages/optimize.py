"""Stage `optimize`: teach the prompt model what the reward model prefers, on the products that may be learned from.

Several processes run it side by side: the leading one holds the workspace and tells the others where the run's
folder is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from clickscape import render, vlm
from clickscape import reward as reward_room
from clickscape.compute.device import ALONE, Processes
from clickscape.config import OptimizeConfig
from clickscape.errors import WorkspaceError
from clickscape.preference import rounds
from clickscape.preference.rounds import Event, RoundReport, Sampled
from clickscape.preference.train import Step
from clickscape.stages import judge, split, watching
from clickscape.stages.progress import Progress, Stage
from clickscape.stages.reward import start_source
from clickscape.stages.tracking import tracked
from clickscape.workspace import Manifest, Workspace, fingerprint_of

STAGE = "optimize"
_SHOWN = ("loss", "preference", "product", "anchor", "margin", "chosen", "rejected", "corrupted", "accuracy", "kl")


def optimize(
    workspace: Workspace,
    config: OptimizeConfig,
    *,
    target: Path | None = None,
    name: str = STAGE,
    processes: Processes = ALONE,
) -> Stage[Manifest]:
    """Run all rounds and save the policy at `target` (default models/prompt); returns the run's manifest.

    A killed run goes on in the round that it was in, from its last checkpoint; a finished one with the same settings
    and inputs is reused. Where the workspace has a judge, it watches on products of its own, and may end the run
    (`stages.watching`). Only the leading one of `processes` writes and tells its progress; all return the manifest.
    """
    if not processes.is_main:
        return (yield from _follow(workspace, config, processes=processes))
    target = target or workspace.models / "prompt"
    rewards = workspace.models / "reward"
    if not rewards.exists():
        raise WorkspaceError(f"{rewards} is missing. Run `clickscape reward {workspace.path}` first.")
    inputs = {"products": workspace.products_path, "reward": rewards, "writer": start_source(workspace, config)}
    if (workspace.models / judge.NAME).exists():
        inputs["judge"] = workspace.models / judge.NAME
    around = {
        "monitor": workspace.settings.monitor.model_dump(),
        "relevance": workspace.settings.relevance.model_dump(),
    }
    settings = {**config.model_dump(), **around}
    if done := workspace.finished(name, fingerprint_of(name, settings, inputs)):
        yield Progress(name, 1, 1, "reused")
        processes.broadcast(None)
        return processes.broadcast(done)
    with workspace.start_run(name, settings, inputs) as run, tracked(config.metrics, run.folder) as tell:
        folder = processes.broadcast(run.folder / "rounds")
        reports: list[RoundReport] = []
        for event in _events(workspace, config, folder=folder, processes=processes):
            if isinstance(event, RoundReport):
                reports.append(event)
            else:
                if isinstance(event, Step):
                    values = asdict(event)
                    run.log(values)
                    before = sum(report.steps for report in reports)
                    tell({key: values[key] for key in _SHOWN}, before + event.number)
                yield Progress(name, *place(event, config=config))
        rounds.save_policy(folder, target)
        told = {"stopped": reports[-1].stopped, "summary": watching.summary(reports)}
        result = {"rounds": [asdict(report) for report in reports], **told}
        return processes.broadcast(run.finish(outputs=[target], result=result))


def _follow(workspace: Workspace, config: OptimizeConfig, *, processes: Processes) -> Stage[Manifest]:
    """Do this process's share of the run that the leading process has opened."""
    yield from ()
    folder: Path | None = processes.broadcast(None)
    if folder is not None:
        for _ in _events(workspace, config, folder=folder, processes=processes):
            pass
    manifest: Manifest | None = processes.broadcast(None)
    assert manifest is not None
    return manifest


def _events(workspace: Workspace, config: OptimizeConfig, *, folder: Path, processes: Processes) -> Iterator[Event]:
    products = workspace.products()
    teacher, renderer = reward_room.load(workspace.models / "reward", device=processes.device), render.load("studio")
    writer = vlm.load(start_source(workspace, config), dtype="stored")
    pictures = rounds.product_pictures(writer.vlm.image_size)
    guarded = watching.guards(
        workspace,
        products,
        split.read(workspace, products),
        teacher=teacher,
        renderer=renderer,
        pictures=pictures,
        config=config,
        device=processes.device,
    )
    return rounds.optimize(
        writer,
        teacher,
        renderer,
        guarded.learned,
        folder=folder,
        config=config,
        pictures=pictures,
        relevance=guarded.relevance,
        monitor=guarded.monitor,
        processes=processes,
    )


def place(event: Sampled | Step, *, config: OptimizeConfig) -> tuple[int, int, str]:
    """Where in all rounds an event lies, in thousandths; sampling counts as half of a round."""
    if isinstance(event, Sampled):
        share, note = 0.5 * event.done / event.total, f"round {event.round}: writing and judging"
    else:
        share, note = 0.5 + 0.5 * event.number / event.steps, f"round {event.round}: loss {event.loss:.3f}"
    return round(1000 * (event.round - 1 + share) / config.rounds), 1000, note
