"""The commands `clickscape experiment …`: plan, start and stop an experiment, and say who sees which variant."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer
import typer.core

from clickscape.cli import terminal
from clickscape.cli.arguments import (
    Folder,
    existing_file,
    existing_folder,
    existing_workspace,
    output_file,
    output_folder,
)
from clickscape.cli.terminal import app
from clickscape.errors import ExperimentError

experiment = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Prove with real traffic that ads earn clicks: plan an experiment, start it, read it, report it.",
)
app.add_typer(experiment, name="experiment", epilog="Example: clickscape experiment start my-shop autumn")

Name = Annotated[str, typer.Argument(help="Name of the experiment.", show_default=False)]


@experiment.command("plan", epilog="Example: clickscape experiment plan --ctr 0.02 --lift 0.05 --users-per-day 20000")
def plan(
    lift: Annotated[
        float, typer.Option(help="Smallest relative lift that matters, 0.05 for +5 %.", show_default=False)
    ],
    workspace: Annotated[
        Path | None,
        typer.Argument(help="Its log says what you do not.", show_default=False, callback=existing_workspace),
    ] = None,
    ctr: Annotated[float | None, typer.Option(help="CTR of what is shown now, clicks per impression.")] = None,
    users_per_day: Annotated[
        float | None, typer.Option(help="Users that enter a day, each counted on the first day only.")
    ] = None,
    impressions_per_user: Annotated[
        float | None, typer.Option(help="Of one user, while the experiment runs. Default: the log's, or 1.")
    ] = None,
    impressions_cv: Annotated[
        float | None, typer.Option(min=0, help="Their sd over their mean. Default: the log's, or 1.")
    ] = None,
    ctr_cv: Annotated[
        float | None, typer.Option(min=0, help="Sd of the users' own CTRs over their mean. Default: the log's, or 0.7.")
    ] = None,
    variants: Annotated[int, typer.Option(help="Variants, with the control.")] = 2,
    share: Annotated[
        float | None, typer.Option(help="Share of the users for each variant but the control. Default: all equal.")
    ] = None,
    reading: Annotated[
        Literal["always-valid", "fixed"],
        typer.Option(help="always-valid: read every day, stop when it is clear; fixed: read once, at the end."),
    ] = "always-valid",
    power: Annotated[float, typer.Option(help="Chance to find the lift if it is there.")] = 0.8,
    level: Annotated[float, typer.Option(help="Confidence level of all comparisons together.")] = 0.95,
    least_days: Annotated[int, typer.Option(help="Two weeks, so that weekdays and novelty even out.")] = 14,
    most_days: Annotated[int, typer.Option(help="Refuse a plan that takes longer.")] = 56,
    out: Annotated[
        Path | None, typer.Option(help="JSON file to write, which `start` takes as --plan.", callback=output_file)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as one JSON object.")] = False,
) -> None:
    """Say how many users and days an experiment needs, before it starts; refuse one that could not answer."""
    from clickscape.experiment import plan as planning
    from clickscape.experiment.baseline import planned_traffic
    from clickscape.json_files import write_json

    known = None
    if workspace:
        from clickscape.stages.experiment_baseline import read_baseline
        from clickscape.workspace import Workspace

        known = terminal.run_with_progress(read_baseline(Workspace.open(workspace), days=least_days))
    level_now, traffic = planned_traffic(
        known,
        ctr=ctr,
        users_per_day=users_per_day,
        impressions_per_user=impressions_per_user,
        impressions_cv=impressions_cv,
        ctr_cv=ctr_cv,
    )
    goal = planning.Goal(level_now, lift, variants=variants, share=share, power=power, level=level, reading=reading)
    made = planning.plan(goal, traffic, least_days=least_days, most_days=most_days)
    if out:
        write_json(out, asdict(made))
    if as_json:
        terminal.out.print(json.dumps(asdict(made)))
        return
    for line in [*([known.line()] if known else []), *made.lines()]:
        terminal.out.print(line)
    if out:
        terminal.print_output(out, after=f"clickscape experiment start my-shop NAME --plan {out}")
        return
    terminal.out.print("next: the same with --out plan.json, which `clickscape experiment start` takes")


@experiment.command("start", epilog="Example: clickscape experiment start my-shop autumn --holdback 0.05")
def start(
    workspace: Folder,
    name: Name,
    variants: Annotated[
        Path | None,
        typer.Option(
            help="CSV, JSON Lines or Parquet with variant, creative_id and, if they are not equal, share. Default: "
            "control is each product's live creative, new its approved one; where none is live, control is the "
            "approved one with most impressions, new the newest of the others.",
            callback=existing_file,
        ),
    ] = None,
    share: Annotated[float, typer.Option(help="Without --variants: share of the users that see new.")] = 0.5,
    products: Annotated[
        list[str] | None, typer.Option(help="Without --variants: only this product; give any number.")
    ] = None,
    control: Annotated[str, typer.Option(help="Variant that the others are compared with.")] = "control",
    layer: Annotated[
        str, typer.Option(help="Experiments of one layer share its users; layers are independent.")
    ] = "default",
    layer_from: Annotated[float, typer.Option(help="Where its part of the layer begins, from 0 to 1.")] = 0.0,
    traffic: Annotated[float, typer.Option(help="Share of the layer's users that are in the experiment.")] = 1.0,
    holdback: Annotated[
        float, typer.Option(help="Share of all users that no experiment touches, the same in all of them.")
    ] = 0.0,
    begin: Annotated[datetime | None, typer.Option("--start", help="When it begins, in UTC. Default: now.")] = None,
    level: Annotated[
        float | None, typer.Option(help="Confidence level of all comparisons together. Default: the plan's, or 0.95.")
    ] = None,
    plan_file: Annotated[
        Path | None,
        typer.Option("--plan", help="File that `plan --out` wrote; the reading goes by it.", callback=existing_file),
    ] = None,
) -> None:
    """Write down what an experiment compares and who sees what, before its first user."""
    from clickscape.experiment import plan as planning
    from clickscape.stages import experiment as stage
    from clickscape.stages.experiment_tables import rows
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    if variants is None:
        arms = stage.variants_by_status(shop, share=share, product_ids=products or ())
    else:
        table = list(rows(variants, needed=["variant", "creative_id"], optional=["share"]))
        arms = stage.variants_of_rows(table, creatives=shop.some_creatives(), where=str(variants))
    planned = planning.read(plan_file) if plan_file else None
    if planned:
        stage.check_planned(planned, arms, control=control, level=level)
    design = stage.Design(
        control=control,
        layer=layer,
        layer_from=layer_from,
        traffic=traffic,
        holdback=holdback,
        level=planned.goal.level if planned else level or 0.95,
        planned=planned.sample if planned else None,
    )
    now = begin.replace(tzinfo=UTC) if begin else datetime.now(UTC)
    made = stage.start(shop, name, arms, design=design, now=now)
    if begin and made.start != now:
        raise ExperimentError(f"{name} has started at {made.start:%Y-%m-%d %H:%M} UTC already. Leave --start out.")
    shares = ", ".join(f"{variant} {part:.1%}" for variant, part in made.shares.items())
    terminal.out.print(f"{len(made.products)} products; users: {shares}; control: {made.control}")
    path = stage.experiment_folder(shop, name) / "experiment.json"
    if made.planned:
        terminal.out.print(f"planned: {made.planned.users:,} users in {made.planned.days} days")
    terminal.print_output(path, after=f"clickscape experiment assign {workspace} {name} users.csv")


@experiment.command("stop", epilog="Example: clickscape experiment stop my-shop autumn")
def stop(workspace: Folder, name: Name) -> None:
    """Note that an experiment has ended: its users and products are free for others, and its reading is final."""
    from clickscape.stages import experiment as stage
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    ended = stage.stop(shop, name, now=datetime.now(UTC))
    assert ended.end is not None
    terminal.out.print(f"{name} ended at {ended.end:%Y-%m-%d %H:%M} UTC")


@experiment.command("assign", epilog="Example: clickscape experiment assign my-shop autumn users.csv")
def assign(
    workspace: Folder,
    name: Name,
    units: Annotated[
        Path,
        typer.Argument(
            help="CSV, JSON Lines or Parquet with a column user_key.", show_default=False, callback=existing_file
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="CSV to write. Default: beside the units, as NAME-variants.csv.", callback=output_file),
    ] = None,
) -> None:
    """Say which variant each user sees, for shops that serve ads themselves; the same on every machine."""
    from clickscape.stages import experiment as stage
    from clickscape.stages.experiment_tables import assign_file
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    found = stage.read_experiment(shop, name)
    target = out or units.with_name(f"{units.stem}-variants.csv")
    counts = terminal.run_with_progress(assign_file(units, target, definition=found, key=stage.read_key(shop)))
    outside = {"": "not in the experiment", "holdback": "held back"}
    listed = ", ".join(f"{outside.get(name, name)} {count:,}" for name, count in counts.items() if count)
    terminal.out.print(f"users: {listed or 'none'}")
    terminal.print_output(target, after=f"show each user the creatives of the variant, as experiments/{name}/ says")


@experiment.command("simulate", epilog="Example: clickscape experiment simulate my-shop autumn --lift new=0.1")
def simulate(
    workspace: Folder,
    name: Name,
    lift: Annotated[
        list[str] | None,
        typer.Option(help="True relative lift of a variant over the control, as new=0.1; give any number."),
    ] = None,
    users_per_day: Annotated[
        int | None, typer.Option(min=1, help="Users that enter a day. Default: the plan's.")
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Days with traffic. Default: the plan's.")] = None,
    until: Annotated[int | None, typer.Option(min=1, help="Write the first days only; the others are as if.")] = None,
    ctr: Annotated[float | None, typer.Option(help="CTR of the control. Default: the plan's.")] = None,
    impressions_per_user: Annotated[float, typer.Option(help="Of one user, on average.")] = 5.0,
    novelty: Annotated[
        float, typer.Option(help="Relative lift of what is new on a user's first day, which fades.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of everything that is drawn by chance.")] = 0,
) -> None:
    """Log the visits of simulated users with a known lift. For trying things out."""
    from clickscape.stages.experiment import read_experiment
    from clickscape.stages.experiment_simulation import audience_of, simulate_experiment
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    audience = audience_of(
        read_experiment(shop, name),
        lifts=dict(_lift(text) for text in lift or ()),
        users_per_day=users_per_day,
        days=days,
        ctr=ctr,
        impressions_per_user=impressions_per_user,
        novelty=novelty,
    )
    manifest = terminal.run_with_progress(simulate_experiment(shop, name, audience, until=until, seed=seed))
    terminal.out.print(f"{manifest.result['days']} days of simulated users")
    terminal.print_output(shop.events_folder, after=f"clickscape experiment read {workspace} {name}")


def _lift(text: str) -> tuple[str, float]:
    """Variant and lift of a text such as new=0.1."""
    variant, found, number = text.partition("=")
    try:
        if not found:
            raise ValueError
        return variant, float(number)
    except ValueError:
        raise ExperimentError(f"--lift {text!r}: expected a variant and its lift, such as new=0.1.") from None


PlatformName = Annotated[Literal["google-ads", "meta"], typer.Option("--platform", help="Who randomizes.")]


@experiment.command(
    "export", epilog="Example: clickscape experiment export my-shop autumn --platform meta --account account.toml"
)
def export(
    workspace: Folder,
    name: Name,
    platform: PlatformName,
    account: Annotated[
        Path,
        typer.Option(help="TOML file with the ids of your account.", show_default=False, callback=existing_file),
    ],
    renditions: Annotated[
        Path, typer.Option(help="Folder of `clickscape export` with the pictures.", callback=existing_folder)
    ] = Path("exports"),
    out: Annotated[Path, typer.Option(help="Folder for the requests.", callback=output_folder)] = Path("requests"),
) -> None:
    """Write the requests that set up an experiment at a platform, for you to send; nothing is sent from here."""
    from clickscape.stages.experiment_platforms import export_requests
    from clickscape.workspace import Workspace

    made = export_requests(
        Workspace.open(workspace),
        name,
        platform=platform,
        account=account,
        renditions=renditions,
        out=out,
        today=datetime.now(UTC).date(),
    )
    terminal.out.print(f"{len(made.files)} request files, {len(made.pictures)} pictures, checked against the schema")
    for note in made.notes:
        terminal.out.print(f"yours: {note}")
    terminal.print_output(
        made.manifest, after=f"clickscape experiment import {workspace} {name} results.csv --platform {platform}"
    )


@experiment.command("import", epilog="Example: clickscape experiment import my-shop autumn results.csv --platform meta")
def import_(
    workspace: Folder,
    name: Name,
    file: Annotated[
        Path,
        typer.Argument(help="CSV or JSON with results by day.", show_default=False, callback=existing_file),
    ],
    platform: PlatformName,
    arm: Annotated[
        list[str] | None, typer.Option(help="What the file calls an arm, as 'NAME=VARIANT'; any number.")
    ] = None,
) -> None:
    """Read a platform's results into counts per variant and day, in place of those of an earlier import."""
    from clickscape.stages.experiment_platforms import import_results
    from clickscape.workspace import Workspace

    arms: dict[str, str] = {}
    for one in arm or ():
        called, sign, variant = one.rpartition("=")
        if not (called and sign and variant):
            raise ExperimentError(f"--arm {one!r}: expected 'NAME=VARIANT', the name in the file first. Correct it.")
        arms[called] = variant
    path, found = import_results(Workspace.open(workspace), name, file, platform=platform, arms=arms)
    days = sorted({one.day for one in found.counts})
    terminal.out.print(f"{len(days)} days from {days[0]} to {days[-1]}, allocation: {found.allocation}")
    for note in found.notes:
        terminal.out.print(f"note: {note}")
    terminal.print_output(path, after=f"clickscape experiment read {workspace} {name}")


@experiment.command("read", epilog="Example: clickscape experiment read my-shop autumn")
def read(
    workspace: Folder,
    name: Name,
    log: Annotated[
        str | None,
        typer.Option(
            help="Log elsewhere: file, folder, glob or database. Default: what `experiment import` read, or the log of "
            "clickscape.toml."
        ),
    ] = None,
    margin: Annotated[
        float, typer.Option(min=0, max=1, help="Relative loss of conversions that a better CTR may cost.")
    ] = 0.1,
    products: Annotated[bool, typer.Option("--products", help="Also the lift of every product.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole reading as JSON.")] = False,
) -> None:
    """Say what an experiment shows today: lifts with intervals that hold on every day, shares, guardrail, decision."""
    from clickscape.files import to_json
    from clickscape.stages.experiment_reading import read_traffic, reading_path
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    config = shop.settings.clicks.changed(source=log) if log is not None else None
    found = terminal.run_with_progress(read_traffic(shop, name, config=config, margin=margin, by_product=products))
    if as_json:
        terminal.out.print(to_json(found))
        return
    for line in found.lines():
        terminal.out.print(terminal.printable(line))
    decided = any(one.decision in ("better", "worse") for one in found.variants)
    after = f"clickscape experiment {'stop' if decided else 'report'} {workspace} {name}"
    terminal.print_output(reading_path(shop, name), after=after)


@experiment.command("fatigue", epilog="Example: clickscape experiment fatigue my-shop --keep 0.8")
def fatigue(
    workspace: Folder,
    horizon: Annotated[int, typer.Option(min=1, max=90, help="Days to look ahead: as long as a new ad takes.")] = 14,
    keep: Annotated[
        float, typer.Option(help="Replace a creative before less than this share of its starting CTR is left.")
    ] = 0.8,
    certainty: Annotated[
        float, typer.Option(help="How sure a warning is, at least; 1 less it is the share of false ones, at most.")
    ] = 0.65,
) -> None:
    """Say which creatives wear out, when, and how sure that is, in time to make new ones; from the workspace's log."""
    from clickscape.stages.fatigue import fatigue as stage
    from clickscape.stages.fatigue import fatigue_path
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    found = terminal.run_with_progress(stage(shop, horizon_days=horizon, keep=keep, certainty=certainty))
    for line in found.lines():
        terminal.out.print(terminal.printable(line))
    terminal.print_output(fatigue_path(shop), after=f"clickscape generate {workspace} --out ads/")


@experiment.command("report", epilog="Example: clickscape experiment report my-shop autumn")
def report(workspace: Folder, name: Name) -> None:
    """Draw the newest reading: a page with the lifts, their course and the shares of traffic, and each plot as SVG."""
    from clickscape.stages.experiment_report import experiment_report
    from clickscape.workspace import Workspace

    made = experiment_report(Workspace.open(workspace), name)
    terminal.print_output(made, after=f"open {made} in a browser; the plots are in {made.parent / 'plots'}")
