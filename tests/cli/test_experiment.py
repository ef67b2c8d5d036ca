"""What is wrong with an experiment is one line and exit code 2, and what is right says what to do next."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.factory import clickscape

from clickscape.types import Creative
from clickscape.workspace import Workspace

PLAN = ("experiment", "plan", "--ctr", "0.04", "--lift", "0.15")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a shop of one product, an ad that is live and one that was approved."""
    shop = Workspace.create(tmp_path / "shop")
    ads = {"mug-a": "live", "mug-b": "approved", "mug-c": "draft"}
    shop.write_creatives([Creative(name, "mug", "", "", {}, "own", "own", 0, status=status)  # type: ignore[arg-type]
                          for name, status in ads.items()])  # fmt: skip
    return tmp_path


def refused(folder: Path, *arguments: str) -> str:
    done = clickscape(*arguments, cwd=folder)
    assert done.code == 2, done.out
    assert len(done.err.strip().splitlines()) == 1, done.err
    return done.err


def test_a_plan_that_cannot_answer_is_refused(folder: Path) -> None:
    assert "Look for +" in refused(folder, *PLAN, "--users-per-day", "20", "--out", "plan.json")
    assert not (folder / "plan.json").exists()


def test_a_plan_is_printed_as_json_and_taken_by_start(folder: Path) -> None:
    done = clickscape(*PLAN, "--users-per-day", "9000", "--json", "--out", "plan.json", cwd=folder)
    assert done.code == 0, done.err
    assert json.loads(done.out) == json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    started = clickscape("experiment", "start", "shop", "autumn", "--plan", "plan.json", cwd=folder)
    assert f"planned: {json.loads(done.out)['users']:,} users in 14 days" in started.out
    record = json.loads((folder / "shop/experiments/autumn/experiment.json").read_text(encoding="utf-8"))
    assert record["planned"]["users"] == json.loads(done.out)["users"]


def test_what_starts_is_what_was_planned(folder: Path) -> None:
    clickscape(*PLAN, "--users-per-day", "90000", "--variants", "3", "--out", "plan.json", cwd=folder)
    start = ("experiment", "start", "shop", "autumn", "--plan", "plan.json")
    assert "2 variants, planned were 3" in refused(folder, *start)
    (folder / "arms.csv").write_text("variant,creative_id\ncontrol,mug-a\nnew,mug-b\nother,mug-c\n", encoding="utf-8")
    assert "--level 0.9, planned was 0.95" in refused(folder, *start, "--variants", "arms.csv", "--level", "0.9")
    arms = "variant,creative_id,share\ncontrol,mug-a,0.5\nnew,mug-b,0.25\nother,mug-c,0.25\n"
    (folder / "arms.csv").write_text(arms, encoding="utf-8")
    assert "the share 0.5, planned was 0.333333" in refused(folder, *start, "--variants", "arms.csv")
    assert not (folder / "shop/experiments").exists()


def test_a_started_experiment_does_not_change(folder: Path) -> None:
    start = ("experiment", "start", "shop", "autumn")
    assert clickscape(*start, "--start", "2026-01-05", cwd=folder).code == 0
    before = (folder / "shop/experiments/autumn/experiment.json").read_bytes()
    assert clickscape(*start, cwd=folder).code == 0
    assert "has started at 2026-01-05 00:00 UTC already" in refused(folder, *start, "--start", "2026-02-02")
    assert "not changed after its start" in refused(folder, *start, "--holdback", "0.1")
    assert "takes the layer 'default'" in refused(folder, "experiment", "start", "shop", "winter")
    assert (folder / "shop/experiments/autumn/experiment.json").read_bytes() == before
    assert clickscape("experiment", "stop", "shop", "autumn", cwd=folder).code == 0
    assert clickscape("experiment", "start", "shop", "winter", cwd=folder).code == 0


def test_users_are_assigned_where_the_experiment_and_its_key_are(folder: Path) -> None:
    (folder / "users.csv").write_text("user_key\na\nb\n", encoding="utf-8")
    assign = ("experiment", "assign", "shop", "autumn", "users.csv")
    assert "has no experiment 'autumn'" in refused(folder, *assign)
    clickscape("experiment", "start", "shop", "autumn", cwd=folder)
    assert clickscape(*assign, "--out", "out.csv", cwd=folder).code == 0
    assert len((folder / "out.csv").read_text(encoding="utf-8").splitlines()) == 3
    (folder / "users.csv").write_text("name\na\n", encoding="utf-8")
    assert "no column user_key" in refused(folder, *assign)
    (folder / "shop/experiments/assignment.key").unlink()
    assert "assignment.key: no such file" in refused(folder, *assign)


@pytest.mark.parametrize("lift", ["new", "new=", "new=much", "=0.1"])
def test_a_simulated_lift_names_its_variant(folder: Path, lift: str) -> None:
    clickscape("experiment", "start", "shop", "autumn", cwd=folder)
    size = ("--users-per-day", "10", "--days", "2", "--ctr", "0.1")
    assert "lift" in refused(folder, "experiment", "simulate", "shop", "autumn", "--lift", lift, *size)
