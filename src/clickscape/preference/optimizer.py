"""Optimizer steps on the trainable weights of a policy, and a checkpoint in the middle of a round.

Weights in 16 bits learn through a copy in 32 (a step of 3e-4 would vanish in bfloat16's rounding).  A checkpoint is one
safetensors file, written whole or not at all: weights, both averages of AdamW, and the number of the step.  No random
state is in it, because `train` draws everything that is random in a round before the first step.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import Parameter

from clickscape.compute.device import ALONE, Processes
from clickscape.compute.weights import read_tensors
from clickscape.errors import PreferenceError
from clickscape.files import atomic_file

GRADIENT_CLIP = 1.0
BETAS = (0.9, 0.98)

_HALVES = (torch.bfloat16, torch.float16)
_AVERAGES = ("exp_avg", "exp_avg_sq", "step")


class PreferenceOptimizer:
    """AdamW without decay on named weights; gradients are summed over `processes`, then clipped to norm 1."""

    def __init__(self, weights: Mapping[str, Parameter], *, processes: Processes = ALONE) -> None:
        self._weights = dict(weights)
        self._processes = processes
        self._exact: dict[str, Tensor] = {
            name: weight.detach().float() if weight.dtype in _HALVES else weight for name, weight in weights.items()
        }
        self._optimizer = torch.optim.AdamW(self._exact.values(), betas=BETAS, weight_decay=0.0)

    def zero_grad(self) -> None:
        """Set all gradients to None."""
        for tensor in (*self._weights.values(), *self._exact.values()):
            tensor.grad = None

    def step(self, *, rate: float) -> float:
        """Take one step along the gradients that `backward` left; returns their norm before clipping."""
        for name, weight in self._weights.items():
            if self._processes.count > 1 and weight.grad is None:  # this process's share was empty
                weight.grad = torch.zeros_like(weight)
            if self._exact[name] is not weight and weight.grad is not None:
                self._exact[name].grad = weight.grad.float()
        self._processes.all_reduce([exact.grad for exact in self._exact.values() if exact.grad is not None])
        norm = torch.nn.utils.clip_grad_norm_(self._exact.values(), GRADIENT_CLIP)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._copy_back()
        return float(norm)

    def save(self, file: Path, *, number: int) -> None:
        """Write a checkpoint after step `number`; the one before it is replaced."""
        tensors = {f"weight/{name}": exact.detach() for name, exact in self._exact.items()}
        for name, exact in self._exact.items():
            tensors |= {f"{part}/{name}": self._optimizer.state[exact][part] for part in self._optimizer.state[exact]}
        with atomic_file(file) as waiting:
            save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, waiting, {
                "number": str(number)
            })  # fmt: skip

    def restore(self, file: Path) -> int:
        """Go on from a checkpoint: the number of its step; PreferenceError when it is damaged or another model's."""
        remedy = "Delete it to start its round anew."
        saved, metadata = read_tensors(file, error=PreferenceError, remedy=remedy)
        if not metadata.get("number", "").isdecimal():
            raise PreferenceError(f"{file}: no checkpoint of an optimization. {remedy}")
        shapes = {name: saved[f"weight/{name}"].shape for name in self._exact if f"weight/{name}" in saved}
        half = [name for name in self._exact if len({f"{part}/{name}" in saved for part in _AVERAGES}) > 1]
        if half or shapes != {name: exact.shape for name, exact in self._exact.items()}:
            raise PreferenceError(f"{file}: the checkpoint of another model. {remedy}")
        number = int(metadata["number"])
        with torch.no_grad():
            for name, exact in self._exact.items():
                exact.copy_(saved[f"weight/{name}"])
                parts = {part: saved[f"{part}/{name}"] for part in _AVERAGES if f"{part}/{name}" in saved}
                if parts:  # a weight that no gradient has reached yet has no averages
                    self._optimizer.state[exact] = {
                        part: tensor if part == "step" else tensor.to(exact) for part, tensor in parts.items()
                    }
        self._copy_back()
        return number

    @torch.no_grad()
    def _copy_back(self) -> None:
        """Let the model see what its weights in 16 bits have become."""
        for name, weight in self._weights.items():
            if self._exact[name] is not weight:
                weight.copy_(self._exact[name])
