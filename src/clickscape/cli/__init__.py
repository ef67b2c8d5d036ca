"""The command line: the only room that prints. It parses, calls a stage, draws its bar and names the next command.

Whatever goes wrong is one line on stderr and exit code 2; --debug, anywhere, adds the traceback.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Sequence

from typer.exceptions import Abort, TyperException

from clickscape.cli import (  # noqa: F401  (they add their commands, in the order of the help)
    data,
    evaluate_policy,
    experiment,  # isort: skip
    hub,  # isort: skip
    learning,
    publishing,
    serving,
)
from clickscape.cli.failures import describe
from clickscape.cli.terminal import app, err, escape_missing_letters
from clickscape.errors import ClickscapeError, DeprecatedWarning


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; exit code 0 when it worked, 2 when the user can fix what went wrong, 130 on Ctrl-C."""
    escape_missing_letters()
    os.environ.setdefault(
        "TRANSFORMERS_VERBOSITY", "error"
    )  # what is wrong with a checkpoint is said by us, on one line
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [one for one in given if one != "--debug"]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("once", DeprecatedWarning)
            warnings.showwarning = _show(warnings.showwarning if debug else None)
            code = app(args=given or ["--help"], standalone_mode=False)
    except Abort:
        sys.exit(130)
    except TyperException as error:
        message = " ".join(error.format_message().replace("Value error, ", "").split())  # some come on several lines
        err.print(f"clickscape: {message}")
        sys.exit(error.exit_code)
    except BrokenPipeError:  # who read our output has gone
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (or Python complains when it flushes)
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # libraries in Rust panic with what is no Exception
        if debug:
            raise
        err.print(f"clickscape: {error if isinstance(error, ClickscapeError) else describe(error)}")
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


def _show(other: Callable[..., None] | None) -> Callable[..., None]:
    """Print what the next release will no longer read as one line on stderr, without the code that it came from.

    Other warnings are libraries' talk to developers; `other` prints them, None does not.
    """

    def show(message: Warning | str, category: type[Warning], *place: object, **more: object) -> None:
        if issubclass(category, DeprecatedWarning):
            err.print(f"clickscape: warning: {message}")
        elif other is not None:
            other(message, category, *place, **more)

    return show
