"""What is printed of an evaluation warns where a simple baseline is as good as the model."""

from __future__ import annotations

import pytest

from clickscape.reward.report import RewardReport
from clickscape.types import Estimate


def evaluated(accuracy: float, **baselines: float) -> RewardReport:
    def around(value: float) -> Estimate:
        return Estimate(value, value - 0.05, value + 0.05)

    named = {name.replace("_", " "): around(value) for name, value in baselines.items()}
    return RewardReport(pairs=40, products=8, clusters=4, accuracy=around(accuracy), baselines=named)


@pytest.mark.parametrize("scene_only", [0.70, 0.71])
def test_a_baseline_that_the_model_does_not_beat_is_warned_of(scene_only: float) -> None:
    lines = evaluated(0.70, scene_only=scene_only, caption_only=0.5).lines()
    (warning,) = [line for line in lines if line.startswith("warning: ")]
    assert warning == lines[-1]
    assert f"scene only ({scene_only:.3f}) is as accurate as the model (0.700) or more" in warning
    assert "caption only" not in warning


def test_a_model_that_beats_its_baselines_is_not_warned_of() -> None:
    assert not any("warning" in line for line in evaluated(0.70, scene_only=0.69).lines())
