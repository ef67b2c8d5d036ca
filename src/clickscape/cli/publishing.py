"""Commands about creatives: drawing, reviewing, exporting, scoring, explaining and inspecting them, and the report."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import typer.core

from clickscape.cli import terminal
from clickscape.cli.arguments import (
    AllowRemote,
    DrawingWorkers,
    FeedFormat,
    Folder,
    SkipBadRows,
    existing_file,
    existing_workspace,
    known_placements,
    output_folder,
)
from clickscape.cli.terminal import app
from clickscape.errors import ClickscapeError, RenderError


@app.command(epilog="Example: clickscape generate --catalog my.csv --out ads/")
def generate(
    workspace: Annotated[
        Path | None,
        typer.Argument(help="Workspace; or give --catalog.", show_default=False, callback=existing_workspace),
    ] = None,
    catalog: Annotated[
        Path | None, typer.Option(help="Catalog file, with nothing but the shipped model.", callback=existing_file)
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the images.", callback=output_folder)] = Path("ads"),
    size: Annotated[int | None, typer.Option(min=64, max=4096, help="Pixels of the square image.")] = None,
    keep: Annotated[int | None, typer.Option(min=1, help="Creatives kept per product.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**63 - 1, help="Seed of the descriptions and the images.")
    ] = None,
    renderer: Annotated[
        Literal["studio", "diffusion"] | None,
        typer.Option(help="What draws; diffusion has its section in clickscape.toml. Default: clickscape.toml."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "--writer", help="Prompt model: checkpoint folder, or server such as http://localhost:8000/v1."
        ),
    ] = None,
    server_model: Annotated[
        str | None, typer.Option("--server-model", "--writer-model", help="Name of the model on that server.")
    ] = None,
    photographs: Annotated[
        Literal["auto", "backdrop", "scenes"] | None,
        typer.Option(
            help="What photos without transparency become: ads on their own backdrop, or scenes around a "
            "cut-out. Default: clickscape.toml."
        ),
    ] = None,
    feed_format: FeedFormat = None,
    allow_remote: AllowRemote = False,
    skip_bad_rows: SkipBadRows = False,
    matting: Annotated[
        Path | None, typer.Option(help="ONNX matting model for photos without alpha.", callback=existing_file)
    ] = None,
    brand: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with a section [brand]. Default: that of clickscape.toml.", callback=existing_file
        ),
    ] = None,
    audience: Annotated[
        str,
        typer.Option(
            help="Audience that the log names: ads are chosen for it, and the rules of [brand.audience.NAME] hold."
        ),
    ] = "",
    placement: Annotated[str, typer.Option(help="Placement whose rules hold, as [brand.placement.NAME].")] = "",
    workers: DrawingWorkers = 2,
    keep_doubtful: Annotated[
        bool, typer.Option("--keep-doubtful", help="Draw products whose cut-out is doubtful, too.")
    ] = False,
) -> None:
    """Write descriptions, draw them, and keep the best creatives per product that pass the fidelity gate."""
    from clickscape.stages.load_feed import FeedOptions, check_source

    options = FeedOptions(feed_format, allow_remote, skip_bad_rows)
    check_source(workspace, catalog, options=options, matting=matting)
    from clickscape.stages.generate import generate as stage
    from clickscape.stages.generate_block import BrandOptions

    overrides = {"size": size, "keep": keep, "seed": seed, "renderer": renderer, "model": model}
    overrides |= {"server_model": server_model, "photographs": photographs}
    made = terminal.run_with_progress(
        stage(
            workspace=workspace,
            catalog=catalog,
            out=out,
            overrides=overrides,
            options=options,
            matting=matting,
            brand_options=BrandOptions(brand, audience, placement),
            workers=workers,
            keep_doubtful=keep_doubtful,
        )
    )
    for line in made.lines:
        terminal.out.print(terminal.printable(line))
    if not made.images:
        raise RenderError(f"{out}: no image was made; the lines above say why. Change the rules or the writer.")
    then = "" if workspace is None else f", then: clickscape review {workspace} --approve-all"
    _refuse_silence(made.failed, what="products were not drawn")
    terminal.print_output(out, after=f"open {out / 'index.html'} in a browser{then}")


@app.command(epilog="Example: clickscape draw my-shop mug-navy 'oak table, morning light, a sprig of mint'")
def draw(
    workspace: Folder,
    product_id: Annotated[str, typer.Argument(help="Product of the catalog.", show_default=False)],
    descriptions: Annotated[list[str], typer.Argument(help="What its ads show, one each.", show_default=False)],
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Another one draws another picture.")] = 0,
) -> None:
    """Draw ads of a product by descriptions of your own, as drafts."""
    from clickscape.stages.draw import draw as stage
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    made = terminal.run_with_progress(stage(shop, product_id, descriptions, seed=seed))
    for line in made.refused:
        terminal.out.print(f"left out: {terminal.printable(line)}")
    if not made.creatives:
        raise ClickscapeError("no picture passed the fidelity gate. Describe other scenes.")
    for one in made.creatives:
        terminal.out.print(one.image)
    terminal.print_output(shop.creatives_path, after=f"clickscape review {workspace}")


@app.command(epilog="Example: clickscape review my-shop --approve A-17-1 --reject A-17-2")
def review(
    workspace: Folder,
    approve: Annotated[list[str] | None, typer.Option(help="Id of a creative that may be shown.")] = None,
    reject: Annotated[list[str] | None, typer.Option(help="Id of a creative that may not.")] = None,
    retire: Annotated[list[str] | None, typer.Option(help="Id of one that is shown and shall be no longer.")] = None,
    approve_all: Annotated[
        bool, typer.Option("--approve-all", help="Approve every draft that `generate` or `refresh` drew.")
    ] = False,
) -> None:
    """List the creatives with their status, after changing it as asked; all changes or none."""
    from clickscape.catalog.publishable import SIMULATED, stale
    from clickscape.stages.review import review as stage
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    creatives = stage(shop, approve=approve or (), reject=reject or (), retire=retire or (), approve_all=approve_all)
    old = stale(creatives, {product.product_id: product for product in shop.products()})
    for creative in creatives:
        mark = ", simulated" if creative.is_simulated else ", stale" if creative.creative_id in old else ""
        status = f"{creative.status}{mark}"
        terminal.out.print(
            f"{status:<16} {terminal.printable(creative.creative_id)}  {terminal.printable(creative.description)}",
        )
    if simulated := sum(creative.is_simulated for creative in creatives):
        terminal.out.print(f"{simulated} creatives are never approved or exported, {SIMULATED}")
    terminal.print_output(
        shop.creatives_path, after=f"clickscape export {workspace} --placement 'meta-*' --approved-only --out exports/"
    )


@app.command(epilog="Example: clickscape refresh my-shop")
def refresh(
    workspace: Folder,
    workers: DrawingWorkers = 1,
) -> None:
    """Draw the creatives anew whose product has another picture or other words since; the old ones are retired."""
    from clickscape.stages.refresh import refresh as stage
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    for line in terminal.run_with_progress(stage(shop, workers=workers)).lines:
        terminal.out.print(line)
    terminal.print_output(shop.creatives_path, after=f"clickscape review {workspace} --approve-all")


@app.command(epilog="Example: clickscape placements 'google-display-*'")
def placements(
    names: Annotated[list[str] | None, typer.Argument(help="Names or globs; all when none is given.")] = None,
) -> None:
    """List the places to export for: size, byte limit, formats, safe zone, and the page that says so."""
    from clickscape.render import placements as places

    for one in places.find(*(names or ["*"])):
        edges = (one.margins.top, one.margins.right, one.margins.bottom, one.margins.left)
        free = " ".join(f"{share:.0%}" for share in edges)
        limits = f"{one.width} x {one.height}, {one.max_bytes:,} bytes, {', '.join(one.formats)}"
        text = "" if one.allows_text else ", no text"
        terminal.out.print(f"{one.name:<26} {limits}{text}, free edges {free}")
        terminal.out.print(f"{'':<26} {one.checked}: {one.source}")


@app.command(epilog="Example: clickscape export my-shop --placement meta-feed --approved-only --out exports/")
def export(
    workspace: Folder,
    placement: Annotated[
        list[str],
        typer.Option(help="Name or glob of a placement; may be given several times.", callback=known_placements),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for the files, the manifest and the feeds.", callback=output_folder)
    ] = Path("exports"),
    base_url: Annotated[
        str | None, typer.Option(help="Address of that folder on the web; without it no feeds are written.")
    ] = None,
    approved_only: Annotated[bool, typer.Option("--approved-only", help="Approved and live ones, no drafts.")] = False,
    tagline: Annotated[str, typer.Option(help="Line set over every picture, where the placement allows text.")] = "",
    badge: Annotated[str, typer.Option(help="A few words in a pill, such as 'New'.")] = "",
    font: Annotated[
        Path | None, typer.Option(help="Font file with letters that the own font lacks.", callback=existing_file)
    ] = None,
    workers: DrawingWorkers = 2,
) -> None:
    """Draw every creative anew for every placement, within its safe zone and bytes, with feeds that point there."""
    from clickscape.generation.rendition import OverlayText
    from clickscape.stages.export import export as stage
    from clickscape.workspace import Workspace

    made = terminal.run_with_progress(
        stage(
            Workspace.open(workspace),
            placements=placement,
            out=out,
            base_url=base_url,
            approved_only=approved_only,
            text=OverlayText(tagline, badge, font),
            workers=workers,
        )
    )
    for line in made.lines():
        terminal.out.print(line)
    if not made.files:
        raise RenderError(f"{out}: no file was exported; the lines above say why. Approve or draw other creatives.")
    _refuse_silence(made.failed, what="renditions were not made")
    terminal.print_output(out / "manifest.json", after=f"clickscape inspect {out}/*/*")


def _refuse_silence(failed: Sequence[str], *, what: str) -> None:
    """ClickscapeError where a part of the work could not be done: whoever reads exit codes must know."""
    if failed:
        raise ClickscapeError(
            f"{len(failed)} {what}; the lines above say why. Run the command again to try them again."
        )


@app.command(epilog="Example: clickscape score my-shop --product A-17 ad-1.png ad-2.png")
def score(
    workspace: Folder,
    images: Annotated[
        list[Path] | None, typer.Argument(help="Images of one product.", show_default=False, callback=existing_file)
    ] = None,
    product: Annotated[str | None, typer.Option(help="Id of the product that the images advertise.")] = None,
    jsonl: Annotated[
        bool,
        typer.Option(
            "--jsonl", help="Read JSON lines from stdin, a product and its images each, and answer each on stdout."
        ),
    ] = False,
    workers: Annotated[
        int,
        typer.Option(min=0, max=1_024, help="With --jsonl: processes that read ahead; 0: this one, which does not."),
    ] = 0,
) -> None:
    """Rank images of one product by the reward model, best first; or those of many, as JSON lines in and out."""
    from clickscape.stages import score as stage
    from clickscape.workspace import Workspace

    if jsonl == bool(images) or jsonl == (product is not None):
        raise typer.BadParameter("give --product ID and images, or --jsonl and lines on stdin.")
    shop = Workspace.open(workspace)
    if jsonl:
        _score_lines(stage.score_lines(shop, sys.stdin.buffer, workers=workers))
        return
    for place, (path, ranked) in enumerate(stage.score(shop, product or "", images or []), start=1):
        value = ranked.score
        note = "  (not enough evidence that it beats the next)" if ranked.ahead is False else ""
        terminal.out.print(f"{place:3d}  {value.value:+.2f} [{value.low:+.2f}, {value.high:+.2f}]  {path}{note}")


def _score_lines(answers: Iterator[dict[str, Any]]) -> None:
    """Print every answer at once; ClickscapeError at the end where a line was not scored."""
    count, failed = 0, 0
    for answer in answers:
        count, failed = count + 1, failed + ("error" in answer)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()  # whoever reads waits for it
    if failed:
        raise ClickscapeError(f"{failed} of {count} lines were not scored. Their `error` on stdout says why.")


@app.command(epilog="Example: clickscape explain my-shop --creative A-17-1")
def explain(
    workspace: Folder,
    creative: Annotated[str | None, typer.Option(help="Id of a creative: heat map and phrases.")] = None,
    elements: Annotated[
        bool, typer.Option("--elements", help="Which elements of the scenes go with more clicks, across the whole log.")
    ] = False,
    category: Annotated[str | None, typer.Option(help="With --elements: within one department of the catalog.")] = None,
) -> None:
    """Show why a creative is liked, place by place and phrase by phrase; or which elements go with more clicks."""
    from clickscape.workspace import Workspace

    if (creative is None) == (not elements) or (category is not None and not elements):
        raise typer.BadParameter("give either --creative ID, or --elements with or without --category NAME.")
    shop = Workspace.open(workspace)
    if creative is None:
        from clickscape.stages.explain import explain_elements

        found = explain_elements(shop, category=category)
        for line in found.lines:
            terminal.out.print(terminal.printable(line))
        terminal.print_output(found.table, after=f"clickscape generate {workspace} --out ads/")
        return
    from clickscape.stages.explain import explain_creative

    made = terminal.run_with_progress(explain_creative(shop, creative))
    for line in made.lines():
        terminal.out.print(terminal.printable(line))
    terminal.print_output(made.picture, after=f"clickscape explain {workspace} --elements")


@app.command(epilog="Example: clickscape inspect ads/A-17-1.png")
def inspect(
    files: Annotated[
        list[Path], typer.Argument(help="JPEG, PNG or WebP files; or what is approved.", show_default=False)
    ],
    delivered: Annotated[
        Path | None,
        typer.Option(
            help="Picture from a platform, compared with FILES: approved pictures, folders of `clickscape export`, "
            "or a workspace.",
            callback=existing_file,
        ),
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(
            help="PEM file of trusted issuers' certificates: every file has to be signed by whom they vouch for.",
            callback=existing_file,
        ),
    ] = None,
) -> None:
    """Print which creative a picture is, what made it, whether it was altered since, and who signed it.

    Exit code 0: every file is ours and unaltered, and its signature holds if it has one. 1: one is not. 2: one is
    unreadable. With --delivered, 0: it is still an approved picture, at most resized and encoded again. 1: it is not.
    """
    if delivered is not None:
        from clickscape.stages.delivered import inspect_delivered

        result = inspect_delivered(delivered, files)
        terminal.out.print(f"{delivered}: {terminal.printable(result.lines()[0])}")
        for line in result.lines()[1:]:
            terminal.out.print(f"  {terminal.printable(line)}")
        raise typer.Exit(0 if result.approved else 1)
    from clickscape.render.c2pa_reading import read_anchors
    from clickscape.stages.inspect import inspect as stage

    code, anchors = 0, "" if trust is None else read_anchors(trust)
    for path in files:
        try:
            found = stage(path, anchors=anchors)
        except ClickscapeError as error:
            terminal.err.print(f"clickscape: {error}")
            code = 2
            continue
        first, *more = map(terminal.printable, found.lines())
        terminal.out.print(f"{path}: {first}")
        for line in more:
            terminal.out.print(line)
        if not found.is_original or (trust is not None and not found.is_trusted):
            code = max(code, 1)
    raise typer.Exit(code)


@app.command(epilog="Example: clickscape report my-shop")
def report(
    workspace: Folder,
    trackio: Annotated[
        bool, typer.Option("--trackio", help="Write the manifests and steps of all finished runs into trackio, too.")
    ] = False,
) -> None:
    """Gather what the finished stages measured into one self-contained report.html."""
    from clickscape.stages.report import report as stage
    from clickscape.stages.tracking import all_to_trackio
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    if trackio:
        runs = all_to_trackio(shop)
        terminal.out.print(f"{len(runs)} runs are in trackio: trackio show --project {shop.path.name}")
    terminal.print_output(stage(shop), after=f"clickscape generate {workspace} --out ads/")
