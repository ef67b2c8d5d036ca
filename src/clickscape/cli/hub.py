"""Commands that make things for others: a dataset folder, and uploads to a Hugging Face hub, only when asked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
import typer.core

from clickscape.cli import terminal
from clickscape.cli.arguments import Folder, existing_folder, output_folder
from clickscape.cli.terminal import app

dataset = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Make a dataset of a workspace for others.")
app.add_typer(dataset, name="dataset", epilog="Example: clickscape dataset export my-shop --out ads-and-clicks")


@dataset.command("export", epilog="Example: clickscape dataset export my-shop --out ads-and-clicks")
def export(
    workspace: Folder,
    out: Annotated[Path, typer.Option(help="Folder for the dataset.", callback=output_folder, show_default=False)],
    license_id: Annotated[
        str | None, typer.Option("--license", help="What others may do, as the hub writes it: cc-by-4.0.")
    ] = None,
) -> None:
    """Write products, creatives and counts as Parquet with pictures, a data card and Croissant metadata.

    Simulated worlds come with their true CTRs. Users, times and devices of the log are left out.
    """
    from clickscape.stages.dataset import export as stage
    from clickscape.workspace import Workspace

    made = terminal.run_with_progress(stage(Workspace.open(workspace), out, license_id=license_id))
    for table, parts in made.rows.items():
        terminal.out.print(f"{table}: {parts['train']:,} rows in train, {parts['test']:,} in test")
    what = f"simulated clicks of {made.world}, with true CTRs" if made.world else "real clicks: your shop's own figures"
    terminal.out.print(f"{what}. Look through it before you pass it on.")
    terminal.print_output(out, after=f"clickscape push {out} YOU/NAME --dry-run")


@app.command(epilog="Example: clickscape push my-shop/models/reward YOU/my-reward --dry-run")
def push(
    folder: Annotated[
        Path,
        typer.Argument(help="Model or dataset folder.", show_default=False, callback=existing_folder),
    ],
    repository: Annotated[str, typer.Argument(help="Repository on the hub, as in YOU/NAME.", show_default=False)],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, and list what would go, without a network.")
    ] = False,
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public. Default: private.")] = False,
) -> None:
    """Upload a model or dataset folder to the Hugging Face hub, or to the one that HF_ENDPOINT names."""
    from clickscape.stages.push import plan, upload

    planned = plan(folder, repository)
    for line in planned.lines():
        terminal.out.print(line)
    if dry_run:
        terminal.out.print("dry run: nothing was sent")
        return
    address = upload(planned, private=not public)
    terminal.out.print(f"pushed {address}")
