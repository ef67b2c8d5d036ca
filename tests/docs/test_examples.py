"""Every file of examples/ runs as it stands, by the rooms alone, and ends with the path of what it made."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_examples_use_what_any_program_can_use_without_a_workspace() -> None:
    for example in EXAMPLES.glob("*.py"):
        assert not re.findall(r"clickscape\.(?:stages|workspace|cli|demo)\b", example.read_text(encoding="utf-8")), (
            example
        )


@pytest.mark.slow
def test_every_example_runs_and_prints_the_path_of_what_it_made(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(EXAMPLES.parent / "src"), "OMP_NUM_THREADS": "1"}
    for example in sorted(EXAMPLES.glob("0*.py")):
        command = [sys.executable, str(example)]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{example.name}: {done.stderr}"
        assert Path(done.stdout.splitlines()[-1]).exists(), example.name
