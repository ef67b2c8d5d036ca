"""What every command shares: the app, its two consoles, and the bar of a stage."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
import typer.core
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from clickscape import __version__, errors
from clickscape.stages.progress import Progress, Stage, run

Result = TypeVar("Result")
_HALF = 900  # letters of a message that is cut in two: what came stands first, what to do last
app = typer.Typer(
    help="Turn a product catalog and its click logs into advertising images that people click. "
    "With --debug, an error shows where in the code it arose.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class PlainConsole(Console):
    """A console that obeys no text: control characters are escaped, and brackets are no markup; a message is short."""

    def print(self, *parts: Any, **options: Any) -> None:
        """Print texts, and what rich draws, as they are; of a very long message on stderr the beginning and the end."""
        escaped = (errors.printable(part) if isinstance(part, str) else part for part in parts)
        if self.stderr:
            escaped = (_shorten(part) if isinstance(part, str) else part for part in escaped)
        super().print(*escaped, **{**options, "markup": False})


out = PlainConsole(highlight=False, soft_wrap=True)
err = PlainConsole(stderr=True, highlight=False, soft_wrap=True)


def _print_version(asked: bool) -> None:
    if asked:
        out.print(f"clickscape {__version__}")
        raise typer.Exit


@app.callback()
def _options_of_all(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Nothing: what all commands share is only options."""


def _shorten(text: str) -> str:
    return text if len(text) <= 2 * _HALF else f"{text[:_HALF]} ... {text[-_HALF:]}"


def escape_missing_letters() -> None:
    """Make the two streams print a letter that they cannot encode as its escape, instead of raising after the work."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def printable(text: str) -> str:
    """Return untrusted text for a terminal: at most 500 characters, control characters escaped."""
    return errors.printable(text[:500])


def print_output(path: Path, *, after: str) -> None:
    """Print the path that a command wrote and the command to run next."""
    out.print(f"made {path}")
    out.print(f"next: {after}")


def run_with_progress(stage: Stage[Result]) -> Result:
    """Run a stage with a progress bar on a terminal, and with plain lines elsewhere; return its result."""
    if not err.is_terminal:
        return run(stage, on_progress=_plain_lines())
    columns = (TextColumn("{task.description:>12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, TextColumn("{task.fields[note]}", markup=False), console=err) as bars:
        tasks: dict[str, TaskID] = {}

        def draw(progress: Progress) -> None:
            if progress.stage not in tasks:
                tasks[progress.stage] = bars.add_task(progress.stage, total=progress.total, note="")
            note = printable(progress.note)
            bars.update(tasks[progress.stage], completed=progress.done, total=progress.total, note=note)

        return run(stage, on_progress=draw)


def _plain_lines() -> Callable[[Progress], None]:
    """Return a listener that prints a line for every tenth of a stage."""
    printed: dict[str, int] = {}

    def show_progress(progress: Progress) -> None:
        tenth = 10 * progress.done // max(progress.total, 1)
        if printed.get(progress.stage) != tenth:
            printed[progress.stage] = tenth
            note = f"  {printable(progress.note)}" if progress.note else ""
            err.print(f"{progress.stage}: {progress.done} of {progress.total}{note}")

    return show_progress
