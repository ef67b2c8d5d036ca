"""Stage `optimize`: train the prompt model on the reward model's preferences, with products that may be learned from.

Several processes run it side by side: the main one opens the workspace's run and broadcasts its folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from clickscape import render, vlm
from clickscape import reward as reward_room
from clickscape.catalog.split import Split
from clickscape.compute.device import ALONE, Processes
from clickscape.config import OptimizeConfig
from clickscape.gates.relevance import ContrastRelevance, Relevance, panel
from clickscape.gates.vlm_relevance import VlmRelevance
from clickscape.generation.pipeline import AdPipeline, cutout_images
from clickscape.preference import rounds
from clickscape.preference.monitor import Comparison, RewardHackingMonitor
from clickscape.preference.rounds import Event, RoundReport, Sampled
from clickscape.preference.train import Step
from clickscape.stages import split
from clickscape.stages.progress import Progress, Stage
from clickscape.stages.reward import JUDGE, load_judge, start_source
from clickscape.stages.tracking import tracked
from clickscape.types import Product
from clickscape.workspace import Manifest, Workspace

STAGE = "optimize"
_LOGGED = ("loss", "preference", "product", "anchor", "margin", "chosen", "rejected", "corrupted", "accuracy", "kl")


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
    and inputs is reused. Where the workspace has a judge, a reward-hacking monitor may end the run (`monitored`). Only
    the main one of `processes` writes and yields progress; all return the manifest.
    """
    if not processes.is_main:
        return (yield from _follow(workspace, config, processes=processes))
    target = target or workspace.models / "prompt"
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
        rounds.save_policy(folder, target)
        ended = {"stopped": reports[-1].stopped, "summary": summary(reports)}
        result = {"rounds": [asdict(report) for report in reports], **ended}
        return processes.broadcast(run.finish(outputs=[target], result=result))


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
    pipeline = AdPipeline(
        render.load(config.renderer, settings=workspace.settings),
        reward_room.load(workspace.models / "reward", device=processes.device),
        cutout_images(writer.vlm.image_size),
        processes=processes,
    )
    found = monitored(workspace, products, split.read(workspace, products), pipeline=pipeline, config=config)
    gate = relevance_gate(workspace, found.products, device=processes.device)
    return rounds.optimize(
        writer,
        replace(pipeline, relevance=gate),
        found.products,
        folder=folder,
        config=config,
        monitor=found.monitor,
    )


@dataclass(frozen=True)
class Monitored:
    """The products that rounds may learn from, and the monitor with products of its own; None without one."""

    products: list[Product]
    monitor: RewardHackingMonitor | None


def monitored(
    workspace: Workspace, products: Sequence[Product], held: Split, *, pipeline: AdPipeline, config: OptimizeConfig
) -> Monitored:
    """Open the judge where there is one, and keep the monitor's products out of the rounds."""
    settings, learned = workspace.settings.monitor, held.training(products)
    found = load_judge(workspace, device=pipeline.processes.device)
    if found is None and not settings.without_judge:
        return Monitored(learned, None)
    second, apart = found if found is not None else (None, held.reserved_groups(products, share=settings.share))
    monitor = RewardHackingMonitor(
        [product for product in learned if held.groups[product.product_id] in apart],
        pipeline=pipeline,
        judge=second,
        groups=held.groups,
        config=settings,
        render_size=config.render_size,
        max_new_tokens=config.max_new_tokens,
    )
    return Monitored([product for product in learned if held.groups[product.product_id] not in apart], monitor)


def relevance_gate(workspace: Workspace, products: Sequence[Product], *, device: str = "cpu") -> Relevance | None:
    """Open the relevance gate that the settings ask for; it asks the pre-trained model, never the policy."""
    settings = workspace.settings.relevance
    if settings.use == "off":
        return None
    pretrained = vlm.load(start_source(workspace, workspace.settings.optimize), device=device).vlm
    images = cutout_images(pretrained.image_size)
    if settings.by == "server":
        return VlmRelevance(settings, pictures=images)
    return ContrastRelevance(pretrained, panel(products, size=settings.others), pictures=images, limit=settings.limit)


def summary(reports: Sequence[RoundReport]) -> list[str]:
    """Return what the monitor measured, a line per round, why the run ended early, and what got better or worse."""
    lines = []
    for report in reports:
        if (found := report.monitor) is not None:
            line = f"round {report.round}: win rate over the start by the reward model {_win_rate(found.reward_model)}"
            if found.judge is not None:
                line += f", by the judge {_win_rate(found.judge)}"
            lines.append(f"{line}; diversity left {min(found.left.values(), default=1.0):.0%}")
        if report.stopped:
            lines.append(
                f"stopped in round {report.round}: {report.stopped}; kept: the policy after round {report.kept}"
            )
    return [*lines, *_outcome(reports)]


def _outcome(reports: Sequence[RoundReport]) -> list[str]:
    """Return start → end on the products learned from and on held-out ones, and one warning of all that fell."""
    first, last = reports[0], reports[-1]
    figures = [
        ("parsed", first.parse_rate, last.parse_rate, ".0%"),
        (
            "different scenes",
            first.distinct_scenes / max(first.candidates, 1),
            last.distinct_scenes / max(last.candidates, 1),
            ".0%",
        ),
        ("relevant", first.relevant_rate, last.relevant_rate, ".0%"),
        ("mean reward", first.reward, last.reward, "+.2f"),
    ]
    if first.relevant_rate == last.relevant_rate == 1:
        del figures[2]  # no gate was asked
    shown = [
        (f"{name} {before:{style}} → {after:{style}}", after < before - 0.005) for name, before, after, style in figures
    ]
    lines, worse = [], [text for text, fell in shown if fell]
    if last.round > first.round:
        span = f"its own products, sampled before round {first.round} → before round {last.round}"
        lines.append(f"{span}: {', '.join(text for text, _ in shown)}")
    found = next((report.monitor for report in reports if report.round == last.kept), None)
    if last.monitor is None:
        lines.append(
            "held-out products: not measured. Train a judge with `clickscape reward --judge scene` to have it."
        )
    elif found is None:
        return [*lines, "held-out products: no round was kept; the model is the one before"]
    else:
        gain, left = found.reward_model.reward, min(found.left.values(), default=1.0)
        verdict = "better" if gain.low > 0 else "worse" if gain.high < 0 else "no clear change"
        change = f"{verdict} by the reward model ({gain.value:+.2f} [{gain.low:+.2f}, {gain.high:+.2f}] logits)"
        lines.append(f"held-out products, start → round {last.kept}: {change}, variety 100% → {left:.0%}")
        worse += [f"reward on held-out products {gain.value:+.2f}"] if verdict == "worse" else []
        worse += [f"variety on held-out products 100% → {left:.0%}"] if left < 0.995 else []
    if worse:
        lines.append(
            f"warning: worse than at the start: {', '.join(worse)}. Look at its ads before you use this model."
        )
    return lines


def progress_of(event: Sampled | Step, *, config: OptimizeConfig, stage: str) -> Progress:
    """Return how far an optimization is, in thousandths of all rounds; sampling counts as half of a round."""
    if isinstance(event, Sampled):
        share, note = 0.5 * event.done / event.total, f"round {event.round}: sampling and scoring"
    else:
        share, note = 0.5 + 0.5 * event.number / event.steps, f"round {event.round}: loss {event.loss:.3f}"
    return Progress(stage, round(1000 * (event.round - 1 + share) / config.rounds), 1000, note)


def _win_rate(found: Comparison) -> str:
    rate = found.win_rate
    return f"{rate.value:.0%} [{rate.low:.0%}, {rate.high:.0%}]"
