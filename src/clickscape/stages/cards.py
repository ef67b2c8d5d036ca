"""Model cards of what the stages trained: the figures that they measured, with intervals, and on what."""

from __future__ import annotations

from pathlib import Path

from clickscape import model_card
from clickscape.config import OptimizeConfig
from clickscape.model_card import Figure
from clickscape.preference.outcome import Outcome
from clickscape.reward.report import RewardReport
from clickscape.stages import truth
from clickscape.workspace import Workspace

_METRICS = {"parsed": "parse_rate", "mean reward": "mean_reward", "relevant": "relevant_rate"}


def reward(workspace: Workspace, folder: Path, report: RewardReport, *, base: Path | str) -> None:
    """Write the card of a reward model that was evaluated on held-out products."""
    note = f"Evaluated on {report.pairs} pairs of {report.products} held-out products ({report.clusters} groups)."
    model_card.add_figures(
        folder,
        model_card.REWARD,
        _of_report(report),
        data=_clicks(workspace),
        base=model_card.base_of(base),
        note=note,
    )


def judge(workspace: Workspace, folder: Path, report: RewardReport) -> None:
    """Write the card of a judge that was evaluated on held-out products."""
    model_card.add_figures(folder, model_card.JUDGE, _of_report(report), data=_clicks(workspace), base=None)


def prompt(
    workspace: Workspace, folder: Path, config: OptimizeConfig, outcome: Outcome | None, *, base: Path | str
) -> None:
    """Write the card of a policy, with how it differs from its start on held-out products, where there are any."""
    changes = () if outcome is None else outcome.changes
    figures = [
        Figure(f"{one.name}, change from the start", f"{_METRICS[one.name]}_change", one.difference)
        for one in changes
        if one.name in _METRICS  # a count of scenes has no interval
    ]
    note = (
        f"Trained by preference optimization (objective {config.objective!r}, {config.rounds} rounds) on the "
        "preferences of a reward model that learned from clicks. Figures compare it with the model that it began as."
    )
    model_card.add_figures(
        folder, model_card.PROMPT, figures, data=_clicks(workspace), base=model_card.base_of(base), note=note
    )


def pretrained(folder: Path, *, steps: int, loss: float) -> None:
    """Write the card of a prompt model that was fine-tuned on a shop's own creatives."""
    note = f"Fine-tuned for {steps} steps on a shop's own creatives; mean loss of the last twenty {loss:.3f} nats."
    model_card.add_figures(folder, model_card.PROMPT, (), data="", base=model_card.base_of("tiny"), note=note)


def _of_report(report: RewardReport) -> list[Figure]:
    """The figures of an evaluation that are known."""
    named = [
        ("pair accuracy", "accuracy", report.accuracy),
        (f"noise ceiling ({report.ceiling_source})", "noise_ceiling", report.ceiling),
        ("normalized accuracy", "normalized_accuracy", report.normalized_accuracy),
        ("accuracy on the true order", "true_accuracy", report.true_accuracy),
        (f"calibration error ({report.calibration_source})", "calibration_error", report.calibration),
        ("NDCG within products", "ndcg", report.ndcg),
        ("CTR lost by its first choice", "regret", report.regret),
    ]
    return [Figure(name, metric, value) for name, metric, value in named if value is not None]


def _clicks(workspace: Workspace) -> str:
    simulated = truth.simulation(workspace)
    if simulated is None:
        return "held-out products of a shop"
    return f"held-out products of the simulated world {simulated[1].result['world']}"
