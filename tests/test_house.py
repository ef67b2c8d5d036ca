"""Promises about the house as a whole: it is cheap to enter, and it phones nobody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import clickscape


def _python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_importing_clickscape_loads_nothing_heavy() -> None:
    code = "import sys, clickscape; print(sorted({n.split('.')[0] for n in sys.modules} & set(sys.argv[1:])))"
    heavy = ["torch", "transformers", "cv2", "ibis", "pandas", "matplotlib", "pyarrow", "scipy", "numpy", "pydantic"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_stages_that_ask_no_model_load_none() -> None:
    """Each of their workers would wait for it, seconds."""
    _python(
        "import sys\n"
        "from clickscape.stages import draw, export, ingest, refresh, review\n"
        "assert not {'torch', 'transformers'} & sys.modules.keys()"
    )


def test_an_unknown_room_is_an_error_that_lists_the_rooms() -> None:
    out = _python("import clickscape\ntry:\n    clickscape.kitchen\nexcept AttributeError as e:\n    print(e)")
    assert "rooms: catalog, clicks" in out


@pytest.mark.slow
def test_every_benchmark_can_be_started() -> None:
    """A name that moved in the house must not be found missing by whoever measures next."""
    folder = Path(__file__).parents[1] / "benchmarks"
    names = sorted(file.stem for file in folder.glob("*.py"))
    assert "diffusion" in names
    _python(f"import sys; sys.path.insert(0, {str(folder)!r}); import {', '.join(names)}")


@pytest.mark.parametrize(
    ("room", "verbs"),
    [
        ("generation", ("AdPipeline", "render_and_score", "sample_candidates", "score_candidates")),
        ("preference", ("open_policy", "optimize", "pcpo_loss")),
    ],
)
def test_importing_a_room_loads_no_torch_and_lists_its_verbs(room: str, verbs: tuple[str, ...]) -> None:
    _python(f"import sys, clickscape.{room}; assert 'torch' not in sys.modules")
    opened = getattr(clickscape, room)
    assert all(callable(getattr(opened, verb)) for verb in verbs)
    with pytest.raises(AttributeError, match=f"no attribute 'oops'; verbs: {verbs[0]}"):
        _ = opened.oops
