"""What docs/howto/experiment.md says, run as it stands: a simulated lift is planned for, measured and found."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

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
    shop(tmp_path)
    users = [f"user-{number}" for number in range(1_000)]
    (tmp_path / "users.csv").write_text("\n".join(["user_key", *users]) + "\n", encoding="utf-8")
    said: dict[str, list[str]] = {}
    with contextlib.chdir(tmp_path):
        for line in block.splitlines():
            words = shlex.split(line)[1:]
            said.setdefault(words[1], []).append(command(*words))
    assert "14 days: a lift of +15.0% over a CTR of 4.000% is found with a chance of 80%" in said["plan"][0]
    assert "3 products; users: control 50.0%, new 50.0%; control: control" in said["start"][0]
    assert re.search(r"users: control 4\d\d|5\d\d, new", said["assign"][0])
    assert len((tmp_path / "users-variants.csv").read_text(encoding="utf-8").splitlines()) == 1_001
