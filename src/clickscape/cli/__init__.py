"""The command line: the only room that prints. It parses, calls a stage, draws its bar and names the next command.

Errors that the user can fix are one line on stderr and exit code 2.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence

from typer.exceptions import Abort, TyperException

from clickscape.cli import (  # noqa: F401  (they add their commands, in the order of the help)
    data,
    learning,
    publishing,
)
from clickscape.cli.terminal import app, err, escape_missing_letters
from clickscape.errors import ClickscapeError, DeprecatedWarning


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit code 0 when it worked, 2 when the user can fix what went wrong, 130 on Ctrl-C."""
    escape_missing_letters()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("once", DeprecatedWarning)
            warnings.showwarning = _show(warnings.showwarning)
            code = app(args=(sys.argv[1:] if arguments is None else arguments) or ["--help"], standalone_mode=False)
    except ClickscapeError as error:
        err.print(f"clickscape: {error}", markup=False)
        sys.exit(2)
    except Abort:
        sys.exit(130)
    except TyperException as error:
        err.print(f"clickscape: {error.format_message()}", markup=False)
        sys.exit(error.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


def _show(other: Callable[..., None]) -> Callable[..., None]:
    """Print what the next release will no longer read as one line on stderr, without the code that it came from."""

    def show(message: Warning | str, category: type[Warning], *place: object, **more: object) -> None:
        if issubclass(category, DeprecatedWarning):
            err.print(f"clickscape: warning: {message}", markup=False)
        else:
            other(message, category, *place, **more)

    return show
