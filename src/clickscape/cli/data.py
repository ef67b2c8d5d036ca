"""Commands for data: demo, new, ingest, simulate, and clicks, which turns a log into labeled pairs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Literal

import typer
import typer.core

from clickscape.cli import terminal
from clickscape.cli.arguments import AllowRemote, FeedFormat, Folder, SkipBadRows, existing_file, output_file
from clickscape.cli.terminal import app
from clickscape.errors import ClickscapeError


@app.command(epilog="Example: clickscape demo --out demo-workspace")
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the demo's workspace.")] = Path("demo-workspace"),
    world: Annotated[Literal["harmony", "siren"], typer.Option(help="Simulated click world.")] = "harmony",
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of everything that is drawn by chance.")] = 0,
    scale: Annotated[
        Literal["full", "small", "long"],
        typer.Option(help="`small` shows every stage in about a minute; `long` optimizes for as long as a shop would."),
    ] = "full",
    workers: Annotated[int, typer.Option(min=1, max=1_024, help="Processes that draw and train side by side.")] = 2,
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
        Path | None,
        typer.Argument(
            help="Feed of Google, Shopify or Meta, or CSV, JSON Lines, Parquet.",
            show_default=False,
            callback=existing_file,
        ),
    ] = None,
    creatives: Annotated[
        Path | None,
        typer.Option(
            help="In place of a feed: ads of your own, as CSV, JSON Lines or Parquet with product_id and image.",
            callback=existing_file,
        ),
    ] = None,
    feed_format: FeedFormat = None,
    allow_remote: AllowRemote = False,
    skip_bad_rows: SkipBadRows = False,
    workers: Annotated[
        int, typer.Option(min=1, max=1_024, help="Processes that cut out images side by side; 1 is this one.")
    ] = 2,
    matting: Annotated[
        Path | None,
        typer.Option(
            help="ONNX matting model for photos without alpha. Default: clickscape.toml.", callback=existing_file
        ),
    ] = None,
) -> None:
    """Read a catalog, cut out its products, and move both into the workspace; all of it or nothing.

    With --creatives: copy ads of your own for its products, and their clicks, all of them or none.
    """
    if (feed is None) == (creatives is None) or (feed is None and matting is not None):
        raise typer.BadParameter("give either a feed, or --creatives FILE without --matting.")
    from clickscape.catalog.cutout_file import DOUBTFUL, flagged
    from clickscape.stages.ingest import FLAGGED
    from clickscape.stages.ingest import ingest as stage
    from clickscape.stages.load_feed import FeedOptions
    from clickscape.stages.own_ads import ingest_own_ads
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    options = FeedOptions(feed_format, allow_remote, skip_bad_rows)
    if feed is None:
        assert creatives is not None
        ads = terminal.run_with_progress(ingest_own_ads(shop, creatives, workers=workers, options=options))
        for line in ads.lines():
            terminal.out.print(terminal.printable(line))
        logged = shop.counts_path.exists() or any(shop.events_folder.glob("*"))
        first = "" if logged else f"put their clicks into {shop.clicks / 'counts.csv'}, then: "
        terminal.print_output(shop.creatives_path, after=f"{first}clickscape clicks {workspace}")
        return
    configured = shop.settings.ingest.matting
    model = matting or (shop.path / configured if configured else None)
    made = terminal.run_with_progress(stage(shop, feed, workers=workers, options=options, matting=model))
    terminal.out.print(f"{len(made.products)} products")
    for line in made.report.lines():
        terminal.out.print(line)
    doubted = flagged(made.products)
    for flag in dict.fromkeys(flag for one in doubted for flag in one.flags):
        names = [f"{one.product_id} ({one.title})" for one in doubted if flag in one.flags]
        shown = ", ".join(map(terminal.printable, names[:3])) + (", …" if len(names) > 3 else "")
        terminal.out.print(f"{len(names)} flagged {flag}: {shown}")
    if any(DOUBTFUL in one.flags for one in doubted):
        terminal.out.print("`generate` leaves the doubtful ones out; correct them with `clickscape cutout`, or pass "
                           "--keep-doubtful to it")  # fmt: skip
    if doubted:
        terminal.out.print(f"look at their cut-outs, all of which are listed in {workspace / FLAGGED}")
    terminal.print_output(workspace / "catalog", after=f"clickscape generate {workspace} --out ads/")


@app.command(epilog="Example: clickscape cutout mug.jpg --drop 410,220 --keep '80,90 120,300'")
def cutout(
    photo: Annotated[Path, typer.Argument(help="Photo of one product.", show_default=False, callback=existing_file)],
    keep: Annotated[
        list[str] | None,
        typer.Option(help="Point x,y of the product, in pixels; several in quotes are a stroke. Give any number."),
    ] = None,
    drop: Annotated[list[str] | None, typer.Option(help="The same, for what is not the product.")] = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="All of the photo is product, but for what is dropped.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="PNG to write. Default: beside the photo, as NAME-cutout.png.", callback=output_file),
    ] = None,
) -> None:
    """Cut one product out of its photo, corrected by points or strokes; a catalog may name the PNG as its image."""
    from clickscape.catalog.corrected import correct
    from clickscape.catalog.cutout_file import WAY, notes_of, save
    from clickscape.catalog.images import open_image
    from clickscape.errors import ImageError

    file = out or photo.with_name(f"{photo.stem}-cutout.png")
    if file.suffix.lower() != ".png":
        raise ImageError(f"{file}: a cut-out is a PNG, which can be transparent. Choose another --out.")
    if file.exists() and (not file.is_file() or WAY not in notes_of(file)):
        raise ImageError(f"{file} is there and was not made here, so it stays. Choose another --out.")
    kept, dropped = (
        [_stroke(text, option) for text in texts or ()] for texts, option in ((keep, "--keep"), (drop, "--drop"))
    )
    try:
        made = correct(open_image(photo), keep=kept, drop=dropped, whole=whole)
    except ImageError as error:
        raise ImageError(f"{photo}: {error}") from None
    save(made, file)
    if made.doubtful:
        terminal.out.print("doubtful: look at it, and correct it with --keep x,y and --drop x,y, or with --whole")
    terminal.print_output(file, after=f"look at it; a catalog whose image is {file.name} shows it as it is")


def _stroke(text: str, option: str) -> list[tuple[int, int]]:
    """Points (x, y) of a stroke, as in "120,80 140,95"."""
    points = [re.fullmatch(r"(\d{1,6}),(\d{1,6})", word) for word in text.split()]
    if not points or None in points:
        raise ClickscapeError(f"{option} {text!r}: expected a point in pixels such as 120,80, or several in quotes.")
    return [(int(point[1]), int(point[2])) for point in points if point is not None]


@app.command(epilog="Example: clickscape simulate my-shop --world harmony")
def simulate(
    workspace: Folder,
    world: Annotated[
        str | None, typer.Option(help="harmony, siren, or drawn-N for a number N. Default: clickscape.toml.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**63 - 1, help="Default: clickscape.toml.")] = None,
    days: Annotated[int | None, typer.Option(min=1, max=400, help="Days of the log. Default: clickscape.toml.")] = None,
    launch_days: Annotated[
        int | None, typer.Option(min=0, help="Creatives go on air on the first day or so many days later.")
    ] = None,
    fatigue: Annotated[
        float | None,
        typer.Option(min=0, max=2, help="Loss of log CTR per e-fold of a user's exposures to a creative, as in 0.2."),
    ] = None,
    wear_out: Annotated[float | None, typer.Option(min=0, max=2, help="Loss of log CTR per week on air.")] = None,
    drift: Annotated[
        float | None, typer.Option(min=0, max=1, help="Spread of products' drifts, as sd of log CTR per week.")
    ] = None,
    rhythm: Annotated[float | None, typer.Option(min=0, max=1, help="Spread of weekdays, as sd of log CTR.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=1_024, help="Processes that draw side by side.")] = 2,
) -> None:
    """Draw a copywriter's creatives for the catalog and log the clicks of a simulated world. For trying things out."""
    from clickscape.stages.simulate import simulate as stage
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    settings = shop.settings.simulate.changed(
        world=world, seed=seed, days=days, launch_days=launch_days, fatigue=fatigue, wear_out=wear_out, drift=drift,
        rhythm=rhythm,
    )  # fmt: skip
    manifest = terminal.run_with_progress(stage(shop, settings, workers=workers))
    terminal.out.print(
        f"{manifest.result['creatives']} creatives, simulated clicks of the world {manifest.result['world']}"
    )
    terminal.print_output(shop.clicks, after=f"clickscape clicks {workspace}")


@app.command(epilog="Example: clickscape draw my-shop --seed 3")
def draw(
    workspace: Folder,
    seed: Annotated[int | None, typer.Option(min=0, max=2**63 - 1, help="Default: clickscape.toml.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=1_024, help="Processes that draw side by side.")] = 2,
) -> None:
    """Draw a copywriter's creatives for the catalog as `simulate` does, with masks and without clicks.

    For clicks of your own: `[simulate]` in clickscape.toml says how many, and of which size.
    """
    from clickscape.stages.simulate import draw as stage
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    manifest = terminal.run_with_progress(stage(shop, shop.settings.simulate.changed(seed=seed), workers=workers))
    terminal.out.print(f"{manifest.result['creatives']} creatives without clicks; masks are in creatives/masks/")
    terminal.print_output(
        shop.creatives_path,
        after=f"put their clicks into {shop.clicks / 'counts.csv'}, then: clickscape clicks {workspace}",
    )


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
    manifest = terminal.run_with_progress(stage(shop, shop.settings.clicks.changed(source=source, table=table)))
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
