"""Number formats and recomputed layers: what they change and what they may not change."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from clickscape.config import OptimizeConfig
from clickscape.preference import adapter
from clickscape.preference.precision import gradient_checkpointing, to_device_and_dtype
from clickscape.preference.train import (
    TrainingPairs,
    backward_in_chunks,
    pair_log_probs,
    tower_features,
    train,
    trainable_parameters,
)
from clickscape.vlm.model import VisionLanguageModel

Build = Callable[..., VisionLanguageModel]


def gradients(
    policy: VisionLanguageModel, training_pairs: TrainingPairs, *, again: bool
) -> tuple[float, list[torch.Tensor], int]:
    """Loss and gradients of a step, and the bytes that the way back kept."""
    config = OptimizeConfig(gradient_checkpointing=again)
    weights = trainable_parameters(policy, config=config)
    reference = pair_log_probs(policy, training_pairs, product_centric=True)
    features = tower_features(policy, training_pairs.pictures)
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    policy.model.zero_grad(set_to_none=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        losses = backward_in_chunks(
            policy, training_pairs, range(len(training_pairs)), reference=reference, features=features, config=config
        )
    found = [weight.grad.clone() for weight in weights.values() if weight.grad is not None]
    return float(torch.cat([loss.total.detach() for loss in losses]).mean()), found, sum(kept.values())


def test_recomputed_layers_give_the_same_gradient_from_less_memory(build: Build, training_pairs: TrainingPairs) -> None:
    policy = build(0, double=True)
    kept_all, computed_again = (gradients(policy, training_pairs, again=again) for again in (False, True))
    assert computed_again[0] == pytest.approx(kept_all[0], abs=1e-5)  # the softmax of logits is in float32
    assert len(computed_again[1]) == len(kept_all[1])
    for one, other in zip(computed_again[1], kept_all[1], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert computed_again[2] < 0.7 * kept_all[2]


def test_after_the_block_a_model_samples_with_its_cache_again(build: Build, training_pairs: TrainingPairs) -> None:
    vlm = build(0)
    before = pair_log_probs(vlm, training_pairs, product_centric=True)
    with gradient_checkpointing(vlm):
        assert any(part.training for part in vlm.core.modules())
    assert not any(part.training for part in vlm.core.modules())
    torch.testing.assert_close(
        pair_log_probs(vlm, training_pairs, product_centric=True).chosen, before.chosen, rtol=0, atol=0
    )


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 2])
def test_in_bfloat16_policy_and_reference_start_equal_and_training_still_works(
    build: Build, training_pairs: TrainingPairs, rank: int
) -> None:
    config = OptimizeConfig(
        dtype="bfloat16", anchor="none", batch_size=10, epochs=12, learning_rate=1e-2 if rank else 3e-3
    )
    reference = pair_log_probs(
        to_device_and_dtype(build(0), config=config, device="cpu"), training_pairs, product_centric=True
    )
    policy = build(0) if rank == 0 else adapter.attach(build(0), rank=rank, seed=0)
    to_device_and_dtype(policy, config=config, device="cpu")
    formats = {name: weight.dtype for name, weight in policy.model.named_parameters()}
    assert {dtype for name, dtype in formats.items() if not adapter.is_adapter(name)} == {torch.bfloat16}
    assert all(dtype == torch.float32 for name, dtype in formats.items() if adapter.is_adapter(name))
    assert all(buffer.dtype != torch.bfloat16 for buffer in policy.model.buffers())
    assert reference.chosen.dtype == torch.float32
    first, *_, last = train(policy, training_pairs, reference=reference, config=config, rng=np.random.default_rng(0))
    assert first.loss == pytest.approx(2 * math.log(2), abs=1e-6)
    assert last.loss < first.loss - 0.1
    assert last.margin > 0


def test_without_a_gpu_auto_is_float32(build: Build) -> None:
    vlm = to_device_and_dtype(build(0), config=OptimizeConfig(), device="cpu")
    assert {weight.dtype for weight in vlm.model.parameters()} == {torch.float32}
