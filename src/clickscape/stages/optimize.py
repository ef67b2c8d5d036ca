"""Stage `optimize`: train the prompt model on the reward model's preferences, with products that may be learned from.

Several processes run it side by side: the main one opens the workspace's run and broadcasts its folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clickscape import render, vlm
from clickscape import reward as reward_room
from clickscape.catalog.split import Split
from clickscape.compute.device import ALONE, Processes
from clickscape.config import OptimizeConfig
from clickscape.errors import ConfigError
from clickscape.gates.relevance import ContrastRelevance, panel
from clickscape.generation.audience import AudienceReward, original_id, products_for
from clickscape.generation.pipeline import AdPipeline, cutout_images
from clickscape.generation.sample import Candidate
from clickscape.preference import rounds
from clickscape.preference.monitor import Comparison, RewardHackingMonitor
from clickscape.preference.outcome import Outcome, outcome
from clickscape.preference.rounds import Event, RoundReport, Sampled
from clickscape.preference.train import Step
from clickscape.render.renderer import Renderer
from clickscape.stages import cards
from clickscape.stages.progress import Progress, Stage
from clickscape.stages.relevance import relevance_gate
from clickscape.stages.reward import JUDGE, load_judge, start_source
from clickscape.stages.split import read as read_split
from clickscape.stages.tracking import tracked
from clickscape.types import Product
from clickscape.workspace import Manifest, Workspace, atomic_file

STAGE = "optimize"
SHEET = "before-after.png"
_SHEET_PRODUCTS = 8  # held-out products on it
_SHEET_SIDE = 320  # pixels of each picture
_PANEL = (
    5  # products of other departments that a description is compared with: half of the gate's, for half of its time
)
_LOGGED = ("loss", "preference", "product", "anchor", "margin", "chosen", "rejected", "corrupted", "accuracy", "kl")


def optimize(
    workspace: Workspace,
    config: OptimizeConfig,
    *,
    target: Path | None = None,
    name: str = STAGE,
    processes: Processes = ALONE,
) -> Stage[Manifest]:
    """Run all rounds and save the policy at `target`; returns the run's manifest.

    Without a target the policy becomes models/prompt, unless it got worse on held-out products (`preference.outcome`):
    then it is left in the run's folder.

    A killed run goes on in the round that it was in, from its last checkpoint; a finished one with the same settings
    and inputs is reused. Where the workspace has a judge, a reward-hacking monitor may end the run (`monitored`). Only
    the main one of `processes` writes and yields progress; all return the manifest.
    """
    if not processes.is_main:
        return (yield from _follow(workspace, config, processes=processes))
    rewards = workspace.models / "reward"
    inputs = {"products": workspace.products_path, "reward": rewards, "writer": start_source(workspace, config)}
    if (workspace.models / JUDGE).exists():
        inputs["judge"] = workspace.models / JUDGE
    shop = workspace.settings
    settings = {**config.model_dump(), "monitor": shop.monitor.model_dump(), "relevance": shop.relevance.model_dump()}
    if done := workspace.finished(name, settings, inputs):
        yield Progress(name, 1, 1, "reused")
        processes.broadcast(None)
        return processes.broadcast(done)
    with workspace.start_run(name, settings, inputs) as run, tracked(config.metrics, run.folder) as log:
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
                    log({key: values[key] for key in _LOGGED}, before + event.number)
                yield progress_of(event, config=config, stage=name)
        held_out = _outcome(workspace, config, folder=folder, device=processes.device)
        refused = target is None and held_out is not None and bool(held_out.worse)
        saved = run.folder / "prompt" if refused else target or workspace.models / "prompt"
        rounds.save_policy(folder, saved)
        cards.prompt(workspace, saved, config, held_out, base=start_source(workspace, config))
        lines = summary(reports) + _outcome_lines(held_out, refused=refused, where=saved)
        if held_out is not None:
            with atomic_file(run.folder / SHEET) as temporary:
                Image.fromarray(_before_after(held_out, render.load(config.renderer, settings=shop))).save(temporary)
            lines.append(f"before and after: {run.folder / SHEET}")
        result = {
            "rounds": [asdict(report) for report in reports],
            "stopped": reports[-1].stopped,
            "held_out": [asdict(change) for change in held_out.changes] if held_out else [],
            "refused": refused,
            "summary": lines,
        }
        return processes.broadcast(run.finish(outputs=[saved], result=result))


def _follow(workspace: Workspace, config: OptimizeConfig, *, processes: Processes) -> Stage[Manifest]:
    """Do this process's share of the run that the main process has opened."""
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
    writer = vlm.load(start_source(workspace, config), dtype="stored")
    pipeline = _pipeline(workspace, config, image_size=writer.vlm.image_size, processes=processes)
    monitor_setup = monitored(workspace, products, read_split(workspace, products), pipeline=pipeline, config=config)
    gate = relevance_gate(workspace, monitor_setup.products, device=processes.device)
    return rounds.optimize(
        writer,
        replace(pipeline, relevance=gate),
        products_for(monitor_setup.products, _audiences(pipeline, config)),
        folder=folder,
        config=config,
        monitor=monitor_setup.monitor,
    )


def _audiences(pipeline: AdPipeline, config: OptimizeConfig) -> tuple[str, ...]:
    """Those to write for; ConfigError where the settings ask for some and the reward model tells none apart."""
    if not config.audiences:
        return ()
    assert isinstance(pipeline.reward, AudienceReward)
    if not (found := pipeline.reward.model.audiences):
        raise ConfigError("[optimize] audiences = true, but the reward model tells no audiences apart. Log a column "
                          "audience and run `clicks` and `reward`, or leave the setting out.")  # fmt: skip
    return found


def _pipeline(workspace: Workspace, config: OptimizeConfig, *, image_size: int, processes: Processes) -> AdPipeline:
    reward = reward_room.load(workspace.models / "reward", device=processes.device).with_given_scenes()
    return AdPipeline(
        render.load(config.renderer, settings=workspace.settings),
        AudienceReward(reward) if config.audiences else reward,
        cutout_images(image_size),
        processes=processes,
    )


@dataclass(frozen=True)
class Monitored:
    """The products that rounds may learn from, and the monitor with products of its own; None without one."""

    products: list[Product]
    monitor: RewardHackingMonitor | None


def monitored(
    workspace: Workspace, products: Sequence[Product], split: Split, *, pipeline: AdPipeline, config: OptimizeConfig
) -> Monitored:
    """Open the judge where there is one, and keep the monitor's products out of the rounds."""
    settings, learned = workspace.settings.monitor, split.training(products)
    judge = load_judge(workspace, device=pipeline.processes.device)
    if judge is None and not settings.without_judge:
        return Monitored(learned, None)
    second, apart = judge if judge is not None else (None, split.reserved_groups(products, share=settings.share))
    monitor = RewardHackingMonitor(
        [product for product in learned if split.groups[product.product_id] in apart],
        pipeline=pipeline,
        judge=second,
        groups=split.groups,
        config=settings,
        render_size=config.render_size,
        max_new_tokens=config.max_new_tokens,
    )
    return Monitored([product for product in learned if split.groups[product.product_id] not in apart], monitor)


def summary(reports: Sequence[RoundReport]) -> list[str]:
    """Return what the monitor measured, a line per round, why the run ended early, and the rounds' own products."""
    lines = []
    for report in reports:
        if (measured := report.monitor) is not None:
            line = (
                f"round {report.round}: win rate over the start by the reward model {_win_rate(measured.reward_model)}"
            )
            if measured.judge is not None:
                line += f", by the judge {_win_rate(measured.judge)}"
            lines.append(f"{line}; diversity left {min(measured.left.values(), default=1.0):.0%}")
        if report.stopped:
            lines.append(
                f"stopped in round {report.round}: {report.stopped}; kept: the policy after round {report.kept}"
            )
    return lines


def _outcome(workspace: Workspace, config: OptimizeConfig, *, folder: Path, device: str) -> Outcome | None:
    """Compare start and end on held-out products; None where there are none."""
    products = workspace.products()
    split = read_split(workspace, products)
    if not (testing := split.testing(products)):
        return None
    before, after = (rounds.open_policy(folder, round_number=number) for number in (0, None))
    pipeline = _pipeline(workspace, config, image_size=before.vlm.image_size, processes=Processes(device=device))
    if len({product.department for product in testing}) > 1:
        images, limit = cutout_images(before.vlm.image_size), workspace.settings.relevance.limit
        gate = ContrastRelevance(before.vlm, panel(testing, size=_PANEL), pictures=images, limit=limit)
        pipeline = replace(pipeline, relevance=gate)
    testing = products_for(testing, _audiences(pipeline, config))
    return outcome(
        before,
        after,
        testing,
        pipeline=pipeline,
        groups={one.product_id: split.groups[original_id(one.product_id)] for one in testing},
        temperature=config.temperature,
        max_new_tokens=config.max_new_tokens,
        size=config.render_size,
        seed=config.seed,
    )


def _outcome_lines(held_out: Outcome | None, *, refused: bool, where: Path) -> list[str]:
    """The lines on held-out products, and where the model is if it got worse."""
    if held_out is None:
        return ["held-out products: none, so nobody knows whether it got better. Add products to the catalog."]
    changes = ", ".join(map(str, held_out.changes))
    count = len(held_out.products)
    lines = [f"held-out products ({count}), start → end, 95 % intervals of the difference: {changes}"]
    if refused:
        lines.append(
            f"refused: it got worse in {', '.join(change.name for change in held_out.worse)}, so models/prompt is as "
            f"it was. The new model is in {where}; `clickscape generate --model` draws with it."
        )
    return lines


def _before_after(held_out: Outcome, renderer: Renderer) -> NDArray[np.uint8]:
    """Pictures of held-out products, before above after, uint8 (2 · side, columns · side, 3)."""
    products = held_out.products[:_SHEET_PRODUCTS]

    def row(candidates: Sequence[Candidate]) -> NDArray[np.uint8]:
        first = {one.product_id: one for one in reversed(candidates)}
        asked = [(product, first[product.product_id]) for product in products]
        size = (_SHEET_SIDE, _SHEET_SIDE)
        return np.hstack([renderer.render(it, one.text, size=size, seed=one.seed).image for it, one in asked])

    return np.vstack([row(held_out.before), row(held_out.after)])


def progress_of(event: Sampled | Step, *, config: OptimizeConfig, stage: str) -> Progress:
    """Return how far an optimization is, in thousandths of all rounds; sampling counts as half of a round."""
    if isinstance(event, Sampled):
        share, note = 0.5 * event.done / event.total, f"round {event.round}: sampling and scoring"
    else:
        share, note = 0.5 + 0.5 * event.number / event.steps, f"round {event.round}: loss {event.loss:.3f}"
    return Progress(stage, round(1000 * (event.round - 1 + share) / config.rounds), 1000, note)


def _win_rate(comparison: Comparison) -> str:
    rate = comparison.win_rate
    return f"{rate.value:.0%} [{rate.low:.0%}, {rate.high:.0%}]"
