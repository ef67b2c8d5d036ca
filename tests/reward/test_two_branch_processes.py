"""Two processes that share the pairs of every batch, and the backbone's weights where they are split, equal one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.factory import in_two

from clickscape import reward
from clickscape.compute.device import ALONE, Processes
from clickscape.config import RewardConfig
from clickscape.reward import two_branch_training
from clickscape.reward.protocol import Step
from clickscape.reward.two_branch import TwoBranch

QUICK = RewardConfig(form="two_branch", epochs=2, products_per_batch=3, learning_rate=5e-3, validation_share=0.2)
KINDS = {
    "head": QUICK,
    "full": QUICK.model_copy(update={"trainable": "full"}),
    "full, split": QUICK.model_copy(update={"trainable": "full", "shard": True}),
    "lora, split": QUICK.model_copy(update={"trainable": "lora", "lora_rank": 2, "shard": True}),
}


def _trained(world: Any, config: RewardConfig, processes: Processes = ALONE) -> tuple[list[Step], TwoBranch]:
    steps, training = [], two_branch_training.train(
        world.fresh_backbone(), world.data(world.products(10)), config=config, processes=processes
    )  # fmt: skip
    while True:
        try:
            steps.append(next(training))
        except StopIteration as stop:
            return steps, stop.value


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(world: Any, tmp_path: Path) -> None:
    def both(processes: Processes) -> object:
        said = {}
        for kind, config in KINDS.items():
            said[kind], model = _trained(world, config, processes)
            if processes.is_main:
                model.save(tmp_path / kind)
        return said

    ends, (leading, followed) = in_two(both, tmp_path)
    assert ends == [0, 0], leading
    assert leading == followed
    before = world.fresh_backbone().model.state_dict()
    product, pictures = world.products(1)[0], world.pictures(4)
    for kind, config in KINDS.items():
        steps, alone = _trained(world, config)
        told = [(step.number, step.total, step.text) for step in leading[kind] if step.loss is None]
        assert told == [(step.number, step.total, step.text) for step in steps if step.loss is None]
        losses = [step.loss for step in leading[kind] if step.loss is not None]
        assert losses == pytest.approx([step.loss for step in steps if step.loss is not None], abs=1e-4)
        together = reward.load(tmp_path / kind)
        ours, theirs = (model.backbone.model.state_dict() for model in (together, alone))
        assert ours.keys() == theirs.keys() == before.keys()
        apart, moved = (
            np.sqrt(sum(float((theirs[name] - other[name]).square().sum()) for name in theirs))
            for other in (ours, before)
        )
        assert apart <= 1e-2 * moved
        assert (moved > 0) == (config.trainable != "head")
        torch.testing.assert_close(together.branches.score, alone.branches.score, rtol=0, atol=1e-4)
        scores = [model.score([product] * 4, pictures) for model in (together, alone)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-3)
