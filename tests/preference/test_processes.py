"""Two processes that share a run, over gloo, through the same `launched` as under torchrun: they equal one process."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.factory import Brightness, in_two

from clickscape.compute.device import Processes
from clickscape.config import MonitorConfig, OptimizeConfig
from clickscape.errors import LaunchError
from clickscape.generation import sample
from clickscape.generation.pipeline import AdPipeline
from clickscape.preference import monitor
from clickscape.preference.monitor import RewardHackingMonitor, read_samples
from clickscape.preference.records import read_candidates
from clickscape.preference.rounds import Event, RoundReport, Sampled, open_policy, optimize, read_pairs
from clickscape.preference.train import Step
from clickscape.render import load
from clickscape.types import Product
from clickscape.vlm.generate import Writer
from clickscape.vlm.model import VisionLanguageModel

CONFIG = OptimizeConfig(
    rounds=2, products_per_round=8, candidates=4, max_new_tokens=40, min_margin=0.05, pairs_per_product=2,
    preference="margin_dpo", epochs=2, batch_size=5, learning_rate=1e-4, render_size=64, checkpoint_every=2,
    kl_budget=1e6, kl_every=4, unparsed_share=1.0,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _small_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample, "PRODUCTS_PER_PASS", 3)  # three passes a round: two for the one, one for the other
    monkeypatch.setattr(monitor, "PRODUCTS_PER_PASS", 3)


@pytest.fixture(scope="module")
def start(taught: Callable[[], VisionLanguageModel], shelf: list[Product]) -> Callable[..., Iterator[Event]]:
    renderer = load("studio")

    def go(
        folder: Path, processes: Processes, config: OptimizeConfig = CONFIG, guard: RewardHackingMonitor | None = None
    ) -> Iterator[Event]:
        return optimize(
            Writer(taught()),
            AdPipeline(renderer, Brightness(), processes=processes),
            shelf,
            folder=folder,
            config=config,
            monitor=guard,
        )

    return go


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(open_policy(folder).vlm.model.state_dict())


def assert_close(first: Path, second: Path) -> None:
    ours, theirs = weights(first), weights(second)
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=0, atol=1e-5)


@pytest.mark.slow
def test_two_processes_equal_one_and_a_killed_one_ends_the_other(
    start: Callable[..., Iterator[Event]], shelf: list[Product], tmp_path: Path
) -> None:
    guard = RewardHackingMonitor(
        shelf[::2], pipeline=AdPipeline(load("studio"), Brightness()), judge=None,
        groups={product.product_id: product.product_id for product in shelf},
        config=MonitorConfig(descriptions=2, diversity=0.0), render_size=64, max_new_tokens=40,
    )  # fmt: skip
    alone = list(start(tmp_path / "one", Processes(), guard=guard))

    def killed(processes: Processes) -> object:
        for event in start(tmp_path / "two", processes, guard=guard):
            if not processes.is_main and isinstance(event, Step) and (event.round, event.number) == (1, 3):
                os.kill(os.getpid(), signal.SIGKILL)
        return "never"

    ends, (leading, _) = in_two(killed, tmp_path)
    assert ends == [1, -signal.SIGKILL]
    assert isinstance(leading, LaunchError)
    assert "another process of this launch ended" in str(leading)
    assert (tmp_path / "two" / "round-1" / "checkpoint" / "part-1-of-1.safetensors").exists()
    ends, (events, followed) = in_two(lambda processes: list(start(tmp_path / "two", processes, guard=guard)), tmp_path)
    assert ends == [0, 0]
    assert isinstance(events, list)
    steps = [event for event in events if isinstance(event, Step)]
    assert [(step.round, step.number) for step in steps[:2]] == [(1, 3), (1, 4)]  # on from the checkpoint
    assert steps == [event for event in followed if isinstance(event, Step)]
    others = {(step.round, step.number): step for step in alone if isinstance(step, Step)}
    for step in steps:
        assert step.loss == pytest.approx(others[step.round, step.number].loss, abs=1e-5)
        assert step.gradient_norm == pytest.approx(others[step.round, step.number].gradient_norm, rel=1e-3)
        assert step.kl == pytest.approx(others[step.round, step.number].kl, abs=1e-3)
    for number in (1, 2):
        one, two = (tmp_path / name / f"round-{number}" for name in ("one", "two"))
        for mine, yours in zip(
            read_candidates(one / "candidates.jsonl"), read_candidates(two / "candidates.jsonl"), strict=True
        ):
            assert [(own.text, own.seed, own.score) for own in mine] == [
                (own.text, own.seed, own.score) for own in yours
            ]
        assert read_pairs(one / "pairs.jsonl") == read_pairs(two / "pairs.jsonl")
        assert read_samples(one / "monitor.jsonl") == read_samples(two / "monitor.jsonl")
        said, again = (load_file(place / "reference.safetensors") for place in (one, two))
        assert said.keys() == again.keys() == {"chosen", "rejected", "corrupted", "drawn"}
        for name, values in said.items():
            torch.testing.assert_close(values, again[name], rtol=0, atol=1e-4)
    assert_close(tmp_path / "one", tmp_path / "two")
    reports = [[event for event in told if isinstance(event, RoundReport)] for told in (alone, events)]
    assert [report.pairs for report in reports[0]] == [report.pairs for report in reports[1]]
    assert [report.kl for report in reports[0]] == pytest.approx([report.kl for report in reports[1]], abs=1e-3)
    assert not list((tmp_path / "two").rglob(".*"))


@pytest.mark.slow
def test_a_run_resumes_with_another_number_of_processes(start: Callable[..., Iterator[Event]], tmp_path: Path) -> None:
    """Checkpoints know nothing of how many there were."""
    config = CONFIG.model_copy(update={"rounds": 1, "kl_budget": 0.0})
    for event in start(tmp_path / "run", Processes(), config):
        if isinstance(event, Step) and event.number == 2:
            break
    ends, (events, _) = in_two(lambda processes: list(start(tmp_path / "run", processes, config)), tmp_path)
    assert ends == [0, 0]
    assert isinstance(events, list)
    assert not any(isinstance(event, Sampled) for event in events)
    assert events[0].number == 3
    list(start(tmp_path / "whole", Processes(), config))
    assert_close(tmp_path / "run", tmp_path / "whole")


def test_processes_scatter_gather_broadcast_and_sum(tmp_path: Path) -> None:
    def work(processes: Processes) -> object:
        own = processes.share(list("abcde"))
        sums = [torch.full((2, 2), 1.0 + processes.number), torch.tensor(5.0)]
        processes.all_reduce(sums)
        told = processes.broadcast("the first" if processes.is_main else "the second")
        return own, processes.gather([letter.upper() for letter in own]), told, [one.tolist() for one in sums]

    ends, given = in_two(work, tmp_path)
    together = (list("ABCDE"), "the first", [[[3.0, 3.0], [3.0, 3.0]], 10.0])
    assert ends == [0, 0]
    assert given == [(list("ace"), *together), (list("bd"), *together)]


def test_processes_that_cannot_connect_are_one_clear_error(tmp_path: Path) -> None:
    ends, given = in_two(lambda processes: processes.count, tmp_path, MASTER_PORT="none")
    assert ends == [1, 1]
    for error in given:
        assert isinstance(error, LaunchError)
        assert "cannot be reached" in str(error)
        assert "\n" not in str(error)


def test_one_process_alone_needs_no_others() -> None:
    tensors = [torch.ones(2)]
    alone = Processes()
    alone.all_reduce(tensors)
    assert alone.is_main
    assert (alone.share([1, 2]), alone.gather([1, 2]), alone.broadcast(3), tensors[0].tolist()) == (
        [1, 2], [1, 2], 3, [1, 1],
    )  # fmt: skip


def test_every_process_samples_its_share_with_unchanged_seeds(
    taught: Callable[[], VisionLanguageModel], shelf: list[Product]
) -> None:
    images = lambda product: np.full((32, 32, 3), len(product.title), np.uint8)  # noqa: E731
    pipeline = AdPipeline(load("studio"), Brightness(), images)

    def draw(processes: Processes) -> list[list[list[sample.Candidate]]]:
        return list(
            sample.sample_candidates(
                Writer(taught()), shelf[:8], pipeline=replace(pipeline, processes=processes), candidates=2,
                temperature=1.0, max_new_tokens=40, render_size=64, rng=np.random.default_rng(3),
            )
        )  # fmt: skip

    whole, first, second = (draw(Processes(*numbers)) for numbers in ((0, 1), (0, 2), (1, 2)))
    assert [first[0], second[0], first[1]] == whole
    assert len(second) == 1
