"""What `optimize` is watched and gated with, from what the workspace has and what its settings ask for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from clickscape import vlm
from clickscape.config import MonitorConfig, OptimizeConfig, RelevanceConfig
from clickscape.gates.relevance import Contrast, Relevance, panel
from clickscape.gates.vlm_relevance import VlmRelevance
from clickscape.preference.monitor import Opinion, RewardHackingMonitor
from clickscape.preference.rounds import RoundReport, product_pictures
from clickscape.preference.sample import Pictures, Reward
from clickscape.render.renderer import Renderer
from clickscape.stages import judge
from clickscape.stages.reward import start_source
from clickscape.stages.split import Split
from clickscape.types import Product
from clickscape.workspace import Workspace


@dataclass(frozen=True)
class Guards:
    """The products that rounds may learn from, and what looks at them: None where the settings ask for nothing."""

    learned: list[Product]
    monitor: RewardHackingMonitor | None
    relevance: Relevance | None


def guards(
    workspace: Workspace,
    products: Sequence[Product],
    held: Split,
    *,
    teacher: Reward,
    renderer: Renderer,
    pictures: Pictures,
    config: OptimizeConfig,
    device: str = "cpu",
) -> Guards:
    """Open the judge where there is one, keep its products out of the rounds, and build the gate."""
    settings: MonitorConfig = workspace.settings.monitor
    learned, monitor = held.training(products), None
    found = judge.load(workspace, device=device)
    if found is not None or settings.without_judge:
        second, apart = found if found is not None else (None, held.apart(products, share=settings.share))
        monitor = RewardHackingMonitor(
            [product for product in learned if held.groups[product.product_id] in apart],
            teacher=teacher,
            judge=second,
            renderer=renderer,
            pictures=pictures,
            groups=held.groups,
            config=settings,
            render_size=config.render_size,
            max_new_tokens=config.max_new_tokens,
        )
        learned = [product for product in learned if held.groups[product.product_id] not in apart]
    return Guards(learned, monitor, relevance(workspace, learned, device=device))


def relevance(workspace: Workspace, products: Sequence[Product], *, device: str = "cpu") -> Relevance | None:
    """The relevance gate that the settings ask for; by the model that optimizations start from, never their policy."""
    settings: RelevanceConfig = workspace.settings.relevance
    if settings.use == "off":
        return None
    pretrained = vlm.load(start_source(workspace, workspace.settings.optimize), device=device).vlm
    pictures = product_pictures(pretrained.image_size)
    if settings.by == "server":
        return VlmRelevance(settings, pictures=pictures)
    return Contrast(pretrained, panel(products, size=settings.others), pictures=pictures, limit=settings.limit)


def summary(reports: Sequence[RoundReport]) -> list[str]:
    """What the monitor measured, a line per round, and why the run ended before its last step."""
    lines = []
    for report in reports:
        if (found := report.monitor) is not None:
            said = f"round {report.round}: win rate over the start by the teacher {_win(found.teacher)}"
            if found.judge is not None:
                said += f", by the judge {_win(found.judge)}"
            lines.append(f"{said}; diversity left {min(found.left.values(), default=1.0):.0%}")
        if report.stopped:
            lines.append(
                f"stopped in round {report.round}: {report.stopped}; kept: the policy after round {report.kept}"
            )
    return lines


def _win(opinion: Opinion) -> str:
    rate = opinion.win_rate
    return f"{rate.value:.0%} [{rate.low:.0%}, {rate.high:.0%}]"
