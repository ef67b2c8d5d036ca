"""The commands `clickscape experiment …`: start and stop an experiment, and say who sees which variant."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
import typer.core

from clickscape.cli import terminal
from clickscape.cli.arguments import Folder, existing_file
from clickscape.cli.terminal import app

experiment = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Prove with real traffic that ads earn clicks: plan an experiment, start it, read it, report it.",
)
app.add_typer(experiment, name="experiment", epilog="Example: clickscape experiment start my-shop autumn")

Name = Annotated[str, typer.Argument(help="Name of the experiment.", show_default=False)]


@experiment.command("start", epilog="Example: clickscape experiment start my-shop autumn --holdback 0.05")
def start(
    workspace: Folder,
    name: Name,
    variants: Annotated[
        Path | None,
        typer.Option(
            help="CSV, JSON Lines or Parquet with variant, creative_id and, if they are not equal, share. Default: "
            "control is each product's live creative, new its approved one.",
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
    level: Annotated[float, typer.Option(help="Confidence level of all comparisons together.")] = 0.95,
) -> None:
    """Write down what an experiment compares and who sees what, before its first user."""
    from clickscape.stages import experiment as stage
    from clickscape.stages.experiment_tables import rows
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    creatives = shop.some_creatives()
    if variants is None:
        arms = stage.variants_by_status(creatives, share=share, product_ids=products or ())
    else:
        table = list(rows(variants, needed=["variant", "creative_id"], optional=["share"]))
        arms = stage.variants_of_rows(table, creatives=creatives, where=str(variants))
    design = stage.Design(
        control=control, layer=layer, layer_from=layer_from, traffic=traffic, holdback=holdback, level=level
    )
    made = stage.start(shop, name, arms, design=design, now=datetime.now(UTC))
    shares = ", ".join(f"{variant} {part:.1%}" for variant, part in made.shares.items())
    terminal.out.print(f"{len(made.products)} products; users: {shares}; control: {made.control}")
    path = stage.experiment_folder(shop, name) / "experiment.json"
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
        Path | None, typer.Option(help="CSV to write. Default: beside the units, as NAME-variants.csv.")
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
