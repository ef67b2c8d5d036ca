"""Commands for data: demo, new, ingest, simulate, and clicks, which turns a log into labeled pairs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer
import typer.core

from clickscape.cli import terminal
from clickscape.cli.arguments import AllowRemote, FeedFormat, Folder, SkipBadRows, existing_file
from clickscape.cli.terminal import app


@app.command(epilog="Example: clickscape demo --out demo-workspace")
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the demo's workspace.")] = Path("demo-workspace"),
    world: Annotated[Literal["harmony", "siren"], typer.Option(help="Simulated click world.")] = "harmony",
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of everything that is drawn by chance.")] = 0,
    scale: Annotated[
        Literal["full", "small", "long"],
        typer.Option(help="`small` shows every stage in about a minute; `long` optimizes for as long as a shop would."),
    ] = "full",
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw and train side by side.")] = 2,
) -> None:
    """Run the whole loop on the sample catalog with simulated clicks and write a report."""
    from clickscape import demo as whole_loop

    made = terminal.run_with_progress(
        whole_loop.demo(out, world=world, seed=seed, scale=whole_loop.SCALES[scale], workers=workers)
    )
    for line in made.summary:
        terminal.out.print(line)
    terminal.print_output(
        made.report, after=f"open {made.report} in a browser, then: clickscape generate {out} --out ads/"
    )


@app.command(epilog="Example: clickscape new my-shop")
def new(
    workspace: Annotated[Path, typer.Argument(help="Folder of the workspace.", show_default=False)],
) -> None:
    """Make an empty workspace with a commented clickscape.toml."""
    from clickscape.workspace import Workspace

    made = Workspace.create(workspace)
    terminal.print_output(made.settings_path, after=f"clickscape ingest {workspace} my-catalog.csv")


@app.command(epilog="Example: clickscape ingest my-shop my-catalog.csv")
def ingest(
    workspace: Folder,
    feed: Annotated[
        Path,
        typer.Argument(
            help="Feed of Google, Shopify or Meta, or CSV, JSON Lines, Parquet.",
            show_default=False,
            callback=existing_file,
        ),
    ],
    feed_format: FeedFormat = None,
    allow_remote: AllowRemote = False,
    skip_bad_rows: SkipBadRows = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes that cut out images side by side; 1 is this one.")] = 2,
    matting: Annotated[
        Path | None,
        typer.Option(
            help="ONNX matting model for photos without alpha. Default: clickscape.toml.", callback=existing_file
        ),
    ] = None,
) -> None:
    """Read a catalog, cut out its products, and move both into the workspace; all of it or nothing."""
    from clickscape.catalog.cutout_file import flagged
    from clickscape.stages.ingest import FLAGGED
    from clickscape.stages.ingest import ingest as stage
    from clickscape.stages.load_feed import FeedOptions
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    configured = shop.settings.ingest.matting
    model = matting or (shop.path / configured if configured else None)
    options = FeedOptions(feed_format, allow_remote, skip_bad_rows)
    made = terminal.run_with_progress(stage(shop, feed, workers=workers, options=options, matting=model))
    terminal.out.print(f"{len(made.products)} products")
    for line in made.report.lines():
        terminal.out.print(line)
    doubted = flagged(made.products)
    for flag in dict.fromkeys(flag for one in doubted for flag in one.flags):
        names = [f"{one.product_id} ({one.title})" for one in doubted if flag in one.flags]
        shown = ", ".join(map(terminal.printable, names[:3])) + (", …" if len(names) > 3 else "")
        terminal.out.print(f"{len(names)} flagged {flag}: {shown}")
    if doubted:
        terminal.out.print(f"look at their cut-outs, all of which are listed in {workspace / FLAGGED}")
    terminal.print_output(workspace / "catalog", after=f"clickscape generate {workspace} --out ads/")


@app.command(epilog="Example: clickscape simulate my-shop --world harmony")
def simulate(
    workspace: Folder,
    world: Annotated[Literal["harmony", "siren"] | None, typer.Option(help="Default: clickscape.toml.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**63 - 1, help="Default: clickscape.toml.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw side by side.")] = 2,
) -> None:
    """Draw a copywriter's creatives for the catalog and log the clicks of a simulated world. For trying things out."""
    from clickscape.stages.simulate import simulate as stage
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    chosen = {key: value for key, value in (("world", world), ("seed", seed)) if value is not None}
    manifest = terminal.run_with_progress(stage(shop, shop.settings.simulate.changed(**chosen), workers=workers))
    terminal.out.print(
        f"{manifest.result['creatives']} creatives, simulated clicks of the world {manifest.result['world']}"
    )
    terminal.print_output(shop.clicks, after=f"clickscape clicks {workspace}")


@app.command(epilog="Example: clickscape clicks my-shop --explain A-17")
def clicks(
    workspace: Folder,
    product: Annotated[
        str | None, typer.Argument(help="With --explain: product to show; else the one with most clicks.")
    ] = None,
    log: Annotated[
        str | None,
        typer.Option(
            help="Log elsewhere: file or glob (.parquet, .csv, .jsonl), or connection URL of a database, in which "
            "${NAME} is a variable that CLICKSCAPE_ALLOWED_ENV lists. Default: clickscape.toml, else the own log."
        ),
    ] = None,
    table: Annotated[str | None, typer.Option(help="Table of the database that --log names.")] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show what was learned of the log, and per pair what was kept and why.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --explain: print one JSON object, of all products unless one is named.")
    ] = False,
) -> None:
    """Turn the click log into a debiased CTR per creative and pairs of creatives."""
    from clickscape.clicks.locations import is_address
    from clickscape.files import to_json
    from clickscape.stages.clicks import clicks as stage
    from clickscape.workspace import Workspace

    if (product is not None or as_json) and not explain:
        raise typer.BadParameter("a product and --json are for --explain only. Add --explain, or leave them out.")
    shop = Workspace.open(workspace)
    source = log if log is None or is_address(log) else str(Path(log).absolute())
    chosen = {key: value for key, value in (("source", source), ("table", table)) if value is not None}
    manifest = terminal.run_with_progress(stage(shop, shop.settings.clicks.changed(**chosen)))
    if explain:
        from clickscape.stages.explain import explain_clicks

        explanation = explain_clicks(shop, manifest, product_id=product, whole=as_json)
        # Escapes of JSON's own, which every terminal can show.
        record = [json.dumps(json.loads(to_json(explanation.as_record())))] if as_json else None
        for line in record or map(terminal.printable, explanation.lines()):
            terminal.out.print(line)
        return
    for line in manifest.result["summary"]:
        terminal.out.print(line)
    terminal.print_output(shop.clicks, after=f"clickscape reward {workspace}")
