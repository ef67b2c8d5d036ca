"""The documented launch of several processes, as a user types it, and the trackers that a run can tell its steps to."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.factory import copy_of, in_two, tiny_vlm

from clickscape.compute.device import Processes
from clickscape.config import OptimizeConfig, RewardConfig
from clickscape.errors import ConfigError
from clickscape.stages.optimize import optimize
from clickscape.stages.progress import run
from clickscape.stages.reward import reward
from clickscape.stages.tracking import tracked
from clickscape.vlm import model as vlm_model
from clickscape.workspace import Workspace, read_metrics

SETTINGS = {
    "rounds": 1, "products_per_round": 6, "candidates": 3, "epochs": 1, "batch_size": 3, "max_new_tokens": 32,
    "min_margin": 0.0, "learning_rate": 6e-4, "kl_budget": 1e-5, "seed": 5, "shard": True,
}  # fmt: skip


def two_processes(shop: Path) -> subprocess.CompletedProcess[str]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    return subprocess.run(
        [*launch, "-m", "clickscape", "optimize", shop],
        env={**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_torchrun_does_what_one_process_does(shop: Workspace, tmp_path: Path) -> None:
    copies = [Path(shutil.copytree(shop.path, tmp_path / name)) for name in ("one", "two")]
    for copy in copies:
        lines = [f"{name} = {json.dumps(value)}" for name, value in SETTINGS.items()]
        (copy / "clickscape.toml").write_text("[optimize]\n" + "\n".join(lines) + "\n")
    alone = Workspace.open(copies[0])
    manifest = run(optimize(alone, alone.settings.optimize))
    done = two_processes(copies[1])
    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert sum(line.startswith("stopped in round 1: KL ") for line in told) == 1, "a stop is said once, by the leader"
    assert manifest.result["stopped"]
    assert told[-2:] == [f"made {copies[1]}/models/prompt", f"next: clickscape generate {copies[1]} --out ads/"]
    one, two = (read_metrics(max((copy / "runs").glob("*-optimize*/metrics.jsonl"))) for copy in copies)
    assert [(line["round"], line["number"]) for line in one] == [(line["round"], line["number"]) for line in two]
    assert [line["loss"] for line in one] == pytest.approx([line["loss"] for line in two], abs=1e-5)
    first, second = (load_file(copy / "models" / "prompt" / "model.safetensors") for copy in copies)
    assert first.keys() == second.keys()
    starts = copies[0].glob("runs/*-optimize*/rounds/round-0/model/model.safetensors")  # the shop may bring older runs
    start = load_file(max(starts))
    moved, apart = (
        np.sqrt(sum(float(np.sum((first[name] - other[name]) ** 2)) for name in first)) for other in (start, second)
    )
    # Adam divides by the gradient's size: where that is rounding alone, a single weight may move by some of its step.
    assert apart < 1e-3 * moved
    assert len(manifest.result["rounds"]) == 1
    assert not [path for path in copies[1].rglob("*") if path.name.startswith(".tmp-")]


@pytest.mark.slow
def test_a_reward_model_that_two_processes_train_is_that_of_one(logged_shop: Workspace, tmp_path: Path) -> None:
    """A reward model and its judge: the processes share the training of one and not of the other."""
    vlm_model.save(tiny_vlm([product.title for product in logged_shop.products()]), tmp_path / "backbone")
    config = RewardConfig(
        form="two_branch", backbone=str(tmp_path / "backbone"), trainable="full", shard=True, judge="neighbors",
        judge_share=0.4, epochs=2, products_per_batch=3, validation_share=0.3, seed=2,
    )  # fmt: skip
    one, two = (copy_of(logged_shop, tmp_path / name, "runs") for name in ("one", "two"))
    manifest = run(reward(one, config))

    def together(processes: Processes) -> object:
        made = run(reward(two, config, processes=processes))
        again = run(reward(two, config, processes=processes))  # which is reused
        return made.result, again == made

    ends, given = in_two(together, tmp_path)
    assert ends == [0, 0], given
    assert given[0] == given[1] == (given[0][0], True)
    assert given[0][0]["accuracy"]["value"] == pytest.approx(manifest.result["accuracy"]["value"], abs=1e-3)
    told = [read_metrics(max((shop.runs_folder).glob("*-reward/metrics.jsonl"))) for shop in (one, two)]
    assert [line["text"].split()[0] for line in told[0]] == [line["text"].split()[0] for line in told[1]]
    losses = [[line["loss"] for line in lines if line["loss"] is not None] for lines in told]
    assert len(losses[0]) == 4
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert len(list(two.runs_folder.glob("*-reward*"))) == 1


def test_tensorboard_shows_every_step_once_after_a_kill(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for first, last, loss in ((1, 5, 1.0), (4, 7, 2.0)):  # killed after step 5, on from the checkpoint of step 3
        with tracked("tensorboard", tmp_path) as tell:
            for step in range(first, last + 1):
                tell({"loss": loss, "corrupted": None}, step)
    shown = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert shown.Tags()["scalars"] == ["loss"]
    assert [(event.step, event.value) for event in shown.Scalars("loss")] == [
        (1, 1.0), (2, 1.0), (3, 1.0), (4, 2.0), (5, 2.0), (6, 2.0), (7, 2.0),
    ]  # fmt: skip


@pytest.mark.slow
def test_a_tracker_that_is_not_installed_is_refused_before_anything_is_done(
    shop: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)  # as if it could not be imported
    before = set(shop.runs_folder.rglob("rounds"))
    with pytest.raises(ConfigError, match=r"pip install 'clickscape\[tensorboard\]'"):
        run(optimize(shop, OptimizeConfig(metrics="tensorboard", rounds=1)))
    assert set(shop.runs_folder.rglob("rounds")) == before
