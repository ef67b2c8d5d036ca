"""Every file of examples/ runs as it stands, by the rooms alone, and ends with the path of what it made."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
END = "end of this example"


def test_examples_use_what_any_program_can_use_without_a_workspace() -> None:
    for example in EXAMPLES.glob("*.py"):
        assert not re.findall(r"clickscape\.(?:stages|workspace|cli|demo)\b", example.read_text(encoding="utf-8")), (
            example
        )


@pytest.mark.slow
def test_every_example_runs_and_prints_the_path_of_what_it_made(tmp_path: Path) -> None:
    """One process runs all of them: each alone would spend most of its time on importing torch."""
    code = "import runpy, sys\nfor file in sys.argv[1:]:\n    runpy.run_path(file, run_name='__main__')\n    print(END)"
    examples = sorted(map(str, EXAMPLES.glob("0*.py")))
    environment = os.environ | {"PYTHONPATH": str(EXAMPLES.parent / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code.replace("END", repr(END)), *examples]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    *printed, rest = done.stdout.split(f"{END}\n")
    assert rest == ""
    for example, lines in zip(examples, printed, strict=True):
        assert (tmp_path / lines.splitlines()[-1]).exists(), example
