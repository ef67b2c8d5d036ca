"""Ways in which a file of weights can be damaged and still be a file of weights, shared by the tests of all loaders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

Tensors = dict[str, torch.Tensor]


def _floats(tensors: Tensors) -> str:
    """The name of the tensor in the middle of those that hold floats."""
    names = sorted(
        name for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.ndim and tensor.numel()
    )
    return names[len(names) // 2]


def _without(tensors: Tensors) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if name != _floats(tensors)}


def _with_another(tensors: Tensors) -> Tensors:
    return {**tensors, "layer.99.weight": torch.ones(2, 2)}


def _reshaped(tensors: Tensors) -> Tensors:
    return {**tensors, _floats(tensors): tensors[_floats(tensors)][..., :-1].clone().contiguous()}


def _with_value(value: float) -> Callable[[Tensors], Tensors]:
    def changed(tensors: Tensors) -> Tensors:
        tensor = tensors[_floats(tensors)].clone()
        tensor.view(-1)[0] = value
        return {**tensors, _floats(tensors): tensor}

    return changed


DAMAGES: dict[str, Callable[[Tensors], Tensors]] = {
    "missing": _without,
    "unexpected": _with_another,
    "wrong shape": _reshaped,
    "NaN": _with_value(float("nan")),
    "infinite": _with_value(float("inf")),
}

every_damage = pytest.mark.parametrize("damage", DAMAGES)


def damage_file(file: Path, damage: str) -> None:
    """Write the tensors of a safetensors file again, damaged; its metadata stays."""
    with safe_open(file, framework="pt") as stored:
        metadata = stored.metadata()
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118  (not a mapping)
    save_file(DAMAGES[damage](tensors), file, metadata)
