"""Processes and this process give the same results, the same errors, and leave nobody behind."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from clickscape.compute.engines import map_items
from clickscape.compute.shards import map_shards
from clickscape.config import ComputeConfig
from clickscape.errors import ImageError, LaunchError


class PeculiarError(Exception):
    """Cannot be pickled and read back: its constructor takes two arguments and keeps one."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


def double_in_a_process(number: int) -> tuple[int, int]:
    return 2 * number, os.getpid()


def refuse_five(number: int) -> int:
    if number == 5:
        raise ImageError(f"image {number} is torn")
    return number


def refuse_peculiarly(number: int) -> int:
    raise PeculiarError("this", "that")


def thread_counts(_: int) -> tuple[int, str]:
    import cv2

    return cv2.getNumThreads(), os.environ["OMP_NUM_THREADS"]


def vanish(_: int) -> None:
    os._exit(3)


def three_and_seven_go_wrong(number: int) -> str:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does for want of memory
    if number == 7:
        while True:  # no bytecode of a decoder's loop lets a handler of Python's run, and none is needed
            pass
    return str(number)


def gone(number: int, reason: str) -> str:
    return f"{number} {reason}"


def test_processes_give_what_this_process_gives_in_the_same_order() -> None:
    alone = [value for value, _ in map_shards(double_in_a_process, range(23), workers=1)]
    shared = list(map_shards(double_in_a_process, iter(range(23)), workers=2, chunk=3))
    assert alone == [2 * number for number in range(23)] == [value for value, _ in shared]
    assert os.getpid() not in {process for _, process in shared}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_arrives_with_its_class_and_message_after_the_results_before_it(workers: int) -> None:
    results = map_shards(refuse_five, itertools.count(), workers=workers, chunk=4)
    assert list(itertools.islice(results, 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(ImageError, match="image 5 is torn"):
        next(results)


def test_an_error_that_cannot_be_pickled_is_reported_as_text() -> None:
    with pytest.raises(RuntimeError, match="PeculiarError: this and that"):
        list(map_shards(refuse_peculiarly, [1], workers=2))


def test_workers_take_one_thread_and_this_process_keeps_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert set(map_shards(thread_counts, range(2), workers=2, chunk=1)) == {(1, "1")}
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_a_function_that_cannot_be_pickled_is_refused_with_a_remedy() -> None:
    with pytest.raises(TypeError, match="top of a module"):
        list(map_shards(lambda item: item, [1], workers=2))


def test_a_worker_that_dies_is_an_error_and_no_hang() -> None:
    with pytest.raises(LaunchError, match=r"a worker process died \(exit code 3\)\. Use fewer workers"):
        list(map_shards(vanish, [1], workers=2))


def take(megabytes: int) -> str:
    return f"{len(bytearray(megabytes << 20)) >> 20} MB"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not count what a process takes for itself")
def test_an_item_that_needs_more_memory_than_a_worker_may_take_is_named_and_the_others_are_done() -> None:
    found = map_shards(take, [1, 900, 2], workers=2, memory=700_000_000, lost=gone)
    assert list(found) == ["1 MB", "900 needed more than 0.7 GB", "2 MB"]


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 4])
def test_an_item_that_kills_its_worker_or_takes_too_long_is_named_and_the_others_are_done(chunk: int) -> None:
    found = map_shards(three_and_seven_go_wrong, range(12), workers=2, chunk=chunk, seconds=1, lost=gone)
    expected = [str(number) for number in range(12)]
    expected[3], expected[7] = "3 was killed, perhaps for want of memory", "7 took longer than 1 s"
    assert list(found) == expected


def die_soon_after_zero(number: int) -> str:
    if number == 0:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return str(number)


@pytest.mark.slow
def test_a_worker_that_dies_with_nothing_to_do_costs_no_item() -> None:
    def slowly() -> Iterator[int]:
        for number in range(8):
            if number == 5:  # four are given at once; the next one when the group is known to be broken
                time.sleep(1.5)
            yield number

    assert list(map_shards(die_soon_after_zero, slowly(), workers=2, chunk=1)) == [str(n) for n in range(8)]


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"chunk": 0}])
def test_wrong_settings_are_refused_at_once(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        map_shards(refuse_five, [1], **wrong)


_SCRIPT = """
import os, signal, sys, time
from clickscape.compute.shards import map_shards
def sleep(number):
    os.write(1, f"{os.getpid()}\\n".encode())  # at once: lines of two workers do not mix
    time.sleep(60)
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit "ignored"
    list(map_shards(sleep, range(4), workers=2, chunk=1))
"""


_UNGUARDED = """
from clickscape.compute.shards import map_shards
print(list(map_shards(abs, range(40), workers=2, chunk=1, lost=lambda item, reason: reason)))
"""


def test_workers_that_cannot_start_are_an_error_and_not_the_items(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(_UNGUARDED)  # without the usual guard every worker starts workers
    done = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, timeout=60)
    assert done.stdout == ""
    assert "LaunchError: a worker process cannot start: it died (exit code 1)" in done.stderr


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_its_parent(how: signal.Signals, tmp_path: Path) -> None:
    script = tmp_path / "sleepers.py"
    script.write_text(_SCRIPT)
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        children = [int(parent.stdout.readline()) for _ in range(2)]
        parent.send_signal(how)
        parent.wait(timeout=20)
    deadline = time.monotonic() + 20
    while any(_runs(child) for child in children) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(_runs(child) for child in children)


def _runs(process: int) -> bool:
    """A process that ended but was not collected (a zombie whose new parent does not wait for it) does not run."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_ray_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(LaunchError, match=r"pip install 'clickscape\[ray\]'"):
        list(map_items(refuse_five, [1], compute=ComputeConfig(engine="ray")))
