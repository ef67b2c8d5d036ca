"""Workers of a real Ray cluster on this machine give what this process gives, whatever happens to them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.compute.ray_items import double, process_and_model, refuse_five

from clickscape.compute import ray_workers
from clickscape.compute.engines import Failure, attempt, map_items
from clickscape.compute.ray_workers import session
from clickscape.config import ComputeConfig
from clickscape.errors import ImageError, LaunchError

RAY = ComputeConfig(engine="ray")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:subprocess:ResourceWarning"),  # of a start of Ray that a busy machine gave up
]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """One cluster of two workers for all tests of this module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_worker_niceness", "0")  # 15 by default: other tests on the machine would go first
        with session(RAY, workers=2):
            yield


def test_all_workers_take_part_and_each_loads_its_model_once() -> None:
    found = set(map_items(process_and_model, range(24), compute=RAY, workers=2, chunk=1))
    assert len(found) == len({process for process, _ in found}) == 2
    assert os.getpid() not in {process for process, _ in found}


def test_a_cluster_without_the_gpus_that_are_asked_for_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_workers, "START_SECONDS", 1.0)
    more = ComputeConfig(engine="ray", gpus=64)
    with pytest.raises(LaunchError, match=r"within 1 s; the Ray cluster has 2 CPUs and .* Free some, or change"):
        list(map_items(process_and_model, range(2), compute=more))


def test_a_killed_worker_changes_nothing_and_an_item_that_kills_every_worker_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = map_items(
        partial(double, folder=tmp_path), iter(range(14)), compute=RAY, workers=2, chunk=3, seconds=1,
        lost=lambda number, reason: (number, reason), folder=tmp_path,
    )  # fmt: skip
    expected: list[object] = [2 * number for number in range(14)]
    expected[6], expected[9] = (6, "was killed, perhaps for want of memory"), (9, "took longer than 1 s")
    assert list(found) == expected
    assert (tmp_path / "four").exists(), "a worker did die of four"
    assert len([*tmp_path.glob("six-*")]) == 2
    assert capfd.readouterr().out == "", "stdout is for answers"


@pytest.mark.parametrize("compute", [ComputeConfig(), RAY])
def test_an_error_arrives_after_the_results_before_it_or_is_the_items_own(compute: ComputeConfig) -> None:
    results = map_items(refuse_five, itertools.count(), compute=compute, workers=2, chunk=2)
    assert list(itertools.islice(results, 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(ImageError, match="image 5 is torn"):
        next(results)
    own = list(map_items(partial(attempt, refuse_five), range(8), compute=compute, workers=2))
    assert isinstance(own[5], Failure)
    assert own[5].reason == "image 5 is torn"
    assert own[:5] + own[6:] == [0, 1, 2, 3, 4, 6, 7]


def test_an_address_without_a_cluster_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setattr("ray.shutdown", lambda: None)  # the cluster of this module stays
    gone = ComputeConfig(engine="ray", address="127.0.0.1:9")
    with pytest.raises(LaunchError, match=r"no Ray cluster at '127.0.0.1:9' \(.*refused"):
        list(map_items(process_and_model, range(2), compute=gone))


def test_a_folder_that_workers_do_not_see_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: None)
    with pytest.raises(
        LaunchError, match=r"does not see .*elsewhere\. Put it on a file system that all machines share"
    ):
        list(map_items(refuse_five, [1], compute=RAY, folder=tmp_path / "elsewhere"))
