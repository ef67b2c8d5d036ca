"""A finished stage is found again, and a run that was stopped goes on in its folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clickscape.config import ClicksConfig
from clickscape.errors import WorkspaceError
from clickscape.types import Product
from clickscape.workspace import Workspace, atomic_folder, read_metrics

from .conftest import NOW


def test_a_finished_stage_is_found_until_anything_changes(workspace: Workspace) -> None:
    workspace.write_products([Product("a", "Cup")])
    inputs: dict[str, object] = {"products": workspace.products_path, "seed": 3}
    stage = ("clicks", ClicksConfig(), inputs)
    made = workspace.models / "reward"
    assert workspace.finished(*stage) is None
    with workspace.start_run(*stage, now=NOW) as run:
        run.log({"step": 1, "loss": float("nan")})
        run.log({"step": 2, "loss": np.float32(0.5)})
        with atomic_folder(made) as folder:
            (folder / "weights").write_text("1")
        run.finish(outputs=[made], result={"accuracy": 0.7}, now=NOW)
    assert run.folder == workspace.runs_folder / "20260102T030405Z-clicks"
    manifest = workspace.finished(*stage)
    assert workspace.newest("clicks") == (run.folder, manifest)
    assert manifest is not None
    assert (manifest.result, manifest.started, manifest.ended) == ({"accuracy": 0.7}, NOW, NOW)
    assert manifest.config["prior_impressions"] == 200
    assert {"python", "numpy"} <= set(manifest.versions)
    assert run.metrics() == [{"step": 1, "loss": None}, {"step": 2, "loss": 0.5}]
    assert workspace.finished("reward", *stage[1:]) is None
    other = ("clicks", ClicksConfig(prior_impressions=3), inputs)
    assert workspace.finished(*other) is None
    (made / "weights").write_text("2")
    assert workspace.finished(*stage) is None
    (made / "weights").write_text("1")
    workspace.write_products([Product("a", "Mug")])
    assert workspace.finished(*stage) is None


def test_a_run_that_failed_goes_on_in_its_folder_without_its_torn_line(workspace: Workspace) -> None:
    run = workspace.start_run("reward", {}, {}, now=NOW)
    run.log({"step": 1})
    with pytest.raises(ZeroDivisionError), run:
        raise ZeroDivisionError
    with run.metrics_path.open("a") as stream:
        stream.write('{"step": 2, "lo')
    assert run.metrics() == [{"step": 1}]
    assert workspace.finished("reward", {}, {}) is None
    assert workspace.newest("reward") is None
    with workspace.start_run("reward", {}, {}) as again:
        assert again.folder == run.folder
        again.log({"step": 2})
    assert again.metrics() == [{"step": 1}, {"step": 2}]
    assert workspace.finished("reward", {}, {}) is not None
    with workspace.start_run("reward", {}, {}, now=NOW) as third:
        assert third.folder.name == "20260102T030405Z-reward-2"
    assert workspace.newest("reward") == (third.folder, third.manifest), "the later one of two"


def test_steps_that_a_resumed_run_logs_again_are_there_once(tmp_path: Path) -> None:
    shop = Workspace.create(tmp_path / "shop")
    killed = shop.start_run("optimize", {}, {})
    for number in range(1, 6):
        killed.log({"round": 1, "number": number, "loss": 1.0})
    killed.close()  # after step 5; the last checkpoint is of step 3
    with shop.start_run("optimize", {}, {}) as run:
        for number in (4, 5, 6):
            run.log({"round": 1, "number": number, "loss": 2.0})
    assert [(line["number"], line["loss"]) for line in run.metrics()] == [
        (1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0), (5, 2.0), (6, 2.0),
    ]  # fmt: skip


def test_damage_in_the_middle_of_metrics_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\noops\n{"step": 3}\n')
    with pytest.raises(WorkspaceError, match="line 2: Invalid JSON"):
        read_metrics(tmp_path / "metrics.jsonl")
    assert read_metrics(tmp_path / "none.jsonl") == []


def test_a_run_holds_the_lock_until_its_end(workspace: Workspace) -> None:
    other = Workspace(workspace.path)
    with workspace.start_run("reward", {}, {}), pytest.raises(WorkspaceError, match="another process"):
        other.start_run("reward", {}, {})
    with other.start_run("optimize", {}, {}):
        pass


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000, '{"stage": 3}'])
def test_a_damaged_manifest_is_named(workspace: Workspace, text: str) -> None:
    with workspace.start_run("clicks", None, {}) as run:
        run.finish()
    (run.folder / "manifest.json").write_text(text)
    with pytest.raises(WorkspaceError, match=r"manifest\.json: .*Delete the run's folder"):
        workspace.newest("clicks")
