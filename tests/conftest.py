"""What all tests share: the command line, run in this process, and who may run on a GPU."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: tests share the cores

with suppress(ImportError):  # `make test-spark` has none
    from hypothesis import settings

    settings.register_profile("any machine", deadline=None)  # a busy one is no fault
    settings.load_profile("any machine")


gc.disable()  # until all is imported, which makes a million objects that stay


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, so that no process is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """Let the collector pass over all that the imports made: it would look through it again and again."""
    gc.enable()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def painted_once() -> Iterator[None]:
    """A material is painted once for all renderers of this process: it depends on its name alone."""
    materials = sys.modules.get("clickscape.render.studio.materials")  # not imported where no test draws
    with pytest.MonkeyPatch.context() as patch:
        if materials:
            patch.setattr(materials, "atlas", lru_cache(maxsize=16)(materials.atlas))  # some 15 MB each
        yield


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none."""
    if item.get_closest_marker("gpu"):
        import torch  # here, because `make test-spark` has none

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA GPU")


@pytest.fixture
def command() -> Callable[..., str]:
    """Runs a command line that has to work, and gives what it printed."""
    from tests.factory import clickscape  # here, because `make test-spark` has not all that it needs

    def run(*arguments: str) -> str:
        done = clickscape(*arguments)
        assert done.code == 0, (arguments, done.err)
        return done.out

    return run


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where models go down to float32 (norms, softmax), stay in float64: to see the arithmetic, not the rounding."""
    import torch  # here, because `make test-spark` has none

    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    monkeypatch.setattr(torch, "float32", torch.float64)
