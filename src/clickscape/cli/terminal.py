"""What every command shares: the app, its two consoles, the arguments that several take, and the bar of a stage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import typer
import typer.core
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

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
out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def shown(text: str) -> str:
    """Text of a file that nobody vouches for: at most 500 characters, and none that a terminal would obey."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text[:500])


def made(path: Path, *, after: str) -> None:
    out.print(f"made {path}", markup=False)
    out.print(f"next: {after}", markup=False)


def watch(stage: Stage[Result]) -> Result:
    """Run a stage with a bar per stage name on a terminal, and with plain lines elsewhere."""
    if not err.is_terminal:
        return run(stage, on_progress=_plain_lines())
    columns = (TextColumn("{task.description:>12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, TextColumn("{task.fields[note]}", markup=False), console=err) as bars:
        tasks: dict[str, TaskID] = {}

        def draw(progress: Progress) -> None:
            if progress.stage not in tasks:
                tasks[progress.stage] = bars.add_task(progress.stage, total=progress.total, note="")
            note = shown(progress.note)
            bars.update(tasks[progress.stage], completed=progress.done, total=progress.total, note=note)

        return run(stage, on_progress=draw)


def _plain_lines() -> Callable[[Progress], None]:
    """A listener that prints a line per stage and tenth of it."""
    told: dict[str, int] = {}

    def show_progress(progress: Progress) -> None:
        tenth = 10 * progress.done // max(progress.total, 1)
        if told.get(progress.stage) != tenth:
            told[progress.stage] = tenth
            note = f"  {shown(progress.note)}" if progress.note else ""
            err.print(f"{progress.stage}: {progress.done} of {progress.total}{note}", markup=False)

    return show_progress
