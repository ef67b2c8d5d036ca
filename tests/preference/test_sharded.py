"""A policy that is split over two processes (FSDP2) learns what a whole one learns, and goes on in any number."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tests.factory import Brightness, in_two
from torch.distributed.tensor import DTensor
from transformers import LlavaForConditionalGeneration

from clickscape.compute import fsdp
from clickscape.compute.device import ALONE, Processes
from clickscape.config import OptimizeConfig
from clickscape.errors import LaunchError
from clickscape.generation.pipeline import AdPipeline
from clickscape.preference import optimizer
from clickscape.preference.rounds import Event, RoundReport, open_policy, optimize
from clickscape.preference.train import Step
from clickscape.render import load
from clickscape.types import Product
from clickscape.vlm.generate import Writer
from clickscape.vlm.model import VisionLanguageModel

pytestmark = pytest.mark.slow

FULL = OptimizeConfig(
    rounds=2, products_per_round=8, candidates=3, max_new_tokens=32, min_margin=0.05, pairs_per_product=2,
    preference="margin_dpo", epochs=2, batch_size=3, pairs_per_pass=1, learning_rate=1e-4, render_size=64,
    checkpoint_every=1, kl_budget=1e6, kl_every=4, unparsed_share=1.0, searched_share=0.0, shard=True,
)  # fmt: skip
LORA = FULL.model_copy(update={"lora_rank": 4, "learning_rate": 1e-3, "gradient_checkpointing": True})

Start = Callable[..., Iterator[Event]]


@pytest.fixture(scope="module")
def start(taught: Callable[[], VisionLanguageModel], shelf: list[Product]) -> Start:
    renderer = load("studio")

    def go(folder: Path, config: OptimizeConfig, processes: Processes = ALONE) -> Iterator[Event]:
        pipeline = AdPipeline(renderer, Brightness(), processes=processes)
        return optimize(Writer(taught()), pipeline, shelf, folder=folder, config=config)

    return go


def until(events: Iterator[Event], round_number: int, step: int) -> None:
    """Stop behind a step, as if killed there."""
    for event in events:
        if isinstance(event, Step) and (event.round, event.number) == (round_number, step):
            return
    raise AssertionError("there was no such step")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(open_policy(folder).vlm.model.state_dict())


def assert_like(folder: Path, whole: Path, *, learned: float = 1e-3) -> None:
    """The same weights up to float noise, as a share of what was learned."""
    ours, theirs, before = (
        weights(folder),
        weights(whole),
        dict(open_policy(whole, round_number=0).vlm.model.state_dict()),
    )
    assert ours.keys() == theirs.keys()
    apart, moved = (
        np.sqrt(sum(float((theirs[name] - other[name]).square().sum()) for name in theirs)) for other in (ours, before)
    )
    assert moved > 0
    assert apart < learned * moved


def test_split_in_two_is_whole_and_goes_on_in_any_number(start: Start, tmp_path: Path) -> None:
    kinds = {"full": FULL, "lora": LORA}
    alone = {kind: list(start(tmp_path / f"{kind}-one", config)) for kind, config in kinds.items()}
    until(start(tmp_path / "lora-cut", LORA), 1, 3)
    written = optimizer.save_file

    def both(processes: Processes) -> object:
        together = {}
        for kind, config in kinds.items():
            together[kind] = list(start(tmp_path / f"{kind}-two", config, processes))
        list(start(tmp_path / "lora-cut", LORA, processes))  # one process began it

        def dying(tensors: dict[str, torch.Tensor], file: Path, metadata: dict[str, str]) -> None:
            if not processes.is_main and metadata["number"] == "3":
                file.write_bytes(b"half")
                os.kill(os.getpid(), signal.SIGKILL)
            written(tensors, file, metadata)

        optimizer.save_file = dying
        try:
            list(start(tmp_path / "full-cut", FULL, processes))  # the second checkpoint is never finished
        except LaunchError:
            return together
        raise AssertionError("the other process ended, and nobody noticed")

    ends, (together, _) = in_two(both, tmp_path)
    assert ends == [0, -signal.SIGKILL], together
    assert isinstance(together, dict)
    for kind in kinds:
        one, two = ([event for event in events if isinstance(event, Step)] for events in (alone[kind], together[kind]))
        assert len(one) == len(two) > 8
        for mine, yours in zip(one, two, strict=True):
            assert mine.loss == pytest.approx(yours.loss, abs=2e-5)
            assert mine.margin == pytest.approx(yours.margin, abs=2e-4)
            assert mine.gradient_norm == pytest.approx(yours.gradient_norm, rel=2e-3)
            assert mine.kl == pytest.approx(yours.kl, abs=1e-3)
        reports = [
            [event for event in events if isinstance(event, RoundReport)] for events in (alone[kind], together[kind])
        ]
        assert [report.pairs for report in reports[0]] == [report.pairs for report in reports[1]]
        assert_like(tmp_path / f"{kind}-two", tmp_path / f"{kind}-one")
        plain = LlavaForConditionalGeneration.from_pretrained(tmp_path / f"{kind}-two" / "round-2" / "model")
        assert type(plain) is LlavaForConditionalGeneration
        assert plain.lm_head.weight is plain.get_input_embeddings().weight
    assert_like(tmp_path / "lora-cut", tmp_path / "lora-one")

    parts = sorted((tmp_path / "full-cut" / "round-1" / "checkpoint").iterdir())
    assert [part.name for part in parts] == ["part-1-of-2.safetensors", "part-2-of-2.safetensors"]
    sizes = []
    for part in parts:
        with safe_open(part, framework="pt") as stored:
            assert stored.metadata() == {"number": "2"}
            sizes.append(stored.get_slice("weight/model.multi_modal_projector.linear_1.weight").get_shape())
    assert sizes == [[16, 24], [16, 24]]  # 32 rows in two
    resumed = list(start(tmp_path / "full-cut", FULL))
    assert next(event for event in resumed if isinstance(event, Step)).number == 3
    assert_like(tmp_path / "full-cut", tmp_path / "full-one")
    assert not [
        path for path in tmp_path.rglob("*") if path.suffix in {".bin", ".pt", ".distcp"} or path.name[0] == "."
    ]


def test_what_a_process_holds_is_half(start: Start, taught: Callable[[], VisionLanguageModel], tmp_path: Path) -> None:
    def held(processes: Processes) -> object:
        core = taught().core.requires_grad_(True)
        whole = sum(weight.numel() for weight in core.parameters())
        fsdp.shard(core, processes=processes)
        assert all(isinstance(weight, DTensor) for weight in core.parameters())
        own = sum(fsdp.own_rows(weight).numel() for weight in core.parameters())
        with fsdp.gathered(core):
            gathered = sum(weight.numel() for weight in core.parameters() if not isinstance(weight, DTensor))
        again = sum(fsdp.own_rows(weight).numel() for weight in core.parameters())
        return whole, own, gathered, again

    ends, given = in_two(held, tmp_path)
    assert ends == [0, 0], given
    for whole, own, gathered, again in given:
        assert gathered == whole
        assert own == again < 0.52 * whole


def test_a_process_that_ends_in_a_pass_is_one_line_for_the_others(
    taught: Callable[[], VisionLanguageModel], tmp_path: Path
) -> None:
    def left_alone(processes: Processes) -> object:
        core = taught().core.requires_grad_(True)
        fsdp.shard(core, processes=processes)
        fsdp.begin_pass(core)
        with fsdp.passes(core):
            if not processes.is_main:
                os.kill(os.getpid(), signal.SIGKILL)
            core(input_ids=torch.zeros((1, 4), dtype=torch.long))
        return None

    ends, (leading, _) = in_two(left_alone, tmp_path)
    assert ends == [1, -signal.SIGKILL]
    assert isinstance(leading, LaunchError)
    assert "another process of this launch ended" in str(leading)
    assert "\n" not in str(leading)
