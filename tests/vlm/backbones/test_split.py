"""Models of every family learn the same when their weights are split over two processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.factory import in_two

from clickscape.compute import fsdp
from clickscape.compute.device import ALONE, Processes
from clickscape.config import OptimizeConfig
from clickscape.preference import adapter
from clickscape.preference.corruption import CorruptedInput
from clickscape.preference.optimizer import PreferenceOptimizer
from clickscape.preference.pairs import PreferencePair
from clickscape.preference.train import Step, build_training_pairs, pair_log_probs, train, trainable_parameters
from clickscape.types import Product
from clickscape.vlm import model as models

from .conftest import FAMILIES

FULL = OptimizeConfig(batch_size=3, epochs=2, pairs_per_pass=1, learning_rate=1e-4, train_tower=True)
KINDS = {"full": FULL, "lora": FULL.model_copy(update={"train_tower": False, "lora_rank": 2, "learning_rate": 1e-3})}


@pytest.mark.slow
def test_a_split_model_of_every_family_learns_what_a_whole_one_learns(
    folder: Callable[[str], Path], products: list[Product], shown: Callable[[Product], np.ndarray], tmp_path: Path
) -> None:
    for family in FAMILIES:
        folder(family)  # made once, before there are two

    def learned(family: str, config: OptimizeConfig, processes: Processes) -> list[Step]:
        policy = models.load(folder(family), trainable=True)
        if config.lora_rank:
            policy = adapter.attach(policy, rank=config.lora_rank, seed=1)
        one, two, three = products[:3]
        pairs = [
            PreferencePair(one.product_id, "white marble podium", "oak", 1.0, CorruptedInput((0, 1), None)),
            PreferencePair(two.product_id, "sand, noon sun", "soft light", 1.0, CorruptedInput((), three.product_id)),
            PreferencePair(three.product_id, "steel", "a long shelf of pine wood", 1.0, CorruptedInput((2,), None)),
        ]
        training_pairs = build_training_pairs(
            pairs, products={each.product_id: each for each in products}, pictures=shown, vlm=policy
        )
        reference = pair_log_probs(policy, training_pairs, product_centric=True)
        trainable_parameters(policy, config=config)
        fsdp.shard(policy.core, processes=processes)
        assert fsdp.is_sharded(policy.core) == (processes.count > 1)
        weights = trainable_parameters(policy, config=config)
        steps = train(
            policy, training_pairs, reference=reference, config=config, rng=np.random.default_rng(0),
            optimizer=PreferenceOptimizer(weights, processes=processes), processes=processes,
        )  # fmt: skip
        return list(steps)

    def all_of_them(processes: Processes) -> dict[Any, list[Step]]:
        return {
            (family, kind): learned(family, config, processes) for family in FAMILIES for kind, config in KINDS.items()
        }

    ends, (together, followed) = in_two(all_of_them, tmp_path)
    assert ends == [0, 0], (together, followed)
    for key, alone in all_of_them(ALONE).items():
        assert len(alone) == 2
        for mine, yours in zip(alone, together[key], strict=True):
            assert mine.loss == pytest.approx(yours.loss, abs=1e-4), key
            assert mine.gradient_norm == pytest.approx(yours.gradient_norm, rel=1e-3), key
        assert alone[1].loss < alone[0].loss
