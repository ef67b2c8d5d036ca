"""What docs/howto/experiment.md says, run as it stands: a simulated lift is planned for, measured and found."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from clickscape.stages.experiment import read_experiment
from clickscape.stages.experiment_reading import newest_reading
from clickscape.types import Creative, Product
from clickscape.workspace import Workspace

PAGE = (Path(__file__).parents[2] / "docs/howto/experiment.md").read_text(encoding="utf-8")
PRODUCTS = ("mug", "shoe", "lamp")


def shop(folder: Path) -> Workspace:
    """Three products, each with an ad that is live and one that was approved."""
    made = Workspace.create(folder / "my-shop")
    made.write_products([Product(name, name.title()) for name in PRODUCTS])
    made.write_creatives(
        [
            Creative(f"{name}-{status}", name, "", "", {}, "own", "own", 0, status=status)  # type: ignore[arg-type]
            for name in PRODUCTS
            for status in ("live", "approved")
        ]
    )
    return made


@pytest.mark.slow
def test_the_commands_prove_a_lift_in_their_order(tmp_path: Path, command: Callable[..., str]) -> None:
    (block,) = re.findall(r"^```\n(.*?)^```", PAGE, flags=re.M | re.S)
    made = shop(tmp_path)
    (made.path / "experiments").mkdir()
    (made.path / "experiments" / "assignment.key").write_text("5a" * 32, encoding="ascii")  # or every run draws anew
    users = [f"user-{number}" for number in range(1_000)]
    (tmp_path / "users.csv").write_text("\n".join(["user_key", *users]) + "\n", encoding="utf-8")
    said: dict[str, list[str]] = {}
    with contextlib.chdir(tmp_path):
        for line in block.splitlines():
            words = shlex.split(line)[1:]
            said.setdefault(words[1], []).append(command(*words))
    assert "14 days: a lift of +15.0% over a CTR of 4.000% is found with a chance of 80%" in said["plan"][0]
    assert "3 products; users: control 50.0%, new 50.0%; control: control" in said["start"][0]
    assert re.search(r"users: control (4|5)\d\d, new (4|5)\d\d", said["assign"][0])
    assert len((tmp_path / "users-variants.csv").read_text(encoding="utf-8").splitlines()) == 1_001
    early, late = said["read"]
    assert "new against control: not enough evidence yet" in early
    assert "new against control: better" in late
    assert "shares: as planned" in late
    low, high = map(float, re.findall(r"lift \S+ \[\+(\S+)%, \+(\S+)%\] at any time", late)[0])
    assert low < 20 < high
    assert "report.html" in said["report"][0]
    page = (made.path / "experiments" / "autumn" / "report.html").read_text(encoding="utf-8")
    assert "new is clicked " in page
    assert "simulated users" in page
    assert len(list((made.path / "experiments" / "autumn" / "plots").glob("*.svg"))) == 3
    assert read_experiment(made, "autumn").end is not None
    assert newest_reading(made, "autumn").variant("new").decision == "better"
