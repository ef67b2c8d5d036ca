"""What tests of the documentation share: the command line, run in this process."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable

import pytest

from clickscape.cli import main


@pytest.fixture
def command() -> Callable[..., str]:
    """Runs a command line that has to work, and gives what it printed."""

    def run(*arguments: str) -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as stop:
            main(list(arguments))
        assert not stop.value.code, arguments
        return out.getvalue()

    return run
