"""The command line: the only room that prints. It parses, calls a stage, draws its bar and names the next command.

Errors that the user can mend are one line on stderr and exit code 2.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from typer.exceptions import Abort, TyperException

from clickscape.cli import (  # noqa: F401  (they add their commands, in the order of the help)
    data,
    learning,
    publishing,
)
from clickscape.cli.terminal import app, err
from clickscape.errors import ClickscapeError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit code 0 when it worked, 2 when the user can mend what went wrong, 130 on Ctrl-C."""
    try:
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
