"""Users, a server that is killed twice, and what was acknowledged is what the reward model and the writer learn."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
closed_loop = importlib.import_module("closed_loop")

DECISIONS, USERS = 50_000, 8_000


@pytest.mark.slow
def test_what_was_acknowledged_is_counted_once_shown_on_the_page_and_learned_from(
    tmp_path: Path, command: Callable[..., str]
) -> None:
    objects = ("coffee_mug", "doughnut", "running_shoe")
    shop, ctrs = closed_loop.make_shop(tmp_path, creatives=4, seed=0, objects=objects)
    found = closed_loop.serve_users(shop, ctrs, decisions=DECISIONS, users=USERS, batch=200, seed=0)
    assert found["sent"].total() > DECISIONS
    assert all(len(groups) == 1 for groups in found["sides"].values())  # nobody changes sides
    assert len(found["lifts"]) == found["on_page"] == 9
    held = [one["low"] <= one["true"] <= one["high"] for one in found["lifts"]]
    assert sum(held) >= 8  # each in 95 of 100 at the least
    assert sum(one["true"] for one in found["lifts"]) > 0  # the bandit noticed

    command("pull", str(shop.path))
    command("clicks", str(shop.path))
    counted = closed_loop.counted(shop, found["sent"])
    assert counted["equal"]
    assert counted["counted"]
    command("reward", str(shop.path))
    command("optimize", str(shop.path))
    clicks, reward, writer = (manifest_of(shop.path, stage) for stage in ("clicks", "reward", "optimize"))
    assert reward["inputs"]["pairs"] == clicks["outputs"]["clicks/pairs.parquet"]
    assert writer["inputs"]["reward"] == reward["outputs"]["models/reward"]
    assert writer["outputs"]["models/prompt"] != writer["inputs"]["writer"]  # it learned


def manifest_of(shop: Path, stage: str) -> dict[str, Any]:
    """The manifest of a stage's one run."""
    (path,) = shop.glob(f"runs/*-{stage}/manifest.json")
    found: dict[str, Any] = json.loads(path.read_text())
    return found
