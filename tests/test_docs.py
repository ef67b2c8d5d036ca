"""What the README says, run as it stands."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from clickscape.catalog import sample
from clickscape.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SMALL = """
[simulate]
creatives_per_product = 4
median_impressions = 500
size = 96
[reward]
epochs = 2
[optimize]
rounds = 1
products_per_round = 8
candidates = 3
epochs = 1
[generate]
size = 128
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.M | re.S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the catalog that the README speaks of."""
    folder = tmp_path_factory.mktemp("readme")
    names = ("running_shoe", "coffee_mug", "soccer_ball", "lipstick", "doughnut", "camera", "jeans", "hammer")
    products = sample.write(
        folder, 128, product_ids=[f"{name}-{color}" for name in names for color in ("original", "navy")]
    )
    lines = ["id,title,category,image"]
    for product in products:
        image = Path(product.image).relative_to(folder)
        lines.append(f'{product.product_id},"{product.title}",{" > ".join(product.category)},{image}')
    (folder / "my-catalog.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.mark.slow
def test_the_commands_of_the_readme_work_in_their_order(folder: Path) -> None:
    commands = [
        shlex.split(line, comments=True)[1:]
        for block in blocks("")
        for line in block.splitlines()
        if line.startswith("clickscape ")
    ]
    assert len(commands) == 11
    for command in commands:
        out = io.StringIO()
        with contextlib.chdir(folder), contextlib.redirect_stdout(out), pytest.raises(SystemExit) as stop:
            main(command)
        assert not stop.value.code, f"clickscape {' '.join(command)}"
        if command[0] == "new":
            (folder / "my-shop" / "clickscape.toml").write_text(SMALL)
    assert (folder / "ads" / "index.html").exists()
    assert "simulated clicks" in (folder / "my-shop" / "report.html").read_text(encoding="utf-8").lower()


@pytest.mark.slow
def test_the_python_of_the_readme_works(folder: Path) -> None:
    (code,) = blocks("python")
    out = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out):
        exec(compile(code, "README.md", "exec"), {})
    assert '"setting"' in out.getvalue()


def test_the_links_of_the_documents_lead_somewhere() -> None:
    """Those to pages that the site generates are checked by its strict build."""
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8")):
            if "://" not in target and not target.startswith("reference/"):
                assert (document.parent / target).exists(), f"{document.name}: {target}"
