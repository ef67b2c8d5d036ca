"""What children are told of threads holds for a block; a launch that is not what was asked for is one line."""

from __future__ import annotations

import os

import pytest
from accelerate.commands.launch import launch_command_parser
from accelerate.utils.launch import prepare_simple_launcher_cmd_env

from clickscape.compute.device import ALONE, best_device, launched, set_threads, thread_environment
from clickscape.errors import LaunchError


def test_what_children_are_told_holds_for_the_block_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with thread_environment(1):
        assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "5"
    assert "MKL_NUM_THREADS" not in os.environ


def test_no_threads_at_all_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one thread"):
        set_threads(0)


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of a process that no launcher started."""
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "ACCELERATE_MIXED_PRECISION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    return monkeypatch


def test_one_process_without_a_launcher(on_cpu: pytest.MonkeyPatch) -> None:
    with launched() as processes:
        assert processes == ALONE


def test_stages_take_a_gpu_where_there_is_one_unless_told_to_leave_it(
    on_cpu: pytest.MonkeyPatch,
) -> None:
    on_cpu.setattr("torch.cuda.is_available", lambda: True)
    assert best_device() == "cpu"
    on_cpu.delenv("ACCELERATE_USE_CPU")
    assert best_device() == "cuda"
    on_cpu.setattr("torch.cuda.is_available", lambda: False)
    assert best_device() == "cpu"


@pytest.mark.parametrize("count", ["1", "2"])
def test_a_launcher_that_starts_fewer_than_it_was_asked_for_is_found_out(
    on_cpu: pytest.MonkeyPatch, count: str
) -> None:
    """In the very environment that `accelerate launch --cpu --num_processes 2` gives its only process."""
    asked = ["--cpu", "--num_processes", count, "--num_machines", "1", "--mixed_precision", "no"]
    arguments = launch_command_parser().parse_args([*asked, "--dynamo_backend", "no", "-m", "clickscape"])
    arguments.use_cpu = True
    _, environment = prepare_simple_launcher_cmd_env(arguments)
    for name, value in environment.items():
        on_cpu.setenv(name, value)
    if count == "1":
        with launched() as processes:
            assert processes.count == 1
        return
    with pytest.raises(LaunchError, match=r"asked for several processes and started one\. Launch with `torchrun"):
        launched().__enter__()


def test_an_invalid_world_size_is_one_clear_error(on_cpu: pytest.MonkeyPatch) -> None:
    on_cpu.setenv("WORLD_SIZE", "two")
    with pytest.raises(LaunchError, match="WORLD_SIZE is 'two', not a number of processes"):
        launched().__enter__()
