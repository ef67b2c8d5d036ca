"""The commands `clickscape experiment evaluate-policy` and `shares`: what policies would earn, and which to follow."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
import typer.core

from clickscape.cli import terminal
from clickscape.cli.arguments import Folder
from clickscape.cli.experiment import experiment
from clickscape.files import to_json


@experiment.command("evaluate-policy", epilog="Example: clickscape experiment evaluate-policy my-shop --policy draft")
def evaluate_policy(
    workspace: Folder,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="uniform, best (by the reward model), draft, approved or live (creatives of that status, evenly), or "
            "a file: CSV with creative_id and probability, or JSON. Any number. Default: all that make sense."
        ),
    ] = None,
    estimator: Annotated[
        Literal["ips", "clipped-ips", "snips", "direct", "dr", "switch-dr", "stabilized-dr"],
        typer.Option(help="How creatives that the log shows are judged; new ones are judged by their scenes."),
    ] = "dr",
    adaptive: Annotated[
        bool, typer.Option("--adaptive", help="The log was made by a bandit, which learned from its clicks.")
    ] = False,
    level: Annotated[float, typer.Option(help="Confidence level of the intervals.")] = 0.95,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say what other policies, or creatives that nobody has seen, would have earned on the logged traffic."""
    from clickscape.stages.evaluate_policy import evaluate_policies
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    found = terminal.run_with_progress(
        evaluate_policies(shop, policy or (), estimator=estimator, adaptive=adaptive, level=level)
    )
    if as_json:
        terminal.out.print(to_json(found.as_record()))
        return
    for line in found.lines():
        terminal.out.print(terminal.printable(line))
    terminal.out.print(f"next: clickscape experiment start {workspace} NAME")


@experiment.command("shares", epilog="Example: clickscape experiment shares my-shop")
def shares(
    workspace: Folder,
    floor: Annotated[
        float, typer.Option(help="Least share of every creative, which keeps it measurable.", min=0, max=1)
    ] = 0.005,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say how a shop that serves its ads itself should share each product's traffic now, by clicks and scores."""
    from clickscape.experiment.bandit import BanditRules
    from clickscape.stages.traffic_shares import recommend_shares
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    found = terminal.run_with_progress(recommend_shares(shop, rules=BanditRules(floor=floor, holdback=0.0)))
    if as_json:
        terminal.out.print(to_json(found.as_record()))
        return
    for line in found.lines():
        terminal.out.print(terminal.printable(line))
    terminal.out.print(f"next: show them so, log their propensities, then clickscape clicks {workspace}")
