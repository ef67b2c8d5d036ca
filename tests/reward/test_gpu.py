"""On a GPU the reward model learns the same and says the same as on a CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clickscape.config import RewardConfig
from clickscape.reward import load, training
from clickscape.reward.protocol import RewardModel

pytestmark = pytest.mark.gpu

QUICK = RewardConfig(epochs=3, products_per_batch=6, learning_rate=1e-2, validation_share=0.2)


def _trained(device: str, world: Any, config: RewardConfig) -> RewardModel:
    backbone = world.fresh_backbone()
    backbone.model.to(device)
    data = world.data(world.products(30))
    return training.run(training.FORMS[config.form](backbone, data, config=config, slots=world.slots))


@pytest.mark.parametrize(
    ("form", "trainable"), [("effects", "head"), ("two_branch", "head"), ("two_branch", "lora"), ("two_branch", "full")]
)
def test_a_reward_model_trained_on_the_gpu_scores_like_one_trained_on_the_cpu(
    world: Any, form: Any, trainable: Any, tmp_path: Path
) -> None:
    config = QUICK.model_copy(update={"form": form, "trainable": trainable})
    there, here = (_trained(device, world, config) for device in ("cuda", "cpu"))
    product, images = world.products(1)[0], world.pictures(6)
    said = there.score([product] * len(images), images)
    assert np.ptp(said) > 0
    np.testing.assert_allclose(said, here.score([product] * len(images), images), atol=0.05 * np.ptp(said))
    there.save(tmp_path / "reward")
    for device in ("cuda", "cpu"):
        again = load(tmp_path / "reward", device=device).score([product] * len(images), images)
        np.testing.assert_allclose(again, said, atol=1e-3 * np.ptp(said))
