"""The command line: the only file that prints. It parses, calls a stage, draws its bar and names the next command.

Errors that the user can mend are one line on stderr and exit code 2.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import typer
import typer.core
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from typer.exceptions import Abort, TyperException

from clickscape.errors import ClickscapeError
from clickscape.stages.progress import Progress, Stage, run

Result = TypeVar("Result")
Folder = Annotated[Path, typer.Argument(help="Folder of the workspace.", show_default=False)]
FeedFormat = Annotated[
    Literal["google-xml", "google-tsv", "shopify", "meta", "jsonl", "csv", "parquet", "json"] | None,
    typer.Option("--format", help="Format of the feed; told from its content unless given."),
]
AllowRemote = Annotated[
    bool,
    typer.Option("--allow-remote", help="Fetch images that the feed links to, from public http(s) addresses only."),
]
SkipBadRows = Annotated[
    bool,
    typer.Option("--skip-bad-rows", help="Leave bad rows out and list each, instead of refusing the feed."),
]

app = typer.Typer(
    help="Turn a product catalog and its click logs into advertising images that people click.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_out = Console(highlight=False, soft_wrap=True)
_err = Console(stderr=True, highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit code 0 when it worked, 2 when the user can mend what went wrong, 130 on Ctrl-C."""
    try:
        code = app(args=(sys.argv[1:] if arguments is None else arguments) or ["--help"], standalone_mode=False)
    except ClickscapeError as error:
        _err.print(f"clickscape: {error}", markup=False)
        sys.exit(2)
    except Abort:
        sys.exit(130)
    except TyperException as error:
        _err.print(f"clickscape: {error.format_message()}", markup=False)
        sys.exit(error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


@app.command(epilog="Example: clickscape demo --out demo-workspace")
def demo(
    out: Annotated[Path, typer.Option(help="Folder of the demo's workspace.")] = Path("demo-workspace"),
    world: Annotated[Literal["harmony", "siren"], typer.Option(help="Simulated click world.")] = "harmony",
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn by chance.")] = 0,
    scale: Annotated[
        Literal["full", "small"], typer.Option(help="`small` shows every stage in about a minute.")
    ] = "full",
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw and train side by side.")] = 2,
) -> None:
    """Run the whole loop on the sample catalog with simulated clicks and write a report."""
    from clickscape import demo as whole_loop

    made = _watch(whole_loop.demo(out, world=world, seed=seed, scale=whole_loop.SCALES[scale], workers=workers))
    for line in made.summary:
        _out.print(line, markup=False)
    _made(made.report, after=f"open {made.report} in a browser, then: clickscape generate {out} --out ads/")


@app.command(epilog="Example: clickscape new my-shop")
def new(workspace: Folder) -> None:
    """Make an empty workspace with a commented clickscape.toml."""
    from clickscape.workspace import Workspace

    made = Workspace.create(workspace)
    _made(made.settings_path, after=f"clickscape ingest {workspace} my-catalog.csv")


@app.command(epilog="Example: clickscape ingest my-shop my-catalog.csv")
def ingest(
    workspace: Folder,
    feed: Annotated[
        Path, typer.Argument(help="Feed of Google, Shopify or Meta, or CSV, JSON Lines, Parquet.", show_default=False)
    ],
    feed_format: FeedFormat = None,
    allow_remote: AllowRemote = False,
    skip_bad_rows: SkipBadRows = False,
    workers: Annotated[int, typer.Option(min=1, help="Processes that cut out images side by side.")] = 2,
    matting: Annotated[
        Path | None, typer.Option(help="ONNX matting model for photos without alpha. Default: clickscape.toml.")
    ] = None,
) -> None:
    """Read a catalog, cut out its products, and move both into the workspace; all of it or nothing."""
    from clickscape.stages.gather import FeedOptions
    from clickscape.stages.ingest import flagged
    from clickscape.stages.ingest import ingest as stage
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    configured = shop.settings.ingest.matting
    model = matting or (shop.path / configured if configured else None)
    options = FeedOptions(feed_format, allow_remote, skip_bad_rows)
    made = _watch(stage(shop, feed, workers=workers, options=options, matting=model))
    _out.print(f"{len(made.products)} products")
    for line in made.report.lines():
        _out.print(line, markup=False)
    for flag, names in flagged(made.products).items():
        shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        _out.print(f"{len(names)} flagged {flag}: {shown}; look at their cut-outs", markup=False)
    _made(workspace / "catalog", after=f"clickscape generate {workspace} --out ads/")


@app.command(epilog="Example: clickscape simulate my-shop --world harmony")
def simulate(
    workspace: Folder,
    world: Annotated[Literal["harmony", "siren"] | None, typer.Option(help="Default: clickscape.toml.")] = None,
    seed: Annotated[int | None, typer.Option(help="Default: clickscape.toml.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw side by side.")] = 2,
) -> None:
    """Draw a copywriter's creatives for the catalog and log the clicks of a simulated world. For trying things out."""
    from clickscape.stages.simulate import simulate as stage
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    chosen = {key: value for key, value in (("world", world), ("seed", seed)) if value is not None}
    manifest = _watch(stage(shop, shop.settings.simulate.model_copy(update=chosen), workers=workers))
    _out.print(f"{manifest.result['creatives']} creatives, simulated clicks of the world {manifest.result['world']}")
    _made(shop.clicks, after=f"clickscape clicks {workspace}")


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
            "${NAME} is read from the environment. Default: clickscape.toml, else the workspace's own log."
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
    from clickscape.clicks.sources import is_address
    from clickscape.stages.clicks import clicks as stage
    from clickscape.stages.explain import explain as explained
    from clickscape.workspace import Workspace
    from clickscape.workspace.files import to_json

    if (product is not None or as_json) and not explain:
        raise typer.BadParameter("a product and --json are for --explain only. Add --explain, or leave them out.")
    shop = Workspace.open(workspace)
    source = log if log is None or is_address(log) else str(Path(log).absolute())
    chosen = {key: value for key, value in (("source", source), ("table", table)) if value is not None}
    manifest = _watch(stage(shop, shop.settings.clicks.model_copy(update=chosen)))
    if explain:
        explanation = explained(shop, manifest, product_id=product, whole=as_json)
        for line in [to_json(explanation.as_record())] if as_json else map(_shown, explanation.lines()):
            _out.print(line, markup=False)
        return
    for line in manifest.result["summary"]:
        _out.print(line, markup=False)
    _made(shop.clicks, after=f"clickscape reward {workspace}")


@app.command(epilog="Example: clickscape pretrain my-shop --steps 500")
def pretrain(
    workspace: Folder,
    steps: Annotated[int, typer.Option(min=1, help="Steps of joint training on the workspace's own creatives.")] = 500,
) -> None:
    """Teach the prompt model this workspace's words and pictures: the four tasks on its own creatives."""
    from clickscape.stages.pretrain import pretrain as stage
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    settings = shop.settings.pretrain.model_copy(update={"joint_steps": steps})
    manifest = _watch(stage(shop, settings))
    _out.print(f"loss {manifest.result['loss']:.3f} nats per answer token")
    _made(shop.models / "pretrained", after=f"clickscape optimize {workspace}")


class _TrainUnlessNamed(typer.core.TyperGroup):
    """`clickscape reward my-shop` trains: whatever names no command of the group goes to `train`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]  # typer's own
        """Put the command's name before arguments that name none."""
        named = args[:1] and args[0] in (*self.commands, *ctx.help_option_names)
        return super().parse_args(ctx, args if named else ["train", *args])


_reward = typer.Typer(
    cls=_TrainUnlessNamed,
    rich_markup_mode=None,
    help="Train a reward model (`clickscape reward WORKSPACE`), or judge one on a list of pairs.",
)
app.add_typer(_reward, name="reward", epilog="Example: clickscape reward my-shop")


@_reward.command("train", epilog="Example: clickscape reward my-shop --form single")
def reward(
    workspace: Folder,
    form: Annotated[Literal["single", "pair"] | None, typer.Option(help="Default: clickscape.toml.")] = None,
    backbone: Annotated[
        str | None,
        typer.Option(help="Folder or hub id of a vision encoder or model that sees. Default: clickscape.toml."),
    ] = None,
) -> None:
    """Train the reward model on the clicks and judge it on held-out products; `train` may be left out."""
    from clickscape.stages.reward import reward as stage
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    given = {"form": form, "backbone": backbone}
    settings = shop.settings.reward.model_copy(update={name: value for name, value in given.items() if value})
    manifest = _watch(stage(shop, settings))
    for line in manifest.result["summary"]:
        _out.print(line, markup=False)
    _made(shop.models / "reward", after=f"clickscape optimize {workspace}")


@_reward.command("evaluate", epilog="Example: clickscape reward evaluate pairs.json --model my-shop/models/reward")
def evaluate(
    pairs: Annotated[Path, typer.Argument(help="JSON list of the paper's code.", show_default=False)],
    model: Annotated[Path, typer.Option(help="Folder of the reward model.")],
    image_dir: Annotated[Path | None, typer.Option(help="Folder of the pictures. Default: the list's own.")] = None,
) -> None:
    """Judge a reward model on a left/right test list (image, left_ctr, right_ctr, target)."""
    from clickscape.stages import leftright as stage

    for line in stage.summary(_watch(stage.evaluate(pairs, model=model, image_dir=image_dir))):
        _out.print(line, markup=False)


@app.command(epilog="Example: clickscape convert --from caig downloaded/ --vision-tower clip/ --out models/prompt")
def convert(
    source: Annotated[Path, typer.Argument(help="Folder of the checkpoint.", show_default=False)],
    vision_tower: Annotated[Path, typer.Option(help="Folder of the CLIP model that it sees with.")],
    out: Annotated[Path, typer.Option(help="Folder to make; an older checkpoint there is replaced.")],
    layout: Annotated[Literal["caig"], typer.Option("--from", help="Whose layout it is.")] = "caig",
) -> None:
    """Make a Hugging Face folder of a checkpoint of the paper's code: its prompt model, or its reward model."""
    from clickscape.stages.convert import convert as stage

    made = _watch(stage(source, vision_tower=vision_tower, out=out))
    _out.print(f"{layout} {made.kind} model, {made.tensors} tensors")
    opened = f'clickscape.vlm.load("{out}")' if made.kind == "prompt" else ""
    _made(out, after=opened or f"clickscape reward evaluate pairs.json --model {out}")


@app.command(epilog="Example: clickscape optimize my-shop --objective product_centric")
def optimize(
    workspace: Folder,
    objective: Annotated[
        Literal["product_centric", "preference_only"] | None, typer.Option(help="Default: clickscape.toml.")
    ] = None,
) -> None:
    """Teach the prompt model what the reward model prefers, product by product (PCPO)."""
    from clickscape.stages.optimize import optimize as stage
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    settings = shop.settings.optimize.model_copy(update={"objective": objective} if objective else {})
    _watch(stage(shop, settings))
    _made(shop.models / "prompt", after=f"clickscape generate {workspace} --out ads/")


@app.command(epilog="Example: clickscape generate --catalog my.csv --out ads/")
def generate(
    workspace: Annotated[Path | None, typer.Argument(help="Workspace; or give --catalog.", show_default=False)] = None,
    catalog: Annotated[Path | None, typer.Option(help="Catalog file, with nothing but the shipped model.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the images.")] = Path("ads"),
    size: Annotated[int | None, typer.Option(min=64, max=4096, help="Pixels of the square image.")] = None,
    keep: Annotated[int | None, typer.Option(min=1, help="Creatives kept per product.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the descriptions and the images.")] = None,
    renderer: Annotated[
        Literal["studio", "diffusion"] | None,
        typer.Option(help="What draws; diffusion has its section in clickscape.toml. Default: clickscape.toml."),
    ] = None,
    feed_format: FeedFormat = None,
    allow_remote: AllowRemote = False,
    skip_bad_rows: SkipBadRows = False,
    matting: Annotated[Path | None, typer.Option(help="ONNX matting model for photos without alpha.")] = None,
) -> None:
    """Write descriptions, draw them, and keep the best creatives per product that pass the fidelity gate."""
    from clickscape.stages import generate as stage
    from clickscape.stages.gather import FeedOptions

    given = {"size": size, "keep": keep, "seed": seed, "renderer": renderer}
    chosen = {key: value for key, value in given.items() if value is not None}
    options = FeedOptions(feed_format, allow_remote, skip_bad_rows)
    made = _watch(
        stage.generate(
            workspace=workspace, catalog=catalog, out=out, overrides=chosen, options=options, matting=matting
        )
    )
    for line in made.lines:
        _out.print(line, markup=False)
    then = "" if workspace is None else f", then: clickscape review {workspace} --approve-all"
    _made(out, after=f"open {out / 'index.html'} in a browser{then}")


@app.command(epilog="Example: clickscape review my-shop --approve A-17-1 --reject A-17-2")
def review(
    workspace: Folder,
    approve: Annotated[list[str] | None, typer.Option(help="Id of a creative that may be shown.")] = None,
    reject: Annotated[list[str] | None, typer.Option(help="Id of a creative that may not.")] = None,
    approve_all: Annotated[bool, typer.Option("--approve-all", help="Approve every draft.")] = False,
) -> None:
    """List the creatives with their status, after changing it as asked; all changes or none."""
    from clickscape.stages.review import review as stage
    from clickscape.stages.stale import stale
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    creatives = stage(shop, approve=approve or (), reject=reject or (), approve_all=approve_all)
    old = stale(creatives, {product.product_id: product for product in shop.products()})
    for creative in creatives:
        status = f"{creative.status}{', stale' if creative.creative_id in old else ''}"
        _out.print(f"{status:<15} {_shown(creative.creative_id)}  {_shown(creative.description)}", markup=False)
    _made(
        shop.creatives_path, after=f"clickscape export {workspace} --placement 'meta-*' --approved-only --out exports/"
    )


@app.command(epilog="Example: clickscape refresh my-shop")
def refresh(workspace: Folder) -> None:
    """Draw the creatives anew whose product has another picture or other words since; the old ones are retired."""
    from clickscape.stages.stale import refresh as stage
    from clickscape.workspace import Workspace

    shop = Workspace.open(workspace)
    for line in _watch(stage(shop)).lines:
        _out.print(line, markup=False)
    _made(shop.creatives_path, after=f"clickscape review {workspace} --approve-all")


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
        _out.print(f"{one.name:<26} {limits}{text}, free edges {free}", markup=False)
        _out.print(f"{'':<26} {one.checked}: {one.source}", markup=False)


@app.command(epilog="Example: clickscape export my-shop --placement meta-feed --approved-only --out exports/")
def export(
    workspace: Folder,
    placement: Annotated[list[str], typer.Option(help="Name or glob of a placement; may be given several times.")],
    out: Annotated[Path, typer.Option(help="Folder for the files, the manifest and the feeds.")] = Path("exports"),
    base_url: Annotated[
        str | None, typer.Option(help="Address of that folder on the web; without it no feeds are written.")
    ] = None,
    approved_only: Annotated[bool, typer.Option("--approved-only", help="Approved and live ones, no drafts.")] = False,
    tagline: Annotated[str, typer.Option(help="Line set over every picture, where the placement allows text.")] = "",
    badge: Annotated[str, typer.Option(help="A few words in a pill, such as 'New'.")] = "",
    font: Annotated[Path | None, typer.Option(help="Font file with letters that the own font lacks.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw side by side.")] = 2,
) -> None:
    """Draw every creative anew for every placement, within its safe zone and bytes, with feeds that point there."""
    from clickscape.stages.export import export as stage
    from clickscape.stages.rendition import Words
    from clickscape.workspace import Workspace

    made = _watch(
        stage(
            Workspace.open(workspace),
            placements=placement,
            out=out,
            base_url=base_url,
            approved_only=approved_only,
            words=Words(tagline, badge, font),
            workers=workers,
        )
    )
    for line in made.summary:
        _out.print(line, markup=False)
    _made(out / "manifest.json", after=f"clickscape inspect {out}/*/*")


@app.command(epilog="Example: clickscape score my-shop --product A-17 ad-1.png ad-2.png")
def score(
    workspace: Folder,
    images: Annotated[list[Path], typer.Argument(help="Images of one product.", show_default=False)],
    product: Annotated[str, typer.Option(help="Id of the product that the images advertise.")],
) -> None:
    """Rank images of one product by the reward model, best first."""
    from clickscape.stages.score import score as stage
    from clickscape.workspace import Workspace

    for place, (path, ranked) in enumerate(stage(Workspace.open(workspace), product, images), start=1):
        value = ranked.score
        note = "  (not enough evidence that it beats the next)" if ranked.ahead is False else ""
        _out.print(f"{place:3d}  {value.value:+.2f} [{value.low:+.2f}, {value.high:+.2f}]  {path}{note}", markup=False)


@app.command(epilog="Example: clickscape explain my-shop --creative A-17-1")
def explain(
    workspace: Folder,
    creative: Annotated[str | None, typer.Option(help="Id of a creative: heat map and phrases.")] = None,
    elements: Annotated[
        bool, typer.Option("--elements", help="What each element of the scenes earns across the whole log.")
    ] = False,
    category: Annotated[str | None, typer.Option(help="With --elements: within one department of the catalog.")] = None,
) -> None:
    """Show why a creative is liked, place by place and phrase by phrase; or which elements earn clicks."""
    from clickscape.workspace import Workspace

    if (creative is None) == (not elements) or (category is not None and not elements):
        raise typer.BadParameter("give either --creative ID, or --elements with or without --category NAME.")
    shop = Workspace.open(workspace)
    if creative is None:
        from clickscape.stages.elements import explain_elements

        found = explain_elements(shop, category=category)
        for line in found.lines():
            _out.print(_shown(line), markup=False)
        _made(found.table, after=f"clickscape generate {workspace} --out ads/")
        return
    from clickscape.stages.explanations import explain_creative

    made = _watch(explain_creative(shop, creative))
    for line in made.lines():
        _out.print(_shown(line), markup=False)
    _made(made.picture, after=f"clickscape explain {workspace} --elements")


@app.command(epilog="Example: clickscape inspect ads/A-17-1.png")
def inspect(files: Annotated[list[Path], typer.Argument(help="JPEG, PNG or WebP files.", show_default=False)]) -> None:
    """Print which creative a picture is, what made it, and whether it was altered since.

    Exit code 0: every file is ours and unaltered. 1: one was altered, or holds no provenance of clickscape. 2: one is
    unreadable.
    """
    from clickscape.stages.inspect import inspect as stage

    code = 0
    for path in files:
        try:
            found = stage(path)
        except ClickscapeError as error:
            _err.print(f"clickscape: {error}", markup=False)
            code = 2
            continue
        if found is None:
            _out.print(
                f"{path}: no provenance of clickscape: made elsewhere, or its metadata was removed", markup=False
            )
        else:
            state = "ALTERED since clickscape wrote it" if found.altered else "unaltered"
            _out.print(f"{path}: {found.format}, {state}", markup=False)
            for key, value in asdict(found.provenance).items():
                if value not in (None, ""):
                    _out.print(f"  {key:<12} {_shown(str(value))}", markup=False)
        if found is None or found.altered:
            code = max(code, 1)
    raise typer.Exit(code)


@app.command(epilog="Example: clickscape report my-shop")
def report(workspace: Folder) -> None:
    """Gather what the finished stages measured into one self-contained report.html."""
    from clickscape.stages.report import report as stage
    from clickscape.workspace import Workspace

    _made(stage(Workspace.open(workspace)), after=f"clickscape generate {workspace} --out ads/")


def _shown(text: str) -> str:
    """Text of a file that nobody vouches for: at most 500 characters, and none that a terminal would obey."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text[:500])


def _made(path: Path, *, after: str) -> None:
    _out.print(f"made {path}", markup=False)
    _out.print(f"next: {after}", markup=False)


def _watch(stage: Stage[Result]) -> Result:
    """Run a stage with a bar per stage name on a terminal, and with plain lines elsewhere."""
    if not _err.is_terminal:
        return run(stage, on_progress=_plain_lines())
    columns = (TextColumn("{task.description:>12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, TextColumn("{task.fields[note]}"), console=_err) as bars:
        tasks: dict[str, TaskID] = {}

        def draw(progress: Progress) -> None:
            if progress.stage not in tasks:
                tasks[progress.stage] = bars.add_task(progress.stage, total=progress.total, note=progress.note)
            bars.update(tasks[progress.stage], completed=progress.done, total=progress.total, note=progress.note)

        return run(stage, on_progress=draw)


def _plain_lines() -> Callable[[Progress], None]:
    """A listener that prints a line per stage and tenth of it."""
    told: dict[str, int] = {}

    def tell(progress: Progress) -> None:
        tenth = 10 * progress.done // max(progress.total, 1)
        if told.get(progress.stage) != tenth:
            told[progress.stage] = tenth
            note = f"  {progress.note}" if progress.note else ""
            _err.print(f"{progress.stage}: {progress.done} of {progress.total}{note}", markup=False)

    return tell


if __name__ == "__main__":
    main()
