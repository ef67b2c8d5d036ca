"""What all tests share: the command line, run in this process, and who may run on a GPU."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: tests share the cores


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none."""
    if item.get_closest_marker("gpu"):
        import torch  # here, because `make test-spark` has none

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA GPU")


@pytest.fixture
def command() -> Callable[..., str]:
    """Runs a command line that has to work, and gives what it printed."""
    from clickscape.cli import main  # here, because `make test-spark` has not all that it needs

    def run(*arguments: str) -> str:
        out = io.StringIO()
        with contextlib.redirect_stdout(out), pytest.raises(SystemExit) as stop:
            main(list(arguments))
        assert not stop.value.code, arguments
        return out.getvalue()

    return run
