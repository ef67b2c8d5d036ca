"""Steps on named weights, also on rounded ones, and checkpoints that forget nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.damaged_weights import damage_file
from torch.nn import Parameter

from clickscape.errors import PreferenceError
from clickscape.preference.optimizer import PreferenceOptimizer


def weights(dtype: torch.dtype = torch.float32) -> dict[str, Parameter]:
    return {
        "first": Parameter(torch.ones(2, dtype=dtype)),
        "second": Parameter(torch.full((3,), -1.0, dtype=dtype)),
        "unused": Parameter(torch.zeros(1, dtype=dtype)),
    }


def step(learner: PreferenceOptimizer, named: dict[str, Parameter], number: int) -> float:
    learner.zero_grad()
    loss = (named["first"].sum() * (1 + number % 3) - named["second"].square().sum()).float()
    loss.backward()
    return learner.step(rate=1e-3)


def test_a_step_worked_out_by_hand() -> None:
    named = weights()
    learner = PreferenceOptimizer(named)
    # the gradients are (1, 1) and −2 · (−1) three times: norm √14, clipped to 1; AdamW's first step is rate · sign
    assert step(learner, named, 0) == pytest.approx(14**0.5)
    assert named["first"].tolist() == pytest.approx([0.999, 0.999], abs=1e-6)
    assert named["second"].tolist() == pytest.approx([-1.001] * 3, abs=1e-6)
    assert named["unused"].item() == 0


def test_weights_in_16_bits_do_not_lose_small_steps() -> None:
    named = {"one": Parameter(torch.ones(1, dtype=torch.bfloat16))}
    learner = PreferenceOptimizer(named)
    for _ in range(100):  # next to 1, bfloat16 knows steps of 1/256 only
        learner.zero_grad()
        named["one"].sum().backward()
        learner.step(rate=1e-3)
    assert named["one"].dtype == torch.bfloat16
    assert named["one"].item() == pytest.approx(0.9, abs=1 / 256)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_restored_optimizer_goes_on_as_if_uninterrupted(dtype: torch.dtype, tmp_path: Path) -> None:
    whole, cut, fresh = weights(dtype), weights(dtype), weights(dtype)
    learner, killed = PreferenceOptimizer(whole), PreferenceOptimizer(cut)
    for number in range(9):
        step(learner, whole, number)
    for number in range(4):
        step(killed, cut, number)
    killed.save(tmp_path / "checkpoint", number=4)
    again = PreferenceOptimizer(fresh)
    assert again.restore(tmp_path / "checkpoint") == 4
    for number in range(4, 9):
        step(again, fresh, number)
    assert all(torch.equal(whole[name], fresh[name]) for name in whole)
    assert not torch.equal(whole["first"], cut["first"])
    assert [path.name for path in tmp_path.rglob("*")] == ["checkpoint", "part-1-of-1.safetensors"]


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    folder, file = tmp_path / "checkpoint", tmp_path / "checkpoint" / "part-1-of-1.safetensors"
    PreferenceOptimizer(weights()).save(folder, number=1)
    with pytest.raises(PreferenceError, match="of another model"):
        PreferenceOptimizer({"first": Parameter(torch.ones(3))}).restore(folder)
    file.write_bytes(b"no tensors")
    with pytest.raises(PreferenceError, match=r"damaged.*Delete the folder checkpoint"):
        PreferenceOptimizer(weights()).restore(folder)


@pytest.mark.parametrize("damage", ["missing", "wrong shape", "NaN", "infinite"])
def test_a_damaged_checkpoint_is_refused(damage: str, tmp_path: Path) -> None:
    folder, file = tmp_path / "checkpoint", tmp_path / "checkpoint" / "part-1-of-1.safetensors"
    PreferenceOptimizer(weights()).save(folder, number=1)
    damage_file(file, damage)
    with pytest.raises(PreferenceError, match="Delete the folder checkpoint to start its round anew"):
        PreferenceOptimizer(weights()).restore(folder)
