"""AdamW on named weights of which each process may hold a part; gradients are summed over the processes.

Weights in 16 bits learn through a copy in 32 (a step of 3e-4 would vanish in bfloat16's rounding).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from clickscape.compute.device import ALONE, Processes
from clickscape.compute.fsdp import is_split, own_rows

GRADIENT_CLIP = 1.0
BETAS = (0.9, 0.98)

_HALVES = (torch.bfloat16, torch.float16)


class SummedAdamW:
    """AdamW on named weights; gradients are summed over `processes`, then clipped to norm 1 over all of them.

    rate_shares: name → share of the learning rate that a weight takes, where it is not all of it.
    """

    def __init__(
        self,
        weights: Mapping[str, Parameter],
        *,
        processes: Processes = ALONE,
        weight_decay: float = 0.0,
        rate_shares: Mapping[str, float] | None = None,
    ) -> None:
        self._weights = dict(weights)
        self._processes = processes
        self._split = {name for name, weight in weights.items() if is_split(weight)}
        self._exact: dict[str, Tensor] = {}
        groups: dict[float, list[Tensor]] = {}
        for name, weight in weights.items():
            rows = own_rows(weight.detach())
            self._exact[name] = rows.float() if weight.dtype in _HALVES else rows
            groups.setdefault((rate_shares or {}).get(name, 1.0), []).append(self._exact[name])
        self._optimizer = torch.optim.AdamW(
            [{"params": exact, "share": share} for share, exact in groups.items()],
            betas=BETAS,
            weight_decay=weight_decay,
        )

    def zero_grad(self) -> None:
        """Set all gradients to None."""
        for tensor in (*self._weights.values(), *self._exact.values()):
            tensor.grad = None

    def step(self, *, rate: float) -> float:
        """Take one step along the gradients that `backward` left; returns their norm before clipping."""
        for name, weight in self._weights.items():
            if self._processes.count > 1 and name not in self._split and weight.grad is None:  # an empty share
                weight.grad = torch.zeros_like(weight)
            if weight.grad is not None:
                self._exact[name].grad = own_rows(weight.grad).to(self._exact[name].dtype)
        norm = self._sum_and_clip()
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["share"]
        self._optimizer.step()
        self._copy_back()
        return norm

    def _sum_and_clip(self) -> float:
        """Sum what FSDP2 has not summed, and clip all gradients by the norm of the whole ones; returns it."""
        grads = {name: exact.grad for name, exact in self._exact.items() if exact.grad is not None}
        unsplit = [grad for name, grad in grads.items() if name not in self._split]
        self._processes.all_reduce(unsplit)
        norm = get_total_norm(unsplit)
        if self._split:
            squared = get_total_norm([grad for name, grad in grads.items() if name in self._split]).square()
            self._processes.all_reduce([squared])
            norm = (squared + norm.to(squared.device).square()).sqrt()
        clip_grads_with_norm_(self._exact.values(), GRADIENT_CLIP, norm)
        return float(norm)

    @torch.no_grad()
    def _copy_back(self) -> None:
        """Let the model see what its weights in 16 bits have become."""
        for name, weight in self._weights.items():
            if weight.dtype in _HALVES:
                own_rows(weight).copy_(self._exact[name])
