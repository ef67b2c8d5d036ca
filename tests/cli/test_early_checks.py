"""What is wrong with the arguments is said before anything heavy is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.factory import Done, clickscape

from clickscape.workspace import Workspace

WRONG = {
    "generate --catalog nothing.csv": "nothing.csv: no such file. Correct the path of --catalog.",
    "generate --catalog my.csv --matting gone.onnx": "gone.onnx: no such file. Correct the path of --matting.",
    "generate --catalog my.csv --brand gone.toml": "gone.toml: no such file. Correct the path of --brand.",
    "generate --catalog my.csv --out my.csv": "my.csv is a file, expected a folder. Choose another --out.",
    "generate shop --catalog my.csv": "give either a workspace or --catalog",
    "generate": "give either a workspace or --catalog",
    "ingest shop my.csv --workers 99999999999": "less than or equal to 1024",
    "generate shop --skip-bad-rows": "are for a --catalog",
    "ingest shop shop": "shop is a folder, expected a file. Correct the path of FEED.",
    "ingest shop nothing.csv": "nothing.csv: no such file. Correct the path of FEED.",
    "reward evaluate gone.json --model shop": "gone.json: no such file. Correct the path of PAIRS.",
    "reward evaluate my.csv --model gone": "gone: no such folder. Correct the path of --model.",
    "convert gone --vision-tower shop --out new": "gone: no such folder. Correct the path of SOURCE.",
    "merge gone --out new": "gone: no such folder. Correct the path of ADAPTER.",
    "score shop gone.png --product A": "gone.png: no such file. Correct the path of IMAGES.",
    "export shop --placement no-such-place": "no-such-place",
    "experiment plan --lift 0.1 --out shop": "shop is a folder, expected a file. Name one in it: --out shop/NAME",
    "labels export shop --out shop": "shop is a folder, expected a file. Name one in it: --out shop/NAME",
    "cutout my.csv --out shop": "shop is a folder, expected a file. Name one in it: --out shop/NAME",
    "export shop --placement meta-feed --out my.csv": "my.csv is a file, expected a folder. Choose another --out.",
}
NO_WORKSPACE = "nowhere is not a workspace (no clickscape.toml). Make one with `clickscape new nowhere`."
WRONG |= dict.fromkeys(
    [f"{name} nowhere" for name in ("generate", "simulate", "clicks", "clicks --explain", "reward", "pretrain",
                                    "optimize", "review", "refresh", "report", "explain --elements")]
    + ["ingest nowhere my.csv", "export nowhere --placement meta-feed", "score nowhere my.csv --product A"],
    NO_WORKSPACE,
)  # fmt: skip

PROGRAM = """
import contextlib, io, json, sys
from clickscape.cli import main
told = {}
for case in json.load(sys.stdin):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(case.split())
        except SystemExit as stop:
            code = stop.code
    heavy = [name for name in ("torch", "transformers", "duckdb") if name in sys.modules]
    told[case] = (code, out.getvalue(), err.getvalue(), heavy)
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Done, list[str]]]:
    """What every wrong command says, and the heavy libraries that it, or one before it, imported."""
    folder = tmp_path_factory.mktemp("early")
    Workspace.create(folder / "shop")
    (folder / "my.csv").write_text("id,title,image\n")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(list(WRONG)), cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    return {case: (Done(code, out, err), heavy) for case, (code, out, err, heavy) in found.items()}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_one_line_without_heavy_imports(told: dict[str, tuple[Done, list[str]]], case: str) -> None:
    done, heavy = told[case]
    assert done.code == 2
    (line,) = done.err.splitlines()
    assert WRONG[case] in line
    assert not heavy


def test_a_new_workspace_needs_no_old_one(tmp_path: Path) -> None:
    assert clickscape("new", "shop", cwd=tmp_path).code == 0
