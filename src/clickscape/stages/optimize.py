"""Stage `optimize`: teach the prompt model what the reward model prefers, on the products that may be learned from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from clickscape import render, vlm
from clickscape import reward as reward_room
from clickscape.config import OptimizeConfig
from clickscape.errors import WorkspaceError
from clickscape.preference import rounds
from clickscape.preference.rounds import RoundReport, Sampled
from clickscape.preference.train import Step
from clickscape.stages import judge, split, watching
from clickscape.stages.progress import Progress, Stage
from clickscape.stages.reward import writer_source
from clickscape.vlm import model as vlm_model
from clickscape.workspace import Manifest, Workspace, fingerprint_of

STAGE = "optimize"


def optimize(
    workspace: Workspace, config: OptimizeConfig, *, target: Path | None = None, name: str = STAGE
) -> Stage[Manifest]:
    """Run all rounds and save the policy at `target` (default models/prompt); returns the run's manifest.

    A killed run goes on in the round that it was in; a finished one with the same settings and inputs is reused. Where
    the workspace has a judge, it watches on products of its own, and may end the run (`stages.watching`).
    """
    target = target or workspace.models / "prompt"
    rewards = workspace.models / "reward"
    if not rewards.exists():
        raise WorkspaceError(f"{rewards} is missing. Run `clickscape reward {workspace.path}` first.")
    inputs = {"products": workspace.products_path, "reward": rewards, "writer": writer_source(workspace)}
    if (workspace.models / judge.NAME).exists():
        inputs["judge"] = workspace.models / judge.NAME
    around = {"watch": workspace.settings.watch.model_dump(), "relevance": workspace.settings.relevance.model_dump()}
    settings = {**config.model_dump(), **around}
    if done := workspace.finished(name, fingerprint_of(name, settings, inputs)):
        yield Progress(name, 1, 1, "reused")
        return done
    with workspace.start_run(name, settings, inputs) as run:
        products = workspace.products()
        teacher, renderer = reward_room.load(rewards), render.load("studio")
        held = split.read(workspace, products)
        guarded = watching.guards(workspace, products, held, teacher=teacher, renderer=renderer, config=config)
        folder = run.folder / "rounds"
        reports: list[RoundReport] = []
        for event in rounds.optimize(
            vlm.load(writer_source(workspace)),
            teacher,
            renderer,
            guarded.learned,
            folder=folder,
            config=config,
            relevance=guarded.relevance,
            watch=guarded.watch,
        ):
            if isinstance(event, RoundReport):
                reports.append(event)
            else:
                if isinstance(event, Step):
                    run.log(asdict(event))
                yield Progress(name, *place(event, config=config))
        vlm_model.save(rounds.open_policy(folder).vlm, target)
        result = {"rounds": [asdict(report) for report in reports], "summary": watching.summary(reports)}
        return run.finish(outputs=[target], result=result)


def place(event: Sampled | Step, *, config: OptimizeConfig) -> tuple[int, int, str]:
    """Where in all rounds an event lies, in thousandths; sampling counts as half of a round."""
    if isinstance(event, Sampled):
        share, note = 0.5 * event.done / event.total, f"round {event.round}: writing and judging"
    else:
        share, note = 0.5 + 0.5 * event.number / event.steps, f"round {event.round}: loss {event.loss:.3f}"
    return round(1000 * (event.round - 1 + share) / config.rounds), 1000, note
